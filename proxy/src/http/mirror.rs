//! RequestMirror: a copy of a request to another backend, whose answer nobody waits for.
//!
//! The copy has a connection pool and a task of its own. Chunks of the body are shared with it through a bounded
//! channel; a mirror that cannot keep up is given up. Upgrades are not copied.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Uri, Version, header};
use pingora_core::{
    connectors::{ConnectorOptions, http::Connector},
    protocols::http::client::HttpSession,
    server::configuration::ServerConf,
};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use portcullis_routing::{Backend, BackendProtocol, RouteKind};
use tokio::sync::mpsc;

use super::context::Context;
use crate::{
    Options, random,
    upstream::{
        Dialler,
        peer::{Attempt, peer},
    },
};

/// Chunks (of 64 KiB at most) that a mirror may be behind.
const CHUNKS: usize = 16;
/// How long a mirror may take over one read or write.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A mirror's answer is read so far, to use its connection again; one that is longer ends its connection.
const MAX_ANSWER: usize = 1 << 20;

/// What the mirrors of a worker have in common.
#[derive(Clone)]
pub(crate) struct Mirrors {
    conf: Arc<ServerConf>,
    connector: Arc<OnceLock<Connector>>,
    running: Arc<AtomicUsize>,
    dialler: Dialler,
    connect_timeout: Duration,
    most: usize,
}

/// A part of the body.
#[derive(Clone, Debug)]
enum Part {
    Chunk(Bytes),
    End,
}

/// The mirrors of one request, and how far they are.
#[derive(Debug)]
pub(crate) struct Copies {
    senders: Vec<mpsc::Sender<Part>>,
    /// Bytes of the body that were copied, and that this attempt has seen; another attempt sees the first again.
    copied: usize,
    seen: usize,
}

impl Mirrors {
    pub(crate) fn new(conf: Arc<ServerConf>, dialler: Dialler, options: &Options) -> Self {
        Self {
            conf,
            connector: Arc::default(),
            running: Arc::default(),
            dialler,
            connect_timeout: options.connect_timeout,
            most: options.max_mirrors,
        }
    }

    /// Begins the copies that the request's steps ask for. `request` is what the backend gets.
    pub(crate) fn begin(
        &self,
        request: &RequestHeader,
        session: &mut Session,
        context: &Context,
    ) -> Option<Box<Copies>> {
        let route = context.route.as_ref().filter(|_| !context.upgrade)?;
        let backends =
            route.mirrors().filter(|m| m.takes(random::number())).filter_map(|m| m.backend.as_ref().ok());
        let (kind, bodiless) = (context.rule()?.route.kind, session.is_body_empty());
        let senders: Vec<_> =
            backends.filter_map(|backend| self.start(backend, kind, request, bodiless)).collect();
        (!senders.is_empty()).then(|| Box::new(Copies { senders, copied: 0, seen: 0 }))
    }

    fn start(
        &self,
        backend: &Arc<Backend>,
        kind: RouteKind,
        request: &RequestHeader,
        bodiless: bool,
    ) -> Option<mpsc::Sender<Part>> {
        let request = copy(request, backend, bodiless)?;
        let running = Running::begin(&self.running, self.most)?;
        let (sender, parts) = mpsc::channel(CHUNKS);
        if bodiless {
            let _ = sender.try_send(Part::End);
        }
        let (mirrors, backend) = (self.clone(), Arc::clone(backend));
        tokio::spawn(async move {
            if let Err(error) = mirrors.send(&backend, kind, request, parts).await {
                tracing::debug!(backend = %backend.key, %error, "a mirrored request failed");
            }
            drop(running);
        });
        Some(sender)
    }

    async fn send(
        &self,
        backend: &Backend,
        kind: RouteKind,
        request: Box<RequestHeader>,
        mut parts: mpsc::Receiver<Part>,
    ) -> Result<()> {
        let Ok(choice) = self.dialler.choose(backend, kind, &[]).await else { return Ok(()) };
        let address = choice.address;
        let _in_flight = choice.endpoint.begin();
        let peer = peer(
            backend,
            &Attempt {
                address,
                connect_timeout: self.connect_timeout,
                read_timeout: Some(TIMEOUT),
                write_timeout: Some(TIMEOUT),
                upgrade: false,
                liveness: None,
                fresh: false,
            },
        );
        let connector = self
            .connector
            .get_or_init(|| Connector::new(Some(ConnectorOptions::from_server_conf(&self.conf))));
        let (mut session, _) = connector.get_http_session(&*peer).await?;
        session.set_read_timeout(Some(TIMEOUT));
        session.set_write_timeout(Some(TIMEOUT));
        session.write_request_header(request).await?;
        loop {
            match parts.recv().await {
                Some(Part::Chunk(chunk)) => session.write_request_body(chunk, false).await?,
                Some(Part::End) => break,
                // Given up: the backend must not take what it has for the whole.
                None => {
                    session.shutdown().await;
                    return Ok(());
                }
            }
        }
        session.finish_request_body().await?;
        if read_answer(&mut session).await? {
            connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
        }
        Ok(())
    }
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

impl Copies {
    /// A new attempt begins; it reads the body from its first byte again.
    pub(crate) fn rewind(&mut self) {
        self.seen = 0;
    }

    /// Passes on what was read of the body.
    pub(crate) fn body(&mut self, chunk: Option<&Bytes>, end: bool) {
        if let Some(chunk) = chunk {
            let begin = self.seen;
            self.seen += chunk.len();
            if self.seen > self.copied {
                self.tell(&Part::Chunk(chunk.slice(self.copied - begin..)));
                self.copied = self.seen;
            }
        }
        if end {
            self.tell(&Part::End);
            self.senders.clear();
        }
    }

    /// Those that are too far behind are given up.
    fn tell(&mut self, part: &Part) {
        self.senders.retain(|sender| sender.try_send(part.clone()).is_ok());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_copied_once_whatever_attempts_read_of_it() {
        let (sender, mut parts) = mpsc::channel(CHUNKS);
        let mut copies = Copies { senders: vec![sender], copied: 0, seen: 0 };
        copies.body(Some(&Bytes::from_static(b"abc")), false);
        copies.rewind();
        copies.body(Some(&Bytes::from_static(b"ab")), false);
        copies.body(Some(&Bytes::from_static(b"cde")), false);
        copies.body(None, true);
        let mut got = Vec::new();
        while let Ok(part) = parts.try_recv() {
            match part {
                Part::Chunk(chunk) => got.extend_from_slice(&chunk),
                Part::End => got.push(b'.'),
            }
        }
        assert_eq!(got, b"abcde.");
    }

    #[test]
    fn a_mirror_that_is_too_far_behind_is_given_up() {
        let (sender, mut parts) = mpsc::channel(CHUNKS);
        let mut copies = Copies { senders: vec![sender], copied: 0, seen: 0 };
        for _ in 0..=CHUNKS {
            copies.body(Some(&Bytes::from_static(b"x")), false);
        }
        assert!(copies.senders.is_empty());
        for _ in 0..CHUNKS {
            assert!(matches!(parts.try_recv(), Ok(Part::Chunk(_))));
        }
        assert_eq!(parts.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
    }
}
