//! The compression of responses that pingora forwards: a stage between pingora and the session of the client.
//!
//! The response decides about it, so the stage replaces the session when the head of a response has come, and the session
//! returns at the end of the request.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Version, header};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, ErrorType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{compress::Encoding, context::Context, headers::Response, staged};
use crate::body::{Coder, EncoderFailed};

/// What a request and the stage of its response have in common.
#[derive(Default)]
pub(crate) struct Shared {
    /// The encoding of the next response. An attempt can follow another one, and a response of the proxy itself can follow
    /// both.
    encoding: Mutex<Option<Encoding>>,
    /// The session, once the stage has been removed.
    session: Mutex<Option<ServerSession>>,
}

/// The stage of a response.
pub(super) struct Coded {
    shared: Arc<Shared>,
    coder: Option<Box<Coder>>,
}

/// Sets the encoding of the response of which the head has been received; `None` sends it as it is.
pub(super) fn decide(session: &mut Session, context: &mut Context, encoding: Option<Encoding>) {
    match (&context.coded, encoding) {
        (Some(shared), encoding) => *locked(&shared.encoding) = encoding,
        (None, None) => {}
        (None, Some(encoding)) => {
            let shared = Arc::new(Shared { encoding: Mutex::new(Some(encoding)), ..Shared::default() });
            context.coded = Some(Arc::clone(&shared));
            let coded = Coded { shared, coder: None };
            staged::replace(session, |session| staged::Staged::coding(session, coded));
        }
    }
}

/// Returns the session to pingora, so that its connection can be used again.
pub(super) fn remove(session: &mut Session, context: &mut Context) {
    let Some(shared) = context.coded.take() else { return };
    drop(mem::replace(&mut *session.downstream_session, staged::placeholder()));
    if let Some(own) = locked(&shared.session).take() {
        *session.downstream_session = own;
    }
}

impl Coded {
    /// Takes the session back.
    pub(super) fn give_back(&self, session: ServerSession) {
        *locked(&self.shared.session) = Some(session);
    }

    /// Compresses parts of a response.
    ///
    /// # Errors
    /// If the encoder has failed.
    pub(super) fn through(&mut self, tasks: Vec<HttpTask>) -> pingora_error::Result<Vec<HttpTask>> {
        self.compress(tasks).map_err(|EncoderFailed| {
            Error::explain(ErrorType::InternalError, "the response could not be compressed")
        })
    }

    fn compress(&mut self, tasks: Vec<HttpTask>) -> Result<Vec<HttpTask>, EncoderFailed> {
        let mut out = Vec::with_capacity(tasks.len() + 1);
        for task in tasks {
            self.pass(task, &mut out)?;
        }
        // Nothing more has come, and the client must not wait for what has.
        if let Some(coder) = self.coder.as_mut().filter(|coder| coder.holds_back()) {
            coder.flush()?;
            out.push(HttpTask::Body(Some(coder.take(usize::MAX)), false));
        }
        Ok(out)
    }

    fn pass(&mut self, task: HttpTask, out: &mut Vec<HttpTask>) -> Result<(), EncoderFailed> {
        let task = match task {
            HttpTask::Header(mut head, end) if !head.status.is_informational() => {
                let encoding = locked(&self.shared.encoding).take().filter(|_| !end);
                self.coder = encoding.and_then(|encoding| begin(encoding, &mut head));
                HttpTask::Header(head, end)
            }
            HttpTask::Body(bytes, end) => match &mut self.coder {
                Some(coder) => {
                    coder.put(bytes.as_deref().unwrap_or_default())?;
                    if end {
                        coder.end()?;
                    }
                    let bytes = coder.take(usize::MAX);
                    if end {
                        self.coder = None;
                    } else if bytes.is_empty() {
                        return Ok(());
                    }
                    HttpTask::Body(Some(bytes), end)
                }
                None => HttpTask::Body(bytes, end),
            },
            HttpTask::Trailer(_) | HttpTask::Done => {
                if let Some(mut coder) = self.coder.take() {
                    coder.end()?;
                    out.push(HttpTask::Body(Some(coder.take(usize::MAX)), false));
                }
                task
            }
            HttpTask::Failed(_) => {
                self.coder = None;
                task
            }
            HttpTask::Header(..) | HttpTask::UpgradedBody(..) => task,
        };
        out.push(task);
        Ok(())
    }
}

/// Changes the head of a response, and returns the coder of its body.
fn begin(encoding: Encoding, head: &mut ResponseHeader) -> Option<Box<Coder>> {
    let coder = encoding.begin(&mut Response(head));
    if coder.is_some() {
        // Removed for HTTP/2 when the head is sent.
        let _ = head.insert_header(header::TRANSFER_ENCODING, "chunked");
        head.set_version(Version::HTTP_11);
    }
    coder
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}
