//! Which kind of answer a request gets.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::{Identity, grpc, http as plain, websocket};
use crate::server::{Body, Handler, Peer, full};

pub(super) struct Answers {
    pub(super) identity: Identity,
}

impl Handler for Answers {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
        if request.method() == Method::CONNECT {
            // A 2xx would turn the connection into a tunnel.
            return with_status(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served\n");
        }
        if grpc::asked_for(&request) {
            return grpc::answer(request, &peer, &self.identity);
        }
        if websocket::asked_for(&request) {
            return websocket::answer(request, &peer);
        }
        if request.uri().path() == "/healthz" {
            return with_status(StatusCode::OK, "ok\n");
        }
        plain::answer(request, &peer, &self.identity).await
    }
}

fn with_status(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
