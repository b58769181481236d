//! CORS: which pages of other origins can read a response (Fetch standard, section 3.2).
//!
//! Two callers apply it: [`Cors::preflight`] answers an OPTIONS request that is a preflight, and
//! [`AnswerEdits`](super::AnswerEdits) changes the responses to all other requests.

use std::ops::Deref;

use http::{HeaderName, HeaderValue, header};

use crate::Headers;

/// What pages of other origins are allowed to do (HTTPCORSFilter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins that can read responses: `*`, or `scheme://host[:port]`, where the leftmost label of the host can be
    /// `*`.
    pub allow_origins: Origins,
    /// Whether requests with credentials are allowed.
    pub allow_credentials: bool,
    /// The methods that requests can use, or `*`.
    pub allow_methods: Names,
    /// The headers that requests can have, or `*`.
    pub allow_headers: Names,
    /// The headers of the response that the page can read, or `*`.
    pub expose_headers: Names,
    /// How many seconds a browser can cache the response to a preflight.
    pub max_age: HeaderValue,
}

/// Origins that can read responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    patterns: Box<[OriginPattern]>,
    any: bool,
}

/// `https://www.example.com`, with `*` for any number of labels, or `*` alone for every origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    text: Box<str>,
    /// Whether the text is that of a single origin, so that an equal text matches.
    is_exact: bool,
}

/// Methods or names of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    any: bool,
    /// All names, as the value of a header; `None` if there are none.
    joined: Option<HeaderValue>,
}

/// What the response to a request that is not a preflight allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed<'r> {
    /// The `Access-Control-Allow-Origin`; `None` if the request's origin cannot read the response.
    origin: Option<&'r [u8]>,
    credentials: bool,
    expose: Option<&'r HeaderValue>,
}

impl<const N: usize> From<[Box<str>; N]> for Origins {
    fn from(texts: [Box<str>; N]) -> Self {
        texts.into_iter().collect()
    }
}

impl FromIterator<Box<str>> for Origins {
    fn from_iter<T: IntoIterator<Item = Box<str>>>(texts: T) -> Self {
        let patterns: Box<[_]> = texts
            .into_iter()
            .map(|text| OriginPattern {
                is_exact: split_origin(&text).is_some() && !text.contains('*'),
                text,
            })
            .collect();
        Self { any: patterns.iter().any(|pattern| &*pattern.text == "*"), patterns }
    }
}

impl Deref for Origins {
    type Target = [OriginPattern];

    fn deref(&self) -> &[OriginPattern] {
        &self.patterns
    }
}

impl OriginPattern {
    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches(&self, origin: &[u8]) -> bool {
        (self.is_exact && self.text.as_bytes() == origin)
            || std::str::from_utf8(origin).is_ok_and(|origin| origin_matches(&self.text, origin))
    }
}

impl<const N: usize> From<[Box<str>; N]> for Names {
    fn from(names: [Box<str>; N]) -> Self {
        names.into_iter().collect()
    }
}

impl FromIterator<Box<str>> for Names {
    fn from_iter<T: IntoIterator<Item = Box<str>>>(names: T) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        let joined = HeaderValue::try_from(names.join(", ")).ok().filter(|joined| !joined.is_empty());
        Self { any: names.iter().any(|name| &**name == "*"), joined }
    }
}

impl Allowed<'_> {
    /// The headers that CORS replaces, regardless of what the backend and the other steps set.
    pub(crate) const NAMES: [HeaderName; 3] = [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
    ];

    /// Returns whether CORS replaces a header of this name, in upper or lower case.
    pub(crate) fn sets(name: &[u8]) -> bool {
        matches!(name.first(), Some(b'a' | b'A'))
            && Self::NAMES.iter().any(|set| name.eq_ignore_ascii_case(set.as_str().as_bytes()))
    }

    /// Calls `visit` with each header that CORS adds.
    pub(crate) fn each(&self, mut visit: impl FnMut(&HeaderName, &HeaderValue)) {
        let Some(origin) = self.origin.and_then(|origin| HeaderValue::from_bytes(origin).ok()) else {
            return;
        };
        visit(&header::ACCESS_CONTROL_ALLOW_ORIGIN, &origin);
        if self.credentials {
            visit(&header::ACCESS_CONTROL_ALLOW_CREDENTIALS, &HeaderValue::from_static("true"));
        }
        if let Some(expose) = self.expose {
            visit(&header::ACCESS_CONTROL_EXPOSE_HEADERS, expose);
        }
    }
}

