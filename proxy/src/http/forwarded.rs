//! `X-Forwarded-*`: what the backend is told of the client. Believed from trusted peers only.

use std::{io::Write, net::IpAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_error::Result;
use pingora_http::RequestHeader;
use rand::Rng;

use super::{
    context::Context,
    headers::{self, Fields, Fill, Has, Name},
};
use crate::{ForwardedFor, HeaderNames, random};

pub(super) const FOR: Name = Name::new("X-Forwarded-For", "x-forwarded-for");
const ORIGINAL_FOR: Name = Name::new("X-Original-Forwarded-For", "x-original-forwarded-for");
const ORIGINAL_HOST: Name = Name::new("X-Original-Forwarded-Host", "x-original-forwarded-host");
const HOST: Name = Name::new("X-Forwarded-Host", "x-forwarded-host");
const PORT: Name = Name::new("X-Forwarded-Port", "x-forwarded-port");
const PROTO: Name = Name::new("X-Forwarded-Proto", "x-forwarded-proto");
const SCHEME: Name = Name::new("X-Forwarded-Scheme", "x-forwarded-scheme");
const SHORT_SCHEME: Name = Name::new("X-Scheme", "x-scheme");
const REAL_IP: Name = Name::new("X-Real-IP", "x-real-ip");
const REQUEST_ID: Name = Name::new("X-Request-ID", "x-request-id");

/// Tells the backend who asks, for which host, how and where.
///
/// # Errors
/// Where a header cannot be set (more than pingora's limit of them).
pub(crate) fn apply(request: &mut RequestHeader, context: &Context) -> Result<()> {
    let trusted = context.trusted;
    // Before what is forged is removed.
    let originals = context.is_of_ingress() && context.has.any(Has::FORWARDED_BY);
    let originals =
        originals.then(|| [&FOR, &HOST].map(|sent| joined(request.headers.get_all(&sent.name).iter())));
    if context.has.any(Has::SUSPECT) {
        let names = context.header_names();
        for name in dropped(request.headers.keys(), names, trusted) {
            request.remove_header(&name);
        }
    }
    headers::add(request, Forwarded { context, originals })
}

/// What a backend is told of a client.
struct Forwarded<'a> {
    context: &'a Context,
    /// What backends of Ingresses get of the client's `X-Forwarded-For` and `-Host` under names of their own, as with
    /// ingress-nginx, whoever the client is.
    originals: Option<[Option<HeaderValue>; 2]>,
}

impl Fill for Forwarded<'_> {
    fn fill(self, headers: &mut impl Fields) -> Result<()> {
        let (context, trusted) = (self.context, self.context.trusted);
        let (conn, is_of_ingress) = (&context.conn, context.is_of_ingress());
        for (name, value) in
            [&ORIGINAL_FOR, &ORIGINAL_HOST].into_iter().zip(self.originals.into_iter().flatten())
        {
            match value {
                Some(value) => headers.put(name, value)?,
                None => headers.remove(&name.name),
            }
        }
        let client = context.client_text();
        let list = match (trusted, context.forwarded_for) {
            (true, ForwardedFor::List) => chain(headers.map(), &conn.client).unwrap_or(conn.client.clone()),
            _ => client.clone(),
        };
        headers.put(&FOR, list)?;
        headers.put(&REAL_IP, client)?;
        let keep = |headers: &HeaderMap, name: &Name| trusted && headers.contains_key(&name.name);
        if !keep(headers.map(), &HOST) {
            match &context.host {
                Some(host) => headers.put(&HOST, host.clone())?,
                None => headers.remove(&HOST.name),
            }
        }
        if !keep(headers.map(), &PORT) {
            headers.put(&PORT, conn.client_port_text.clone())?;
        }
        let scheme = HeaderValue::from_static(conn.scheme());
        if !keep(headers.map(), &PROTO) {
            headers.put(&PROTO, scheme.clone())?;
        }
        if !trusted && context.has.any(Has::FORWARDED) {
            headers.remove(&header::FORWARDED);
        }
        // What ingress-nginx sends beside; nobody else expects it.
        if is_of_ingress {
            let scheme = headers.map().get(&PROTO.name).cloned().filter(|_| trusted).unwrap_or(scheme);
            headers.put(&SCHEME, scheme.clone())?;
            headers.put(&SHORT_SCHEME, scheme)?;
        } else if !trusted && context.has.any(Has::SCHEME) {
            headers.remove(&SCHEME.name);
            headers.remove(&SHORT_SCHEME.name);
        }
        let has_id = context.has.any(Has::REQUEST_ID) && headers.map().contains_key(&REQUEST_ID.name);
        if !has_id && !conn.without_request_ids {
            let id = HeaderValue::from_bytes(&context.request_id());
            headers.put(&REQUEST_ID, id.unwrap_or(HeaderValue::from_static("0")))?;
        }
        Ok(())
    }
}

