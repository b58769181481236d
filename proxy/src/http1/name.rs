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
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    // Length and first letter alone rule out nearly all other names.
    match (name.len(), first) {
        (2, b't') if is("te") => Kind::Hop,
        (4, b'h') if is("host") => Kind::Host,
        (4, b'd') if is("date") => Kind::Date,
        (5, b'p') if is("proxy") => Kind::Forged,
        (6, b'e') if is("expect") => Kind::Expect,
        (6, b'o') if is("origin") => Kind::Origin,
        (7, b'u') if is("upgrade") => Kind::Upgrade,
        (7, b't') if is("trailer") => Kind::Trailer,
        (8, b'x') if is("x-scheme") => Kind::Scheme,
        (9, b'f') if is("forwarded") => Kind::Claim,
        (9, b'x') if is("x-real-ip") => Kind::RealIp,
        (10, b'c') if is("connection") => Kind::Connection,
        (10, b'k') if is("keep-alive") => Kind::KeepAlive,
        (12, b'c') if is("content-type") => Kind::ContentType,
        (12, b'x') if is("x-request-id") => Kind::RequestId,
        (14, b'c') if is("content-length") => Kind::ContentLength,
        (14, b'h') if is("http2-settings") => Kind::Hop,
        (15, b'x') if is("x-forwarded-for") => Kind::ForwardedFor,
        (16, b'x') if is("x-forwarded-host") => Kind::ForwardedHost,
        (16, b'x') if is("x-forwarded-port") => Kind::ForwardedPort,
        (16, b'p') if is("proxy-connection") => Kind::Hop,
        (17, b't') if is("transfer-encoding") => Kind::TransferEncoding,
        (17, b'x') if is("x-forwarded-proto") => Kind::ForwardedProto,
        (18, b'p') if is("proxy-authenticate") => Kind::Hop,
        (18, b'x') if is("x-forwarded-scheme") => Kind::Scheme,
        (19, b'p') if is("proxy-authorization") => Kind::Hop,
        (20, b'x') if is("x-portcullis-checked") => Kind::Forged,
        (24, b'x') if is("x-original-forwarded-for") => Kind::Original,
        (25, b'x') if is("x-original-forwarded-host") => Kind::Original,
        (_, b'x') => extension(name),
        _ => Kind::Other,
    }
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
