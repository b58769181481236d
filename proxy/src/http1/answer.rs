//! The heads of answers: those of backends, checked and rewritten for HTTP/1 clients, and those of our own answers.

use std::ops::Range;

use httparse::{Error, Header, ParserConfig, Status};
use portcullis_routing::{Headers, Route, step::AnswerEdits};

use super::{
    fields::{Room, Runs, place, put, put_number},
    framing::Framing,
    message::{Seen, Why, is_named},
    name::{Kind, kind},
};
use crate::{
    clock,
    http::{answer::Reply, hop},
    refusal::MAX_FIELDS,
};

/// The head of a backend's answer.
pub(super) struct AnswerHead<'r, 'b> {
    pub(super) status: u16,
    /// The reason phrase.
    phrase: &'b str,
    http10: bool,
    headers: &'r [Header<'b>],
    kinds: &'r [Kind],
    pub(super) seen: Seen,
    bytes: &'b [u8],
    pub(super) len: usize,
    /// Whether a value may be folded over several lines.
    pub(super) folded: bool,
}

/// How an answer is framed for an HTTP/1 client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Whether the client speaks HTTP/1.0.
    pub(super) http10: bool,
    /// Whether the connection is closed after the answer.
    pub(super) close: bool,
    /// Whether the body, which has no length, is put in chunks.
    pub(super) chunks: bool,
}

impl<'b> Room<'b> {
    /// Reads the head of an answer; `None` if it is not complete.
    ///
    /// # Errors
    /// If it is malformed.
    pub(super) fn read_answer(&mut self, bytes: &'b [u8]) -> Result<Option<AnswerHead<'_, 'b>>, Why> {
        let mut parser = ParserConfig::default();
        // Old servers send both. Folded values are expected only if the head cannot be read without them, so that they need
        // not be searched for in every head.
        parser.allow_spaces_after_header_name_in_responses(true);
        let mut parsed = httparse::Response::new(&mut []);
        let mut read = parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut self.headers);
        let folded = read == Err(Error::HeaderName);
        if folded {
            parser.allow_obsolete_multiline_headers_in_responses(true);
            parsed = httparse::Response::new(&mut []);
            let headers = self.folded.insert(Box::new_uninit_slice(MAX_FIELDS));
            read = parser.parse_response_with_uninit_headers(&mut parsed, bytes, headers);
        }
        let len = match read {
            Ok(Status::Complete(len)) => len,
            Ok(Status::Partial) => return Ok(None),
            Err(Error::TooManyHeaders) => return Err("the backend's response has too many headers"),
            Err(_) => return Err("the backend's response is malformed"),
        };
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err("the backend's response is malformed");
        };
        if !(100..=999).contains(&status) {
            return Err("the backend's response has no valid status");
        }
        let (headers, mut seen) = (&*parsed.headers, Seen::default());
        for (slot, header) in self.kinds.iter_mut().zip(headers) {
            let kind = kind(header.name.as_bytes());
            *slot = kind;
            seen.read(kind, header.value).map_err(|_| match kind {
                Kind::TransferEncoding => UNKNOWN_CODING,
                _ => "the backend's response has no clear end",
            })?;
        }
        let (phrase, http10) = (parsed.reason.unwrap_or_default(), version == 0);
        Ok(Some(AnswerHead {
            status,
            phrase,
            http10,
            headers,
            kinds: &self.kinds[..headers.len()],
            seen,
            bytes,
            len,
            folded,
        }))
    }
}

const UNKNOWN_CODING: Why = "the backend uses an unknown transfer coding";

impl AnswerHead<'_, '_> {
    /// The framing of its body. `to_head`: it answers a HEAD request.
    ///
    /// # Errors
    /// If the body is in a transfer coding that its version does not have.
    pub(super) fn body(&self, to_head: bool) -> Result<Framing, Why> {
        self.seen.of_answer(self.status, to_head, self.http10).map_err(|_| UNKNOWN_CODING)
    }

    /// Whether the backend's connection may carry another request.
    pub(super) fn persists(&self) -> bool {
        self.seen.persists(self.http10)
    }

    /// How many seconds the backend keeps its connection idle, if it says so: `Keep-Alive: timeout=5, max=100`.
    pub(super) fn keep_alive(&self) -> Option<u64> {
        let value = self.values(Kind::KeepAlive).next()?;
        hop::keep_alive_seconds(value)
    }

    /// The headers that are passed on to a client of any version, without those that frame the message.
    pub(super) fn passed(&self) -> impl Iterator<Item = (Kind, &Header<'_>)> {
        self.fields().filter(|(kind, header)| !kind.is_essential() && self.goes_on(*kind, header))
    }

