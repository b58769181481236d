//! The named backends of a case, at its own addresses. They note what they receive, and a request tells them what to
//! answer.

mod auth;
mod grpc;
mod hits;
mod hole;
mod http;

use std::{net::SocketAddr, sync::Arc};

pub use hits::{Hit, Hits};
use rustls::ServerConfig;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{case::yaml, net::Net, pki, wire::Stream};

/// How a backend is called, and what it does.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    name: String,
    address: String,
    port: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Http,
    Tls,
    Tls2,
    Mtls,
    H2c,
    H2s,
    Auth,
    Errors,
    Blackhole,
}

/// Backends that listen until they are dropped.
#[derive(Debug)]
pub struct Backends {
    pub hits: Hits,
    _listening: JoinSet<()>,
    _holes: Vec<hole::Hole>,
}

/// What a connection to a backend is known by.
#[derive(Clone, Debug)]
struct Backend {
    name: Arc<str>,
    kind: Kind,
    hits: Hits,
    /// What the client said in the handshake.
    tls: Option<ClientTls>,
}

#[derive(Clone, Debug)]
struct ClientTls {
    sni: Option<String>,
    /// The subject of its certificate; empty without one.
    subject: String,
}

/// The instances of `backends.yaml`, with their recorded addresses.
pub fn instances() -> Vec<Instance> {
    let mut file = yaml("backends.yaml");
    serde_json::from_value(file["backends"].take()).unwrap()
}

/// DNS names, and their recorded addresses.
pub fn names() -> Vec<(String, String)> {
    let Value::Object(names) = yaml("backends.yaml")["names"].take() else { panic!("there are no names") };
    names.into_iter().map(|(name, address)| (name, address.as_str().unwrap().to_owned())).collect()
}

impl Backends {
    /// Starts all of them at the addresses of a network.
    pub async fn start(instances: &[Instance], net: &Net) -> Self {
        let hits = Hits::default();
        let (mut listening, mut holes) = (JoinSet::new(), Vec::new());
        for instance in instances {
            let ip = net.text(&instance.address).parse().unwrap();
            let at = SocketAddr::new(ip, instance.port);
            if instance.kind == Kind::Blackhole {
                holes.push(hole::Hole::open(at));
                continue;
            }
            let listener = TcpListener::bind(at).await.unwrap_or_else(|error| panic!("{at}: {error}"));
            let name = instance.name.as_str().into();
            let backend = Backend { name, kind: instance.kind, hits: hits.clone(), tls: None };
            listening.spawn(backend.listen(listener));
        }
        Self { hits, _listening: listening, _holes: holes }
    }
}

impl Kind {
    fn tls(self) -> Option<Arc<ServerConfig>> {
        match self {
            Self::Tls => Some(pki::server("backend", &[], None)),
            Self::Tls2 => Some(pki::server("backend-other", &[], None)),
            Self::Mtls => Some(pki::server("backend", &[], Some("client-ca"))),
            Self::H2s => Some(pki::server("backend", &["h2"], None)),
            Self::Http | Self::H2c | Self::Auth | Self::Errors | Self::Blackhole => None,
        }
    }
}

impl Backend {
    async fn listen(self, listener: TcpListener) {
        let tls = self.kind.tls().map(TlsAcceptor::from);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((tcp, _)) = accepted {
                    connections.spawn(self.clone().connection(tcp, tls.clone()));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(mut self, tcp: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = tcp.set_nodelay(true);
        let Some(tls) = tls else { return self.serve(tcp).await };
        let Ok(stream) = tls.accept(tcp).await else { return };
        let (_, connection) = stream.get_ref();
        self.tls = Some(ClientTls {
            sni: connection.server_name().map(str::to_owned),
            subject: connection
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(pki::subject)
                .unwrap_or_default(),
        });
        self.serve(stream).await;
    }

    async fn serve(self, stream: impl Stream + 'static) {
        match self.kind {
            Kind::H2c | Kind::H2s => grpc::serve(self, stream).await,
            _ => {
                // A connection that breaks is the proxy's doing, and what the case compares shows it.
                let _ = http::serve(&self, stream).await;
            }
        }
    }
}
