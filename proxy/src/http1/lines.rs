//! Header lines that were written, as headers that can be read and changed.

use std::ops::ControlFlow;

use http::{HeaderName, HeaderValue};
use portcullis_routing::{Headers, HeadersMut};

use super::fields::{put, remove_lines};

/// The header lines at the end of `out`, without the empty line behind them. They are in plain form.
#[derive(Debug)]
pub(super) struct Lines<'o> {
    out: &'o mut Vec<u8>,
    begin: usize,
}

const END: &[u8] = b"\r\n";

impl<'o> Lines<'o> {
    /// Opens the head that begins at `begin` and ends `out`.
    pub(super) fn open(out: &'o mut Vec<u8>, begin: usize) -> Self {
        if out.ends_with(END) {
            out.truncate(out.len() - END.len());
        }
        let head = out.get(begin..).unwrap_or_default();
        let begin = memchr::memchr(b'\n', head).map_or(out.len(), |end| begin + end + 1);
        Self { out, begin }
    }

    /// Ends the head.
    pub(super) fn close(self) {
        self.out.extend_from_slice(END);
    }
}

impl Headers for Lines<'_> {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut first = None;
        self.each(name, &mut |value| {
            first = Some(value);
            ControlFlow::Break(())
        });
        first
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>) {
        let lines = self.out.get(self.begin..).unwrap_or_default().split(|byte| *byte == b'\n');
        let values = lines.filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (field, value) = line.split_at_checked(colon)?;
            let is_meant = field.eq_ignore_ascii_case(name.as_str().as_bytes());
            is_meant.then(|| value.get(1..).unwrap_or_default().trim_ascii())
        });
        let _ = { values }.try_for_each(visit);
    }
}

impl HeadersMut for Lines<'_> {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.add(name, value);
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        put(self.out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), END]);
    }

    fn remove(&mut self, name: &HeaderName) {
        remove_lines(self.out, self.begin, |field| field.eq_ignore_ascii_case(name.as_str().as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn the_lines_of_a_head_are_read_and_changed() {
        let mut out = b"HTTP/1.1 103 Early\r\nVary: x\r\n\r\n".to_vec();
        let begin = out.len();
        out.extend_from_slice(b"HTTP/1.1 200 Vary: y\r\nVary: Origin \r\nETag:\r\nvary: a, b\r\n\r\n");
        let mut lines = Lines::open(&mut out, begin);
        assert_eq!(lines.first(&header::VARY), Some(&b"Origin"[..]));
        assert_eq!(lines.first(&header::ETAG), Some(&b""[..]));
        assert_eq!(lines.first(&header::ACCEPT), None);
        let mut all = Vec::new();
        lines.each(&header::VARY, &mut |value| {
            all.push(value.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(all, [&b"Origin"[..], b"a, b"]);
        lines.set(&header::ETAG, &HeaderValue::from_static("W/\"a\""));
        lines.remove(&header::VARY);
        lines.add(&header::AGE, &HeaderValue::from_static("1"));
        lines.close();
        let want =
            "HTTP/1.1 103 Early\r\nVary: x\r\n\r\nHTTP/1.1 200 Vary: y\r\netag: W/\"a\"\r\nage: 1\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
