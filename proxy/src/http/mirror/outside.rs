//! The mirrored request of `mirror-target`: the request as the client sent it, for another URL.

use http::{HeaderValue, Method, header};
use pingora_http::RequestHeader;
use portcullis_routing::{
    Backend,
    step::{IngressCopy, ingress_auth::CHECKED, ingress_mirror::COPIED},
};

use crate::http::{hop, request::join_cookies, side};

/// The head of the copy; `None` if it has no valid form.
pub(super) fn copy(
    copy: &IngressCopy,
    sent: &RequestHeader,
    backend: &Backend,
    bodiless: bool,
    marks: Option<&HeaderValue>,
) -> Option<Box<RequestHeader>> {
    let target = copy.target.as_bytes();
    let mut request = RequestHeader::build(sent.method.clone(), target, Some(sent.headers.len() + 4)).ok()?;
    let named = hop::named_by_connection(sent.headers.get_all(header::CONNECTION).iter());
    for (name, value) in &sent.headers {
        if side::goes_to_service(name) && *name != CHECKED && !named.contains(name) {
            request.append_header(name.clone(), value.clone()).ok()?;
        }
    }
    join_cookies(&mut request);
    request.insert_header(header::HOST, copy.host()).ok()?;
    if let Some(marks) = marks {
        request.insert_header(COPIED, marks.clone()).ok()?;
    }
    let length = match bodiless {
        true if matches!(sent.method, Method::GET | Method::HEAD) => None,
        true => Some(HeaderValue::from_static("0")),
        false => length(sent),
    };
    if let Some(length) = length {
        request.insert_header(header::CONTENT_LENGTH, length).ok()?;
    }
    side::set_protocol(&mut request, backend, !bodiless).ok()?;
    Some(Box::new(request))
}

/// The length of the body. A list of equal lengths is one length (RFC 9110, 8.6).
fn length(sent: &RequestHeader) -> Option<HeaderValue> {
    let value = sent.headers.get(header::CONTENT_LENGTH)?.as_bytes();
    HeaderValue::from_bytes(value.split(|byte| *byte == b',').next()?.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_routing::{
        Template,
        step::{IngressMirror, ServiceUrl},
    };

    use super::*;

    fn copied(method: &str, headers: &[(&'static str, &str)], bodiless: bool) -> Vec<String> {
        let text = |text| Template::parse(text, &[]).unwrap();
        let url = ServiceUrl { tls: false, host: text("m.test"), port: 80, target: text("/x") };
        let mirror =
            IngressMirror { url: url.clone(), host: None, body: !bodiless, namespace: "shop".into() };
        let wanted = IngressCopy { mirror: Arc::new(mirror), to: "m.test".into(), target: "/x?y".into() };
        let mut sent = RequestHeader::build(method, b"/sent", None).unwrap();
        for (name, value) in headers {
            sent.append_header(*name, *value).unwrap();
        }
        let backend = side::service(&url, "shop", "m.test");
        let request = copy(&wanted, &sent, &backend, bodiless, None).unwrap();
        let mut lines = vec![format!("{} {}", request.method, String::from_utf8_lossy(request.raw_path()))];
        let mut all: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        all.sort();
        lines.extend(all);
        lines
    }

    #[test]
    fn a_copy_has_the_clients_headers_and_a_host_of_its_own() {
        let sent = [
            ("host", "shop.test"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("x_under", "1"),
            ("te", "trailers"),
            ("x-mine", "1"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("authorization", "Basic x"),
        ];
        assert_eq!(
            copied("GET", &sent, true),
            ["GET /x?y", "authorization: Basic x", "cookie: a=1; b=2", "host: m.test", "x-mine: 1"]
        );
    }

    #[test]
    fn a_copy_is_framed_as_its_body_comes() {
        let length = [("content-length", "5, 5")];
        let chunked = [("transfer-encoding", "chunked")];
        for (method, headers, bodiless, want) in [
            ("POST", &length[..], false, "content-length: 5"),
            ("POST", &chunked, false, "transfer-encoding: chunked"),
            ("POST", &length, true, "content-length: 0"),
            ("PUT", &chunked, true, "content-length: 0"),
        ] {
            let lines = copied(method, headers, bodiless);
            assert!(lines.contains(&want.to_owned()) && lines.len() == 3, "{method} {headers:?}: {lines:?}");
        }
    }
}
