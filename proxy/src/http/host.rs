//! Host of a request: there, one, valid (RFC 9112, 3.2).

use std::borrow::Cow;

use http::{HeaderValue, Version, header};
use pingora_http::RequestHeader;
use portcullis_routing::host::request_name;

/// Host of a request.
#[derive(Debug)]
pub(crate) struct Host<'r> {
    /// As it came, port included; empty where HTTP/1.0 has none.
    pub(crate) value: HeaderValue,
    /// The same as text.
    pub(crate) sent: &'r str,
    /// What listeners and routes are looked up by: lower case, no port, no last dot.
    pub(crate) name: Cow<'r, str>,
}

impl<'r> Host<'r> {
    /// Reads the host; the authority of an h2 request or of an absolute target is one too.
    ///
    /// # Errors
    /// What the client is told where there is no valid host.
    pub(crate) fn of(head: &'r RequestHeader) -> Result<Self, &'static str> {
        // With a few headers, comparing their names costs less than a hash lookup. Most HTTP/2 requests have no Host.
        let mut fields =
            head.headers.iter().filter(|(name, _)| *name == header::HOST).map(|(_, value)| value);
        let (field, authority) = (fields.next(), head.uri.authority());
        if fields.next().is_some() {
            return Err("more than one Host");
        }
        let (value, text) = match (field, authority) {
            // RFC 9113, 8.3.1.
            (Some(value), Some(authority)) if value.as_bytes() != authority.as_str().as_bytes() => {
                return Err("Host differs from the authority");
            }
            (Some(value), _) => (value.clone(), value.to_str().map_err(|_| "invalid Host")?),
            (None, Some(authority)) => {
                let value = HeaderValue::from_str(authority.as_str()).map_err(|_| "invalid Host")?;
                (value, authority.as_str())
            }
            (None, None) if head.version == Version::HTTP_10 => return Ok(Self::none(head)),
            (None, None) => return Err("no Host"),
        };
        Ok(Self { value, sent: text, name: request_name(text).ok_or("invalid Host")? })
    }

    /// HTTP/1.0 knows requests without Host; an absolute target may name one all the same.
    fn none(head: &'r RequestHeader) -> Self {
        let authority = std::str::from_utf8(head.raw_path())
            .ok()
            .and_then(|target| target.split_once("://"))
            .map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default())
            .filter(|authority| !authority.contains('@'));
        let named = authority.and_then(|a| Some((HeaderValue::from_str(a).ok()?, a, request_name(a)?)));
        match named {
            Some((value, sent, name)) => Self { value, sent, name },
            None => Self { value: HeaderValue::from_static(""), sent: "", name: Cow::Borrowed("") },
        }
    }
}

/// The authority of the previous request of an HTTP/2 connection, which nearly always is that of the next one. It is neither
/// copied nor parsed again then.
#[derive(Debug, Default)]
pub(crate) struct LastAuthority {
    /// Whether there was a request. Many connections have only one.
    has_served: bool,
    known: Option<Box<Known>>,
}

#[derive(Debug)]
struct Known {
    value: HeaderValue,
    /// The length of the name, which the value begins with.
    name_len: usize,
}

/// The length of the longest host that a connection remembers.
const LONGEST_REMEMBERED: usize = 255;

/// Returns the length of the name if a connection can remember the host that was `sent`: it is not long, and begins with
/// the name. That does not hold for a name that was sent in upper case.
pub(crate) fn remembered_name_len(sent: &str, name: &str) -> Option<usize> {
    (sent.len() <= LONGEST_REMEMBERED && sent.starts_with(name)).then_some(name.len())
}

