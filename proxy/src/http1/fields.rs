//! Writes headers: those that are not changed are copied in runs, and steps change the others.

use std::{mem::MaybeUninit, ops::Range};

use http::{HeaderName, HeaderValue};
use httparse::Header;
use portcullis_routing::HeadersMut;

use super::name::Kind;
use crate::refusal::MAX_FIELDS;

/// Room for the parsed headers of one head, which point into the bytes that were read, and for the kind of each.
pub(super) struct Room<'b> {
    pub(super) headers: [MaybeUninit<Header<'b>>; MAX_FIELDS],
    pub(super) kinds: [Kind; MAX_FIELDS],
}

impl Room<'_> {
    pub(super) fn new() -> Self {
        Self { headers: [const { MaybeUninit::uninit() }; MAX_FIELDS], kinds: [Kind::Other; MAX_FIELDS] }
    }
}

/// Copies headers. Neighbours in plain form (`Name: value`, CR, LF) are copied in one piece.
pub(super) struct Runs<'b> {
    bytes: &'b [u8],
    run: Range<usize>,
    /// Whether the one length that stands for several has been written.
    has_length: bool,
}

impl<'b> Runs<'b> {
    /// For headers that were parsed from these bytes.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, run: 0..0, has_length: false }
    }

    /// Copies a header.
    #[inline]
    pub(super) fn keep(&mut self, header: &Header<'_>, out: &mut Vec<u8>) {
        match self.line(header) {
            Some(line) if line.start == self.run.end => self.run.end = line.end,
            Some(line) => {
                self.flush(out);
                self.run = line;
            }
            None => {
                self.flush(out);
                put(out, &[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
            }
        }
    }

    /// The line of a header, if it is in plain form.
    #[inline]
    fn line(&self, header: &Header<'_>) -> Option<Range<usize>> {
        let (name, value) = (place(self.bytes, header.name.as_bytes())?, place(self.bytes, header.value)?);
        let plain = self.bytes.get(name.end..value.start) == Some(b": ")
            && self.bytes.get(value.end..value.end + 2) == Some(b"\r\n");
        plain.then_some(name.start..value.end + 2)
    }

    /// Copies a header whose value is folded over several lines, as one line (RFC 9112, 5.2).
    pub(super) fn unfold(&mut self, header: &Header<'_>, out: &mut Vec<u8>) {
        self.flush(out);
        put(out, &[header.name.as_bytes(), b": ", &unfolded(header.value), b"\r\n"]);
    }

    /// Replaces the header lines of a Content-Length that stands there more than once by one line.
    ///
    /// `several` is that length; `None` where it stands there once. Whether the header was taken care of.
    pub(super) fn collapse_length(&mut self, several: Option<u64>, out: &mut Vec<u8>) -> bool {
        let Some(length) = several else { return false };
        if !std::mem::replace(&mut self.has_length, true) {
            self.flush(out);
            put_length(out, length);
        }
        true
    }

    /// Copies what is left of the last run.
    #[inline]
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[self.run.clone()]);
        self.run = 0..0;
    }
}

/// A value that is folded over several lines, as one line (RFC 9112, 5.2).
pub(super) fn unfolded(value: &[u8]) -> Vec<u8> {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.collect::<Vec<_>>().join(&b' ')
}

/// The range of `bytes` in which `part` lies; `None` where it is not a part of them, such as an empty value that the
/// parser has made up.
pub(super) fn place(bytes: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= bytes.len()).then_some(start..end)
}

/// Writes parts one after the other.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Writes a number in decimal digits.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    put_digits::<10>(out, number);
}

/// Writes a number in hexadecimal digits, as sizes of chunks are.
pub(super) fn put_hex(out: &mut Vec<u8>, number: usize) {
    put_digits::<16>(out, number as u64);
}

#[inline]
fn put_digits<const BASE: u64>(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(rest % BASE) as usize];
        rest /= BASE;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a Content-Length.
pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    put_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Changes the headers of a head that was written. Names and values are ranges of its text; new ones are appended to the
/// text until [`Edit::finish`] writes all headers anew.
#[derive(Debug)]
pub(super) struct Edit<'o> {
    text: &'o mut Vec<u8>,
    /// Where the first header begins.
    begin: usize,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    name: Range<usize>,
    value: Range<usize>,
}

