//! CORS.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use portcullis_routing::step::{IngressCors, IngressOrigin};

use super::family::{Denied, Family, Written};
use crate::objects::{checks::Checks, names::quoted};

const ENABLE: &str = "enable-cors";
const ORIGIN: &str = "cors-allow-origin";
const METHODS: &str = "cors-allow-methods";
const HEADERS: &str = "cors-allow-headers";
const CREDENTIALS: &str = "cors-allow-credentials";
const EXPOSE: &str = "cors-expose-headers";
const MAX_AGE: &str = "cors-max-age";

const DEFAULT_METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const DEFAULT_HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
                               Content-Type,Range,Authorization";
/// In seconds.
const DEFAULT_MAX_AGE: &str = "1728000";

impl Family for Option<Arc<IngressCors>> {
    const NAMES: &'static [&'static str] = &[ENABLE, ORIGIN, METHODS, HEADERS, CREDENTIALS, EXPOSE, MAX_AGE];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        if written.switch(ENABLE, checks) != Some(true) {
            return Ok(None);
        }
        let origins = origins(written, checks);
        let mut list =
            |name: &str, is_valid: fn(u8) -> bool| written.parse(name, checks, |text| names(text, is_valid));
        let methods = list(METHODS, |byte| byte.is_ascii_alphabetic());
        let headers = list(HEADERS, is_header_byte);
        let expose = list(EXPOSE, |byte| is_header_byte(byte) || byte == b'*');
        let max_age = written.parse(MAX_AGE, checks, |text| {
            text.parse::<i64>().map(|_| text).map_err(|_| "is not a number of seconds")
        });
        let credentials = written.switch(CREDENTIALS, checks).unwrap_or(true);
        let written = [
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials.then_some("true")),
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods.or(Some(DEFAULT_METHODS))),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, headers.or(Some(DEFAULT_HEADERS))),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, expose),
            (header::ACCESS_CONTROL_MAX_AGE, max_age.or(Some(DEFAULT_MAX_AGE))),
        ];
        let headers = written.into_iter().filter_map(|(name, value): (HeaderName, Option<&str>)| {
            Some((name, HeaderValue::from_str(value?).ok()?))
        });
        Ok(Some(Arc::new(IngressCors { origins, headers: headers.collect() })))
    }
}

fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

/// A list of names, separated by commas and spaces, as it is written.
fn names(text: &str, is_valid: fn(u8) -> bool) -> Result<&str, &'static str> {
    let is_list = text.bytes().all(|byte| is_valid(byte) || b", ".contains(&byte));
    match is_list && !text.is_empty() {
        true => Ok(text),
        false => Err("is not a list of names"),
    }
}

/// The origins; `None` is all of them. A list without a valid entry allows no origin; in ingress-nginx, it allows all.
fn origins(written: Written<'_>, checks: &mut Checks) -> Option<Box<[IngressOrigin]>> {
    let text = written.value(ORIGIN).filter(|text| !text.is_empty())?;
    let entries: Vec<_> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.contains(&"*") {
        return None;
    }
    let (valid, invalid): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| is_origin(entry));
    for entry in invalid {
        let why = format!("{} is not an origin such as https://*.example.com:8443", quoted(entry));
        written.without_effect(ORIGIN, &why, checks);
    }
    Some(valid.into_iter().map(|entry| IngressOrigin(entry.into())).collect())
}

/// Whether a text is `scheme://host[:port]`; the host can begin with `*.`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "0"));
    let host = host.strip_prefix("*.").unwrap_or(host);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !host.is_empty()
        && host.bytes().all(is_host)
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::family;

    fn cors(annotations: &[(&str, &str)]) -> (Option<Arc<IngressCors>>, usize) {
        family(annotations, |annotations| annotations.cors.clone())
    }

    #[test]
    fn an_origin_that_is_wrong_allows_nothing() {
        for (value, want, warnings) in [
            ("", None, 0),
            ("*", None, 0),
            ("https://a.test,*", None, 0),
            (
                "https://a.test, http://*.b.test:8080",
                Some(&["https://a.test", "http://*.b.test:8080"][..]),
                0,
            ),
            ("https://a.test/path", Some(&[]), 1),
            ("https://(a|b).test", Some(&[]), 1),
            ("https://a.test,https://b.test/x", Some(&["https://a.test"]), 1),
            ("a.test", Some(&[]), 1),
            ("https://a.test:99999", Some(&[]), 1),
        ] {
            let (read, warned) = cors(&[(ENABLE, "true"), (ORIGIN, value)]);
            let read = read.unwrap();
            let origins = read.origins.as_ref().map(|all| all.iter().map(|one| &*one.0).collect::<Vec<_>>());
            assert_eq!((origins.as_deref(), warned), (want, warnings), "{value}");
        }
    }

    #[test]
    fn a_list_that_is_wrong_is_the_default() {
        let value = |name: &str, value: &str, header: HeaderName| {
            let (read, warnings) = cors(&[(ENABLE, "true"), (name, value)]);
            let read = read.unwrap();
            let found = read.headers.iter().find(|(name, _)| *name == header);
            (found.map(|(_, value)| value.to_str().unwrap().to_owned()), warnings)
        };
        for (name, written, header, want, warnings) in [
            (METHODS, "GET, PUT", header::ACCESS_CONTROL_ALLOW_METHODS, Some("GET, PUT"), 0),
            (METHODS, "*", header::ACCESS_CONTROL_ALLOW_METHODS, Some(DEFAULT_METHODS), 1),
            (HEADERS, "X-A,X_B", header::ACCESS_CONTROL_ALLOW_HEADERS, Some("X-A,X_B"), 0),
            (HEADERS, "*", header::ACCESS_CONTROL_ALLOW_HEADERS, Some(DEFAULT_HEADERS), 1),
            (EXPOSE, "*", header::ACCESS_CONTROL_EXPOSE_HEADERS, Some("*"), 0),
            (EXPOSE, "X{}", header::ACCESS_CONTROL_EXPOSE_HEADERS, None, 1),
            (MAX_AGE, "-1", header::ACCESS_CONTROL_MAX_AGE, Some("-1"), 0),
            (MAX_AGE, "10m", header::ACCESS_CONTROL_MAX_AGE, Some(DEFAULT_MAX_AGE), 1),
            (CREDENTIALS, "false", header::ACCESS_CONTROL_ALLOW_CREDENTIALS, None, 0),
            (CREDENTIALS, "maybe", header::ACCESS_CONTROL_ALLOW_CREDENTIALS, Some("true"), 1),
        ] {
            assert_eq!(value(name, written, header), (want.map(Into::into), warnings), "{name}: {written}");
        }
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_enabled() {
        for annotations in [&[(ORIGIN, "*")][..], &[(ENABLE, "false")], &[(ENABLE, "yes")]] {
            assert_eq!(cors(annotations).0, None, "{annotations:?}");
        }
    }
}
