//! A backend inside the test: answers with what it is called, or waits to be let go.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::Semaphore};

/// A backend that runs until the test's runtime ends.
#[derive(Clone)]
pub struct TestBackend {
    pub address: SocketAddr,
    /// Requests to `/hold` that have come in.
    pub held: Arc<Semaphore>,
    /// Lets one request to `/hold` go on for each permit.
    pub go: Arc<Semaphore>,
}

impl TestBackend {
    /// Answers `name path body length`; on `/hold` only when it is let go, on `/client` with `X-Forwarded-For`, on
    /// `/certificate` with what it is told of the client's certificate;
    /// `/echo` takes an upgrade and sends back what comes.
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            held: Arc::new(Semaphore::new(0)),
            go: Arc::new(Semaphore::new(0)),
        };
        let serving = backend.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let serving = serving.clone();
                let service = service_fn(move |request| {
                    let serving = serving.clone();
                    async move { Ok::<_, Infallible>(serving.answer(name, request).await) }
                });
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection_with_upgrades(TokioIo::new(tcp), service).await;
                });
            }
        });
        backend
    }

    async fn answer(&self, name: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if path == "/hold" {
            self.held.add_permits(1);
            self.go.acquire().await.unwrap().forget();
        }
        if path == "/echo" {
            return echo(request);
        }
        if path == "/client" {
            let client = request.headers().get("x-forwarded-for").map(|v| v.as_bytes().to_vec());
            return Response::new(Full::from(client.unwrap_or_default()));
        }
        if path == "/certificate" {
            let told = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("ssl-client-"));
            let told = told.map(|(name, value)| format!("{name}={};", value.to_str().unwrap_or_default()));
            return Response::new(Full::from(told.collect::<String>()));
        }
        let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Response::new(Full::from(format!("{name} {path} {}", body.len())))
    }

    /// Waits until one more request to `/hold` has come in.
    pub async fn request_is_held(&self) {
        super::within(self.held.acquire()).await.unwrap().forget();
    }

    /// Lets one request to `/hold` go on.
    pub fn release(&self) {
        self.go.add_permits(1);
    }
}

fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    tokio::spawn(async move {
        let io = hyper::upgrade::on(request).await.unwrap();
        let (mut read, mut write) = tokio::io::split(TokioIo::new(io));
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let answer =
        Response::builder().status(101).header("Connection", "upgrade").header("Upgrade", "websocket");
    answer.body(Full::default()).unwrap()
}
