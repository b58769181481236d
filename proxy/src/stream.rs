//! Streams: connections of which nothing is read but, over TLS, the server name. Each goes to one backend as a whole.
//!
//! ```text
//! accept -> tls (ClientHello -> listener) -> Incoming -> connect (backend -> endpoint) -> relay until both sides have ended
//! ```

mod connect;
pub(crate) mod hello;
mod pipe;
mod record;
mod relay;
mod side;

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::{Listener, ListenerId, Port, Rejection, Rule, Serves, TlsMode};
use tokio::{net::TcpStream, time::Instant};

use self::relay::Relay;
pub(crate) use self::{
    connect::choose,
    pipe::set_limit as set_pipes,
    record::{End, Moved, Record, Spoken, Tally},
    side::Side,
};
use crate::{
    accept::Worker,
    admission::{Admitted, Held},
};

/// A connection that is a stream, and where it goes.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) client: Side,
    /// What has been read of it, which the backend gets first.
    pub(crate) early: Vec<u8>,
    pub(crate) spoken: Spoken,
    /// The server name that the client sent, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// The version of TLS that ended here.
    pub(crate) tls: Option<&'static str>,
    pub(crate) route: Route,
}

/// Where a stream goes.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) listener: Option<Arc<ListenerId>>,
    /// `None`: nowhere.
    pub(crate) rule: Option<Arc<Rule>>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The port that it connected to, as far as it can know.
    pub(crate) port: u16,
}

impl Incoming {
    /// A connection to a port of plain TCP.
    pub(crate) fn plain(tcp: TcpStream, port: &Port) -> Self {
        let listener = port.listener("");
        let route = listener.and_then(|listener| route(listener, None)).unwrap_or_else(|| Route {
            listener: listener.map(|listener| Arc::clone(&listener.id)),
            rule: None,
        });
        let (early, client) = (Vec::new(), Side::Tcp(tcp));
        Self { client, early, spoken: Spoken::Tcp, server_name: None, tls: None, route }
    }
}

/// Whether a port has a listener that passes TLS through, so that the server name has to be found before TLS is ended. It looks
/// at every listener.
pub(crate) fn passes_through(port: &Port) -> bool {
    port.listeners.iter().any(|(_, listener)| listener.tls == TlsMode::Passthrough)
}

/// Where a listener for streams sends those with this server name: by the route with the most specific hostname.
pub(crate) fn route(listener: &Listener, server_name: Option<&str>) -> Option<Route> {
    let Serves::Stream(routes) = &listener.serves else { return None };
    // A server name has no last dot (RFC 6066, section 3), but clients send it.
    let name = server_name.map_or("", |name| name.strip_suffix('.').unwrap_or(name));
    let rule = routes.most_specific(name)?;
    Some(Route { listener: Some(Arc::clone(&listener.id)), rule: Some(Arc::clone(rule)) })
}

/// Carries a stream to its end.
pub(crate) async fn carry(
    worker: &Worker,
    incoming: Incoming,
    client: Client,
    // Dropped after the socket.
    admitted: Admitted,
) {
    let Incoming { client: side, early, spoken, server_name, tls, route } = incoming;
    // Nobody's idle connection: what it waits for cannot be known.
    let _busy = Busy::begin(Arc::clone(admitted.held()));
    let _in_flight = worker.load.request();
    let mut record = Record::begin(&worker.load, spoken, client, server_name, tls, route);
    let end = match connect::connect(worker, &mut record).await {
        Ok(connected) => {
            let (backend, _open) = (connected.side, (connected.open, connected.in_flight));
            let idle = worker.shared.options.tcp_idle_timeout;
            Relay::new(side, backend, early, idle).run(&mut record).await
        }
        Err((rejection, why)) => End::Refused(rejection, why),
    };
    record.end(end);
}

/// A connection that is busy until this is dropped.
struct Busy(Arc<Held>);

impl Busy {
    fn begin(held: Arc<Held>) -> Self {
        held.begin();
        Self(held)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end(Instant::now());
    }
}

/// What a stream that no route takes is told of in the log.
const NO_ROUTE: (Rejection, &str) = (Rejection::NoRoute, "no route takes this connection");
