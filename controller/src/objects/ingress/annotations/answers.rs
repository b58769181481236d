//! Changes of response headers other than CORS, and the `Connection` header for backends.

use portcullis_routing::step::BackendConnection;

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::Answers,
    objects::{checks::Checks, names::quoted},
};

const HEADERS: &str = "custom-headers";
const CONNECTION: &str = "connection-proxy-header";
const COOKIE_DOMAIN: &str = "proxy-cookie-domain";
const COOKIE_PATH: &str = "proxy-cookie-path";
const FROM: &str = "proxy-redirect-from";
const TO: &str = "proxy-redirect-to";
const OFF: &str = "off";
const REGEX: &str = "is a regular expression (~), which is not served";

impl Family for Answers {
    const NAMES: &'static [&'static str] = &[HEADERS, CONNECTION, COOKIE_DOMAIN, COOKIE_PATH, FROM, TO];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let connection = match written.value(CONNECTION) {
            None | Some("") => None,
            Some("close") => Some(BackendConnection::Close),
            Some("keep-alive") => Some(BackendConnection::KeepAlive),
            Some(other) => {
                let why = format!("{} is neither close nor keep-alive", quoted(other));
                return Err(Denied { name: CONNECTION, why });
            }
        };
        let mut two = |name, is_word: fn(u8) -> bool| {
            written.parse(name, checks, |text| replaced(text, is_word)).flatten()
        };
        let cookie_domain = two(COOKIE_DOMAIN, |byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let cookie_path = two(COOKIE_PATH, |byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
        let from = written.parse(FROM, checks, place).flatten();
        let to = written.parse(TO, checks, place).flatten();
        let redirect = match (from, to) {
            (Some("default"), _) => Some(("http://upstream_balancer".into(), "".into())),
            (Some(from), Some(to)) => Some((from.into(), to.into())),
            _ => None,
        };
        let headers = written.value(HEADERS).filter(|name| !name.is_empty()).map(Into::into);
        Ok(Self { headers, connection, cookie_domain, cookie_path, redirect })
    }
}

/// A text and its replacement.
type Replacement = (Box<str>, Box<str>);

/// Parses a text and its replacement, separated by a space; `None` if nothing is replaced.
fn replaced(text: &str, is_word: fn(u8) -> bool) -> Result<Option<Replacement>, &'static str> {
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    match words[..] {
        [OFF] => Ok(None),
        [from, _] if from.starts_with('~') => Err(REGEX),
        [from, to] if text.bytes().all(|byte| byte == b' ' || is_word(byte)) => {
            Ok(Some((from.into(), to.into())))
        }
        _ => Err("is not two texts of plain characters, separated by a space"),
    }
}

/// The beginning of a URL; `None` disables the rewrite.
fn place(text: &str) -> Result<Option<&str>, &'static str> {
    match text {
        OFF => Ok(None),
        text if text.starts_with('~') => Err(REGEX),
        text if values::is_plain_url(text) && !text.is_empty() => Ok(Some(text)),
        _ => Err("is not a URL without variables, nor its beginning"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    fn answers(annotations: &[(&str, &str)]) -> (Answers, usize) {
        family(annotations, |annotations| annotations.answers.clone())
    }

    #[test]
    fn the_header_of_the_connection_is_one_of_two_words() {
        for (value, want) in [
            ("close", Some(BackendConnection::Close)),
            ("keep-alive", Some(BackendConnection::KeepAlive)),
            ("", None),
        ] {
            assert_eq!(
                (answers(&[(CONNECTION, value)]).0.connection, answers(&[(CONNECTION, value)]).1),
                (want, 0)
            );
        }
        for value in ["x y;", "upgrade", "close, te", "Close"] {
            assert!(refused(&[(CONNECTION, value)]).contains("is neither close nor keep-alive"), "{value}");
        }
    }

    #[test]
    fn cookies_have_two_texts() {
        let pair = |pair: Option<(Box<str>, Box<str>)>| pair.map(|(from, to)| format!("{from}>{to}"));
        for (name, value, want, warnings) in [
            (COOKIE_DOMAIN, "a.test b.test", Some("a.test>b.test"), 0),
            (COOKIE_DOMAIN, "off", None, 0),
            (COOKIE_DOMAIN, "a.test", None, 1),
            (COOKIE_DOMAIN, "$host b.test", None, 1),
            (COOKIE_DOMAIN, "", None, 1),
            (COOKIE_PATH, "/ /app/", Some("/>/app/"), 0),
            (COOKIE_PATH, "~*^/(.*) /x/$1", None, 1),
            (COOKIE_PATH, "/ /a /b", None, 1),
            (COOKIE_PATH, "~/old /new", None, 1),
            (COOKIE_DOMAIN, "~a b", None, 1),
        ] {
            let (read, warned) = answers(&[(name, value)]);
            let got = pair(read.cookie_domain).or(pair(read.cookie_path));
            assert_eq!((got.as_deref(), warned), (want, warnings), "{name}: {value}");
        }
    }

    #[test]
    fn redirects_have_a_beginning_and_what_takes_its_place() {
        for (from, to, want, warnings) in [
            (Some("http://a:8080/"), Some("https://b/"), Some(("http://a:8080/", "https://b/")), 0),
            (Some("http://a/"), None, None, 0),
            (None, Some("http://a/"), None, 0),
            (Some("http://a/"), Some("off"), None, 0),
            (Some("off"), Some("/"), None, 0),
            (Some("default"), None, Some(("http://upstream_balancer", "")), 0),
            (Some("bad url;"), Some("x"), None, 1),
            (Some("~http://a"), Some("x"), None, 1),
        ] {
            let written = [from.map(|from| (FROM, from)), to.map(|to| (TO, to))];
            let written: Vec<_> = written.into_iter().flatten().collect();
            let (read, warned) = answers(&written);
            let got = read.redirect.as_ref().map(|(from, to)| (&**from, &**to));
            assert_eq!((got, warned), (want, warnings), "{from:?} {to:?}");
        }
    }
}
