//! A test backend that says what it received: HTTP/1, h2c or TLS, WebSocket and gRPC, all on one port.
//!
//! ```text
//! request -> answer -> grpc       (POST with a content type of gRPC, over HTTP/2)
//!                   -> websocket  (Upgrade: websocket)
//!                   -> /healthz
//!                   -> http       (everything else: JSON, or what the knobs in the query ask for)
//! ```

mod answer;
mod description;
mod grpc;
mod http;
mod identity;
mod knobs;
pub mod tls;
mod websocket;

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context;
use rustls::ServerConfig;

pub use description::{BodyDescription, Description};
pub use grpc::proto;
pub use identity::Identity;

pub use crate::server::TlsDescription;
use crate::{cli::EchoArgs, server::Server, signals};

/// A running echo backend; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Echo(Server);

impl Echo {
    /// Serves plain HTTP on an address; port 0 is one that the system chooses.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(address: SocketAddr, identity: Identity) -> io::Result<Self> {
        Self::serve(address, identity, None).await
    }

    /// Serves HTTPS on an address.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind_tls(
        address: SocketAddr,
        identity: Identity,
        config: Arc<ServerConfig>,
    ) -> io::Result<Self> {
        Self::serve(address, identity, Some(config)).await
    }

    async fn serve(
        address: SocketAddr,
        identity: Identity,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        Server::bind(address, tls, Arc::new(answer::Answers { identity })).await.map(Self)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Stops accepting and lets what is in flight end.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// Serves until the process is told to stop.
///
/// # Errors
/// Where an address cannot be bound, or a certificate cannot be read.
pub async fn run(args: EchoArgs) -> anyhow::Result<()> {
    let mut stop = signals::Stop::listen()?;
    let tls = config(&args)?;
    let identity = Identity { pod: args.pod, namespace: args.namespace, service: args.name, hostname: None };
    let identity = identity.with_hostname();
    let mut backends = Vec::new();
    for address in args.listen {
        let backend = Echo::serve(address, identity.clone(), tls.clone()).await;
        let backend = backend.with_context(|| format!("cannot listen on {address}"))?;
        tracing::info!(address = %backend.address(), tls = tls.is_some(), "echo backend");
        backends.push(backend);
    }
    stop.asked().await;
    futures_util::future::join_all(backends.into_iter().map(Echo::stop)).await;
    Ok(())
}

fn config(args: &EchoArgs) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| path.display().to_string());
    match (&args.tls_cert, &args.tls_key) {
        (Some(chain), Some(key)) => tls::from_pem(&read(chain)?, &read(key)?).map(Some),
        _ if !args.tls_self_signed.is_empty() => tls::self_signed(&args.tls_self_signed).map(Some),
        _ => Ok(None),
    }
}
