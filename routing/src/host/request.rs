//! The name in the Host of a request.

use std::borrow::Cow;

/// The name in a Host, `host [ ":" port ]`: what listeners and routes are looked up by, in lower case, without port and
/// without a last dot. `None` where it is neither a name nor an IP address (RFC 3986, 3.2.2).
pub fn request_name(text: &str) -> Option<Cow<'_, str>> {
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
