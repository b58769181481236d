//! Where the head of an HTTP/1 request ends, and whether it is one: bytes, lines and the parts of the request line.
//! What the head says is pingora's to read, which repairs what is refused here, or answers it with another status.

use crate::refusal::{MAX_FIELDS, Refusal};

/// How far the head has come in.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadScan {
    /// Bytes so far.
    bytes: usize,
    /// Bytes of the line that has not ended yet.
    line: usize,
    /// Whether that line begins with a CR.
    line_is_cr: bool,
    /// Whether a line that is not empty has been seen: empty ones may precede the request (RFC 9112, 2.2).
    begun: bool,
    /// The request line, as far as it has come, where it did not come at once.
    request_line: Vec<u8>,
    /// Lines behind it.
    fields: usize,
}

/// What is known of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// It goes on.
    Begun,
    /// It has ended.
    Whole,
    /// It is not read any further.
    Refused(Refusal),
}

impl HeadScan {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next bytes of a head that may have so many.
    pub(crate) fn feed(&mut self, data: &[u8], limit: usize) -> Head {
        match self.at_once(data, limit).unwrap_or_else(|| self.by_lines(data, limit)) {
            Ok(true) => Head::Whole,
            Ok(false) => Head::Begun,
            Err(refusal) => Head::Refused(refusal),
        }
    }

    /// Nearly every request: one read, no body behind it.
    fn at_once(&mut self, data: &[u8], limit: usize) -> Option<Result<bool, Refusal>> {
        let whole = self.bytes == 0 && data.len() <= limit && data.ends_with(b"\r\n\r\n");
        if !whole || matches!(data[0], b'\r' | b'\n') {
            return None;
        }
        let end = data.iter().position(|b| *b == b'\n')?;
        // More lines than there are headers: the end may be that of a body.
        if data.iter().filter(|b| **b == b'\n').count() > MAX_FIELDS {
            return None;
        }
        self.bytes = data.len();
        Some(Refusal::of_line(&data[..end]).map(|()| true))
    }

