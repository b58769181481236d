//! RequestMirror, and `mirror-target` of Ingresses: a copy of a request to another backend, whose answer nobody waits for.
//!
//! The copy has a connection pool and a task of its own. Chunks of the body are shared with it ([`Copies`]); a mirror that
//! cannot keep up, or holds more than it may ([`Budget`]), is given up. Upgrades are not copied.

mod budget;
mod copies;
mod outside;

use std::{
    fmt, iter,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, header};
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::Result;
use pingora_http::RequestHeader;
use portcullis_routing::{Backend, Endpoints, Route, RouteKind, step::ingress_mirror::COPIED};
use tokio::sync::mpsc;

pub(crate) use self::{budget::Budget, copies::Copies};
use self::{
    budget::Lost,
    copies::{CHUNKS, Copy, Part},
};
use super::{
    check::nesting,
    side::{self, SideRequests, within},
};
use crate::{
    random,
    shared::Shared,
    upstream::{Origin, is_of_cluster},
};

/// Limit of time for a mirror's connection, and for each write to it.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of time for its answer, from the end of the request on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What a mirror takes besides what is copied: its task, and pingora's buffers for its connection.
const SESSION_BYTES: usize = 64 << 10;
/// A mirror's answer is read so far, to use its connection again; one that is longer ends its connection.
const MAX_ANSWER: usize = 1 << 20;

/// What the mirrors of a worker have in common.
#[derive(Clone)]
pub(crate) struct Mirrors {
    side: SideRequests,
    running: Arc<AtomicUsize>,
    max_running: usize,
    budget: Arc<Budget>,
}

/// The forms of a request that copies are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forms<'r> {
    /// What the backend gets.
    pub(crate) forwarded: Option<&'r RequestHeader>,
    /// What the client sent.
    pub(crate) sent: Option<&'r RequestHeader>,
}

/// Who gets a copy.
struct To<'b> {
    backend: &'b Arc<Backend>,
    by: By,
}

/// What names the receiver of a copy.
#[derive(Clone, Copy)]
enum By {
    Route(RouteKind),
    /// `mirror-target`. `by_request`: its name has the host of the request in it.
    Url {
        by_request: bool,
    },
}

impl Mirrors {
    pub(crate) fn new(side: SideRequests, shared: &Shared) -> Self {
        Self {
            side,
            running: Arc::default(),
            max_running: shared.options.max_mirrors,
            budget: Arc::clone(&shared.mirrors),
        }
    }

    /// Begins the copies that the steps of a route ask for.
    pub(crate) fn begin(&self, route: &Route, of: Forms<'_>, bodiless: bool) -> Option<Box<Copies>> {
        if route.mirrors().next().is_none() && route.copy().is_none() {
            return None;
        }
        let marks = self.marks(of.sent.or(of.forwarded)?)?;
        let by = By::Route(route.rule().route.kind);
        let wanted = route.mirrors().filter(|mirror| mirror.takes(random::number()));
        let backends =
            wanted.filter_map(|mirror| mirror.backend.as_ref().ok()).zip(iter::repeat(of.forwarded));
        let of_backends = backends.filter_map(|(backend, request)| {
            self.start(To { backend, by }, request?, bodiless, |request| {
                let is_name = matches!(&**backend.endpoints.load(), Endpoints::Name { .. });
                copy(request, backend, bodiless, is_name.then_some(&marks))
            })
        });
        let mut copies: Vec<_> = of_backends.collect();
        if let (Some(copy), Some(request)) = (route.copy(), of.sent) {
            let url = &copy.mirror.url;
            let backend = &side::service(url, &copy.mirror.namespace, &copy.to);
            let bodiless = bodiless || !copy.mirror.body;
            let to = To { backend, by: By::Url { by_request: url.is_by_request() } };
            let may_come_back = !is_of_cluster(&copy.to) && self.side.has_listener_for(copy.host());
            let marks = may_come_back.then_some(&marks);
            copies.extend(self.start(to, request, bodiless, |request| {
                outside::copy(copy, request, backend, bodiless, marks)
            }));
        }
        (!copies.is_empty()).then(|| Box::new(Copies::new(copies)))
    }

