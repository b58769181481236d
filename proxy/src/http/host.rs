//! Host of a request: there, one, valid (RFC 9112, 3.2).

use std::borrow::Cow;

use http::{HeaderValue, Version, header};
use pingora_http::RequestHeader;

/// Host of a request.
#[derive(Debug)]
pub(crate) struct Host<'r> {
    /// As it came, port included; empty where HTTP/1.0 has none.
    pub(crate) value: HeaderValue,
    /// What listeners and routes are looked up by: lower case, no port, no last dot.
    pub(crate) name: Cow<'r, str>,
}

impl<'r> Host<'r> {
    /// Reads the host; the authority of an h2 request or of an absolute target is one too.
    ///
    /// # Errors
    /// What the client is told where there is no valid host.
    pub(crate) fn of(head: &'r RequestHeader) -> Result<Self, &'static str> {
        let mut fields = head.headers.get_all(header::HOST).iter();
        let (field, authority) = (fields.next(), head.uri.authority());
        if fields.next().is_some() {
            return Err("more than one Host");
        }
        // Where both are there, they are equal: pingora refuses the request otherwise.
        let (value, text) = match (field, authority) {
            (Some(value), _) => (value.clone(), value.to_str().map_err(|_| "invalid Host")?),
            (None, Some(authority)) => {
                let value = HeaderValue::from_str(authority.as_str()).map_err(|_| "invalid Host")?;
                (value, authority.as_str())
            }
            (None, None) if head.version == Version::HTTP_10 => return Ok(Self::none(head)),
            (None, None) => return Err("no Host"),
        };
        Ok(Self { value, name: name_of(text).ok_or("invalid Host")? })
    }

    /// HTTP/1.0 knows requests without Host; an absolute target may name one all the same.
    fn none(head: &'r RequestHeader) -> Self {
        let authority = std::str::from_utf8(head.raw_path())
            .ok()
            .and_then(|target| target.split_once("://"))
            .map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default())
            .filter(|authority| !authority.contains('@'));
        let named = authority.and_then(|a| Some((HeaderValue::from_str(a).ok()?, name_of(a)?)));
        match named {
            Some((value, name)) => Self { value, name },
            None => Self { value: HeaderValue::from_static(""), name: Cow::Borrowed("") },
        }
    }
}

/// The name in `host [ ":" port ]`; `None` where it is neither a name nor an IP address (RFC 3986, 3.2.2).
fn name_of(text: &str) -> Option<Cow<'_, str>> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (&text[..address.len() + 2], port)
        }
        None => text.split_at(text.bytes().position(|b| b == b':').unwrap_or(text.len())),
    };
    let digits = port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?;
    // An empty port is allowed by the grammar; a number beyond 65535 names no port.
    if !digits.bytes().all(|b| b.is_ascii_digit()) || (!digits.is_empty() && digits.parse::<u16>().is_err()) {
        return None;
    }
    // Host may end in a dot, the DNS root; routes never do.
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 255 {
        return None;
    }
    let seen = name.bytes().fold(0, |seen, b| seen | CLASS[usize::from(b)]);
    // What stands in brackets was parsed above.
    if seen & INVALID != 0 && !name.starts_with('[') {
        return None;
    }
    Some(match seen & UPPER != 0 {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    })
}

const UPPER: u8 = 1;
const INVALID: u8 = 2;

/// In names there are letters, digits, `-`, `.` and, as many clients have it, `_`.
const CLASS: [u8; 256] = {
    let mut table = [INVALID; 256];
    let mut b: u8 = 0;
    while b < 128 {
        table[b as usize] = match b {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => 0,
            _ => INVALID,
        };
        b += 1;
    }
    table
};

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
            assert_eq!(name_of(text).as_deref(), want, "{text}");
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
        assert_eq!((&*host.name, host.value.to_str().unwrap()), ("a.example", "A.example:8443"));
    }
}