/// The clients that proxies before us have named, and the last of those proxies. `None` where they named none.
fn chain(headers: &HeaderMap, client: &HeaderValue) -> Option<HeaderValue> {
    headers.contains_key(&FOR.name).then(|| joined(headers.get_all(&FOR.name).iter().chain([client])))?
}

/// One list of several. `None` if there is nothing.
fn joined<'v>(mut values: impl Iterator<Item = &'v HeaderValue>) -> Option<HeaderValue> {
    let mut list = values.next()?.as_bytes().to_vec();
    for more in values {
        list.extend_from_slice(b", ");
        list.extend_from_slice(more.as_bytes());
    }
    HeaderValue::from_maybe_shared(Bytes::from(list)).ok()
}

/// The scheme that the client used, as far as it can be known.
pub(crate) fn scheme(request: &RequestHeader, context: &Context) -> &'static str {
    let own = context.conn.scheme();
    if !context.trusted {
        return own;
    }
    match request.headers.get(&PROTO.name).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => own,
    }
}

/// The names of headers that do not get past us, each name looked at once.
fn dropped<'n>(
    names: impl Iterator<Item = &'n HeaderName>,
    allowed: HeaderNames,
    trusted: bool,
) -> Vec<HeaderName> {
    let is_dropped = |name: &str| is_forged(name, trusted) || !allowed.allow(name.as_bytes());
    names.filter(|name| is_dropped(name.as_str())).cloned().collect()
}

/// Whether a header with this name does not get past us: it says of the client what only a trusted peer may say, or CGI-like
/// backends would take it for something else.
fn is_forged(name: &str, trusted: bool) -> bool {
    let claims = |name: &str| CLAIMS.iter().any(|prefix| reads_as(name, prefix, false));
    match name.contains('_') {
        // They read `X_Forwarded_For` as `X-Forwarded-For`,
        true => claims(name) || OURS.iter().any(|ours| reads_as(name, ours, true)),
        // and `Proxy` as the variable `HTTP_PROXY`.
        false => matches!(name, "proxy" | "x-portcullis-checked") || (!trusted && claims(name)),
    }
}

/// What names begin with that say something of the client.
const CLAIMS: [&str; 2] = ["x-forwarded-", "x-original-forwarded-"];
const OURS: [&str; 3] = ["x-real-ip", "x-request-id", "x-scheme"];

/// Whether a name (or its beginning) is this one, where `_` is as good as `-`.
fn reads_as(name: &str, other: &str, whole: bool) -> bool {
    let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
    (name.len() == other.len() || (!whole && name.len() > other.len()))
        && name.bytes().zip(other.bytes()).all(same)
}

/// The client's address as backends are told it. Written once for each connection: it takes as long as all else that is
/// done to a request's headers but for their insertion.
pub(crate) fn address(ip: IpAddr) -> HeaderValue {
    let mut text = [0; 46];
    let left = {
        let mut rest = &mut text[..];
        // 46 bytes hold every address: 39 of IPv6, 45 with a mapped IPv4 in it.
        let _ = write!(rest, "{}", ip.to_canonical());
        rest.len()
    };
    HeaderValue::from_bytes(&text[..46 - left]).unwrap_or(HeaderValue::from_static("unknown"))
}