impl Cors {
    /// Returns the headers of the response (204, without body) to an OPTIONS request with these headers, if the request
    /// is a preflight, which has an `Origin` and an `Access-Control-Request-Method`. Returns `None` for any other
    /// OPTIONS request; it is forwarded to the backend.
    ///
    /// An origin that is not allowed also gets a response, but without the headers that grant access, so that its browser
    /// sends no further request.
    pub fn preflight(&self, request: &dyn Headers) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let origin = request.first(&header::ORIGIN)?;
        let method = request.first(&header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let mut answer = Vec::with_capacity(7);
        answer.push((header::VARY, HeaderValue::from_static(VARY_PREFLIGHT)));
        let allowed = self.allow_origin(origin).and_then(|origin| HeaderValue::from_bytes(origin).ok());
        let Some(allowed) = allowed else { return Some(answer) };
        answer.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
        if self.allow_credentials {
            answer.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        let headers = request.first(&header::ACCESS_CONTROL_REQUEST_HEADERS);
        let lists = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, self.list_for(&self.allow_methods, Some(method))),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, self.list_for(&self.allow_headers, headers)),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, self.list_for(&self.expose_headers, None)),
        ];
        answer.extend(lists.into_iter().filter_map(|(name, value)| Some((name, value?))));
        answer.push((header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
        Some(answer)
    }

    /// Returns what the response to a request of this origin allows, if the request is not a preflight.
    ///
    /// The backend's own CORS headers are replaced: two `Access-Control-Allow-Origin` would allow nothing, and one for
    /// an origin that the filter does not allow would allow too much.
    pub(crate) fn allowed<'r>(&'r self, origin: &'r [u8]) -> Allowed<'r> {
        let origin = self.allow_origin(origin);
        Allowed {
            origin,
            credentials: origin.is_some() && self.allow_credentials,
            expose: origin.and_then(|_| self.list(&self.expose_headers)),
        }
    }

    /// Returns whether the response is the same for every origin.
    pub(crate) fn is_public(&self) -> bool {
        !self.allow_credentials && self.allow_origins.any
    }

    /// Returns the `Access-Control-Allow-Origin` for a request's `Origin`; `None` if the origin is not allowed.
    fn allow_origin<'o>(&self, origin: &'o [u8]) -> Option<&'o [u8]> {
        if self.is_public() {
            return Some(b"*");
        }
        self.allow_origins.iter().any(|pattern| pattern.matches(origin)).then_some(origin)
    }

    /// Returns a list as a header's value. Returns `None` if the list is empty, and for `*` with credentials, where a
    /// browser does not treat `*` as a wildcard (Fetch standard, section 3.2.5).
    fn list<'n>(&self, names: &'n Names) -> Option<&'n HeaderValue> {
        names.joined.as_ref().filter(|_| !(self.allow_credentials && names.any))
    }

    /// Returns a list as a header's value, as [`Self::list`] does, but replaces a `*` with credentials by `asked`, the
    /// names that the request contains.
    fn list_for(&self, names: &Names, asked: Option<&[u8]>) -> Option<HeaderValue> {
        match self.allow_credentials && names.any {
            true => HeaderValue::from_bytes(asked?).ok(),
            false => names.joined.clone(),
        }
    }
}

/// OPTIONS is not cacheable (RFC 9110, 9.3.7), but some caches store it nevertheless.
const VARY_PREFLIGHT: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// Returns whether a configured origin covers the `Origin` of a request. A missing port means the scheme's default port
/// (HTTPCORSFilter `allowOrigins`); a `*` covers any number of labels.
fn origin_matches(pattern: &str, origin: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (Some(pattern), Some(origin)) = (split_origin(pattern), split_origin(origin)) else { return false };
    pattern.scheme.eq_ignore_ascii_case(origin.scheme)
        && pattern.port == origin.port
        && host_matches(pattern.host, origin.host)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let Some(suffix) = pattern.strip_prefix('*') else { return pattern.eq_ignore_ascii_case(host) };
    let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
    host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

struct OriginParts<'o> {
    scheme: &'o str,
    host: &'o str,
    port: u16,
}

