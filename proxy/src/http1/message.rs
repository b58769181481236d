//! What the headers of a message say about its body and its connection (RFC 9112, 6 and 9.3), in every combination.

use super::{
    framing::{Chunks, Framing},
    name::Kind,
};

/// What was read of the headers that frame a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    length: Option<u64>,
    /// Whether the length is given more than once; it is passed on once.
    several: bool,
    chunked: bool,
    /// Whether `Connection` has these options.
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Whether `Connection` names headers, which are not forwarded.
    pub(super) names_headers: bool,
}

/// Why a message is malformed, as text for the log.
pub(super) type Why = &'static str;

impl Seen {
    /// Reads a header, if it is one of those.
    pub(super) fn read(&mut self, kind: Kind, value: &[u8]) -> Result<(), Why> {
        match kind {
            Kind::ContentLength => self.read_length(value),
            Kind::TransferEncoding => self.coding(value),
            Kind::Connection => {
                self.connection(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reads a Content-Length. A list of equal lengths is one length (RFC 9110, 8.6).
    fn read_length(&mut self, value: &[u8]) -> Result<(), Why> {
        for one in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            // 18 digits fit a u64; no body is longer.
            if one.is_empty() || one.len() > 18 || !one.iter().all(u8::is_ascii_digit) {
                return Err("invalid Content-Length");
            }
            let length = one.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0'));
            match self.length.replace(length) {
                Some(before) if before != length => return Err("different Content-Lengths"),
                before => self.several |= before.is_some(),
            }
        }
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Why> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err("no transfer coding but chunked is supported");
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match token {
                b"" => {}
                token if token.eq_ignore_ascii_case(b"close") => self.close = true,
                token if token.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                token if token.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ => self.names_headers = true,
            }
        }
    }

    /// The length, if it is given more than once, so that it has to be written anew.
    pub(super) fn one_length(&self) -> Option<u64> {
        self.length.filter(|_| self.several)
    }

    /// The Content-Length.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the body is in chunked coding.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// The framing of a request's body.
    ///
    /// # Errors
    /// If there is more than one way to read it.
    pub(super) fn of_request(&self, http10: bool) -> Result<Framing, Why> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err("both Content-Length and Transfer-Encoding"),
            (true, None) if http10 => Err("Transfer-Encoding in HTTP/1.0"),
            (true, None) => Ok(Framing::Chunked(Chunks::default())),
            (false, Some(length)) if length > 0 => Ok(Framing::Length(length)),
            (false, _) => Ok(Framing::Done),
        }
    }

    /// The framing of the body of an answer with this status. `to_head`: it answers a HEAD request.
    ///
    /// # Errors
    /// If it has a transfer coding, which HTTP/1.0 does not have.
    pub(super) fn of_answer(&self, status: u16, to_head: bool, http10: bool) -> Result<Framing, Why> {
        if self.chunked && http10 {
            return Err("Transfer-Encoding in HTTP/1.0");
        }
        if to_head || status < 200 || matches!(status, 204 | 304) {
            return Ok(Framing::Done);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => Framing::Chunked(Chunks::default()),
            (false, Some(0)) => Framing::Done,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Close,
        })
    }

    /// Whether the connection may carry another message after this one.
    pub(super) fn persists(&self, http10: bool) -> bool {
        // With both, an intermediary may have seen another end of the body (RFC 9112, 6.1).
        let twofold = self.chunked && self.length.is_some();
        !self.close && !twofold && (!http10 || self.keep_alive)
    }
}

