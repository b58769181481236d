//! Clients that cost little, so that what they measure is the proxy and not themselves.

mod datagrams;
mod http1;
mod http2;
mod request;
mod websocket;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use self::{
    datagrams::Datagrams,
    http1::Http1,
    http2::{Http2, Refused},
    request::Shape,
    websocket::WebSocket,
};
use crate::tls;

/// What is asked for, where, and what a good answer is.
#[derive(Clone, Debug)]
pub struct Target {
    /// The proxy's address.
    pub address: SocketAddr,
    /// The `Host`, and the server name.
    pub host: String,
    /// The path.
    pub path: String,
    /// Bytes of body that a good answer has, exactly.
    pub body: usize,
    /// A header that a good answer has (HTTP/1.1 only).
    pub header: Option<String>,
}

/// What a kept connection can do again and again.
pub trait Ask {
    /// Asks once and takes the whole answer.
    fn ask(&mut self) -> impl Future<Output = Result<Answer>>;

    /// Whether the last answer had this header.
    fn has(&self, name: &str) -> bool;
}

/// An answer's status and how many bytes of body came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Bytes of body.
    pub body: usize,
    /// Whether the server closes the connection after it.
    pub closes: bool,
}

/// Connects with TLS, showing which protocols it speaks.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Target {
    /// A connection without TLS.
    ///
    /// # Errors
    /// Where none can be had.
    pub async fn connect(&self) -> Result<TcpStream> {
        let stream =
            TcpStream::connect(self.address).await.with_context(|| format!("connect {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection with TLS.
    ///
    /// # Errors
    /// Where none can be had, or the handshake fails.
    pub async fn connect_tls(&self, tls: &Tls) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.host.clone())?;
        tls.0.connect(name, self.connect().await?).await.context("handshake")
    }

    /// # Errors
    /// Where the answer is not 200 with the whole body.
    pub fn check(&self, answer: Answer) -> Result<()> {
        if answer.status != 200 {
            bail!("status {} with {} bytes", answer.status, answer.body);
        }
        if answer.body != self.body {
            bail!("body of {} bytes, not {}", answer.body, self.body);
        }
        Ok(())
    }
}

impl Tls {
    /// Full handshakes only (nothing is resumed), believing this certificate alone.
    pub fn new(certificate: CertificateDer<'static>, alpn: &[u8]) -> Result<Self> {
        let mut config = tls::client_config(certificate)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}
