//! What we answer by ourselves: rejections, redirects, preflights.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use portcullis_routing::{Answer, Headers, Rejection, Route, RouteKind};

use super::{coded, context::Context};

/// What a client is told that no backend said, whatever carries it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Cow<'static, [u8]>,
}

/// Puts an answer into words, in the terms of gRPC where the client understands no other. `request` is what the client
/// sent, `route` the one that took it.
pub(crate) fn reply(answer: &Answer, grpc: bool, route: Option<&Route>, request: &dyn Headers) -> Reply {
    // As with ingress-nginx, clients of gRPC read the service's own status.
    let is_denied_by_status = matches!(answer.rejection, Some((Rejection::Unauthorized, _)))
        && route.is_some_and(|route| route.rule().route.kind == RouteKind::Ingress);
    if let (Some((rejection, why)), true) = (answer.rejection, grpc && !is_denied_by_status) {
        return trailers_only(rejection, why);
    }
    let body = body(answer);
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        headers.append(name, value.clone());
    }
    if !body.is_empty() && answer.content.is_none() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if answer.status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if let Some((Rejection::MethodNotAllowed, _)) = answer.rejection {
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allow);
    }
    // A page may read our errors as it may read the backend's.
    answer.edits(route, request).apply(&mut headers);
    Reply { status: answer.status, headers, body }
}

/// Writes an answer that no backend gave.
///
/// # Errors
/// Where the client is gone.
pub(crate) async fn send(answer: &Answer, session: &mut Session, context: &mut Context) -> Result<()> {
    context.rejection = answer.rejection;
    context.status = answer.status.as_u16();
    coded::decide(session, context, None);
    if context.conn.draining() {
        session.set_keepalive(None);
    }
    let request = session.req_header();
    let reply = reply(answer, context.grpc, context.route.as_ref(), &request.headers);
    context.measure_reply(&reply);
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len()))?;
    for (name, value) in &reply.headers {
        head.append_header(name, value.clone())?;
    }
    let bare = reply.body.is_empty() || request.method == Method::HEAD;
    let mut tasks = vec![HttpTask::Header(Box::new(head), bare)];
    if !bare {
        tasks.push(HttpTask::Body(Some(Bytes::from(reply.body.into_owned())), true));
    }
    session.downstream_session.response_duplex_vec(tasks).await?;
    Ok(())
}

fn body(answer: &Answer) -> Cow<'static, [u8]> {
    match (&answer.content, answer.rejection) {
        (Some(content), _) => content.to_vec().into(),
        (None, Some((_, why))) => format!("{}: {why}\n", answer.status).into_bytes().into(),
        (None, None) => Cow::default(),
    }
}

/// Trailers-Only: the status in the one header block of the answer (gRPC over HTTP2, Responses).
fn trailers_only(rejection: Rejection, why: &'static str) -> Reply {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_status(rejection))),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static(why)),
    ]);
    Reply { status: StatusCode::OK, headers, body: Cow::default() }
}

/// The status of a rejection: as a client would read it from the HTTP status (gRPC, HTTP to gRPC Status Code
/// Mapping), but where GRPCRoute says UNAVAILABLE for a backend that cannot be used.
fn grpc_status(rejection: Rejection) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match rejection {
        Rejection::Forbidden | Rejection::Unauthorized => PERMISSION_DENIED,
        Rejection::Unauthenticated => UNAUTHENTICATED,
        Rejection::NoRoute => UNIMPLEMENTED,
        Rejection::BadRequest | Rejection::HeaderTooLarge => INTERNAL,
        Rejection::Misdirected
        | Rejection::MethodNotAllowed
        | Rejection::HeaderTimeout
        | Rejection::ContentTooLarge => UNKNOWN,
        Rejection::BrokenBackend
        | Rejection::CheckFailed
        | Rejection::Closed
        | Rejection::Limited
        | Rejection::BadGateway
        | Rejection::NoEndpoints
        | Rejection::RefusedAddress
        | Rejection::Overloaded
        | Rejection::Timeout => UNAVAILABLE,
    }
}

/// Whether the client understands answers of gRPC.
pub(crate) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|value| is_grpc_type(value.as_bytes()))
}

/// Whether this media type is gRPC's; gRPC-Web is not gRPC.
pub(crate) fn is_grpc_type(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_media_type() {
        for (value, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(Some(&HeaderValue::from_static(value))), want, "{value}");
        }
        assert!(!is_grpc(None));
    }
}
