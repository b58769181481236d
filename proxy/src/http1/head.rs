//! The head of a request, parsed and checked. Its parts point into the buffer that it was read into; nothing is copied.

use std::{borrow::Cow, ops::ControlFlow};

use http::{HeaderName, Method};
use httparse::{Error, Header, Status};
use portcullis_routing::{Headers, host::request_name};

use super::{
    fields::{Room, place},
    framing::Framing,
    message::{Seen, Why, is_named},
    name::{Kind, kind},
};
use crate::refusal::{MAX_TARGET, Refusal};

/// The outcome of reading a head.
pub(super) enum Read<'r, 'b> {
    /// It is not complete.
    Begun,
    /// It is complete.
    Whole(RequestHead<'r, 'b>),
    /// It is malformed or too large, and answered with a bare status.
    Refused(Refusal),
}

/// The head of a request.
pub(super) struct RequestHead<'r, 'b> {
    pub(super) method: Method,
    /// As the client sent it, without a fragment.
    pub(super) target: &'b str,
    /// Whether its version is HTTP/1.0.
    pub(super) http10: bool,
    /// Its headers, and in parallel the kind of each.
    headers: &'r [Header<'b>],
    kinds: &'r [Kind],
    pub(super) seen: Seen,
    /// The framing of the body that follows.
    pub(super) body: Framing,
    /// The bytes that it was parsed from, of which the first `len` are its own.
    pub(super) bytes: &'b [u8],
    pub(super) len: usize,
    has: u32,
}

/// The host of a request.
#[derive(Debug)]
pub(super) struct Host<'b> {
    /// As the client sent it, including a port; empty in an HTTP/1.0 request without one.
    pub(super) value: &'b str,
    /// The normalized name by which listeners and routes are found.
    pub(super) name: Cow<'b, str>,
}

impl<'b> Room<'b> {
    /// Reads a head of at most `limit` bytes.
    pub(super) fn read_request(&mut self, bytes: &'b [u8], limit: usize) -> Read<'_, 'b> {
        let mut parsed = httparse::Request::new(&mut []);
        let len = match parsed.parse_with_uninit_headers(bytes, &mut self.headers) {
            Ok(Status::Complete(len)) if len <= limit => len,
            Ok(Status::Complete(_)) => return Read::Refused(too_large(bytes, limit)),
            Ok(Status::Partial) => {
                return match bytes.len() > limit {
                    true => Read::Refused(too_large(bytes, limit)),
                    false => begun(bytes),
                };
            }
            Err(error) => return Read::Refused(refusal(error, bytes)),
        };
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Read::Refused(Refusal::Unreadable);
        };
        // As of an incomplete head: `PRI` begins the preface of HTTP/2.
        if method == "PRI" {
            return Read::Refused(Refusal::Foreign);
        }
        // A fragment is not part of a request target (RFC 9110, 4.2.5), and no client should send one.
        let end = memchr::memchr(b'#', target.as_bytes());
        let target = end.and_then(|end| target.get(..end)).unwrap_or(target);
        if target.len() > MAX_TARGET {
            return Read::Refused(Refusal::TargetTooLong);
        }
        let Ok(method) = Method::from_bytes(method.as_bytes()) else {
            return Read::Refused(Refusal::Malformed);
        };
        let (headers, http10) = (&*parsed.headers, version == 0);
        let (mut seen, mut has) = (Seen::default(), 0);
        for (slot, header) in self.kinds.iter_mut().zip(headers) {
            let kind = kind(header.name.as_bytes());
            *slot = kind;
            has |= bit(kind);
            if let Err(why) = seen.read(kind, header.value) {
                return Read::Refused(Refusal::Invalid(why));
            }
        }
        let body = match seen.of_request(http10) {
            Ok(body) => body,
            Err(why) => return Read::Refused(Refusal::Invalid(why)),
        };
        let kinds = &self.kinds[..headers.len()];
        Read::Whole(RequestHead { method, target, http10, headers, kinds, seen, body, bytes, len, has })
    }
}

/// A head that is not complete. Its first line is checked as soon as it has ended: a client of another protocol may wait for
/// an answer before it sends more.
fn begun<'r, 'b>(bytes: &'b [u8]) -> Read<'r, 'b> {
    match first_line(bytes).map(Refusal::of_line) {
        Some(Err(refusal)) => Read::Refused(refusal),
        _ => Read::Begun,
    }
}