    /// The marks of the copies of this request; `None` if it is itself a copy that came back to us.
    fn marks(&self, request: &RequestHeader) -> Option<HeaderValue> {
        let of_request = request.headers.get(&COPIED).map(HeaderValue::as_bytes).unwrap_or_default();
        nesting::marks(of_request, false, &self.side.shared().mark)
    }

    /// `None` too where nothing is left to be copied.
    fn start(
        &self,
        To { backend, by }: To<'_>,
        request: &RequestHeader,
        bodiless: bool,
        copied: impl FnOnce(&RequestHeader) -> Option<Box<RequestHeader>>,
    ) -> Option<Copy> {
        let account = self.budget.account(&backend.key.namespace);
        let Some(running) = Running::begin(&self.running, self.max_running) else {
            account.count(Lost::Running);
            return None;
        };
        let Some(held) = account.lease(SESSION_BYTES + size(request)) else {
            account.count(Lost::Memory);
            return None;
        };
        let request = copied(request)?;
        let (sender, parts) = mpsc::channel(CHUNKS);
        let (mirrors, to, of) = (self.clone(), Arc::clone(backend), account.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = mirrors.send(&to, by, request, parts).await {
                of.count(Lost::Failed);
                tracing::debug!(backend = %to.key, %error, "a mirrored request failed");
            }
            drop((running, held));
        });
        let copy = Copy::new(sender, task.abort_handle(), account);
        match bodiless {
            true => {
                copy.end();
                None
            }
            false => Some(copy),
        }
    }

    async fn send(
        &self,
        backend: &Arc<Backend>,
        by: By,
        request: Box<RequestHeader>,
        mut parts: mpsc::Receiver<Part>,
    ) -> Result<()> {
        let mut side = match by {
            By::Route(kind) => self.side.connect(backend, kind, STEP_TIMEOUT, false).await?,
            By::Url { by_request } => {
                // Not to our own listeners: a copy that comes back would be copied again.
                let origin = Origin::Name { namespace: &backend.key.namespace, kind: RouteKind::Ingress };
                self.side.connect_service(backend, origin, by_request, STEP_TIMEOUT, false).await?
            }
        };
        let session = &mut side.session;
        within(STEP_TIMEOUT, session.write_request_header(request)).await?;
        loop {
            match parts.recv().await {
                Some(Part::Chunk(chunk, _lease)) => {
                    within(STEP_TIMEOUT, session.write_request_body(chunk, false)).await?;
                }
                Some(Part::End) => break,
                // Given up: the backend must not take what it has for the whole.
                None => {
                    session.shutdown().await;
                    return Ok(());
                }
            }
        }
        within(STEP_TIMEOUT, session.finish_request_body()).await?;
        if within(ANSWER_TIMEOUT, read_answer(session)).await? {
            self.side.release(side).await;
        }
        Ok(())
    }
}

/// About so many bytes are kept of a head.
fn size(request: &RequestHeader) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    headers.sum::<usize>() + request.raw_path().len()
}

/// Reads the answer; whether to its end.
async fn read_answer(session: &mut HttpSession) -> Result<bool> {
    session.read_response_header().await?;
    while session.response_header().is_some_and(|answer| answer.status.is_informational()) {
        session.read_response_header().await?;
    }
    let mut length = 0;
    while let Some(chunk) = session.read_response_body().await? {
        length += chunk.len();
        if length > MAX_ANSWER {
            session.shutdown().await;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The request in the mirror's protocol.
fn copy(
    request: &RequestHeader,
    backend: &Backend,
    bodiless: bool,
    marks: Option<&HeaderValue>,
) -> Option<Box<RequestHeader>> {
    let mut copy = Box::new(request.clone());
    if let Some(marks) = marks {
        copy.insert_header(COPIED, marks.clone()).ok()?;
    }
    // Nobody waits for the backend's word before sending the body.
    copy.remove_header(&header::EXPECT);
    copy.remove_header(&header::TE);
    side::set_protocol(&mut copy, backend, !bodiless).ok()?;
    Some(copy)
}

/// A mirror that runs.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(running: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let begun = Self(Arc::clone(running));
        // Counted first, and taken back by the drop where it was one too many.
        (running.fetch_add(1, Ordering::Relaxed) < most).then_some(begun)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirrors").field("running", &self.running).finish_non_exhaustive()
    }
}
