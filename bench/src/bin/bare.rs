//! Pingora with nothing around it but an accept loop. One backend, no routing but for gRPC, no hooks, no headers.
//!
//! What Portcullis costs beyond this is its own cost.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use clap::Parser;
use pingora_core::{
    apps::ServerApp as _,
    modules::http::HttpModules,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
    },
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use pingora_proxy::{HttpProxy, ProxyHttp, Session, http_proxy};
use portcullis_bench::origin::GRPC_PATH;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A head and a small body leave in one write.
const WRITE_BUFFER: usize = 8 * 1024;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where to speak HTTP/1.1.
    #[arg(long)]
    http: SocketAddr,
    /// Where to speak HTTP/1.1 and HTTP/2 over TLS.
    #[arg(long)]
    https: SocketAddr,
    /// The backend.
    #[arg(long)]
    origin: SocketAddr,
    /// The certificate, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// Its key, PEM.
    #[arg(long)]
    key: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    drop(ring::default_provider().install_default());
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 512, ..ServerConf::default() };
    let http1 = HttpPeer::new(arguments.origin, false, String::new());
    let mut grpc = http1.clone();
    grpc.options.set_http_version(2, 2);
    let proxy = Arc::new(http_proxy(&Arc::new(conf), Bare { http1, grpc }));
    let tls = TlsAcceptor::from(Arc::new(server_config(&arguments)?));
    let (http, https) = (TcpListener::bind(arguments.http).await?, TcpListener::bind(arguments.https).await?);
    // Kept to the end: to drop it would drain every connection.
    let (_running, shutdown) = watch::channel(false);
    tokio::join!(accept(http, None, &proxy, &shutdown), accept(https, Some(tls), &proxy, &shutdown));
    Ok(())
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    proxy: &Arc<HttpProxy<Bare>>,
    shutdown: &watch::Receiver<bool>,
) {
    loop {
        // Out of file descriptors, or the client has gone: the next one may do better.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, proxy, shutdown) = (tls.clone(), proxy.clone(), shutdown.clone());
        tokio::spawn(async move {
            if stream.set_nodelay(true).is_err() {
                return;
            }
            match tls {
                None => drop(proxy.process_new(Down::boxed(stream, None), &shutdown).await),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let alpn = (stream.get_ref().1.alpn_protocol() == Some(b"h2")).then_some(ALPN::H2);
                    drop(proxy.process_new(Down::boxed(stream, alpn), &shutdown).await);
                }
            }
        });
    }
}

/// Hands out session tickets, as the other proxies do.
fn server_config(arguments: &Arguments) -> Result<ServerConfig> {
    let read = |path: &PathBuf| path.display().to_string();
    let certificate = CertificateDer::from_pem_file(&arguments.certificate)
        .with_context(|| read(&arguments.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key).with_context(|| read(&arguments.key))?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    config.ticketer = ring::Ticketer::new()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Everything to one backend, gRPC by HTTP/2.
struct Bare {
    http1: HttpPeer,
    grpc: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    // The default adds one that is allocated for each request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        session: &mut Session,
        _ctx: &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let grpc = session.req_header().uri.path() == GRPC_PATH;
        Ok(Box::new(if grpc { self.grpc.clone() } else { self.http1.clone() }))
    }
}

/// A client's connection as pingora takes it, its writes gathered.
#[derive(Debug)]
struct Down<S: AsyncWrite> {
    stream: BufWriter<S>,
    alpn: Option<ALPN>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send + Sync + 'static> Down<S> {
    fn boxed(stream: S, alpn: Option<ALPN>) -> Box<Self> {
        Box::new(Self { stream: BufWriter::with_capacity(WRITE_BUFFER, stream), alpn })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Down<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Down<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for Down<S> {
    async fn shutdown(&mut self) {
        drop(self.stream.shutdown().await);
    }
}

impl<S: AsyncWrite> UniqueID for Down<S> {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl<S: AsyncWrite> Ssl for Down<S> {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.alpn.clone()
    }
}

impl<S: AsyncWrite> GetTimingDigest for Down<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S: AsyncWrite> GetProxyDigest for Down<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

// None: pingora would ask the kernel for the client's address with every request.
impl<S: AsyncWrite> GetSocketDigest for Down<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl<S: AsyncWrite> Peek for Down<S> {}
