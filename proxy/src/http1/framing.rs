//! The framing of bodies of HTTP/1 messages (RFC 9112, 6): where a body ends, and what its bytes are.

use super::fields::put_hex;

/// How the end of a body is found, and how much of it is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It ends after this many bytes.
    Length(u64),
    /// It ends with its last chunk and the trailers.
    Chunked(Chunks),
    /// It ends with the connection. Only answers have such bodies.
    Close,
    /// It has ended, or there is none.
    Done,
}

/// What bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Content.
    Content,
    /// The sizes of chunks and the ends of lines: what the next recipient needs to find the content.
    Coding,
    /// Chunk extensions and blanks around a chunk's size, which are not forwarded (RFC 9112, 7.1.1).
    Extension,
    /// Lines of the trailer section, including their ends.
    Trailer,
}

/// A body is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The state of a body in chunked coding (RFC 9112, 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes of this chunk's content that are still to come.
    left: u64,
    /// Digits of this chunk's size.
    digits: u8,
    /// Bytes of this chunk's extensions so far, or of all trailers.
    extra: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a chunk, or in its size.
    #[default]
    Size,
    Extension,
    SizeLf,
    Content,
    ContentCr,
    ContentLf,
    /// At the beginning of a line after the last chunk.
    Line,
    Trailer,
    TrailerLf,
    LastLf,
    Over,
}

/// The most digits of a chunk's size, which is 60 bits.
const MAX_DIGITS: u8 = 15;
/// The most bytes of one chunk's extensions, and of all trailers together.
const MAX_EXTENSIONS: u16 = 1 << 10;
const MAX_TRAILERS: u16 = 16 << 10;

impl Framing {
    /// Looks at the connection's next bytes; returns what the first of them are, and how many are the same. 0: the body has
    /// ended, or `bytes` is empty.
    ///
    /// # Errors
    /// If they cannot be the next bytes of this body.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<(usize, Part), Malformed> {
        match self {
            Self::Done => Ok((0, Part::Content)),
            Self::Close => Ok((bytes.len(), Part::Content)),
            Self::Length(left) => {
                let n = upto(*left, bytes);
                *left -= n as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok((n, Part::Content))
            }
            Self::Chunked(chunks) => {
                let next = chunks.next(bytes)?;
                if chunks.state == State::Over {
                    *self = Self::Done;
                }
                Ok(next)
            }
        }
    }

    /// Notes that the next `n` bytes of a body of known length were passed on without being looked at.
    pub(super) fn passed(&mut self, n: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(n);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Puts a body in chunks (RFC 9112, 7.1): writes what stands around its pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChunkWriter {
    /// Whether a chunk has been begun, whose end is still to be written.
    begun: bool,
}

impl ChunkWriter {
    /// Writes what stands before a piece of `len` bytes, which must not be 0: that would end the body.
    pub(super) fn begin(&mut self, len: usize, out: &mut Vec<u8>) {
        self.end_chunk(out);
        put_hex(out, len);
        out.extend_from_slice(b"\r\n");
        self.begun = true;
    }

    /// Writes what stands after the last piece.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.end_chunk(out);
        out.extend_from_slice(b"0\r\n\r\n");
    }

    /// Ends the chunk that was begun, if it has not been ended.
    pub(super) fn end_chunk(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.begun) {
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn upto(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

impl Chunks {
    fn next(&mut self, bytes: &[u8]) -> Result<(usize, Part), Malformed> {
        let Some(first) = bytes.first() else { return Ok((0, Part::Coding)) };
        if self.state == State::Content {
            let n = upto(self.left, bytes);
            self.left -= n as u64;
            if self.left == 0 {
                self.state = State::ContentCr;
            }
            return Ok((n, Part::Content));
        }
        let part = self.step(*first)?;
        let mut n = 1;
        while n < bytes.len() && !matches!(self.state, State::Content | State::Over) {
            let before = self.clone();
            if self.step(bytes[n])? != part {
                *self = before;
                break;
            }
            n += 1;
        }
        Ok((n, part))
    }

    /// Takes one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<Part, Malformed> {
        let (state, part) = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => (State::SizeLf, Part::Coding),
            (State::Size, b';' | b' ' | b'\t') if self.digits > 0 => {
                self.extra = 0;
                (State::Extension, Part::Extension)
            }
            (State::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return Err(Malformed);
                }
                self.left = self.left << 4 | u64::from(digit);
                (State::Size, Part::Coding)
            }
            (State::Extension, b'\r') => (State::SizeLf, Part::Coding),
            (State::Extension, _) if is_text(byte) => {
                self.count(MAX_EXTENSIONS)?;
                (State::Extension, Part::Extension)
            }
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                self.extra = 0;
                (if self.left == 0 { State::Line } else { State::Content }, Part::Coding)
            }
            (State::ContentCr, b'\r') => (State::ContentLf, Part::Coding),
            (State::ContentLf, b'\n') => (State::Size, Part::Coding),
            (State::Line, b'\r') => (State::LastLf, Part::Coding),
            // A name: a line that begins with a blank would be folded.
            (State::Line, _) if byte.is_ascii_graphic() && byte != b':' => {
                self.count(MAX_TRAILERS)?;
                (State::Trailer, Part::Trailer)
            }
            (State::Trailer, b'\r') => (State::TrailerLf, Part::Trailer),
            (State::Trailer, _) if is_text(byte) => {
                self.count(MAX_TRAILERS)?;
                (State::Trailer, Part::Trailer)
            }
            (State::TrailerLf, b'\n') => (State::Line, Part::Trailer),
            (State::LastLf, b'\n') => (State::Over, Part::Coding),
            _ => return Err(Malformed),
        };
        self.state = state;
        Ok(part)
    }

    fn count(&mut self, limit: u16) -> Result<(), Malformed> {
        self.extra += 1;
        if self.extra > limit { Err(Malformed) } else { Ok(()) }
    }
}