    /// The Content-Length that is passed on.
    pub(super) fn length(&self) -> Option<u64> {
        self.seen.length().filter(|_| self.may_have_body() && !self.seen.is_chunked())
    }

    /// The Content-Length as the backend wrote it, if it stands there once, and as it would be written here.
    pub(super) fn plain_length(&self) -> Option<&[u8]> {
        let value = self.values(Kind::ContentLength).next().filter(|_| self.seen.one_length().is_none())?;
        let is_plain = value.iter().all(u8::is_ascii_digit) && (value == b"0" || !value.starts_with(b"0"));
        is_plain.then_some(value)
    }

    /// The bytes of the head.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The range of them in which a value lies, unless it was made up by the parser.
    pub(super) fn place(&self, value: &[u8]) -> Option<Range<usize>> {
        place(self.bytes(), value)
    }

    /// How many headers there are.
    pub(super) fn count(&self) -> usize {
        self.headers.len()
    }

    fn fields(&self) -> impl Iterator<Item = (Kind, &Header<'_>)> {
        self.kinds.iter().copied().zip(self.headers)
    }

    fn values(&self, of: Kind) -> impl Iterator<Item = &[u8]> {
        self.fields().filter(move |(kind, _)| *kind == of).map(|(_, header)| header.value)
    }

    fn goes_on(&self, kind: Kind, header: &Header<'_>) -> bool {
        match kind {
            Kind::Connection | Kind::KeepAlive | Kind::Hop | Kind::Upgrade => false,
            kind => {
                !self.seen.names_headers
                    || kind.is_essential()
                    || !is_named(header.name.as_bytes(), self.values(Kind::Connection))
            }
        }
    }

    /// Whether an answer with this status may have headers that frame a body.
    fn may_have_body(&self) -> bool {
        self.status >= 200 && self.status != 204
    }

