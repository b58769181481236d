//! What we answer by ourselves: rejections, redirects, preflights.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use portcullis_routing::{Answer, Rejection};

use super::{context::Context, headers::Response};

/// Writes an answer that no backend gave.
///
/// # Errors
/// Where the client is gone.
pub(crate) async fn send(answer: &Answer, session: &mut Session, context: &mut Context) -> Result<()> {
    context.rejection = answer.rejection;
    context.status = answer.status.as_u16();
    if context.conn.draining() {
        session.set_keepalive(None);
    }
    let tasks = match answer.rejection {
        Some((rejection, why)) if context.grpc => grpc(rejection, why)?,
        _ => http(answer, session, context)?,
    };
    session.downstream_session.response_duplex_vec(tasks).await?;
    Ok(())
}

fn http(answer: &Answer, session: &Session, context: &Context) -> Result<Vec<HttpTask>> {
    let body = body(answer);
    let mut head = ResponseHeader::build(answer.status, Some(6 + answer.headers.len()))?;
    for (name, value) in &answer.headers {
        head.append_header(name, value.clone())?;
    }
    if !body.is_empty() {
        head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))?;
        head.insert_header("X-Content-Type-Options", HeaderValue::from_static("nosniff"))?;
    }
    if answer.status != StatusCode::NO_CONTENT {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    if let Some((Rejection::MethodNotAllowed, _)) = answer.rejection {
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        head.insert_header(header::ALLOW, allow)?;
    }
    // A page may read our errors as it may read the backend's.
    if let Some(route) = context.route.as_ref().filter(|_| !answer.preflight) {
        route.allow_origins(&session.req_header().headers, &mut Response(&mut head));
    }
    let bare = body.is_empty() || session.req_header().method == Method::HEAD;
    let mut tasks = vec![HttpTask::Header(Box::new(head), bare)];
    if !bare {
        tasks.push(HttpTask::Body(Some(Bytes::from(body.into_owned())), true));
    }
    Ok(tasks)
}

fn body(answer: &Answer) -> Cow<'static, str> {
    match answer.rejection {
        Some((_, why)) => format!("{}: {why}\n", answer.status).into(),
        None => "".into(),
    }
}

/// Trailers-Only: the status in the one header block of the answer (gRPC over HTTP2, Responses).
fn grpc(rejection: Rejection, why: &'static str) -> Result<Vec<HttpTask>> {
    let mut head = ResponseHeader::build_no_case(StatusCode::OK, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
    head.insert_header("grpc-status", HeaderValue::from(grpc_status(rejection)))?;
    head.insert_header("grpc-message", HeaderValue::from_static(why))?;
    Ok(vec![HttpTask::Header(Box::new(head), true)])
}

/// The status of a rejection: as a client would read it from the HTTP status (gRPC, HTTP to gRPC Status Code
/// Mapping), but where GRPCRoute says UNAVAILABLE for a backend that cannot be used.
fn grpc_status(rejection: Rejection) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    match rejection {
        Rejection::Forbidden => PERMISSION_DENIED,
        Rejection::NoRoute => UNIMPLEMENTED,
        Rejection::BadRequest | Rejection::HeaderTooLarge => INTERNAL,
        Rejection::Misdirected | Rejection::MethodNotAllowed | Rejection::HeaderTimeout => UNKNOWN,
        Rejection::BrokenBackend
        | Rejection::Closed
        | Rejection::BadGateway
        | Rejection::NoEndpoints
        | Rejection::RefusedAddress
        | Rejection::Overloaded
        | Rejection::Timeout => UNAVAILABLE,
    }
}

/// Whether the client understands [`grpc`]; by the media type, as gRPC-Web is not gRPC.
pub(crate) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    content_type.map(HeaderValue::as_bytes).is_some_and(|value| {
        value
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
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