impl LastAuthority {
    /// Returns the host of the next request, as [`Host::of`] does.
    ///
    /// # Errors
    /// What the client is told where there is no valid host.
    pub(crate) fn of<'r>(&mut self, head: &'r RequestHeader) -> Result<Host<'r>, &'static str> {
        let authority = head.uri.authority().filter(|_| head.headers.keys().all(|name| name != header::HOST));
        if let (Some(known), Some(authority)) = (&self.known, authority)
            && known.value.as_bytes() == authority.as_str().as_bytes()
        {
            let sent = authority.as_str();
            let name = Cow::Borrowed(sent.get(..known.name_len).unwrap_or_default());
            return Ok(Host { value: known.value.clone(), sent, name });
        }
        let host = Host::of(head)?;
        if std::mem::replace(&mut self.has_served, true) {
            self.remember(&host);
        }
        Ok(host)
    }

    fn remember(&mut self, host: &Host<'_>) {
        if let Some(name_len) = remembered_name_len(host.sent, &host.name) {
            self.known = Some(Box::new(Known { value: host.value.clone(), name_len }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for (text, want) in [
            ("example.com", Some("example.com")),
            ("Example.COM:8080", Some("example.com")),
            ("example.com:", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("a_b.example.com", Some("a_b.example.com")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[2001:DB8::1]:443", Some("[2001:db8::1]")),
            ("", None),
            (":80", None),
            (".", None),
            ("example.com:80:80", None),
            ("example.com:http", None),
            ("example.com:65536", None),
            ("user@example.com", None),
            ("example.com/../admin", None),
            ("h/../x y", None),
            ("example.com\\x", None),
            ("a,b", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[example.com]", None),
            ("%65xample.com", None),
        ] {
            assert_eq!(request_name(text).as_deref(), want, "{text}");
        }
    }

    fn head(version: Version, target: &[u8], hosts: &[&str]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target, None).unwrap();
        head.set_version(version);
        for host in hosts {
            head.append_header("Host", *host).unwrap();
        }
        head
    }

    #[test]
    fn one_host_is_needed_from_http_1_1_on() {
        for (version, target, hosts, want) in [
            (Version::HTTP_11, "/", &["a.example"][..], Ok("a.example")),
            (Version::HTTP_11, "/", &[], Err("no Host")),
            (Version::HTTP_11, "http://a.example/", &[], Err("no Host")),
            (Version::HTTP_11, "/", &["a.example", "b.example"], Err("more than one Host")),
            (Version::HTTP_11, "/", &[""], Err("invalid Host")),
            (Version::HTTP_10, "/", &[], Ok("")),
            (Version::HTTP_10, "http://A.example:80/x", &[], Ok("a.example")),
            (Version::HTTP_10, "http://user@a.example/x", &[], Ok("")),
        ] {
            let head = head(version, target.as_bytes(), hosts);
            let got = Host::of(&head).map(|h| h.name.into_owned());
            assert_eq!(got, want.map(str::to_owned), "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn the_authority_of_h2_is_its_host() {
        let mut head = RequestHeader::build_no_case("GET", b"/", None).unwrap();
        head.set_version(Version::HTTP_2);
        head.set_uri("https://A.example:8443/x".parse().unwrap());
        let host = Host::of(&head).unwrap();
        let want = ("a.example", "A.example:8443", "A.example:8443");
        assert_eq!((&*host.name, host.value.to_str().unwrap(), host.sent), want);
    }

    #[test]
    fn a_host_that_is_remembered_is_the_one_that_was_sent() {
        let long = format!("a.example:{}80", "0".repeat(300));
        let of = |authority: &str, hosts: &[&str]| {
            let mut head = head(Version::HTTP_2, b"/", hosts);
            if !authority.is_empty() {
                head.set_uri(format!("https://{authority}/x").parse().unwrap());
            }
            head
        };
        let mut heads: Vec<_> =
            ["a.example", "A.example", "a.example:80", "a.example.", "a.example.:80", "b", "[::1]:80", &long]
                .map(|authority| of(authority, &[]))
                .into();
        for (authority, hosts) in [
            ("a.example", &["a.example"][..]),
            ("a.example", &["b"]),
            ("a.example", &["a.example", "a.example"]),
            ("", &["b"]),
            ("", &["a/b"]),
            ("", &[]),
        ] {
            heads.push(of(authority, hosts));
        }
        let plain = |host: Result<Host<'_>, &'static str>| {
            host.map(|host| (host.value, host.sent.to_owned(), host.name.into_owned()))
        };
        for before in &heads {
            for head in &heads {
                let mut last = LastAuthority::default();
                for _ in 0..3 {
                    assert_eq!(plain(last.of(before)), plain(Host::of(before)), "{before:?}");
                }
                assert_eq!(plain(last.of(head)), plain(Host::of(head)), "{head:?} after {before:?}");
            }
        }
        let mut last = LastAuthority::default();
        let _ = last.of(&heads[0]);
        assert!(last.known.is_none(), "a connection may have one request only");
        let _ = last.of(&heads[0]);
        assert!(last.known.is_some());
    }
}