    fn by_lines(&mut self, data: &[u8], limit: usize) -> Result<bool, Refusal> {
        let mut rest = data;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, next) = (&rest[..end], &rest[end + 1..]);
            let len = self.line + end;
            let starts_with_cr = if self.line > 0 { self.line_is_cr } else { rest[0] == b'\r' };
            let empty = len == 0 || (len == 1 && starts_with_cr);
            self.bytes += end + 1;
            (self.line, rest) = (0, next);
            match (empty, self.begun) {
                (true, false) => self.request_line.clear(),
                (true, true) if self.bytes > limit => return Err(Refusal::TooLarge),
                (true, true) => return Ok(true),
                (false, false) => {
                    self.begun = true;
                    self.request_line.extend_from_slice(line);
                    Refusal::of_line(&std::mem::take(&mut self.request_line))?;
                    if self.bytes > limit {
                        return Err(Refusal::TargetTooLong);
                    }
                }
                (false, true) => {
                    self.fields += 1;
                    if self.fields > MAX_FIELDS {
                        return Err(Refusal::TooLarge);
                    }
                }
            }
        }
        if let Some(first) = rest.first() {
            if self.line == 0 {
                self.line_is_cr = *first == b'\r';
            }
            self.line += rest.len();
            self.bytes += rest.len();
            if !self.begun {
                self.request_line.extend_from_slice(rest);
            }
        }
        match self.bytes > limit {
            true if self.begun => Err(Refusal::TooLarge),
            true => Err(Refusal::TargetTooLong),
            false => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64 << 10;

    /// The first word that is not [`Head::Begun`], in steps of so many bytes.
    fn fed(text: &[u8], step: usize) -> Head {
        let mut scan = HeadScan::default();
        let mut words = text.chunks(step).map(|chunk| scan.feed(chunk, LIMIT));
        words.find(|word| *word != Head::Begun).unwrap_or(Head::Begun)
    }

    #[test]
    fn the_head_ends_with_the_first_empty_line_behind_a_request_line() {
        for (text, want) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Head::Whole),
            ("GET / HTTP/1.0\r\n\r\n", Head::Whole),
            ("GET / HTTP/1.1\nHost: a\n\n", Head::Whole),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", Head::Whole),
            ("\r\n\r\nGET / HTTP/1.0\r\n\r\n", Head::Whole),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Head::Whole),
            ("", Head::Begun),
            ("\r\n\r\n", Head::Begun),
            ("\n\n\n", Head::Begun),
            ("\r\n\r\nGET / HTTP/1.1\r\n", Head::Begun),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Head::Begun),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r", Head::Begun),
            ("GET / HTTP/1.1\r\nHost: a\r\nx\r\n", Head::Begun),
        ] {
            for step in [usize::MAX, 1, 2, 7] {
                assert_eq!(fed(text.as_bytes(), step), want, "{text:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_request_line_has_three_parts() {
        use Refusal::{Foreign, Malformed};
        for (line, want) in [
            ("GET / HTTP/1.1", Head::Whole),
            ("get http://a/?b HTTP/1.0", Head::Whole),
            // pingora refuses it.
            ("GET / HTTP/2.0", Head::Whole),
            ("GET /a b HTTP/1.1", Head::Refused(Malformed)),
            ("GET  / HTTP/1.1", Head::Refused(Malformed)),
            ("GET /  HTTP/1.1", Head::Refused(Malformed)),
            ("GET / HTTP/1.1 ", Head::Refused(Malformed)),
            (" GET / HTTP/1.1", Head::Refused(Malformed)),
            ("GET /a\tb HTTP/1.1", Head::Refused(Malformed)),
            ("GET\t/ HTTP/1.1", Head::Refused(Malformed)),
            ("GET  HTTP/1.1", Head::Refused(Malformed)),
            ("GET /", Head::Refused(Malformed)),
            ("INVALID CONNECTION PREFACE", Head::Refused(Foreign)),
            ("PRI * HTTP/2.0", Head::Refused(Foreign)),
        ] {
            for (before, behind) in [("", "\r\n\r\n"), ("\r\n", "\r\n\r\n"), ("", "\nHost: a\n\n")] {
                let text = format!("{before}{line}{behind}");
                for step in [usize::MAX, 1, 2, 7] {
                    assert_eq!(fed(text.as_bytes(), step), want, "{text:?} in steps of {step}");
                }
            }
        }
    }

    #[test]
    fn a_head_has_so_many_bytes_and_lines_and_no_more() {
        use Refusal::{TargetTooLong, TooLarge};
        let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(n));
        let field = |n: usize| format!("GET / HTTP/1.1\r\nX-A: {}\r\n\r\n", "b".repeat(n));
        let target = |n: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "b".repeat(n));
        let rest = LIMIT - field(0).len();
        // Lines of a body are none of the head.
        let body = |n: usize| fields(n) + &"\r\n".repeat(1000);
        for (text, want) in [
            (fields(256), Head::Whole),
            (fields(257), Head::Refused(TooLarge)),
            (fields(10_000), Head::Refused(TooLarge)),
            (body(10), Head::Whole),
            (body(256), Head::Whole),
            (body(257), Head::Refused(TooLarge)),
            (field(rest), Head::Whole),
            (field(rest + 1), Head::Refused(TooLarge)),
            (field(10 * LIMIT), Head::Refused(TooLarge)),
            (target(LIMIT - 40), Head::Whole),
            (target(LIMIT - 6), Head::Refused(TargetTooLong)),
            (target(LIMIT), Head::Refused(TargetTooLong)),
            (target(10 * LIMIT), Head::Refused(TargetTooLong)),
        ] {
            for step in [usize::MAX, 1, 4096] {
                assert_eq!(fed(text.as_bytes(), step), want, "{:.40}... in steps of {step}", text);
            }
        }
    }
}
