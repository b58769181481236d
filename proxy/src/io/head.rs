//! Where the head of an HTTP/1 request ends. It counts bytes and looks for the empty line; what the head says is
//! pingora's to read.

/// How far the head has come in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadScan {
    /// Bytes so far.
    bytes: usize,
    /// Bytes of the line that has not ended yet.
    line: usize,
    /// Whether that line begins with a CR.
    line_is_cr: bool,
    /// Whether a line that is not empty has been seen: empty ones may precede the request (RFC 9112, 2.2).
    begun: bool,
}

impl HeadScan {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next bytes; whether the head ends in them.
    pub(crate) fn feed(&mut self, data: &[u8]) -> bool {
        self.bytes += data.len();
        // Nearly every request: one read, no body behind it.
        let begun = self.begun || data.first().is_some_and(|b| !matches!(b, b'\r' | b'\n'));
        if begun && data.ends_with(b"\r\n\r\n") {
            return true;
        }
        let mut rest = data;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let len = self.line + end;
            let starts_with_cr = if self.line > 0 { self.line_is_cr } else { rest[0] == b'\r' };
            let empty = len == 0 || (len == 1 && starts_with_cr);
            self.line = 0;
            rest = &rest[end + 1..];
            match empty {
                true if self.begun => return true,
                true => {}
                false => self.begun = true,
            }
        }
        if let Some(first) = rest.first() {
            if self.line == 0 {
                self.line_is_cr = *first == b'\r';
            }
            self.line += rest.len();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_ends_with_the_first_empty_line_behind_a_request_line() {
        for (text, want) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.1\nHost: a\n\n", true),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", true),
            ("\r\n\r\nGET / HTTP/1.0\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", true),
            ("", false),
            ("\r\n\r\n", false),
            ("\n\n\n", false),
            ("\r\n\r\nGET / HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nx\r\n", false),
        ] {
            assert_eq!(HeadScan::default().feed(text.as_bytes()), want, "{text:?} at once");
            let mut scan = HeadScan::default();
            let in_bytes = text.as_bytes().chunks(1).any(|byte| scan.feed(byte));
            assert_eq!(in_bytes, want, "{text:?} byte by byte");
            for cut in 0..text.len() {
                let mut scan = HeadScan::default();
                let (a, b) = text.as_bytes().split_at(cut);
                assert_eq!(scan.feed(a) || scan.feed(b), want, "{text:?} cut at {cut}");
            }
        }
    }
}
