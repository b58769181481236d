//! What we answer by ourselves: rejections, redirects, preflights.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use portcullis_routing::Rejection;

use super::{context::Context, headers::Response};

/// An answer that no backend gave.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    rejection: Option<(Rejection, &'static str)>,
    /// Whether CORS has its say already.
    preflight: bool,
}

impl Answer {
    /// Says why there is no backend's answer. The text never repeats what the client sent.
    pub(crate) fn reject(rejection: Rejection, why: &'static str) -> Box<Self> {
        Box::new(Self {
            status: rejection.status(),
            headers: Vec::new(),
            rejection: Some((rejection, why)),
            preflight: false,
        })
    }

    /// Sends the client elsewhere.
    pub(crate) fn redirect(status: StatusCode, location: HeaderValue) -> Box<Self> {
        let headers = vec![(header::LOCATION, location)];
        Box::new(Self { status, headers, rejection: None, preflight: false })
    }

    /// Answers OPTIONS without asking a backend.
    pub(crate) fn options(headers: Vec<(HeaderName, HeaderValue)>) -> Box<Self> {
        Box::new(Self { status: StatusCode::NO_CONTENT, headers, rejection: None, preflight: true })
    }

    /// Writes it.
    ///
    /// # Errors
    /// Where the client is gone.
    pub(crate) async fn send(self: Box<Self>, session: &mut Session, context: &mut Context) -> Result<()> {
        context.rejection = self.rejection;
        context.status = self.status.as_u16();
        if context.conn.draining() {
            session.set_keepalive(None);
        }
        let tasks = match self.rejection {
            Some((rejection, why)) if context.grpc => grpc(rejection, why)?,
            _ => self.http(session, context)?,
        };
        session.downstream_session.response_duplex_vec(tasks).await?;
        Ok(())
    }

    fn http(&self, session: &Session, context: &Context) -> Result<Vec<HttpTask>> {
        let body = self.body();
        let mut head = ResponseHeader::build(self.status, Some(6 + self.headers.len()))?;
        for (name, value) in &self.headers {
            head.append_header(name, value.clone())?;
        }
        if !body.is_empty() {
            head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))?;
            head.insert_header("X-Content-Type-Options", HeaderValue::from_static("nosniff"))?;
        }
        if self.status != StatusCode::NO_CONTENT {
            head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
        }
        if let Some((Rejection::MethodNotAllowed, _)) = self.rejection {
            let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            head.insert_header(header::ALLOW, allow)?;
        }
        // A page may read our errors as it may read the backend's.
        if let Some(route) = context.route.as_ref().filter(|_| !self.preflight) {
            route.cors(&session.req_header().headers, &mut Response(&mut head));
        }
        let bare = body.is_empty() || session.req_header().method == http::Method::HEAD;
        let mut tasks = vec![HttpTask::Header(Box::new(head), bare)];
        if !bare {
            tasks.push(HttpTask::Body(Some(Bytes::from(body.into_owned())), true));
        }
        Ok(tasks)
    }

    fn body(&self) -> Cow<'static, str> {
        match self.rejection {
            Some((_, why)) => format!("{}: {why}\n", self.status).into(),
            None => "".into(),
        }
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
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    match rejection {
        Rejection::NoRoute => UNIMPLEMENTED,
        Rejection::BadRequest | Rejection::HeaderTooLarge => INTERNAL,
        Rejection::Misdirected | Rejection::MethodNotAllowed | Rejection::HeaderTimeout => UNKNOWN,
        Rejection::BrokenBackend
        | Rejection::BadGateway
        | Rejection::NoEndpoints
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
