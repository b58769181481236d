//! An authorization service that speaks Envoy's external authorization over gRPC (GRPCAuthConfig).

use std::{collections::HashMap, net::SocketAddr};

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use bytes::{BufMut, Bytes, BytesMut};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use portcullis_routing::{
    Backend, Outcome, Rejection, Reply, Step,
    step::{Change, HeaderModifier},
};
use prost::Message;

use super::{Answered, DENIED, headers_for_backend, messages as m};
use crate::http::context::Context;

const METHOD: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";
/// The flag and the length before a message (gRPC over HTTP2, Requests).
const PREFIX: usize = 5;

/// The call of the service for a client's request: its head and its message.
///
/// # Errors
/// If the name of the service is not an authority.
pub(super) fn request(
    named: &[HeaderName],
    of: &RequestHeader,
    context: &Context,
    backend: &Backend,
    body: Option<&Bytes>,
) -> Result<(RequestHeader, Bytes)> {
    let mut head = RequestHeader::build("POST", METHOD, Some(4))?;
    let host = format!("{}.{}", backend.key.service, backend.key.namespace);
    head.insert_header(header::HOST, host)?;
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
    head.insert_header(header::TE, HeaderValue::from_static("trailers"))?;
    let message = m::CheckRequest {
        attributes: Some(m::AttributeContext {
            source: Some(peer(SocketAddr::new(context.client, context.conn.peer.port()))),
            destination: Some(peer(context.conn.local)),
            request: Some(m::AttributeRequest { http: Some(described(named, of, context, body)) }),
        }),
    };
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).or_err(ErrorType::InternalError, "the request is too large")?);
    message.encode(&mut framed).or_err(ErrorType::InternalError, "the request cannot be encoded")?;
    Ok((head, framed.freeze()))
}

fn peer(address: SocketAddr) -> m::Peer {
    let socket_address = m::SocketAddress {
        address: address.ip().to_canonical().to_string(),
        port_value: address.port().into(),
    };
    m::Peer { address: Some(m::Address { socket_address: Some(socket_address) }) }
}

fn described(
    named: &[HeaderName],
    of: &RequestHeader,
    context: &Context,
    body: Option<&Bytes>,
) -> m::HttpRequest {
    let text = |name: &HeaderName| of.headers.get(name).map(lossy).unwrap_or_default();
    let size = of.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let size = body.and_then(|body| i64::try_from(body.len()).ok()).or(size);
    let (mut body, mut raw_body) = (String::new(), body.cloned().unwrap_or_default());
    if let Ok(text) = std::str::from_utf8(&raw_body) {
        (body, raw_body) = (text.to_owned(), Bytes::new());
    }
    m::HttpRequest {
        body,
        raw_body,
        id: text(&HeaderName::from_static("x-request-id")),
        method: of.method.as_str().to_owned(),
        headers: headers(named, &of.headers),
        path: of.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        host: text(&header::HOST),
        scheme: context.conn.scheme().to_owned(),
        size: size.unwrap_or(-1),
        protocol: match of.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
        .to_owned(),
    }
}

/// The headers that the service gets; several of one name are joined, as HTTP allows (RFC 9110, 5.3).
fn headers(named: &[HeaderName], of: &HeaderMap) -> HashMap<String, String> {
    let mut headers = HashMap::<String, String>::new();
    for (name, value) in of {
        if !named.is_empty() && !named.contains(name) {
            continue;
        }
        let joint = if *name == header::COOKIE { "; " } else { "," };
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|before| before.extend([joint, &lossy(value)]))
            .or_insert_with(|| lossy(value));
    }
    headers
}

