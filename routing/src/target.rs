//! The request target: the path and the query, whatever form it has.

use http::Method;

use crate::{
    Rejection,
    path::{InvalidPath, Reading, RequestPath},
};

/// Path and query of a request.
#[derive(Clone, Debug)]
pub struct Target<'r> {
    /// The path, in each of its readings.
    pub path: RequestPath<'r>,
    /// The query, without `?`.
    pub query: Option<&'r str>,
    /// Whether the client sent just these.
    is_origin_form: bool,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Asked<'r> {
    /// A resource.
    Resource(Target<'r>),
    /// `OPTIONS *`: the server itself (RFC 9110, 9.3.7).
    Server,
}

const MALFORMED: &str = "malformed request target";

impl<'r> Asked<'r> {
    /// Reads the target of a request.
    ///
    /// # Errors
    /// Methods that are not served, whatever their target (CONNECT and TRACE), and a target that is malformed.
    pub fn parse(method: &Method, raw: &'r [u8]) -> Result<Self, (Rejection, &'static str)> {
        let raw = std::str::from_utf8(raw).map_err(|_| MALFORMED);
        Self::read(method, raw)
    }

    /// Reads the target of a request that is known to be text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_text(method: &Method, raw: &'r str) -> Result<Self, (Rejection, &'static str)> {
        Self::read(method, Ok(raw))
    }

    fn read(method: &Method, raw: Result<&'r str, &'static str>) -> Result<Self, (Rejection, &'static str)> {
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err((Rejection::MethodNotAllowed, "method not allowed"));
        }
        raw.and_then(|raw| Self::read_text(method, raw)).map_err(|why| (Rejection::BadRequest, why))
    }

    fn read_text(method: &Method, raw: &'r str) -> Result<Self, &'static str> {
        if raw == "*" {
            return if *method == Method::OPTIONS { Ok(Self::Server) } else { Err(MALFORMED) };
        }
        let is_origin_form = raw.starts_with('/');
        let rest = if is_origin_form { raw } else { after_authority(raw).ok_or(MALFORMED)? };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = RequestPath::parse(if path.is_empty() { "/" } else { path }).map_err(InvalidPath::why)?;
        Ok(Self::Resource(Target { path, query, is_origin_form }))
    }

    /// The path for logs.
    pub fn path(&self) -> &str {
        match self {
            Self::Resource(target) => target.path.canonical(),
            Self::Server => "*",
        }
    }
}

impl Target<'_> {
    /// What the backend is asked for; `None` is what the client asked for.
    pub(crate) fn forwarded(&self, reading: Reading, rewritten: Option<&str>) -> Option<Box<str>> {
        let path = rewritten.unwrap_or_else(|| self.path.forwarded(reading));
        let is_sent = self.is_origin_form && path == self.path.sent();
        (!is_sent).then(|| with_query(path, self.query).into_boxed_str())
    }
}
fn with_query(path: &str, query: Option<&str>) -> String {
    let mut text = String::with_capacity(path.len() + query.map_or(0, |q| q.len() + 1));
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    text
}

/// Path and query of the absolute form; the authority was held against Host before.
fn after_authority(raw: &str) -> Option<&str> {
    let (scheme, rest) = raw.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    Some(&rest[rest.find(['/', '?']).unwrap_or(rest.len())..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_origin_form() {
        for (method, raw, want) in [
            ("GET", "/a?b=c", Some(("/a", Some("b=c"), None))),
            ("GET", "/a?", Some(("/a", Some(""), None))),
            ("GET", "/", Some(("/", None, None))),
            ("GET", "http://h.example/a?b", Some(("/a", Some("b"), Some("/a?b")))),
            ("GET", "http://h.example", Some(("/", None, Some("/")))),
            ("GET", "HTTP://h.example?x", Some(("/", Some("x"), Some("/?x")))),
            ("GET", "ftp://h.example/", None),
            ("GET", "a/b", None),
            ("GET", "*", None),
        ] {
            let method: Method = method.parse().unwrap();
            let got = match Asked::parse(&method, raw.as_bytes()) {
                Ok(Asked::Resource(t)) => {
                    let forwarded = t.forwarded(Reading::Gateway, None);
                    Some((t.path.canonical().to_owned(), t.query.map(str::to_owned), forwarded))
                }
                Ok(Asked::Server) => panic!("{raw}"),
                Err(_) => None,
            };
            let want = want.map(|(p, q, f)| (p.to_owned(), q.map(str::to_owned), f.map(Box::<str>::from)));
            assert_eq!(got, want, "{method} {raw}");
        }
    }

    #[test]
    fn a_star_asks_the_server_itself_by_options_only() {
        assert!(matches!(Asked::parse(&Method::OPTIONS, b"*"), Ok(Asked::Server)));
        assert!(Asked::parse(&Method::GET, b"*").is_err());
    }

    #[test]
    fn what_is_forwarded_follows_the_reading_and_the_rewrite() {
        let (routes, ingresses) = (Reading::Gateway, Reading::Ingress);
        for (raw, reading, rewritten, want) in [
            ("/a//%62?x=%2e", routes, None, None),
            ("/a/../b/%2e%2e/c?x=%2e", routes, None, Some("/c?x=%2e")),
            ("/a/../b/%2e%2e/c?x=%2e", ingresses, None, None),
            ("http://h.example/a//%62?x", ingresses, None, Some("/a//%62?x")),
            ("/a?x=%2e", routes, Some("/new"), Some("/new?x=%2e")),
            ("/a?x", routes, Some("/a"), None),
        ] {
            let Ok(Asked::Resource(target)) = Asked::parse(&Method::GET, raw.as_bytes()) else {
                panic!("{raw}")
            };
            assert_eq!(
                target.forwarded(reading, rewritten).as_deref(),
                want,
                "{raw} {reading:?} {rewritten:?}"
            );
        }
    }
}
