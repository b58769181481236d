//! The kinds of headers that a proxy tells apart by name. Most headers are of no such kind, and are forwarded unchanged.

/// The kind of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is forwarded.
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Expect,
    Upgrade,
    KeepAlive,
    Trailer,
    Date,
    ContentType,
    Origin,
    /// It is meant for this connection only (RFC 9110, 7.6.1), or for the proxy (11.7).
    Hop,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Host`.
    ForwardedHost,
    /// `X-Forwarded-Port`.
    ForwardedPort,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `X-Scheme` and `X-Forwarded-Scheme`.
    Scheme,
    /// `X-Original-Forwarded-For` and `X-Original-Forwarded-Host`, which backends of Ingresses get.
    Original,
    /// Other headers that describe the client, which only trusted proxies may set: `Forwarded`, `X-Forwarded-*`,
    /// other `X-Original-Forwarded-*`.
    Claim,
    RealIp,
    RequestId,
    /// `Proxy`, which CGI-like backends would take for the variable `HTTP_PROXY`; and names with an underscore that such
    /// backends would take for a header that is set here. And `X-Portcullis-Checked`, which only proxies may send.
    Forged,
}

/// The kind of a header with this name.
pub(super) fn kind(name: &[u8]) -> Kind {
    let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return Kind::Other };
    // Length and first letter alone rule out nearly all other names.
    match (name.len(), first) {
        (2, b't') if is(name, b"te") => Kind::Hop,
        (4, b'h') if is(name, b"host") => Kind::Host,
        (4, b'd') if is(name, b"date") => Kind::Date,
        (5, b'p') if is(name, b"proxy") => Kind::Forged,
        (6, b'e') if is(name, b"expect") => Kind::Expect,
        (6, b'o') if is(name, b"origin") => Kind::Origin,
        (7, b'u') if is(name, b"upgrade") => Kind::Upgrade,
        (7, b't') if is(name, b"trailer") => Kind::Trailer,
        (8, b'x') if is(name, b"x-scheme") => Kind::Scheme,
        (9, b'f') if is(name, b"forwarded") => Kind::Claim,
        (9, b'x') if is(name, b"x-real-ip") => Kind::RealIp,
        (10, b'c') if is(name, b"connection") => Kind::Connection,
        (10, b'k') if is(name, b"keep-alive") => Kind::KeepAlive,
        (12, b'c') if is(name, b"content-type") => Kind::ContentType,
        (12, b'x') if is(name, b"x-request-id") => Kind::RequestId,
        (14, b'c') if is(name, b"content-length") => Kind::ContentLength,
        (14, b'h') if is(name, b"http2-settings") => Kind::Hop,
        (15, b'x') if is(name, b"x-forwarded-for") => Kind::ForwardedFor,
        (16, b'x') if is(name, b"x-forwarded-host") => Kind::ForwardedHost,
        (16, b'x') if is(name, b"x-forwarded-port") => Kind::ForwardedPort,
        (16, b'p') if is(name, b"proxy-connection") => Kind::Hop,
        (17, b't') if is(name, b"transfer-encoding") => Kind::TransferEncoding,
        (17, b'x') if is(name, b"x-forwarded-proto") => Kind::ForwardedProto,
        (18, b'p') if is(name, b"proxy-authenticate") => Kind::Hop,
        (18, b'x') if is(name, b"x-forwarded-scheme") => Kind::Scheme,
        (19, b'p') if is(name, b"proxy-authorization") => Kind::Hop,
        (20, b'x') if is(name, b"x-portcullis-checked") => Kind::Forged,
        (24, b'x') if is(name, b"x-original-forwarded-for") => Kind::Original,
        (25, b'x') if is(name, b"x-original-forwarded-host") => Kind::Original,
        (_, b'x') => extension(name),
        _ => Kind::Other,
    }
}

/// Whether a name is this one, which is in lower case. Compares eight bytes at a time: this is asked of most headers.
fn is<const N: usize>(name: &[u8], text: &[u8; N]) -> bool {
    let same = |(a, b): (&[u8; 8], &[u8; 8])| lower(u64::from_ne_bytes(*a)) == u64::from_ne_bytes(*b);
    match (name.last_chunk(), text.last_chunk()) {
        _ if name.len() != N => false,
        (Some(end), Some(end_of_text)) => {
            let (eights, eights_of_text) = (name.as_chunks().0, text.as_chunks().0);
            same((end, end_of_text)) && eights.iter().zip(eights_of_text).all(same)
        }
        _ => name.eq_ignore_ascii_case(text),
    }
}

/// Eight characters in lower case.
fn lower(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let low = eight & !HIGH;
    let from_a = low + (0x80 - u64::from(b'A')) * ONES;
    let beyond_z = low + (0x7f - u64::from(b'Z')) * ONES;
    let upper = from_a & !beyond_z & !eight & HIGH;
    eight | upper >> 2
}

/// The kind of a header whose name begins with `X` and is not one of those that [`kind`] lists.
fn extension(name: &[u8]) -> Kind {
    let claims = CLAIMS.iter().any(|claim| reads_as(name, claim, false));
    match (claims, name.contains(&b'_')) {
        (true, true) => Kind::Forged,
        (true, false) => Kind::Claim,
        (false, true) if OURS.iter().any(|ours| reads_as(name, ours, true)) => Kind::Forged,
        (false, _) => Kind::Other,
    }
}

/// Prefixes of names that describe the client. All of them, and all of [`OURS`], begin with `x`.
const CLAIMS: [&str; 2] = ["x-forwarded-", "x-original-forwarded-"];
const OURS: [&str; 3] = ["x-real-ip", "x-request-id", "x-scheme"];

/// Whether a name (or its beginning) is this one, where `_` is as good as `-`.
fn reads_as(name: &[u8], other: &str, whole: bool) -> bool {
    let same = |(a, b): (&u8, u8)| a.to_ascii_lowercase() == b || (*a == b'_' && b == b'-');
    (name.len() == other.len() || (!whole && name.len() > other.len()))
        && name.iter().zip(other.bytes()).all(same)
}

impl Kind {
    /// Whether `Connection` cannot take such a header away: it frames the message, or says who asked for what.
    pub(super) fn is_essential(self) -> bool {
        matches!(self, Self::Host | Self::ContentLength | Self::TransferEncoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_put_in_lower_case_and_nothing_else_is_changed() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut eight = *b"aZ-_09{@";
                eight[place] = byte;
                let want = eight.map(|byte| byte.to_ascii_lowercase());
                assert_eq!(lower(u64::from_ne_bytes(eight)).to_ne_bytes(), want, "{byte} at {place}");
            }
        }
        assert!(is(b"Content-Length", b"content-length") && is(b"TE", b"te"));
        for other in ["content-lengtg", "aontent-length", "content-length-", "content-lengt", ""] {
            assert!(!is(other.as_bytes(), b"content-length"), "{other}");
        }
    }

    #[test]
    fn names_are_known_however_they_are_spelt() {
        for (name, want) in [
            ("Host", Kind::Host),
            ("CONTENT-LENGTH", Kind::ContentLength),
            ("te", Kind::Hop),
            ("Trailer", Kind::Trailer),
            ("Proxy-Authorization", Kind::Hop),
            ("proxy", Kind::Forged),
            ("X-Portcullis-Checked", Kind::Forged),
            ("X-Forwarded-For", Kind::ForwardedFor),
            ("X-Forwarded-Prefix", Kind::Claim),
            ("x-original-forwarded-for", Kind::Original),
            ("Forwarded", Kind::Claim),
            ("X_Forwarded_For", Kind::Forged),
            ("x-forwarded_prefix", Kind::Forged),
            ("X_Original-Forwarded_For", Kind::Forged),
            ("X_Real_IP", Kind::Forged),
            ("x_request-id", Kind::Forged),
            ("x_real_ip_", Kind::Other),
            ("x_forwarded", Kind::Other),
            ("X-Forwarded", Kind::Other),
            ("my_header", Kind::Other),
            ("Accept", Kind::Other),
            ("x-te", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind(name.as_bytes()), want, "{name}");
        }
    }
}
