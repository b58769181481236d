//! Requests of our own to backends, beside those of clients: mirrors, checks. pingora carries them, over HTTP/1 and HTTP/2,
//! with a connection pool of their own for each worker.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Uri, Version, header};
use pingora_core::{
    connectors::{ConnectorOptions, http::Connector},
    protocols::http::client::HttpSession,
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use portcullis_routing::{
    Backend, BackendKey, BackendObject, BackendProtocol, BackendTls, Endpoint, EndpointPool, Endpoints,
    PortKey, RouteKind, Verify, backend::InFlight, step::ServiceUrl,
};
use tokio::time::timeout;

use crate::{
    load::Load,
    refusal::MAX_FIELDS,
    shared::Shared,
    upstream::{
        Choice, Dialler, NoEndpoint, Origin,
        peer::{Attempt, peer},
    },
};

/// The connections of a worker for requests of our own; clones share them.
#[derive(Clone)]
pub(crate) struct SideRequests {
    conf: Arc<ServerConf>,
    connector: Arc<OnceLock<Connector>>,
    dialler: Dialler,
    shared: Arc<Shared>,
}

/// A connection to a backend that carries one request.
pub(crate) struct Side {
    pub(crate) session: HttpSession,
    /// Whether the connection has carried a request before.
    pub(crate) reused: bool,
    /// Where it leads.
    pub(crate) address: SocketAddr,
    peer: Box<HttpPeer>,
    /// Counts the request at the endpoint.
    _in_flight: InFlight,
}

impl SideRequests {
    pub(crate) fn new(conf: Arc<ServerConf>, dialler: Dialler, shared: &Arc<Shared>) -> Self {
        Self { conf, connector: Arc::default(), dialler, shared: Arc::clone(shared) }
    }

    /// Whether a connection may come back to us; see [`Dialler::may_come_back`].
    pub(crate) fn may_come_back(&self, side: &Side, host: &str) -> bool {
        self.dialler.may_come_back(side.address, host)
    }

    /// Whether a listener of ours is for this host, and not for every host.
    pub(crate) fn has_listener_for(&self, host: &str) -> bool {
        self.dialler.has_listener_for(host)
    }

    /// Returns what all workers have in common.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns whether the limit of requests in flight is reached.
    pub(crate) fn is_full(&self, load: &Load) -> bool {
        self.shared.is_full(load)
    }

    /// Connects to an endpoint of a backend. `step` limits the time for connecting, and for each later read and write.
    /// `fresh`: the connection has carried no request.
    ///
    /// # Errors
    /// If no endpoint may be connected to, or the one that was chosen is unreachable.
    pub(crate) async fn connect(
        &self,
        backend: &Arc<Backend>,
        kind: RouteKind,
        step: Duration,
        fresh: bool,
    ) -> Result<Side> {
        let choice = self.dialler.choose(backend, kind, &[]).await;
        self.connect_to(backend, choice, step, fresh).await
    }

    /// Connects to a service that an Ingress names by its URL, as [`Self::connect`] does; see [`Dialler::choose_service`].
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(crate) async fn connect_service(
        &self,
        backend: &Arc<Backend>,
        origin: Origin<'_>,
        by_request: bool,
        step: Duration,
        fresh: bool,
    ) -> Result<Side> {
        let choice = self.dialler.choose_service(backend, origin, by_request).await;
        self.connect_to(backend, choice, step, fresh).await
    }

    async fn connect_to(
        &self,
        backend: &Arc<Backend>,
        choice: std::result::Result<Choice, NoEndpoint>,
        step: Duration,
        fresh: bool,
    ) -> Result<Side> {
        let no_route = |why| Error::explain(ErrorType::ConnectNoRoute, why);
        let choice = choice.map_err(|none| match none {
            NoEndpoint::Missing => no_route("no endpoint"),
            NoEndpoint::Refused => no_route("no endpoint with a permitted address"),
        })?;
        let Choice { address, in_flight, .. } = choice;
        let attempt = Attempt {
            address,
            connect_timeout: self.shared.options.connect_timeout,
            read_timeout: Some(step),
            write_timeout: Some(step),
            upgrade: false,
            liveness: None,
            fresh,
        };
        let peer = peer(&self.shared, backend, &attempt);
        let (mut session, reused) = within(step, self.connector().get_http_session(&*peer)).await?;
        session.set_read_timeout(Some(step));
        session.set_write_timeout(Some(step));
        Ok(Side { session, reused, address: address.address(), peer, _in_flight: in_flight })
    }

    /// Keeps a connection whose request was answered to the end, for other requests.
    pub(crate) async fn release(&self, side: Side) {
        let idle = side.peer.options.idle_timeout;
        self.connector().release_http_session(side.session, &*side.peer, idle).await;
    }

    fn connector(&self) -> &Connector {
        self.connector.get_or_init(|| Connector::new(Some(ConnectorOptions::from_server_conf(&self.conf))))
    }
}

/// Limits the time of one step. pingora's own limits do not hold in every direction of every protocol.
pub(crate) async fn within<T>(limit: Duration, step: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::explain(ErrorType::WriteTimedout, "the backend took too long");
    timeout(limit, step).await.map_err(late)?
}

/// Brings a request into the form that a backend's protocol has. `body`: whether one follows.
pub(crate) fn set_protocol(request: &mut RequestHeader, backend: &Backend, body: bool) -> Result<()> {
    let target = request.uri.path_and_query().cloned();
    let target = target.ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "no target"))?;
    match backend.protocol {
        BackendProtocol::Http1 => {
            request.set_version(Version::HTTP_11);
            request.set_raw_path(target.as_str().as_bytes())?;
            if body && !request.headers.contains_key(header::CONTENT_LENGTH) {
                request.insert_header("Transfer-Encoding", HeaderValue::from_static("chunked"))?;
            }
        }
        BackendProtocol::Http2 => {
            request.set_version(Version::HTTP_2);
            request.remove_header(&header::TRANSFER_ENCODING);
            let authority = match request.remove_header(&header::HOST) {
                Some(host) => host.as_bytes().try_into().ok(),
                None => request.uri.authority().cloned(),
            };
            let authority: http::uri::Authority = authority.ok_or_else(|| {
                Error::explain(ErrorType::InvalidHTTPHeader, "Host is not a valid authority")
            })?;
            let scheme = if backend.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
            request.set_uri(uri.or_err(ErrorType::InvalidHTTPHeader, "no target")?);
        }
    }
    Ok(())
}

