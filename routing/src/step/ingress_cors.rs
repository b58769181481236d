//! CORS of Ingresses, as in ingress-nginx: the same headers in every response to an allowed origin, and 204 for every OPTIONS
//! request of such an origin.
//!
//! It differs from [`Cors`](super::Cors), which follows the Fetch standard. Source: the recorded behavior of ingress-nginx
//! 1.15.1 (`tests/ingress-nginx/cases/cors.yaml`).

use http::{HeaderName, HeaderValue, header};

use crate::Headers;

/// What pages of other origins are allowed to do (`enable-cors` and `cors-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressCors {
    /// The origins; `None` is every request, including those without an origin, with the value `*`.
    pub origins: Option<Box<[IngressOrigin]>>,
    /// The headers of responses, in addition to the origin.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
}

/// An origin: `scheme://host[:port]`, where the leftmost label of the host can be `*`, for one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressOrigin(pub Box<str>);

/// The headers that are set in a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted<'r> {
    origin: &'r [u8],
    headers: &'r [(HeaderName, HeaderValue)],
}

impl IngressCors {
    /// Returns the headers of the response to a request; `None` if its origin is not allowed.
    pub(crate) fn granted<'r>(&'r self, request: &'r dyn Headers) -> Option<Granted<'r>> {
        let origin = match &self.origins {
            None => b"*",
            Some(origins) => {
                let origin = request.first(&header::ORIGIN)?;
                let text = std::str::from_utf8(origin).ok()?;
                origins.iter().any(|allowed| allowed.matches(text)).then_some(origin)?
            }
        };
        Some(Granted { origin, headers: &self.headers })
    }
}

impl IngressOrigin {
    fn matches(&self, origin: &str) -> bool {
        match self.0.split_once("://*.") {
            None => self.0.eq_ignore_ascii_case(origin),
            Some((scheme, suffix)) => {
                let Some((other, host)) = origin.split_once("://") else { return false };
                let Some((label, rest)) = host.split_once('.') else { return false };
                let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                scheme.eq_ignore_ascii_case(other)
                    && suffix.eq_ignore_ascii_case(rest)
                    && !label.is_empty()
                    && label.bytes().all(is_label)
            }
        }
    }
}

impl Granted<'_> {
    /// Returns whether a header of this name, in upper or lower case, is replaced.
    pub(crate) fn sets(&self, name: &[u8]) -> bool {
        matches!(name.first(), Some(b'a' | b'A'))
            && (name.eq_ignore_ascii_case(header::ACCESS_CONTROL_ALLOW_ORIGIN.as_str().as_bytes())
                || self.headers.iter().any(|(set, _)| name.eq_ignore_ascii_case(set.as_str().as_bytes())))
    }

    /// Calls `visit` with each header.
    pub(crate) fn each(&self, mut visit: impl FnMut(&HeaderName, &HeaderValue)) {
        if let Ok(origin) = HeaderValue::from_bytes(self.origin) {
            visit(&header::ACCESS_CONTROL_ALLOW_ORIGIN, &origin);
            self.headers.iter().for_each(|(name, value)| visit(name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn an_origin_is_compared_as_a_text_and_a_star_is_one_label() {
        for (pattern, origin, want) in [
            ("https://front.test", "https://front.test", true),
            ("https://front.test", "HTTPS://Front.test", true),
            ("https://front.test", "http://front.test", false),
            ("https://front.test", "https://front.test:443", false),
            ("https://front.test:443", "https://front.test:443", true),
            ("https://*.front.test", "https://a.front.test", true),
            ("https://*.front.test", "https://front.test", false),
            ("https://*.front.test", "https://a.b.front.test", false),
            ("https://*.front.test", "https://a_b.front.test", false),
            ("https://*.front.test", "https://.front.test", false),
            ("https://*.front.test", "https://a.front.test:80", false),
            ("https://*.front.test:80", "https://a.front.test:80", true),
            ("https://*.front.test", "https://evil.test/.front.test", false),
        ] {
            assert_eq!(IngressOrigin(pattern.into()).matches(origin), want, "{pattern} {origin}");
        }
    }

    #[test]
    fn the_origin_is_repeated_as_the_client_wrote_it_or_is_a_star() {
        let headers = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            origin.map(|origin| headers.insert(header::ORIGIN, HeaderValue::from_static(origin)));
            headers
        };
        let granted = |origins: Option<&str>, request: Option<&'static str>| {
            let origins = origins.map(|origin| [IngressOrigin(origin.into())].into());
            let cors = IngressCors { origins, headers: Box::default() };
            let headers = headers(request);
            let mut found = None;
            cors.granted(&headers)?.each(|_, value| found = Some(value.to_str().unwrap().to_owned()));
            found
        };
        assert_eq!(granted(None, None).as_deref(), Some("*"));
        assert_eq!(granted(None, Some("https://a.test")).as_deref(), Some("*"));
        assert_eq!(
            granted(Some("https://a.test"), Some("https://A.test")).as_deref(),
            Some("https://A.test")
        );
        assert_eq!(granted(Some("https://a.test"), Some("https://b.test")), None);
        assert_eq!(granted(Some("https://a.test"), None), None);
    }
}