    /// Writes it for an HTTP/1 client. The steps of `route` change its headers, and may look at those of `request`.
    pub(super) fn write(&self, form: Form, route: Option<&Route>, request: &dyn Headers, out: &mut Vec<u8>) {
        let mut runs = Runs::new(self.bytes);
        match self.plain_line() {
            Some(len) => runs.keep_front(len),
            None => {
                out.extend_from_slice(b"HTTP/1.1 ");
                put_number(out, self.status.into());
                put(out, &[b" ", self.phrase.as_bytes(), b"\r\n"]);
            }
        }
        let edits = route.map(|route| route.answer_edits(self.status, request)).unwrap_or_default();
        self.write_headers(form, &edits, runs, out);
        edits.write(out);
        if self.status >= 200 {
            write_connection(form, out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The length of the status line, including its end, if it is in the form in which it is written and stands at the beginning
    /// of the bytes.
    fn plain_line(&self) -> Option<usize> {
        const BEFORE: &[u8] = b"HTTP/1.1 ";
        // A phrase with bytes that are no text is given as an empty one.
        let phrase = place(self.bytes, self.phrase.as_bytes())?;
        let is_plain = self.bytes.starts_with(BEFORE)
            && phrase.start == BEFORE.len() + b"200 ".len()
            && self.bytes.get(phrase.start - 1) == Some(&b' ')
            && self.bytes.get(phrase.end..phrase.end + 2) == Some(b"\r\n");
        is_plain.then_some(phrase.end + 2)
    }

    /// Writes the headers. What `runs` holds is written before them.
    fn write_headers(&self, form: Form, edits: &AnswerEdits<'_>, mut runs: Runs<'_>, out: &mut Vec<u8>) {
        let (mut has_date, changes) = (false, edits.change_headers());
        for (kind, header) in self.fields() {
            let goes_on = match kind {
                // Transfer-Encoding overrides it (RFC 9112, 6.3).
                Kind::ContentLength if self.seen.is_chunked() => false,
                Kind::ContentLength => {
                    self.may_have_body() && !runs.collapse_length(self.seen.one_length(), out)
                }
                Kind::TransferEncoding => self.may_have_body() && !form.http10,
                Kind::Date => {
                    has_date = true;
                    true
                }
                kind => self.goes_on(kind, header),
            };
            if !goes_on || (changes && edits.replaces(header.name.as_bytes())) {
                continue;
            }
            if self.folded && header.value.contains(&b'\n') {
                runs.unfold(header, out);
            } else if let Some(value) = edits.rewritten(header.name.as_bytes(), header.value) {
                runs.flush(out);
                put(out, &[header.name.as_bytes(), b": ", &value, b"\r\n"]);
            } else {
                runs.keep(header, out);
            }
        }
        runs.flush(out);
        if form.chunks {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !has_date && self.status >= 200 && !edits.replaces(b"date") {
            write_date(out);
        }
    }
}

fn write_connection(form: Form, out: &mut Vec<u8>) {
    match form {
        Form { close: true, .. } => out.extend_from_slice(b"Connection: close\r\n"),
        Form { http10: true, .. } => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Form { .. } => {}
    }
}

/// Writes a Date, as a recipient does that passes on an answer without one (RFC 9110, 6.6.1).
fn write_date(out: &mut Vec<u8>) {
    clock::with_date(|date| put(out, &[b"Date: ", date.as_bytes(), b"\r\n"]));
}

/// Writes an answer of our own. `bare`: without its body.
pub(super) fn write_own(reply: &Reply, form: Form, bare: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_number(out, reply.status.as_u16().into());
    put(out, &[b" ", reply.status.canonical_reason().unwrap_or_default().as_bytes(), b"\r\n"]);
    for (name, value) in &reply.headers {
        put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if reply.body.is_empty()
        && !reply.headers.contains_key(http::header::CONTENT_LENGTH)
        && reply.status != 204
    {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    write_date(out);
    write_connection(form, out);
    out.extend_from_slice(b"\r\n");
    if !bare {
        out.extend_from_slice(&reply.body);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const PERSISTS: Form = Form { http10: false, close: false, chunks: false };

    fn written(answer: &str, form: Form) -> String {
        let mut room = Room::new();
        let head = room.read_answer(answer.as_bytes()).unwrap().unwrap();
        let mut out = Vec::new();
        head.write(form, None, &HeaderMap::new(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_goes_on_without_what_ends_here() {
        let closes = Form { close: true, ..PERSISTS };
        let old = Form { http10: true, ..PERSISTS };
        for (answer, form, want) in [
            (
                "HTTP/1.1 200 OK\r\nDate: x\r\nA: 1\r\n\r\n",
                PERSISTS,
                "HTTP/1.1 200 OK\r\nDate: x\r\nA: 1\r\n\r\n",
            ),
            (
                "HTTP/1.0 200 Fine\r\nDate: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nA: 1\r\n\r\n",
                PERSISTS,
                "HTTP/1.1 200 Fine\r\nDate: x\r\nA: 1\r\n\r\n",
            ),
            (
                "HTTP/1.1 204 No\r\nDate: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
                closes,
                "HTTP/1.1 204 No\r\nDate: x\r\nConnection: close\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                PERSISTS,
                "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                old,
                "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: keep-alive\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\n",
                PERSISTS,
                "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nDate: x\r\nFolded: a\r\n b\r\nSpaced : c\r\n\r\n",
                Form { chunks: true, ..PERSISTS },
                "HTTP/1.1 200 OK\r\nDate: x\r\nFolded: a b\r\nSpaced: c\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            // Status lines in other forms than the one that is written.
            ("\r\nHTTP/1.1 200 OK\nDate: x\r\n\r\n", PERSISTS, "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"),
            ("\r\nHTTP/1.1 200 OK\r\nDate: x\r\n\r\n", PERSISTS, "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"),
            ("HTTP/1.1 200 OK\nDate: x\r\n\r\n", PERSISTS, "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"),
            ("HTTP/1.1 200\r\nDate: x\r\n\r\n", PERSISTS, "HTTP/1.1 200 \r\nDate: x\r\n\r\n"),
            ("HTTP/1.1 404 \r\nDate: x\r\n\r\n", PERSISTS, "HTTP/1.1 404 \r\nDate: x\r\n\r\n"),
            ("HTTP/1.1 200 \u{e4}\r\nDate: x\r\n\r\n", PERSISTS, "HTTP/1.1 200 \r\nDate: x\r\n\r\n"),
            (
                "HTTP/1.1 200 OK\r\nKeep-Alive: 1\r\nDate: x\r\n\r\n",
                PERSISTS,
                "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n",
            ),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", closes, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"),
        ] {
            assert_eq!(written(answer, form), want, "{answer:?}");
        }
        assert!(written("HTTP/1.1 200 OK\r\n\r\n", PERSISTS).contains("\r\nDate: "));
    }

    #[test]
    fn a_malformed_answer_is_refused() {
        for answer in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nA\x00: b\r\n\r\n",
        ] {
            assert!(Room::new().read_answer(answer.as_bytes()).is_err(), "{answer:?}");
        }
        for begun in
            ["HTTP/1.1 200 OK\r\nA", "HTTP/1.1 200 OK\r\nA: b\r\n c", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n"]
        {
            assert!(matches!(Room::new().read_answer(begun.as_bytes()), Ok(None)), "{begun:?}");
        }
    }
}
