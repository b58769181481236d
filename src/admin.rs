//! The admin port: health, readiness, statuses.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{net::TcpListener, task::JoinSet};

/// What the admin port tells.
pub trait Told: Send + Sync + 'static {
    /// What is missing before traffic should come; empty is ready.
    fn missing(&self) -> Vec<String>;
    /// The statuses of all objects, as JSON.
    fn statuses(&self) -> serde_json::Value;
}

/// The admin port, bound.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds the port.
    ///
    /// # Errors
    /// Where it cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the future is dropped.
    pub async fn serve(self, told: Arc<dyn Told>) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = self.listener.accept().await else {
                // No file descriptor left, say: others end in a moment.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let told = Arc::clone(&told);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let answer = answer(&request, &*told);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                // An error here is the client's: it went away or spoke no HTTP.
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(std::time::Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}

fn answer(request: &Request<Incoming>, told: &dyn Told) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(told.missing()),
        "/status" => json(StatusCode::OK, &told.statuses()),
        _ => text(StatusCode::NOT_FOUND, "served here: /healthz /readyz /status\n"),
    }
}

fn readiness(missing: Vec<String>) -> Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Readiness {
        ready: bool,
        missing: Vec<String>,
    }
    let ready = missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Readiness { ready, missing })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    respond(status, body.into(), HeaderValue::from_static("application/json"))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, body.into(), HeaderValue::from_static("text/plain; charset=utf-8"))
}

fn respond(status: StatusCode, body: Bytes, kind: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
