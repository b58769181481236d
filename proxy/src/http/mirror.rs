//! RequestMirror: a copy of a request to another backend, whose answer nobody waits for.
//!
//! The copy has a connection pool and a task of its own. Chunks of the body are shared with it ([`Copies`]); a mirror that
//! cannot keep up, or holds more than it may ([`Budget`]), is given up. Upgrades are not copied.

mod budget;
mod copies;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Uri, Version, header};
use pingora_core::{
    connectors::{ConnectorOptions, http::Connector},
    protocols::http::client::HttpSession,
    server::configuration::ServerConf,
};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use portcullis_routing::{Backend, BackendProtocol, RouteKind, step::Mirror};
use tokio::{sync::mpsc, time::timeout};

pub(crate) use self::{budget::Budget, copies::Copies};
use self::{
    budget::Lost,
    copies::{CHUNKS, Copy, Part},
};
use crate::{
    random,
    refusal::MAX_FIELDS,
    shared::Shared,
    upstream::{
        Choice, Dialler, NoEndpoint,
        peer::{Attempt, peer},
    },
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
    conf: Arc<ServerConf>,
    connector: Arc<OnceLock<Connector>>,
    running: Arc<AtomicUsize>,
    dialler: Dialler,
    shared: Arc<Shared>,
    max_running: usize,
    budget: Arc<Budget>,
}

impl Mirrors {
    pub(crate) fn new(conf: Arc<ServerConf>, dialler: Dialler, shared: &Arc<Shared>) -> Self {
        Self {
            conf,
            connector: Arc::default(),
            running: Arc::default(),
            dialler,
            shared: Arc::clone(shared),
            max_running: shared.options.max_mirrors,
            budget: Arc::clone(&shared.mirrors),
        }
    }

    /// Begins the copies that these steps of a route ask for. `request` is what the backend gets.
    pub(crate) fn begin<'m>(
        &self,
        wanted: impl Iterator<Item = &'m Mirror>,
        kind: RouteKind,
        request: &RequestHeader,
        bodiless: bool,
    ) -> Option<Box<Copies>> {
        let backends = wanted.filter(|m| m.takes(random::number())).filter_map(|m| m.backend.as_ref().ok());
        let copies: Vec<_> =
            backends.filter_map(|backend| self.start(backend, kind, request, bodiless)).collect();
        (!copies.is_empty()).then(|| Box::new(Copies::new(copies)))
    }

    /// `None` too where nothing is left to be copied.
    fn start(
        &self,
        backend: &Arc<Backend>,
        kind: RouteKind,
        request: &RequestHeader,
        bodiless: bool,
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
        let request = copy(request, backend, bodiless)?;
        let (sender, parts) = mpsc::channel(CHUNKS);
        let (mirrors, to, of) = (self.clone(), Arc::clone(backend), account.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = mirrors.send(&to, kind, request, parts).await {
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
        kind: RouteKind,
        request: Box<RequestHeader>,
        mut parts: mpsc::Receiver<Part>,
    ) -> Result<()> {
        let choice = match self.dialler.choose(backend, kind, &[]).await {
            Ok(choice) => choice,
            Err(NoEndpoint::Missing | NoEndpoint::Refused) => {
                return Error::e_explain(ErrorType::ConnectNoRoute, "no endpoint");
            }
        };
        let Choice { address, in_flight: _in_flight, .. } = choice;
        let peer = peer(
            &self.shared,
            backend,
            &Attempt {
                address,
                connect_timeout: self.shared.options.connect_timeout,
                read_timeout: Some(STEP_TIMEOUT),
                write_timeout: Some(STEP_TIMEOUT),
                upgrade: false,
                liveness: None,
                fresh: false,
            },
        );
        let connector = self
            .connector
            .get_or_init(|| Connector::new(Some(ConnectorOptions::from_server_conf(&self.conf))));
        let (mut session, _) = within(STEP_TIMEOUT, connector.get_http_session(&*peer)).await?;
        session.set_read_timeout(Some(STEP_TIMEOUT));
        session.set_write_timeout(Some(STEP_TIMEOUT));
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
        if within(ANSWER_TIMEOUT, read_answer(&mut session)).await? {
            connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
        }
        Ok(())
    }
}

/// Pingora's own limits do not hold in every direction of every protocol.
async fn within<T>(limit: Duration, step: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::explain(ErrorType::WriteTimedout, "a mirror took too long");
    timeout(limit, step).await.map_err(late)?
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

/// The head of a request for an HTTP/1 backend, as pingora has heads.
pub(crate) fn request_of(head: &[u8]) -> Option<RequestHeader> {
    let mut room = [httparse::EMPTY_HEADER; 2 * MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut room);
    parsed.parse(head).ok()?;
    let target = parsed.path?.as_bytes();
    let mut request = RequestHeader::build(parsed.method?, target, Some(parsed.headers.len())).ok()?;
    for header in parsed.headers.iter() {
        request.append_header(header.name.to_owned(), header.value).ok()?;
    }
    Some(request)
}

/// The request in the mirror's protocol.
fn copy(request: &RequestHeader, backend: &Backend, bodiless: bool) -> Option<Box<RequestHeader>> {
    let mut copy = Box::new(request.clone());
    // Nobody waits for the backend's word before sending the body.
    copy.remove_header(&header::EXPECT);
    copy.remove_header(&header::TE);
    let target = request.uri.path_and_query()?.clone();
    match backend.protocol {
        BackendProtocol::Http1 => {
            copy.set_version(Version::HTTP_11);
            copy.set_raw_path(target.as_str().as_bytes()).ok()?;
            if !bodiless && !copy.headers.contains_key(header::CONTENT_LENGTH) {
                copy.insert_header("Transfer-Encoding", HeaderValue::from_static("chunked")).ok()?;
            }
        }
        BackendProtocol::Http2 => {
            copy.set_version(Version::HTTP_2);
            copy.remove_header(&header::TRANSFER_ENCODING);
            let host = copy.remove_header(&header::HOST);
            let authority = match host {
                Some(host) => host.as_bytes().try_into().ok()?,
                None => request.uri.authority()?.clone(),
            };
            let scheme = if backend.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority::<http::uri::Authority>(authority);
            copy.set_uri(
                uri.path_and_query(target).build().or_err(ErrorType::InvalidHTTPHeader, "mirror").ok()?,
            );
        }
    }
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
