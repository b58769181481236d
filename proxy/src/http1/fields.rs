//! Writes headers. Consecutive header lines that are forwarded unchanged are copied in one piece.

use std::{mem::MaybeUninit, ops::Range};

use httparse::Header;

use super::name::Kind;
use crate::refusal::MAX_FIELDS;

/// Room for the parsed headers of one head, which point into the bytes that were read, and for the kind of each.
pub(super) struct Room<'b> {
    pub(super) headers: [MaybeUninit<Header<'b>>; MAX_FIELDS],
    pub(super) kinds: [Kind; MAX_FIELDS],
    /// The headers, if values among them are folded over several lines. Few heads have such values.
    pub(super) folded: Option<Box<[MaybeUninit<Header<'b>>]>>,
}

impl Room<'_> {
    pub(super) fn new() -> Self {
        Self {
            headers: [const { MaybeUninit::uninit() }; MAX_FIELDS],
            kinds: [Kind::Other; MAX_FIELDS],
            folded: None,
        }
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

    /// Copies the first `len` bytes, before any header.
    pub(super) fn keep_front(&mut self, len: usize) {
        self.run = 0..len;
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

/// Removes every header line from `begin` on whose name satisfies `is_meant`. The lines are in plain form.
pub(super) fn remove_lines(out: &mut Vec<u8>, begin: usize, is_meant: impl Fn(&[u8]) -> bool) {
    let (mut from, mut to) = (begin, begin);
    while let Some(end) = memchr::memchr(b'\n', &out[from..]).map(|end| from + end + 1) {
        let name = memchr::memchr(b':', &out[from..end]).map_or(from..end, |colon| from..from + colon);
        if !is_meant(&out[name]) {
            out.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    out.truncate(to);
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
    fn lines_are_removed_by_their_names() {
        for (removed, want) in [
            (&["a"][..], "A: 0\r\nbb: x:y\r\nCc: \r\n"),
            (&["bb"], "A: 0\r\na: 1\r\nCc: \r\nA: 2\r\n"),
            (&["a", "bb", "cc"], "A: 0\r\n"),
            (&["x", ""], "A: 0\r\na: 1\r\nbb: x:y\r\nCc: \r\nA: 2\r\n"),
        ] {
            let mut out = b"A: 0\r\na: 1\r\nbb: x:y\r\nCc: \r\nA: 2\r\n".to_vec();
            let is_meant =
                |name: &[u8]| removed.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
            remove_lines(&mut out, b"A: 0\r\n".len(), is_meant);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{removed:?}");
        }
    }
}