/// Protobuf's strings are UTF-8.
fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What the service's answer means. A listener's filter `keeps_host`: a change of Host or `:authority` is left out
/// (ListenerFilters `requests`).
///
/// # Errors
/// If it is not the answer of a call that succeeded.
pub(super) fn outcome(Answered { head, body }: Answered, keeps_host: bool) -> Result<Outcome> {
    let unusable = |why| Error::explain(ErrorType::InvalidHTTPHeader, why);
    if head.status != StatusCode::OK || head.headers.get("grpc-status").is_some_and(|status| status != "0") {
        return Err(unusable("the call has failed"));
    }
    let body = body.ok_or_else(|| unusable("the answer is too large"))?;
    let (prefix, message) =
        body.split_first_chunk::<PREFIX>().ok_or_else(|| unusable("the answer has no message"))?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 || usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(unusable("the answer is not one plain message"));
    }
    let answer = m::CheckResponse::decode(message);
    let answer = answer.or_err(ErrorType::InvalidHTTPHeader, "the answer is not a CheckResponse")?;
    let code = answer.status.map(|status| status.code);
    match (code.unwrap_or_default(), answer.denied_response) {
        (0, None) => Ok(Outcome::Pass(passed(answer.ok_response.unwrap_or_default(), keeps_host)?)),
        (_, denied) => Ok(Outcome::Reply(denied_reply(denied.unwrap_or_default()))),
    }
}

/// # Errors
/// If a header cannot be set: the backend must not be asked without it.
fn passed(ok: m::OkHttpResponse, keeps_host: bool) -> Result<Vec<Step>> {
    let unusable = |_| Error::explain(ErrorType::InvalidHTTPHeader, "a header cannot be set");
    let (mut set, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    for option in ok.headers.iter().filter(|option| !(keeps_host && is_host(option))) {
        let (name, value) = read(option).map_err(unusable)?;
        Change::Add.check(&name).map_err(|_| unusable(()))?;
        if option.append == Some(true) { add.push((name, value)) } else { set.push((name, value)) }
    }
    for name in &ok.headers_to_remove {
        let name = HeaderName::try_from(name).map_err(|_| unusable(()))?;
        // As Envoy has it, what the request cannot do without stays.
        if Change::Remove.check(&name).is_ok() {
            remove.push(name);
        }
    }
    let step = headers_for_backend(set, add, remove).map_err(|_| unusable(()))?;
    let mut steps: Vec<_> = step.into_iter().collect();
    let (mut set, mut add) = (Vec::new(), Vec::new());
    for option in &ok.response_headers_to_add {
        let header = read(option).map_err(unusable)?;
        if matches!(option.append_action, 2 | 3) { set.push(header) } else { add.push(header) }
    }
    if !set.is_empty() || !add.is_empty() {
        steps.push(Step::ResponseHeaders(HeaderModifier::new(set, add, []).map_err(|_| unusable(()))?));
    }
    Ok(steps)
}

fn denied_reply(denied: m::DeniedHttpResponse) -> Reply {
    let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_success() && !status.is_informational());
    let headers = denied.headers.iter().filter_map(|option| read(option).ok());
    let headers = headers.filter(|(name, _)| Change::Add.check(name).is_ok());
    Reply {
        status: status.unwrap_or(StatusCode::FORBIDDEN),
        headers: headers.collect(),
        content: denied.body.into_bytes().into(),
        why: (Rejection::Unauthorized, DENIED),
    }
}

fn is_host(option: &m::HeaderValueOption) -> bool {
    let name = option.header.as_ref().map_or("", |header| &header.key);
    [":authority", "host"].iter().any(|host| name.eq_ignore_ascii_case(host))
}

/// # Errors
/// If it is not a header of HTTP.
fn read(option: &m::HeaderValueOption) -> std::result::Result<(HeaderName, HeaderValue), ()> {
    let header = option.header.as_ref().ok_or(())?;
    let value = if header.value.is_empty() { &header.raw_value[..] } else { header.value.as_bytes() };
    let name = HeaderName::try_from(&header.key).map_err(drop)?;
    Ok((name, HeaderValue::from_bytes(value).map_err(drop)?))
}
