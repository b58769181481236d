//! The check of an Ingress's requests, as nginx asks for it (`auth_request`).

use std::{net::IpAddr, sync::Arc};

use ::http::{HeaderName, HeaderValue, Method, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use portcullis_routing::{
    Backend, BackendKey, BackendObject, BackendProtocol, BackendTls, Endpoint, EndpointPool, Endpoints,
    PortKey, Verify,
    step::{
        AuthAnswer, IngressAuth,
        ingress_auth::{AuthQuestion, CHECKED},
    },
};

use crate::http::hop;

/// The service of a question, as connections are made to it. Its certificate is not verified, as in ingress-nginx.
pub(super) fn service(auth: &IngressAuth, host: &str) -> Arc<Backend> {
    let port = auth.url.port;
    let endpoints = match host.parse::<IpAddr>() {
        Ok(ip) => Endpoints::Addresses([Arc::new(Endpoint::new((ip, port).into()))].into()),
        Err(_) => Endpoints::Name { host: host.into(), port },
    };
    Arc::new(Backend {
        key: BackendKey {
            kind: BackendObject::Service,
            namespace: auth.namespace.as_deref().unwrap_or("auth").into(),
            service: host.into(),
            port: PortKey::tcp(port),
        },
        protocol: BackendProtocol::Http1,
        tls: auth.url.tls.then(|| Arc::new(BackendTls::new(host, Verify::Nothing))),
        proxy_protocol: None,
        endpoints: Arc::new(EndpointPool::new(endpoints)),
    })
}

/// The request for the service: the client's headers with those of the question in their place, and no body. `of` is the
/// request as a backend would get it; `trusted` is whether it is from a proxy that is believed.
///
/// # Errors
/// If there are too many headers.
pub(super) fn request(
    auth: &IngressAuth,
    question: &AuthQuestion,
    of: &RequestHeader,
    trusted: bool,
) -> Result<RequestHeader> {
    let method = auth.method();
    let more = question.headers.len() + 3;
    let mut request =
        RequestHeader::build(method.clone(), question.target.as_bytes(), Some(of.headers.len() + more))?;
    let named = hop::named_by_connection(of.headers.get_all(header::CONNECTION).iter());
    for (name, value) in &of.headers {
        if goes_on(name, trusted) && !named.contains(name) && !(auth.caching.is_some() && asks_for_part(name))
        {
            request.append_header(name.clone(), value.clone())?;
        }
    }
    // Last, so that `auth-proxy-set-headers` has its way with all of them.
    request.insert_header(header::HOST, &*question.host)?;
    for (name, value) in &question.headers {
        request.insert_header(name.clone(), value.clone())?;
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        request.insert_header(header::CONTENT_LENGTH, HeaderValue::from_static("0"))?;
    }
    Ok(request)
}

/// Whether a header of the client goes on to the service.
fn goes_on(name: &HeaderName, trusted: bool) -> bool {
    // Some services read other characters as dashes, and would take such a header for one of ours.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match name.as_str() {
        "host" | "content-length" | "transfer-encoding" | "expect" => false,
        "connection" | "keep-alive" | "upgrade" | "te" | "trailer" | "http2-settings" => false,
        "proxy" => false,
        name if name.starts_with("proxy-") => false,
        "x-forwarded-proto" | "x-forwarded-scheme" | "x-scheme" | "x-original-uri" => false,
        "x-forwarded-host" | "x-forwarded-port" => trusted,
        name => *name != CHECKED && name.bytes().all(is_plain),
    }
}

/// Whether a header asks for a part of an answer, or only for a changed one: such an answer is not good for other requests.
fn asks_for_part(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::RANGE
            | header::IF_RANGE
            | header::IF_MATCH
            | header::IF_NONE_MATCH
            | header::IF_MODIFIED_SINCE
            | header::IF_UNMODIFIED_SINCE
    )
}

/// The service's answer, as far as it matters.
pub(super) fn answer(auth: &IngressAuth, head: &ResponseHeader) -> AuthAnswer {
    let taken = head.headers.iter().filter(|(name, _)| auth.takes(name));
    let headers = taken.map(|(name, value)| (name.clone(), value.clone())).collect();
    AuthAnswer { status: head.status, headers }
}