/// Whether the value of a header may contain this byte (RFC 9110, 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts, each with its bytes, and how many bytes follow the body.
    type Parts = (Vec<(Part, Vec<u8>)>, usize);

    /// The parts of a body that comes in pieces of this size, and how many bytes follow it.
    fn parts(mut framing: Framing, wire: &[u8], step: usize) -> Result<Parts, Malformed> {
        let mut parts: Vec<(Part, Vec<u8>)> = Vec::new();
        let mut at = 0;
        for end in (0..wire.len()).step_by(step).map(|begin| (begin + step).min(wire.len())) {
            while at < end && !framing.is_done() {
                let (n, part) = framing.next(&wire[at..end])?;
                assert!(n > 0, "bytes are taken or the body is over");
                match parts.last_mut() {
                    Some((last, bytes)) if *last == part => bytes.extend_from_slice(&wire[at..at + n]),
                    _ => parts.push((part, wire[at..at + n].to_vec())),
                }
                at += n;
            }
        }
        Ok((parts, wire.len() - at))
    }

    fn all(parts: &[(Part, Vec<u8>)], of: Part) -> Vec<u8> {
        parts.iter().filter(|(part, _)| *part == of).flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    #[test]
    fn chunks_are_content_and_coding_and_what_ends_here() {
        let wire =
            b"3\r\nabc\r\nA;x=\"y\" \r\n0123456789\r\n2 \t\r\n\r\n\r\n000\r\nX-Sum: 1\r\nY: \r\n\r\nGET";
        for step in 1..wire.len() {
            let chunked = Framing::Chunked(Chunks::default());
            let (parts, rest) = parts(chunked, wire, step).unwrap();
            assert_eq!(all(&parts, Part::Content), b"abc0123456789\r\n", "{step}");
            assert_eq!(all(&parts, Part::Coding), b"3\r\n\r\nA\r\n\r\n2\r\n\r\n000\r\n\r\n", "{step}");
            assert_eq!(all(&parts, Part::Extension), b";x=\"y\"  \t", "{step}");
            assert_eq!(all(&parts, Part::Trailer), b"X-Sum: 1\r\nY: \r\n", "{step}");
            assert_eq!(rest, 3, "{step}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = |what: &str, n: usize| what.repeat(n);
        for wire in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            ";x\r\n",
            "1\n",
            "1\rx",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rx",
            "1;\x01\r\n",
            "1;x\n",
            "0\r\n\n",
            "0\r\n: x\r\n",
            "0\r\n x\r\n",
            "0\r\nX: 1\n",
            "0\r\nX: \x00\r\n",
            "0\r\nX: 1\r\r",
            "0\r\n\rx",
            &format!("1{}\r\n", long("0", 15)),
            &format!("1;{}\r\n", long("x", 2000)),
            &format!("0\r\n{}", long("X-A: 1\r\n", 4000)),
        ] {
            for step in [1, 2, 1 << 20] {
                let chunked = Framing::Chunked(Chunks::default());
                assert_eq!(parts(chunked, wire.as_bytes(), step), Err(Malformed), "{wire:.40?} {step}");
            }
        }
    }

    #[test]
    fn other_bodies_are_content_up_to_their_end() {
        for (framing, wire, content, rest) in [
            (Framing::Done, "abc", "", 3),
            (Framing::Length(2), "abc", "ab", 1),
            (Framing::Length(5), "abc", "abc", 0),
            (Framing::Close, "abc", "abc", 0),
        ] {
            for step in 1..4 {
                let (parts, left) = parts(framing.clone(), wire.as_bytes(), step).unwrap();
                assert_eq!((all(&parts, Part::Content), left), (content.into(), rest), "{framing:?} {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_body_in_chunks_is_read_as_it_was_written(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            extension in "(;[a-z]{1,5}(=[a-z]{0,3})?)?",
            trailers in proptest::collection::vec("[A-Za-z-]{1,8}: [ -~]{0,9}", 0..3),
            step in 1_usize..50,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n");
            for trailer in &trailers {
                wire.extend_from_slice(format!("{trailer}\r\n").as_bytes());
            }
            wire.extend_from_slice(b"\r\nrest");
            let (parts, rest) = parts(Framing::Chunked(Chunks::default()), &wire, step).unwrap();
            prop_assert_eq!(all(&parts, Part::Content), chunks.concat());
            prop_assert_eq!(rest, 4);
            let plain: Vec<u8> = parts
                .iter()
                .filter(|(part, _)| matches!(part, Part::Content | Part::Coding))
                .flat_map(|(_, bytes)| bytes.clone())
                .collect();
            // What goes on is the same body in its plain form.
            let (again, rest) = self::parts(Framing::Chunked(Chunks::default()), &plain, step).unwrap();
            prop_assert_eq!((all(&again, Part::Content), rest), (chunks.concat(), 0));
            prop_assert!(all(&again, Part::Extension).is_empty() && all(&again, Part::Trailer).is_empty());
        }

        #[test]
        fn bytes_of_anybody_are_taken_or_refused(wire: Vec<u8>, step in 1_usize..9) {
            let _ = parts(Framing::Chunked(Chunks::default()), &wire, step);
        }
    }
}
