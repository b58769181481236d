//! The check of an Ingress's requests, as nginx asks for it (`auth_request`).

use ::http::{HeaderName, HeaderValue, Method, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use portcullis_routing::step::{
    AuthAnswer, IngressAuth,
    ingress_auth::{AuthQuestion, CHECKED},
};

use crate::http::{hop, side};

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
        let is_told = side::goes_to_service(name) && !is_claimed(name, trusted);
        if is_told && !named.contains(name) && !(auth.caching.is_some() && asks_for_part(name)) {
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

/// Whether a header says something of the client that this request says in another way.
fn is_claimed(name: &HeaderName, trusted: bool) -> bool {
    match name.as_str() {
        "x-forwarded-proto" | "x-forwarded-scheme" | "x-scheme" | "x-original-uri" => true,
        "x-forwarded-host" | "x-forwarded-port" => !trusted,
        _ => *name == CHECKED,
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