/// Whether one of these values of `Connection` names this header.
pub(super) fn is_named<'v>(name: &[u8], mut connection: impl Iterator<Item = &'v [u8]>) -> bool {
    connection.any(|value| {
        value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::name::kind;

    fn seen(headers: &[(&str, &str)]) -> Result<Seen, Why> {
        let mut seen = Seen::default();
        for (name, value) in headers {
            seen.read(kind(name.as_bytes()), value.as_bytes())?;
        }
        Ok(seen)
    }

    #[test]
    fn a_request_has_one_body_or_is_refused() {
        let chunked = || Framing::Chunked(Chunks::default());
        for (headers, http10, want) in [
            (&[][..], false, Some(Framing::Done)),
            (&[("Content-Length", "0")], false, Some(Framing::Done)),
            (&[("Content-Length", "5")], false, Some(Framing::Length(5))),
            (&[("Content-Length", "005")], true, Some(Framing::Length(5))),
            (&[("Content-Length", "5, 5")], false, Some(Framing::Length(5))),
            (&[("Content-Length", "5"), ("content-length", "5")], false, Some(Framing::Length(5))),
            (&[("Content-Length", "5"), ("Content-Length", "6")], false, None),
            (&[("Content-Length", "5, 6")], false, None),
            (&[("Content-Length", "5,")], false, None),
            (&[("Content-Length", "")], false, None),
            (&[("Content-Length", "+5")], false, None),
            (&[("Content-Length", "-5")], false, None),
            (&[("Content-Length", "0x5")], false, None),
            (&[("Content-Length", "5 5")], false, None),
            (&[("Content-Length", "9999999999999999999")], false, None),
            (&[("Transfer-Encoding", "chunked")], false, Some(chunked())),
            (&[("Transfer-Encoding", "CHUNKED")], false, Some(chunked())),
            (&[("Transfer-Encoding", "chunked")], true, None),
            (&[("Transfer-Encoding", "gzip, chunked")], false, None),
            (&[("Transfer-Encoding", "chunked, chunked")], false, None),
            (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], false, None),
            (&[("Transfer-Encoding", "identity")], false, None),
            (&[("Transfer-Encoding", "\x0bchunked")], false, None),
            (&[("Transfer-Encoding", "")], false, None),
            (&[("Transfer-Encoding", "chunked"), ("Content-Length", "5")], false, None),
            (&[("Content-Length", "0"), ("Transfer-Encoding", "chunked")], false, None),
        ] {
            let got = seen(headers).and_then(|seen| seen.of_request(http10));
            assert_eq!(got.ok(), want, "{headers:?} {http10}");
        }
    }

    #[test]
    fn an_answer_has_the_body_that_its_status_allows() {
        let (length, chunked) = (("Content-Length", "5"), ("Transfer-Encoding", "chunked"));
        for (headers, status, to_head, want) in [
            (&[length][..], 200, false, Framing::Length(5)),
            (&[length], 200, true, Framing::Done),
            (&[length], 304, false, Framing::Done),
            (&[length], 204, false, Framing::Done),
            (&[chunked], 103, false, Framing::Done),
            (&[chunked], 200, false, Framing::Chunked(Chunks::default())),
            (&[chunked, length], 200, false, Framing::Chunked(Chunks::default())),
            (&[("Content-Length", "0")], 200, false, Framing::Done),
            (&[], 200, false, Framing::Close),
        ] {
            let got = seen(headers).unwrap().of_answer(status, to_head, false);
            assert_eq!(got, Ok(want), "{headers:?} {status} {to_head}");
        }
        assert!(seen(&[chunked]).unwrap().of_answer(200, false, true).is_err());
    }

    #[test]
    fn a_connection_persists_as_its_version_has_it() {
        for (headers, http10, want) in [
            (&[][..], false, true),
            (&[], true, false),
            (&[("Connection", "keep-alive")], true, true),
            (&[("Connection", "close")], false, false),
            (&[("Connection", "X-A, Close")], false, false),
            (&[("Connection", "keep-alive, close")], true, false),
            (&[("Transfer-Encoding", "chunked"), ("Content-Length", "5")], false, false),
        ] {
            assert_eq!(seen(headers).unwrap().persists(http10), want, "{headers:?} {http10}");
        }
    }

    #[test]
    fn connection_names_headers() {
        let is = |name: &str, values: &[&str]| is_named(name.as_bytes(), values.iter().map(|v| v.as_bytes()));
        assert!(is("X-Hop", &["close", "keep-alive , x-hop"]));
        assert!(!is("X-Hop", &["close", "x-hop2,"]));
        assert!(seen(&[("Connection", "close, x")]).unwrap().names_headers);
        assert!(!seen(&[("Connection", "close,, upgrade")]).unwrap().names_headers);
    }
}