fn too_large(bytes: &[u8], limit: usize) -> Refusal {
    match first_line(bytes) {
        Some(line) if line.len() <= limit => Refusal::TooLarge,
        _ => Refusal::TargetTooLong,
    }
}

fn refusal(error: Error, bytes: &[u8]) -> Refusal {
    match (error, first_line(bytes).map(Refusal::of_line)) {
        (_, Some(Err(refusal))) => refusal,
        (Error::TooManyHeaders, _) => Refusal::TooLarge,
        _ => Refusal::Unreadable,
    }
}

/// The first line that is not empty, if it is complete.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = &bytes[begin..];
    Some(&line[..memchr::memchr(b'\n', line)?])
}

/// The bit of a kind in [`RequestHead::has`].
fn bit(kind: Kind) -> u32 {
    1 << (kind as u32)
}

impl<'b> RequestHead<'_, 'b> {
    /// Whether it has a header of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.has & bit(kind) != 0
    }

    /// All headers in order, each with its kind.
    pub(super) fn fields(&self) -> impl DoubleEndedIterator<Item = (Kind, &Header<'b>)> {
        self.kinds.iter().copied().zip(self.headers)
    }

    /// The values of all headers of a kind, in order.
    pub(super) fn values(&self, of: Kind) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        self.fields().filter(move |(kind, _)| *kind == of).map(|(_, header)| header.value)
    }

    /// Whether `Connection` names this header, so that it is not forwarded (RFC 9110, 7.6.1).
    pub(super) fn names(&self, name: &[u8]) -> bool {
        self.seen.names_headers && is_named(name, self.values(Kind::Connection))
    }

    /// The length of the request line, including its end, if it is `method SP target SP HTTP/1.1` and stands at the beginning of
    /// the bytes.
    pub(super) fn plain_line(&self) -> Option<usize> {
        const END: &[u8] = b" HTTP/1.1\r\n";
        let target = place(self.bytes, self.target.as_bytes())?;
        let is_plain = target.start == self.method.as_str().len() + 1
            && self.bytes.get(target.end..target.end + END.len()) == Some(END);
        is_plain.then_some(target.end + END.len())
    }

    /// The host, from the Host header or the authority of an absolute target (RFC 9112, 3.2).
    ///
    /// # Errors
    /// What is wrong with it, for the client and the log.
    pub(super) fn host(&self) -> Result<Host<'b>, Why> {
        let mut fields = self.values(Kind::Host);
        let (field, second) = (fields.next(), fields.next());
        if second.is_some() {
            return Err("more than one Host");
        }
        let authority = self.authority()?;
        let value = match (field, authority) {
            (Some(field), Some(authority)) if field != authority => {
                return Err("Host is not the authority of the target");
            }
            (Some(field), _) => field,
            (None, Some(authority)) if self.http10 => authority,
            (None, None) if self.http10 => return Ok(Host { value: "", name: Cow::Borrowed("") }),
            (None, _) => return Err("no Host"),
        };
        let value = std::str::from_utf8(value).map_err(|_| "invalid Host")?;
        Ok(Host { value, name: request_name(value).ok_or("invalid Host")? })
    }

    /// The value of the only Host header, if nothing else of the request may have a bearing on the host.
    pub(super) fn only_host(&self) -> Option<&'b [u8]> {
        let mut fields = self.values(Kind::Host);
        let field = fields.next()?;
        (fields.next().is_none() && self.is_without_authority()).then_some(field)
    }

    /// Whether the target is surely not in absolute form.
    fn is_without_authority(&self) -> bool {
        self.target.starts_with(['/', '*'])
    }

    /// The authority of a target in absolute form.
    fn authority(&self) -> Result<Option<&'b [u8]>, Why> {
        if self.is_without_authority() {
            return Ok(None);
        }
        let Some((_, rest)) = self.target.split_once("://") else { return Ok(None) };
        let rest = rest.as_bytes();
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let authority = &rest[..end];
        if authority.is_empty() || authority.contains(&b'@') {
            return Err("malformed request target");
        }
        Ok(Some(authority))
    }

    /// Whether `Connection` names a header that it must not remove (RFC 9110, 7.6.1).
    pub(super) fn takes_away_essentials(&self) -> bool {
        if !self.seen.names_headers {
            return false;
        }
        let mut tokens = self
            .values(Kind::Connection)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|token| kind(token.trim_ascii()));
        tokens.any(|kind| {
            kind.is_essential()
                || matches!(
                    kind,
                    Kind::ForwardedFor
                        | Kind::ForwardedHost
                        | Kind::ForwardedPort
                        | Kind::ForwardedProto
                        | Kind::Claim
                )
        })
    }
}