/// A port as backends are told it.
pub(crate) fn port(port: u16) -> HeaderValue {
    match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        port => HeaderValue::from(port),
    }
}

/// 128 random bits in hexadecimal, as ingress-nginx has it.
pub(crate) fn request_id() -> [u8; 32] {
    let [high, low]: [u64; 2] = random::with(|rng| rng.random());
    let eights = [
        hexadecimal(high as u32),
        hexadecimal((high >> 32) as u32),
        hexadecimal(low as u32),
        hexadecimal((low >> 32) as u32),
    ];
    let mut id = [0; 32];
    id.as_chunks_mut().0.iter_mut().zip(eights).for_each(|(part, eight)| *part = eight.to_be_bytes());
    id
}

/// The eight hexadecimal digits of a number, the most significant first; all eight are computed at once.
fn hexadecimal(number: u32) -> u64 {
    // Spread the digits to one per byte.
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)
}

/// What a backend is told of a client that is not trusted, but for the host: the same for all requests of a connection.
pub(crate) fn of_connection(client: &HeaderValue, port: &HeaderValue, scheme: &str) -> Box<[u8]> {
    let lines = [
        (FOR.spelt(), client.as_bytes()),
        (REAL_IP.spelt(), client.as_bytes()),
        (PORT.spelt(), port.as_bytes()),
        (PROTO.spelt(), scheme.as_bytes()),
    ];
    lines.iter().flat_map(|(name, value)| [name.as_bytes(), b": ", value, b"\r\n"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges;

    #[test]
    fn a_peer_is_trusted_by_its_network() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (network, length, peer, want) in [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.4", false),
            ("0.0.0.0", 0, "192.0.2.1", true),
            ("10.0.0.0", 8, "::ffff:10.0.0.1", true),
            ("fd00::", 8, "fd12::1", true),
            ("fd00::", 8, "fe80::1", false),
            ("::", 0, "2001:db8::1", true),
            ("::", 0, "10.0.0.1", false),
        ] {
            assert_eq!(
                ranges::hold(&[(ip(network), length)], ip(peer)),
                want,
                "{peer} in {network}/{length}"
            );
        }
    }

    #[test]
    fn addresses_are_written_without_a_port() {
        for (ip, want) in [
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:6666"),
        ] {
            assert_eq!(address(ip.parse().unwrap()), want);
        }
    }

    #[test]
    fn what_a_client_says_of_itself_is_forged_and_so_is_what_looks_like_ours() {
        for (name, from_anybody, from_trusted) in [
            ("x_forwarded_for", true, true),
            ("x-forwarded_proto", true, true),
            ("x_original-forwarded-for", true, true),
            ("x_real_ip", true, true),
            ("x_request-id", true, true),
            ("proxy", true, true),
            ("x-portcullis-checked", true, true),
            ("x-forwarded-for", true, false),
            ("x-forwarded-prefix", true, false),
            ("x-original-forwarded-for", true, false),
            ("my_header", false, false),
            ("x_real_ip_", false, false),
            ("x_forwarded", false, false),
            ("x-request-id", false, false),
            ("proxy-authorization", false, false),
            ("forwarded", false, false),
        ] {
            let want = (from_anybody, from_trusted);
            assert_eq!((is_forged(name, false), is_forged(name, true)), want, "{name}");
        }
    }

    #[test]
    fn each_name_is_looked_at_once() {
        let names = |prefix: &'static str| (0..400).map(move |i| format!("{prefix}_{i}"));
        let names: Vec<HeaderName> =
            names("a").chain(names("x_forwarded")).map(|name| name.parse().unwrap()).collect();
        let mut looked = 0;
        let found = dropped(names.iter().inspect(|_| looked += 1), HeaderNames::Any, false);
        assert_eq!((found.len(), looked), (400, 800));
    }

    #[test]
    fn request_ids_differ() {
        assert_ne!(request_id(), request_id());
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xf0e1_d2c3, u32::MAX] {
            assert_eq!(hexadecimal(number).to_be_bytes(), *format!("{number:08x}").as_bytes(), "{number:x}");
        }
    }
}
