//! The admin port: health, readiness, metrics, statuses, explanations of requests.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use portcullis_routing::Explanation;
use serde::Serialize;

use crate::{
    explain::Question,
    metrics,
    server::{Body, Handler, Peer, Server, full},
};

/// What the admin port tells.
pub trait Told: Send + Sync + 'static {
    /// What is missing before traffic should come; empty is ready.
    fn missing(&self) -> Vec<String>;
    /// What cannot be read and is not waited for, such as a kind that we may not watch.
    fn degraded(&self) -> Vec<String>;
    /// Everything that is counted, as text that Prometheus reads.
    fn metrics(&self) -> String;
    /// The statuses of all objects, as JSON text.
    fn statuses(&self) -> Bytes;
    /// What becomes of a request.
    ///
    /// # Errors
    /// Where it is refused before anything is decided about it.
    fn explain(&self, question: &Question) -> Result<Explanation, String>;
}

/// Serves the admin port until the server is stopped or dropped.
///
/// # Errors
/// Where the address cannot be bound.
pub async fn bind(address: SocketAddr, told: impl Told) -> io::Result<Server> {
    Server::bind(address, None, Arc::new(Admin(told))).await
}

struct Admin<T>(T);

impl<T: Told> Handler for Admin<T> {
    /// [`portcullis_proxy::Capacity`] reserves descriptors for this many.
    const MAX_CONNECTIONS: usize = 32;

    async fn answer(self: Arc<Self>, request: Request<Incoming>, _: Arc<Peer>) -> Response<Body> {
        answer(request.method(), request.uri(), &self.0)
    }
}

fn answer(method: &Method, uri: &Uri, told: &impl Told) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
    }
    match uri.path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(told.missing(), told.degraded()),
        "/metrics" => respond(StatusCode::OK, full(told.metrics()), metrics::CONTENT_TYPE),
        "/status" => respond(StatusCode::OK, full(told.statuses()), "application/json"),
        "/explain" => explanation(uri.query().unwrap_or_default(), told),
        _ => text(StatusCode::NOT_FOUND, "served here: /healthz /readyz /metrics /status /explain?url=\n"),
    }
}

fn explanation(query: &str, told: &impl Told) -> Response<Body> {
    let explained = Question::of_query(query).map_err(|error| format!("{error:#}"));
    match explained.and_then(|question| told.explain(&question)) {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(why) => respond(StatusCode::BAD_REQUEST, full(why + "\n"), "text/plain; charset=utf-8"),
    }
}

fn readiness(missing: Vec<String>, degraded: Vec<String>) -> Response<Body> {
    #[derive(Serialize)]
    struct Readiness {
        ready: bool,
        missing: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        degraded: Vec<String>,
    }
    let ready = missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Readiness { ready, missing, degraded })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    respond(status, full(json_text(value)), "application/json")
}

/// Pretty-printed, so that people can read it too.
pub(crate) fn json_text(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    respond(status, full(body), "text/plain; charset=utf-8")
}

fn respond(status: StatusCode, body: Body, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Is(&'static [&'static str]);

    impl Told for Is {
        fn missing(&self) -> Vec<String> {
            self.0.iter().map(|m| (*m).to_owned()).collect()
        }

        fn degraded(&self) -> Vec<String> {
            vec!["tlsroutes: forbidden".to_owned()]
        }

        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }

        fn statuses(&self) -> Bytes {
            json_text(&serde_json::json!({"objects": []})).into()
        }

        fn explain(&self, question: &Question) -> Result<Explanation, String> {
            question.explain(&portcullis_routing::Table::default())
        }
    }

    #[test]
    fn each_path_has_its_answer() {
        for (method, path, missing, want) in [
            (Method::GET, "/healthz", &["port 80"][..], StatusCode::OK),
            (Method::HEAD, "/healthz", &[], StatusCode::OK),
            (Method::GET, "/readyz", &[], StatusCode::OK),
            (Method::GET, "/readyz", &["port 80"], StatusCode::SERVICE_UNAVAILABLE),
            (Method::GET, "/status", &[], StatusCode::OK),
            (Method::GET, "/metrics", &["port 80"], StatusCode::OK),
            (Method::GET, "/explain?url=http://a.example/", &[], StatusCode::OK),
            (Method::GET, "/explain?url=http://a.example/%25", &[], StatusCode::BAD_REQUEST),
            (Method::GET, "/explain", &[], StatusCode::BAD_REQUEST),
            (Method::POST, "/status", &[], StatusCode::METHOD_NOT_ALLOWED),
            (Method::GET, "/", &[], StatusCode::NOT_FOUND),
        ] {
            let got = answer(&method, &path.parse().unwrap(), &Is(missing)).status();
            assert_eq!(got, want, "{method} {path} {missing:?}");
        }
    }
}