impl<'o> Edit<'o> {
    /// For the header lines from `begin` on, which are in plain form; the empty line has not been written.
    pub(super) fn new(text: &'o mut Vec<u8>, begin: usize) -> Self {
        let (mut lines, mut at) = (Vec::with_capacity(24), begin);
        for end in memchr::memchr_iter(b'\n', &text[begin..]).map(|end| begin + end) {
            let line = &text[at..end];
            if let Some(colon) = memchr::memchr(b':', line) {
                lines.push(Line { name: at..at + colon, value: at + colon + 2..end - 1 });
            }
            at = end + 1;
        }
        Self { text, begin, lines }
    }

    /// Replaces the header lines by the changed ones.
    pub(super) fn finish(self) {
        let Self { text, begin, lines } = self;
        let mut changed = Vec::with_capacity(text.len() - begin + 64);
        for Line { name, value } in lines {
            put(&mut changed, &[&text[name], b": ", &text[value], b"\r\n"]);
        }
        text.truncate(begin);
        text.extend_from_slice(&changed);
    }

    /// Sets a header to one value.
    pub(super) fn replace(&mut self, name: &str, value: &[u8]) {
        let value = self.add_text(value);
        let same = |line: &Line, text: &[u8]| text[line.name.clone()].eq_ignore_ascii_case(name.as_bytes());
        match self.lines.iter().position(|line| same(line, self.text)) {
            Some(first) => {
                self.lines[first].value = value;
                let (mut at, text) = (0, &*self.text);
                self.lines.retain(|line| {
                    at += 1;
                    at - 1 <= first || !same(line, text)
                });
            }
            None => {
                let name = self.add_text(name.as_bytes());
                self.lines.push(Line { name, value });
            }
        }
    }

    fn add_text(&mut self, part: &[u8]) -> Range<usize> {
        let begin = self.text.len();
        self.text.extend_from_slice(part);
        begin..self.text.len()
    }
}

impl HeadersMut for Edit<'_> {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.replace(name.as_str(), value.as_bytes());
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        let (name, value) = (self.add_text(name.as_str().as_bytes()), self.add_text(value.as_bytes()));
        self.lines.push(Line { name, value });
    }

    fn remove(&mut self, name: &HeaderName) {
        let text = &*self.text;
        self.lines.retain(|line| !text[line.name.clone()].eq_ignore_ascii_case(name.as_str().as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_copied_in_plain_form() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC: 3 \r\nD: 4\nE: 5\r\nF: 6\r\nG:\r\n\r\n";
        let mut room = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut room);
        request.parse(head).unwrap();
        let (mut runs, mut out) = (Runs::new(head), Vec::new());
        for header in request.headers.iter().filter(|header| header.name != "F") {
            runs.keep(header, &mut out);
        }
        runs.flush(&mut out);
        assert_eq!(
            out.escape_ascii().to_string(),
            "A: 1\\r\\nB: 2\\r\\nC: 3\\r\\nD: 4\\r\\nE: 5\\r\\nG: \\r\\n"
        );
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 65_535, u64::MAX] {
            let (mut decimal, mut hexadecimal) = (Vec::new(), Vec::new());
            put_number(&mut decimal, number);
            put_hex(&mut hexadecimal, number as usize);
            assert_eq!(decimal, number.to_string().as_bytes());
            assert_eq!(hexadecimal, format!("{number:x}").as_bytes());
        }
    }

    #[test]
    fn headers_are_set_added_and_removed() {
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let mut text =
            b"GET / HTTP/1.1\r\nSet: 1\r\nHost: a\r\nset: 2\r\nRemove: 1\r\nREMOVE: 2\r\nOther: a: b\r\n"
                .to_vec();
        let begin = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut edit = Edit::new(&mut text, begin);
        edit.set(&name("set"), &value("new"));
        edit.set(&name("absent"), &value("new"));
        edit.add(&name("other"), &value("c"));
        edit.remove(&name("remove"));
        edit.remove(&name("nobody"));
        edit.finish();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "GET / HTTP/1.1\r\nSet: new\r\nHost: a\r\nOther: a: b\r\nabsent: new\r\nother: c\r\n"
        );
    }
}
