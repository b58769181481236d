//! The request target: origin-form, and the path in its one canonical form.

use std::borrow::Cow;

use http::Method;
use pingora_http::RequestHeader;
use portcullis_routing::path::canonicalise;

/// Path and query of a request.
#[derive(Debug)]
pub(crate) struct Target<'r> {
    /// The canonical path: matched, and forwarded where no filter rewrites it.
    pub(crate) path: Cow<'r, str>,
    /// The query, without `?`.
    pub(crate) query: Option<&'r str>,
    /// Whether the client sent exactly this, in origin-form.
    pub(crate) verbatim: bool,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Asked<'r> {
    /// A resource.
    Resource(Target<'r>),
    /// `OPTIONS *`: the server itself (RFC 9110, 9.3.7).
    Server,
}

impl<'r> Asked<'r> {
    /// Reads the target. A fragment, which has no place there, was cut off by the parser.
    ///
    /// # Errors
    /// What the client is told where the target is malformed.
    pub(crate) fn of(head: &'r RequestHeader) -> Result<Self, &'static str> {
        const MALFORMED: &str = "malformed request target";
        let raw = head.raw_path();
        if raw == b"*" {
            return if head.method == Method::OPTIONS { Ok(Self::Server) } else { Err(MALFORMED) };
        }
        let raw = std::str::from_utf8(raw).map_err(|_| MALFORMED)?;
        let (rest, verbatim) = match raw.starts_with('/') {
            true => (raw, true),
            false => (after_authority(raw).ok_or(MALFORMED)?, false),
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = canonicalise(if path.is_empty() { "/" } else { path }).map_err(|_| MALFORMED)?;
        let verbatim =
            verbatim && matches!(path, Cow::Borrowed(p) if p.len() == rest.len() - query_len(query));
        Ok(Self::Resource(Target { path, query, verbatim }))
    }
}

impl Target<'_> {
    /// What the backend is asked for; `None` is what the client asked for.
    pub(crate) fn forwarded(&self, rewritten: Option<&str>) -> Option<Box<str>> {
        match (rewritten, self.verbatim) {
            (None, true) => None,
            (rewritten, _) => Some(with_query(rewritten.unwrap_or(&self.path), self.query).into_boxed_str()),
        }
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

fn query_len(query: Option<&str>) -> usize {
    query.map_or(0, |q| q.len() + 1)
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
            let head = RequestHeader::build(method, raw.as_bytes(), None).unwrap();
            let got = match Asked::of(&head) {
                Ok(Asked::Resource(t)) => {
                    Some((t.path.to_string(), t.query.map(str::to_owned), t.forwarded(None)))
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
        let head = RequestHeader::build("OPTIONS", b"*", None).unwrap();
        assert!(matches!(Asked::of(&head), Ok(Asked::Server)));
    }

    #[test]
    fn the_canonical_path_is_the_one_forwarded() {
        let head = RequestHeader::build("GET", b"/a/../b/%2e%2e/c?x=%2e", None).unwrap();
        let Ok(Asked::Resource(target)) = Asked::of(&head) else { panic!() };
        assert_eq!((&*target.path, target.forwarded(None).as_deref()), ("/c", Some("/c?x=%2e")));
        assert_eq!(target.forwarded(Some("/new")).as_deref(), Some("/new?x=%2e"));
    }
}
