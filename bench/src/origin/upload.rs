//! How far an upload has come, by its `Content-Length` or by its chunks (RFC 9112, 7.1). Its bytes are not kept.

use anyhow::{Context as _, Result};

/// A body that is being read.
#[derive(Debug)]
pub(super) enum Upload {
    /// Bytes that are missing.
    Length(usize),
    Chunked(Chunks),
}

#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Bytes of body so far.
    pub(super) bytes: usize,
    at: At,
}

/// Where the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a line with a size, or, behind its digits, in an extension.
    Size { size: usize, digits: bool },
    /// In a chunk that has so many bytes left.
    Data(usize),
    /// In the line break behind a chunk.
    Behind,
    /// In the trailers; `empty`: in a line that is empty so far.
    Trailer { empty: bool },
    /// Behind the body.
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Size { size: 0, digits: true }
    }
}

impl Upload {
    /// As a head announces it.
    pub(super) fn announced(head: &[u8]) -> Result<Self> {
        let head = std::str::from_utf8(head)?;
        let header = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        if header("transfer-encoding").is_some() {
            return Ok(Self::Chunked(Chunks::default()));
        }
        let (_, length) = header("content-length").context("a body of unknown length")?;
        Ok(Self::Length(length.trim().parse()?))
    }

    /// Counts what has come.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        match self {
            Self::Length(missing) => *missing = missing.saturating_sub(bytes.len()),
            Self::Chunked(chunks) => chunks.read(bytes),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Length(missing) => *missing == 0,
            Self::Chunked(chunks) => chunks.at == At::End,
        }
    }
}

impl Chunks {
    fn read(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            bytes = rest;
            self.at = match self.at {
                At::Data(left) => {
                    // The first byte and what else is there of the chunk.
                    let more = rest.len().min(left - 1);
                    self.bytes += 1 + more;
                    bytes = &rest[more..];
                    if left == 1 + more { At::Behind } else { At::Data(left - 1 - more) }
                }
                At::Size { size: 0, .. } if *first == b'\n' => At::Trailer { empty: true },
                At::Size { size, .. } if *first == b'\n' => At::Data(size),
                At::Size { size, digits } => match char::from(*first).to_digit(16).filter(|_| digits) {
                    Some(digit) => At::Size { size: size * 16 + digit as usize, digits },
                    None => At::Size { size, digits: false },
                },
                At::Behind if *first == b'\n' => At::default(),
                At::Behind => At::Behind,
                At::Trailer { empty: true } if *first == b'\n' => At::End,
                At::Trailer { .. } if *first == b'\n' => At::Trailer { empty: true },
                At::Trailer { empty } => At::Trailer { empty: empty && *first == b'\r' },
                At::End => At::End,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_counted_however_they_are_cut() {
        for (text, bytes, whole) in [
            ("3\r\nabc\r\n0\r\n\r\n", 3, true),
            ("0003;name=\"a1\"\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 13, true),
            ("3\r\nabc\r\n0\r\nx-sum: 1\r\nx-other: 2\r\n\r\n", 3, true),
            ("0\r\n\r\n", 0, true),
            ("3\r\nabc\r\n0\r\nx-sum: 1\r\n", 3, false),
            ("3\r\nabc\r\n", 3, false),
            ("3\r\nab", 2, false),
        ] {
            for piece in 1..=text.len() {
                let mut upload = Upload::announced(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked").unwrap();
                text.as_bytes().chunks(piece).for_each(|bytes| upload.read(bytes));
                let Upload::Chunked(chunks) = &upload else { panic!("{upload:?}") };
                assert_eq!(
                    (chunks.bytes, upload.is_whole()),
                    (bytes, whole),
                    "{text:?} in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut upload = Upload::announced(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5").unwrap();
        upload.read(b"abc");
        assert!(!upload.is_whole());
        upload.read(b"de");
        assert!(upload.is_whole());
        assert!(Upload::announced(b"POST / HTTP/1.1\r\nhost: a").is_err());
    }
}
