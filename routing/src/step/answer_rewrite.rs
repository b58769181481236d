//! Rewrites of headers in the responses of an Ingress's backends: `proxy-redirect-from` and `-to`, `proxy-cookie-domain`,
//! `proxy-cookie-path`, as nginx does.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::OwnUrl;

/// Rewrites of headers in responses of backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerRewrite {
    /// The beginning of the URL in `Location` and `Refresh`, and its replacement.
    pub location: Option<(Box<str>, Box<str>)>,
    /// How the URL is written if the result is a path.
    pub own: OwnUrl,
    /// The `Domain` of cookies, and its replacement. Leading dots and case are ignored.
    pub cookie_domain: Option<(Box<str>, Box<str>)>,
    /// The beginning of the `Path` of cookies, and its replacement.
    pub cookie_path: Option<(Box<str>, Box<str>)>,
}

impl AnswerRewrite {
    /// The new value of a header with this name, in upper or lower case; `None` if it is unchanged. `base` is the prefix that
    /// makes a path an absolute URL.
    pub(crate) fn value(&self, name: &[u8], value: &[u8], base: &str) -> Option<Vec<u8>> {
        let is = |other: &HeaderName| name.eq_ignore_ascii_case(other.as_str().as_bytes());
        if is(&header::SET_COOKIE) {
            self.cookie(std::str::from_utf8(value).ok()?)
        } else if is(&header::LOCATION) {
            self.url(std::str::from_utf8(value).ok()?, base).map(String::into_bytes)
        } else if is(&header::REFRESH) {
            let (before, url) = std::str::from_utf8(value).ok()?.split_once("url=")?;
            Some(format!("{before}url={}", self.url(url, "")?).into_bytes())
        } else {
            None
        }
    }

    /// The headers that change, each with all of its values.
    pub(crate) fn changed(&self, headers: &HeaderMap, base: &str) -> Vec<(HeaderName, Vec<HeaderValue>)> {
        let names = [header::LOCATION, header::REFRESH, header::SET_COOKIE].into_iter();
        let of_name = |name: HeaderName| {
            let mut changes = false;
            let values = headers.get_all(&name).iter().map(|value| {
                let new = self.value(name.as_str().as_bytes(), value.as_bytes(), base);
                let new = new.and_then(|new| HeaderValue::from_bytes(&new).ok());
                changes |= new.is_some();
                new.unwrap_or_else(|| value.clone())
            });
            let values = values.collect();
            changes.then_some((name, values))
        };
        names.filter_map(of_name).collect()
    }

    fn url(&self, url: &str, base: &str) -> Option<String> {
        let (from, to) = self.location.as_ref()?;
        let url = format!("{to}{}", url.strip_prefix(&**from)?);
        Some(if url.starts_with('/') { format!("{base}{url}") } else { url })
    }

    fn cookie(&self, cookie: &str) -> Option<Vec<u8>> {
        let mut parts = cookie.split(';');
        let (mut new, mut changes) = (parts.next()?.to_owned(), false);
        for part in parts {
            let attribute = part
                .split_once('=')
                .and_then(|(name, value)| Some((name, self.attribute(name.trim(), value.trim())?)));
            new.push(';');
            match attribute {
                Some((name, value)) => {
                    changes = true;
                    new.extend([name, "=", &value]);
                }
                None => new.push_str(part),
            }
        }
        changes.then(|| new.into_bytes())
    }

    fn attribute(&self, name: &str, value: &str) -> Option<String> {
        let (domain, path) = (self.cookie_domain.as_ref(), self.cookie_path.as_ref());
        if name.eq_ignore_ascii_case("domain") {
            let (from, to) = domain?;
            let without_dot = |domain: &str| domain.strip_prefix('.').unwrap_or(domain).to_owned();
            without_dot(value).eq_ignore_ascii_case(&without_dot(from)).then(|| without_dot(to))
        } else if name.eq_ignore_ascii_case("path") {
            let (from, to) = path?;
            value.strip_prefix(&**from).map(|rest| format!("{to}{rest}"))
        } else {
            None
        }
    }
}

impl fmt::Display for AnswerRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, own: _, cookie_domain, cookie_path } = self;
        let all = [("redirects", location), ("cookie domain", cookie_domain), ("cookie path", cookie_path)];
        let mut all = all.into_iter().filter_map(|(what, pair)| Some((what, pair.as_ref()?)));
        f.write_str("answers with")?;
        all.try_for_each(|(what, (from, to))| write!(f, " {what} {from} as {to:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str) -> Option<(Box<str>, Box<str>)> {
        Some((from.into(), to.into()))
    }

    #[test]
    fn places_are_rewritten_by_their_beginning() {
        let base = "http://front.test";
        for (from, to, name, value, want) in [
            (
                "http://in:8080/",
                "https://out/",
                "Location",
                "http://in:8080/x?y=1",
                Some("https://out/x?y=1"),
            ),
            ("http://in:8080/", "https://out/", "location", "http://in/x", None),
            ("http://in", "", "Location", "http://in/x", Some("http://front.test/x")),
            ("http://in/", "/", "Location", "http://in/x", Some("http://front.test/x")),
            ("http://in/", "/", "Refresh", "5; url=http://in/x", Some("5; url=/x")),
            ("http://in/", "/", "Refresh", "5", None),
            ("http://in/", "/", "Link", "http://in/x", None),
        ] {
            let rewrite = AnswerRewrite { location: pair(from, to), ..AnswerRewrite::default() };
            let got = rewrite.value(name.as_bytes(), value.as_bytes(), base);
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{from} {to} {name}: {value}");
        }
    }

    #[test]
    fn attributes_of_cookies_are_rewritten_and_nothing_else_of_them() {
        let rewrite = AnswerRewrite {
            cookie_domain: pair("in.test", ".out.test"),
            cookie_path: pair("/", "/app/"),
            ..AnswerRewrite::default()
        };
        for (value, want) in [
            ("a=1; Domain=in.test", Some("a=1; Domain=out.test")),
            ("a=1; domain=.IN.test; Secure", Some("a=1; domain=out.test; Secure")),
            ("a=1; Domain=other.test", None),
            ("a=1; Domain=x.in.test", None),
            ("a=1; Path=/", Some("a=1; Path=/app/")),
            ("a=1; Path=/x; Secure", Some("a=1; Path=/app/x; Secure")),
            ("a=1; Path=x", None),
            ("Path=/; Secure", None),
            ("a=1", None),
            ("", None),
        ] {
            let got = rewrite.value(b"set-cookie", value.as_bytes(), "");
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{value}");
        }
        let none = AnswerRewrite::default();
        for name in ["set-cookie", "location", "refresh"] {
            for value in [&b"a=1; Path=/"[..], b"http://in/", b"\xff;Path=\xff"] {
                assert_eq!(none.value(name.as_bytes(), value, ""), None);
            }
        }
    }
}
