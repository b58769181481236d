//! Headers that are on their way out: copied in runs where they are as they came, and changed where a step asks for it.

use std::{mem::MaybeUninit, ops::Range};

use http::{HeaderName, HeaderValue};
use httparse::Header;
use portcullis_routing::HeadersMut;

use super::name::Kind;
use crate::refusal::MAX_FIELDS;

/// Room for the headers of one head, and what each of them means. They are ranges of the bytes that are read.
pub(super) struct Room<'b> {
    pub(super) headers: [MaybeUninit<Header<'b>>; MAX_FIELDS],
    pub(super) kinds: [Kind; MAX_FIELDS],
}

impl Room<'_> {
    pub(super) fn new() -> Self {
        Self { headers: [const { MaybeUninit::uninit() }; MAX_FIELDS], kinds: [Kind::Other; MAX_FIELDS] }
    }
}

/// Copies headers to the other side. Those that stand side by side and in plain form (`Name: value`) are copied at once.
pub(super) struct Runs<'b> {
    bytes: &'b [u8],
    run: Range<usize>,
}

impl<'b> Runs<'b> {
    /// Of headers that were read from these bytes.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, run: 0..0 }
    }

    /// Copies a header.
    #[inline]
    pub(super) fn keep(&mut self, header: &Header<'_>, out: &mut Vec<u8>) {
        let name = place(self.bytes, header.name.as_bytes());
        let value = place(self.bytes, header.value);
        let plain = value.start == name.end + 2
            && self.bytes.get(name.end..value.start) == Some(b": ")
            && self.bytes.get(value.end..value.end + 2) == Some(b"\r\n");
        if plain && name.start == self.run.end {
            self.run.end = value.end + 2;
            return;
        }
        self.flush(out);
        if plain {
            self.run = name.start..value.end + 2;
            return;
        }
        put(out, &[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
    }

    /// Copies a header whose value goes on over several lines, as one line (RFC 9112, 5.2).
    pub(super) fn unfold(&mut self, header: &Header<'_>, out: &mut Vec<u8>) {
        self.flush(out);
        put(out, &[header.name.as_bytes(), b": ", &unfolded(header.value), b"\r\n"]);
    }

    /// Copies what is left of the last run.
    #[inline]
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[self.run.clone()]);
        self.run = 0..0;
    }
}

/// A value that goes on over several lines, as one line (RFC 9112, 5.2).
pub(super) fn unfolded(value: &[u8]) -> Vec<u8> {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.collect::<Vec<_>>().join(&b' ')
}

/// Where a part of `bytes` stands in it.
pub(super) fn place(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
    start..start.wrapping_add(part.len())
}

/// Writes parts one behind the other.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Writes a number in decimal digits.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The headers of a head that was written, to be changed. Names and values are ranges of it; what is changed is added
/// behind it.
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
    /// Of lines in plain form from `begin` on, without the empty one.
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

    /// Writes the headers as they are now in the place of those that were there.
    pub(super) fn finish(self) {
        let Self { text, begin, lines } = self;
        let mut changed = Vec::with_capacity(text.len() - begin + 64);
        for Line { name, value } in lines {
            put(&mut changed, &[&text[name], b": ", &text[value], b"\r\n"]);
        }
        text.truncate(begin);
        text.extend_from_slice(&changed);
    }

    /// Replaces all values of a header by this one.
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
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
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
