//! CORS.

use http::HeaderValue;
use portcullis_routing::step::Cors;

use crate::objects::{
    checks::{Checks, Path},
    names::{self, quoted},
    wire,
};

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];

pub(super) fn read(cors: wire::Cors, checks: &mut Checks, at: &Path<'_>) -> Cors {
    let mut list =
        |texts: Option<Vec<String>>, field, max, alone, check: fn(&str, &mut Checks, &Path<'_>)| {
            let (texts, at) = (texts.unwrap_or_default(), at.field(field));
            checks.entries(texts.len(), 0..=max, &at);
            checks.unique(&texts, &at, |text| format!("{text} is duplicated"));
            if alone && texts.len() > 1 && texts.iter().any(|t| t == "*") {
                checks.error(&at, "must not have '*' beside other entries");
            }
            texts.iter().enumerate().for_each(|(i, text)| check(text, checks, &at.index(i)));
            texts.into_iter().map(Into::into).collect::<Vec<Box<str>>>()
        };
    let header = |text: &str, checks: &mut Checks, at: &Path<'_>| checks.form(text, names::HEADER_NAME, at);
    let allow_origins = list(cors.allow_origins, "allowOrigins", 64, true, origin);
    let allow_methods = list(cors.allow_methods, "allowMethods", 9, true, method);
    let allow_headers = list(cors.allow_headers, "allowHeaders", 64, true, header);
    let expose_headers = list(cors.expose_headers, "exposeHeaders", 64, false, header);
    let max_age = cors.max_age.unwrap_or(5);
    checks.range(max_age.into(), 1, i64::from(i32::MAX), &at.field("maxAge"));
    Cors {
        allow_origins: allow_origins.into_iter().collect(),
        allow_credentials: cors.allow_credentials.unwrap_or_default(),
        allow_methods: allow_methods.into_iter().collect(),
        allow_headers: allow_headers.into_iter().collect(),
        expose_headers: expose_headers.into_iter().collect(),
        max_age: HeaderValue::from(max_age),
    }
}

fn method(text: &str, checks: &mut Checks, at: &Path<'_>) {
    if !METHODS.contains(&text) {
        checks.error(at, format!("{} is not one of {}", quoted(text), METHODS.join(", ")));
    }
}

fn origin(text: &str, checks: &mut Checks, at: &Path<'_>) {
    if text.len() > 253 || !is_origin(text) {
        let message = "must be '*' or an origin: http:// or https://, a host (its first label may be '*'), optionally a port";
        checks.error(at, format!("{} {message}", quoted(text)));
    }
}

/// The pattern of CORSOrigin.
fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let is_label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let name = host.strip_prefix("*.").unwrap_or(host);
    port.is_none_or(is_port) && (host == "*" || name.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_scheme_host_and_port() {
        for (text, want) in [
            ("*", true),
            ("https://example.com", true),
            ("http://example.com:8080", true),
            ("https://*.example.com", true),
            ("https://*", true),
            ("https://*:8443", true),
            ("https://Example-1.com", true),
            ("example.com", false),
            ("ftp://example.com", false),
            ("https://", false),
            ("https://a..b", false),
            ("https://a.*.b", false),
            ("https://a:123456", false),
            ("https://a:", false),
            ("https://a/", false),
            ("null", false),
        ] {
            assert_eq!(is_origin(text), want, "{text}");
        }
    }
}
