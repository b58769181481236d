//! Streams: connections that are forwarded as a whole to one backend. Of their bytes only the TLS server name is read.
//!
//! ```text
//! accept -> tls (ClientHello -> listener) -> Incoming -> connect (backend -> endpoint) -> relay until both sides have ended
//! ```

mod connect;
pub(crate) mod hello;
mod record;
mod relay;
mod side;
mod tally;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portcullis_routing::{Listener, ListenerId, Port, Rejection, Rule, Serves, TlsMode};
use tokio::net::TcpStream;

use self::{connect::ClientAddresses, relay::Relay};
pub(crate) use self::{
    connect::choose,
    record::Record,
    side::Side,
    tally::{End, Moved, Spoken, Tally},
};
use crate::{accept::Worker, admission::Admitted, clock::Watch};

/// A stream that was accepted, and its route.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) client: Side,
    /// The bytes that were read already; they are forwarded first.
    pub(crate) early: Vec<u8>,
    pub(crate) spoken: Spoken,
    /// The server name that the client sent, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// The TLS version, if TLS was terminated.
    pub(crate) tls: Option<&'static str>,
    pub(crate) route: Route,
    /// Whether the stream is closed if it begins with a PROXY header: the port reads such headers, but not from this peer.
    pub(crate) refuses_proxy_header: bool,
}

/// The route of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) listener: Option<Arc<ListenerId>>,
    /// `None` if no route takes the stream.
    pub(crate) rule: Option<Arc<Rule>>,
}

/// The client of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The port that the client connected to: in front of a Service, the Service's.
    pub(crate) port: u16,
}

impl Incoming {
    /// A connection to a TCP listener.
    pub(crate) fn plain(tcp: TcpStream, port: &Port) -> Self {
        let listener = port.listener("");
        let route = listener.and_then(|listener| route(listener, None)).unwrap_or_else(|| Route {
            listener: listener.map(|listener| Arc::clone(&listener.id)),
            rule: None,
        });
        let (early, client) = (Vec::new(), Side::Tcp(tcp));
        let spoken = Spoken::Tcp;
        Self { client, early, spoken, server_name: None, tls: None, route, refuses_proxy_header: false }
    }
}

/// Which streams the listeners of a TLS port serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsStreams {
    /// Whether a listener serves streams.
    pub(crate) any: bool,
    /// Whether a listener passes TLS through, so that the server name has to be read before TLS is terminated.
    pub(crate) passthrough: bool,
}

impl TlsStreams {
    /// Looks at every listener of the port.
    pub(crate) fn of(port: &Port) -> Self {
        port.listeners.iter().fold(Self::default(), |found, (_, listener)| Self {
            any: found.any || matches!(listener.serves, Serves::Stream(_)),
            passthrough: found.passthrough || listener.tls == TlsMode::Passthrough,
        })
    }
}

/// The route of a listener for streams with this server name: the one with the most specific hostname.
pub(crate) fn route(listener: &Listener, server_name: Option<&str>) -> Option<Route> {
    let (_, rule) = listener.stream(server_name)?;
    Some(Route { listener: Some(Arc::clone(&listener.id)), rule: Some(Arc::clone(rule)) })
}

/// Forwards a stream until it ends.
pub(crate) async fn carry(
    worker: &Worker,
    incoming: Box<Incoming>,
    client: Client,
    // The address that it connected to, if a PROXY header says so.
    local: Option<IpAddr>,
    // Dropped after the socket.
    admitted: Admitted,
) {
    let Incoming { client: side, early, spoken, server_name, tls, route, refuses_proxy_header } = *incoming;
    // A stream is never counted as idle: what its peers are waiting for is unknown. Its connection ends with it.
    admitted.held().begin();
    let _in_flight = worker.load.request();
    let mut record = Record::begin(&worker.load, spoken, client, server_name, tls, route);
    let watch = Watch::new();
    let from = ClientAddresses { client, local, side: &side };
    let end = match connect::connect(worker, &mut record, &watch, &from).await {
        Ok(connected) => {
            let (backend, _open) = (connected.side, (connected.open, connected.in_flight, connected.place));
            let idle = worker.shared.options.tcp_idle_timeout;
            let sides = (side, backend, connected.delays);
            // Not passed by value, which would copy it.
            let mut relay = Relay::new(sides, early, (watch, idle), refuses_proxy_header);
            relay.run(&mut record).await
        }
        Err((rejection, why)) => End::Refused(rejection, why),
    };
    record.end(end);
}

/// Why a stream without a route is refused.
const NO_ROUTE: (Rejection, &str) = (Rejection::NoRoute, "no route matches this connection");
