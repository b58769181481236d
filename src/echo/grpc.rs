//! gRPC over HTTP/2: a typed service, health, and for every other method the messages as they came.

mod framing;
pub mod proto;

use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header::CONTENT_TYPE};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use self::{
    framing::{Messages, frame},
    proto::{EchoRequest, EchoResponse, Metadata},
};
use super::{
    Identity,
    description::{host, lossy},
};
use crate::server::{Body, BoxError, Peer, full};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What is percent-encoded in a status's message (gRPC over HTTP/2, Percent-Encoded).
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');
const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;

/// How a call ends.
#[derive(Debug)]
struct Status {
    code: u32,
    message: String,
}

/// Whether a request is a call. gRPC-Web is not: its trailers stand in the body.
pub(super) fn asked_for(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    request.version() == Version::HTTP_2
        && request.method() == Method::POST
        && content_type
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.first().is_none_or(|byte| b"+;".contains(byte)))
}

pub(super) fn answer(request: Request<Incoming>, peer: &Peer, identity: &Identity) -> Response<Body> {
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let encoding = request.headers().get(GRPC_ENCODING).cloned();
    let path = request.uri().path().to_owned();
    let (body, raw) = match path.as_str() {
        "/portcullis.echo.v1.Echo/Echo" | "/portcullis.echo.v1.Echo/Chat" => {
            (typed(request, peer, identity), false)
        }
        // status: SERVING, whatever service is asked for.
        "/grpc.health.v1.Health/Check" => (ended(full(frame(&[8, 1])), Status::ok()), false),
        _ if path.starts_with("/portcullis.echo.v1.Echo/") || path.starts_with("/grpc.") => {
            (ended(full(""), Status::unimplemented(&path)), false)
        }
        _ => (repeated(request), true),
    };
    let mut response = Response::new(body);
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    // What comes back unread is as compressed as it was.
    if let Some(encoding) = encoding.filter(|_| raw) {
        response.headers_mut().insert(GRPC_ENCODING, encoding);
    }
    response
}

/// Every byte as it comes, so that methods of any service can be called, with streams in both directions.
fn repeated(request: Request<Incoming>) -> Body {
    let data = BodyStream::new(request.into_body()).filter_map(|frame| async move {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Some(Ok(Frame::data(data))),
            Ok(Err(_trailers)) => None,
            Err(error) => Some(Err(BoxError::from(error))),
        }
    });
    ended(StreamBody::new(data).boxed_unsync(), Status::ok())
}

/// One answer for each message; a stream of one is a call of its own.
fn typed(request: Request<Incoming>, peer: &Peer, identity: &Identity) -> Body {
    let (head, body) = request.into_parts();
    let form = EchoResponse {
        message: String::new(),
        method: head.uri.path().to_owned(),
        authority: host(&head).unwrap_or_default(),
        metadata: metadata(&head.headers),
        remote_address: peer.remote.to_string(),
        tls_version: peer.tls.as_ref().map(|tls| tls.version.clone()).unwrap_or_default(),
        pod: identity.pod.clone().unwrap_or_default(),
        namespace: identity.namespace.clone().unwrap_or_default(),
        service: identity.service.clone().unwrap_or_default(),
    };
    let call = Some((Messages::new(body), form));
    let frames = stream::unfold(call, |call| async {
        let (mut messages, form) = call?;
        match messages.next().await.map(|message| message.map(|m| reply(&m, &form))) {
            Ok(Some(Ok(answer))) => Some((Ok::<_, BoxError>(Frame::data(answer)), Some((messages, form)))),
            Ok(None) => Some((Ok(Frame::trailers(Status::ok().trailers())), None)),
            Ok(Some(Err(status))) | Err(status) => Some((Ok(Frame::trailers(status.trailers())), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn reply(message: &[u8], form: &EchoResponse) -> Result<bytes::Bytes, Status> {
    let request = EchoRequest::decode(message).map_err(|error| Status {
        code: INVALID_ARGUMENT,
        message: format!("not an EchoRequest: {error}"),
    })?;
    if request.status != OK {
        return Err(Status { code: request.status, message: request.message });
    }
    Ok(frame(&EchoResponse { message: request.message, ..form.clone() }.encode_to_vec()))
}

fn metadata(headers: &HeaderMap) -> Vec<Metadata> {
    headers
        .iter()
        .map(|(name, value)| Metadata { name: name.to_string(), value: lossy(value.as_bytes()) })
        .collect()
}

fn ended(body: Body, status: Status) -> Body {
    body.with_trailers(async move { Some(Ok(status.trailers())) }).boxed_unsync()
}

impl Status {
    fn ok() -> Self {
        Self { code: OK, message: String::new() }
    }

    fn unimplemented(path: &str) -> Self {
        Self { code: UNIMPLEMENTED, message: format!("{path} is not served") }
    }

    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", self.code.into());
        let message = utf8_percent_encode(&self.message, MESSAGE).to_string();
        if let Some(message) = HeaderValue::try_from(message).ok().filter(|m| !m.is_empty()) {
            trailers.insert("grpc-message", message);
        }
        trailers
    }
}