impl Headers for RequestHead<'_, '_> {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        let name = name.as_str();
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>) {
        let name = name.as_str();
        let same = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let _ = same.map(|header| header.value).try_for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64 << 10;

    /// The outcome of reading a head, as text.
    fn read(text: &str) -> String {
        let mut room = Room::new();
        match room.read_request(text.as_bytes(), LIMIT) {
            Read::Begun => "begun".into(),
            Read::Refused(refusal) => format!("{refusal:?}"),
            Read::Whole(head) => match head.host() {
                Ok(host) => format!("{} {:?} at {:?}", head.method, head.body, host.name),
                Err(why) => why.into(),
            },
        }
    }

    #[test]
    fn a_head_is_whole_begun_or_refused() {
        for (text, want) in [
            ("", "begun"),
            ("\r\n\r\n", "begun"),
            ("GE", "begun"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "begun"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET Done at \"a\""),
            ("\r\n\nGET / HTTP/1.1\nHost: a\n\n", "GET Done at \"a\""),
            ("POST / HTTP/1.1\r\nHost: A.b:80\r\nContent-Length: 3\r\n\r\nabc", "POST Length(3) at \"a.b\""),
            ("GET / HTTP/1.1\r\n\r\n", "no Host"),
            ("GET / HTTP/1.0\r\n\r\n", "GET Done at \"\""),
            ("GET http://u@a/ HTTP/1.0\r\n\r\n", "malformed request target"),
            ("GET http://a/ HTTP/1.0\r\n\r\n", "GET Done at \"a\""),
            ("GET http://a/ HTTP/1.1\r\n\r\n", "no Host"),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET Done at \"a\""),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "Host is not the authority of the target"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "more than one Host"),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "invalid Host"),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "invalid Host"),
            ("INVALID CONNECTION PREFACE\r\n", "Foreign"),
            ("PRI * HTTP/2.0\r\n\r\nXX", "Foreign"),
            ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", "Foreign"),
            ("GET / HTTP/2.0\r\n\r\n", "Unreadable"),
            ("GET /a b HTTP/1.1\r\n", "Malformed"),
            ("GET  / HTTP/1.1\r\n\r\n", "Malformed"),
            ("GET /\r\n", "Malformed"),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "Unreadable"),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "Unreadable"),
            ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "Unreadable"),
            ("GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", "Unreadable"),
            ("GET / HTTP/1.1\r\nHo\x01st: a\r\n\r\n", "Unreadable"),
            ("GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n", "Unreadable"),
        ] {
            assert_eq!(read(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_head_has_so_many_bytes_and_headers_and_no_more() {
        let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(n));
        let field = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "b".repeat(n));
        let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "b".repeat(n));
        let (get, rest) = ("GET Done at \"a\"", LIMIT - field(0).len());
        for (text, want) in [
            (fields(255), get),
            (fields(256), "TooLarge"),
            (field(rest), get),
            (field(rest + 1), "TooLarge"),
            (field(10 * LIMIT), "TooLarge"),
            (target(LIMIT - 60), get),
            (target(LIMIT), "TargetTooLong"),
            (target(10 * LIMIT), "TargetTooLong"),
        ] {
            assert_eq!(read(&text), want, "{:.40}... of {}", text, text.len());
        }
        // Of those that have not ended too.
        assert_eq!(read(field(10 * LIMIT).trim_end()), "TooLarge");
        assert_eq!(read(&target(10 * LIMIT)[..LIMIT + 1]), "TargetTooLong");
    }

    #[test]
    fn connection_does_not_take_away_what_others_rely_on() {
        for (named, want) in [
            ("close", false),
            ("X-Hop, keep-alive", false),
            ("X-Real-IP", false),
            ("Host", true),
            ("X-Hop, x-forwarded-for", true),
            ("X-Forwarded-Prefix", true),
            ("Content-Length", true),
            ("Transfer-Encoding", true),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {named}\r\n\r\n");
            let mut room = Room::new();
            let Read::Whole(head) = room.read_request(text.as_bytes(), LIMIT) else { panic!("{named}") };
            assert_eq!(head.takes_away_essentials(), want, "{named}");
        }
    }
}