/// The service that an Ingress of this namespace names by its URL, as connections are made to it. Its certificate is not
/// verified, as in ingress-nginx.
pub(crate) fn service(url: &ServiceUrl, namespace: &str, host: &str) -> Arc<Backend> {
    let port = url.port;
    let endpoints = match host.parse::<IpAddr>() {
        Ok(ip) => Endpoints::Addresses([Arc::new(Endpoint::new((ip, port).into()))].into()),
        Err(_) => Endpoints::Name { host: host.into(), port },
    };
    let key = BackendKey {
        kind: BackendObject::Service,
        namespace: namespace.into(),
        service: host.into(),
        port: PortKey::tcp(port),
    };
    Arc::new(Backend {
        key,
        protocol: BackendProtocol::Http1,
        tls: url.tls.then(|| Arc::new(BackendTls::new(host, Verify::Nothing))),
        proxy_protocol: None,
        endpoints: Arc::new(EndpointPool::new(endpoints)),
    })
}

/// Whether a header of the client goes on to a service that an Ingress names by its URL: not what concerns the connection
/// and the framing of the body.
pub(crate) fn goes_to_service(name: &HeaderName) -> bool {
    // Some services read other characters as dashes, and would take such a header for another one.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match name.as_str() {
        "host" | "content-length" | "transfer-encoding" | "expect" => false,
        "connection" | "keep-alive" | "upgrade" | "te" | "trailer" | "http2-settings" => false,
        "proxy" => false,
        name if name.starts_with("proxy-") => false,
        name => name.bytes().all(is_plain),
    }
}

/// Reads the head of a request for an HTTP/1 backend into pingora's type.
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

impl fmt::Debug for SideRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideRequests").finish_non_exhaustive()
    }
}