/// Splits an origin into its parts. Returns `None` for a text that is not a tuple origin, such as `null`.
fn split_origin(origin: &str) -> Option<OriginParts<'_>> {
    let (scheme, rest) = origin.split_once("://")?;
    let host_end = rest.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match rest[host_end..].rfind(':') {
        Some(colon) => (&rest[..host_end + colon], rest[host_end + colon + 1..].parse().ok()?),
        None => (rest, if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 }),
    };
    Some(OriginParts { scheme, host, port })
}

#[cfg(test)]
mod tests {
    use std::iter;

    use http::HeaderMap;

    use super::*;
    use crate::step::AnswerEdits;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (pattern, origin, want) in [
            ("*", "https://a.example", true),
            ("*", "null", true),
            ("https://www.foo.com", "https://www.foo.com", true),
            ("https://www.foo.com", "http://www.foo.com", false),
            ("https://www.foo.com", "https://foo.com", false),
            ("https://www.foo.com", "https://www.foo.com:443", true),
            ("https://www.foo.com:443", "https://www.foo.com", true),
            ("http://www.foo.com:80", "http://www.foo.com", true),
            ("https://www.foo.com", "https://www.foo.com:8443", false),
            ("https://www.foo.com:8443", "https://www.foo.com:8443", true),
            ("https://WWW.foo.com", "https://www.foo.com", true),
            ("https://*.bar.com", "https://www.bar.com", true),
            ("https://*.bar.com", "https://xpto.www.bar.com", true),
            ("https://*.bar.com", "https://bar.com", false),
            ("https://*.bar.com", "https://foobar.com", false),
            ("https://*.bar.com", "https://.bar.com", false),
            ("https://*.bar.com", "https://www.bar.com.evil.example", false),
            ("https://*.bar.com:8443", "https://www.bar.com:8443", true),
            ("https://*.bar.com:8443", "https://www.bar.com", false),
            ("https://*", "https://anything.example", true),
            ("https://*", "http://anything.example", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]:80", true),
            ("https://www.foo.com", "null", false),
            ("https://www.foo.com", "https://www.foo.com:99999", false),
            ("https://www.foo.com", "", false),
            ("https://*.b\u{fc}r.com", "https://w.b\u{fc}r.com", true),
            ("https://*.com", "https://\u{fc}", false),
        ] {
            assert_eq!(origin_matches(pattern, origin), want, "{pattern} for {origin}");
        }
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        let cors = Cors {
            allow_origins: ["https://www.foo.com".into(), "https://*.bar.com".into()].into(),
            allow_credentials: true,
            allow_methods: ["GET".into(), "OPTIONS".into()].into(),
            allow_headers: ["x-header-1".into(), "x-header-2".into()].into(),
            expose_headers: ["x-header-3".into(), "x-header-4".into()].into(),
            max_age: HeaderValue::from_static("3600"),
        };
        let answer = cors.preflight(&request("https://a.www.bar.com", "GET", "x-header-1")).unwrap();
        assert_eq!(
            text(&answer),
            "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\n\
             access-control-allow-origin: https://a.www.bar.com\n\
             access-control-allow-credentials: true\n\
             access-control-allow-methods: GET, OPTIONS\n\
             access-control-allow-headers: x-header-1, x-header-2\n\
             access-control-expose-headers: x-header-3, x-header-4\n\
             access-control-max-age: 3600\n"
        );
        let refused = cors.preflight(&request("https://foobar.com", "GET", "")).unwrap();
        assert_eq!(
            text(&refused),
            "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\n"
        );
    }

    #[test]
    fn options_without_origin_or_method_is_no_preflight() {
        let cors = any(false);
        let mut headers = request("https://a.example", "GET", "");
        headers.remove(header::ACCESS_CONTROL_REQUEST_METHOD);
        assert_eq!(cors.preflight(&headers), None);
        let mut headers = request("https://a.example", "GET", "");
        headers.remove(header::ORIGIN);
        assert_eq!(cors.preflight(&headers), None);
    }

    #[test]
    fn no_asterisk_stands_beside_credentials() {
        let answer = any(true).preflight(&request("https://a.example", "PUT", "x-1, x-2")).unwrap();
        assert_eq!(value(&answer, "access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(value(&answer, "access-control-allow-methods"), Some("PUT"));
        assert_eq!(value(&answer, "access-control-allow-headers"), Some("x-1, x-2"));
        assert_eq!(value(&answer, "access-control-expose-headers"), None);
        assert_eq!(value(&answer, "access-control-allow-credentials"), Some("true"));
        let answer = any(true).preflight(&request("https://a.example", "PUT", "")).unwrap();
        assert_eq!(value(&answer, "access-control-allow-headers"), None, "nothing asked, nothing echoed");

        let answer = any(false).preflight(&request("https://a.example", "PUT", "x-1")).unwrap();
        for name in ["origin", "methods", "headers"] {
            assert_eq!(value(&answer, &format!("access-control-allow-{name}")), Some("*"), "{name}");
        }
        assert_eq!(value(&answer, "access-control-expose-headers"), Some("*"));
        assert_eq!(value(&answer, "access-control-allow-credentials"), None);
    }

    #[test]
    fn what_is_not_configured_is_not_mentioned() {
        let cors = Cors {
            allow_methods: Default::default(),
            allow_headers: Default::default(),
            expose_headers: Default::default(),
            ..any(false)
        };
        let answer = cors.preflight(&request("https://a.example", "GET", "x-1")).unwrap();
        let names: Vec<_> = answer.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["vary", "access-control-allow-origin", "access-control-max-age"]);
    }

    #[test]
    fn an_answer_says_who_may_read_it() {
        let cors = Cors { allow_origins: ["https://www.foo.com".into()].into(), ..any(true) };
        for (origin, want) in [
            (
                Some("https://www.foo.com"),
                "access-control-allow-credentials: true\naccess-control-allow-origin: https://www.foo.com\nvary: Origin\n",
            ),
            (Some("https://evil.example"), "vary: Origin\n"),
            (None, "access-control-allow-origin: https://from.backend\nvary: Origin\n"),
        ] {
            let mut request = HeaderMap::new();
            if let Some(origin) = origin {
                request.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let backend = HeaderValue::from_static("https://from.backend");
            let mut answer = HeaderMap::from_iter([(header::ACCESS_CONTROL_ALLOW_ORIGIN, backend)]);
            AnswerEdits::of_every_answer(iter::once(&cors), None, &request).apply(&mut answer);
            let mut lines: Vec<_> =
                answer.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
            lines.sort();
            assert_eq!(lines.concat(), want, "{origin:?}");
        }
    }

    #[test]
    fn an_answer_for_everybody_does_not_vary() {
        let mut answer = HeaderMap::new();
        let request = request("https://a.example", "GET", "");
        AnswerEdits::of_every_answer(iter::once(&any(false)), None, &request).apply(&mut answer);
        assert_eq!(answer.get(header::VARY), None);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer[header::ACCESS_CONTROL_EXPOSE_HEADERS], "*");
    }

    fn any(allow_credentials: bool) -> Cors {
        Cors {
            allow_origins: ["*".into()].into(),
            allow_credentials,
            allow_methods: ["*".into()].into(),
            allow_headers: ["*".into()].into(),
            expose_headers: ["*".into()].into(),
            max_age: HeaderValue::from_static("5"),
        }
    }

    fn request(origin: &'static str, method: &'static str, wish: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static(method));
        if !wish.is_empty() {
            headers.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(wish));
        }
        headers
    }

    fn value<'a>(answer: &'a [(HeaderName, HeaderValue)], name: &str) -> Option<&'a str> {
        answer.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap())
    }

    fn text(answer: &[(HeaderName, HeaderValue)]) -> String {
        answer.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()
    }
}
