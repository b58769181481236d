//! Compresses the body of a response while it is streamed.

mod setup;

use std::{fmt, io::Write, mem};

use brotli::CompressorWriter;
use bytes::{Buf, Bytes, BytesMut};
use portcullis_routing::step::Coding;
use zlib_rs::{Deflate, DeflateFlush, Status};

pub(super) use self::setup::Setup;
use crate::budget::Lease;

/// The number of bytes that are compressed before other tasks of the worker run.
const TURN: usize = 64 << 10;

/// The unit in which room for output is made.
const ROOM: usize = 8 << 10;
/// The number of bytes that are held before there is an encoder, if the length of the body is not known.
const FIRST: usize = 4 << 10;

/// The encoder of one response, and output that has not been sent.
pub(crate) struct Coder {
    /// `None` once the body has ended.
    encoder: Option<(Encoder, Lease)>,
    output: BytesMut,
    /// Whether the encoder may hold back input.
    holds_back: bool,
    /// The number of bytes compressed since the last pause.
    turn: usize,
}

enum Encoder {
    /// There is none yet, since the body may be short.
    Waiting(Coding, Vec<u8>),
    Gzip(Box<Deflate>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
}

/// An encoder has failed. It does not depend on the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncoderFailed;

impl Coder {
    /// The maximum number of bytes that are compressed at once.
    pub(crate) const AT_ONCE: usize = 32 << 10;

    /// Creates an encoder for a body of this length, if it is known. `lease` is its memory ([`Setup::memory`]).
    pub(super) fn new(coding: Coding, length: Option<u64>, lease: Lease) -> Box<Self> {
        let encoder = match length {
            Some(_) => Setup::of(coding, length).encoder(),
            None => Encoder::Waiting(coding, Vec::new()),
        };
        let output = BytesMut::new();
        Box::new(Self { encoder: Some((encoder, lease)), output, holds_back: false, turn: 0 })
    }

    /// Compresses the next part of the body.
    ///
    /// # Errors
    /// If the encoder has failed.
    pub(crate) fn put(&mut self, content: &[u8]) -> Result<(), EncoderFailed> {
        let Some((encoder, _)) = &mut self.encoder else { return Err(EncoderFailed) };
        if content.is_empty() {
            return Ok(());
        }
        self.turn = self.turn.saturating_add(content.len());
        self.holds_back = true;
        if let Encoder::Waiting(_, first) = encoder {
            if first.len().saturating_add(content.len()) <= FIRST {
                first.extend_from_slice(content);
                return Ok(());
            }
            encoder.start(None, &mut self.output)?;
        }
        encoder.put(content, &mut self.output)
    }

    /// Brings out all input that the encoder holds back, so that the client can decode it.
    ///
    /// # Errors
    /// If the encoder has failed.
    pub(crate) fn flush(&mut self) -> Result<(), EncoderFailed> {
        let Some((encoder, _)) = self.encoder.as_mut().filter(|_| self.holds_back) else { return Ok(()) };
        self.holds_back = false;
        encoder.start(None, &mut self.output)?;
        match encoder {
            Encoder::Waiting(..) => Err(EncoderFailed),
            Encoder::Gzip(gzip) => deflate(gzip, &[], DeflateFlush::SyncFlush, &mut self.output),
            Encoder::Brotli(brotli) => {
                brotli.flush().map_err(|_| EncoderFailed)?;
                self.output.extend_from_slice(&mem::take(brotli.get_mut()));
                Ok(())
            }
        }
    }

    /// Ends the body, and frees the encoder. Does nothing if the body has ended already.
    ///
    /// # Errors
    /// If the encoder has failed.
    pub(crate) fn end(&mut self) -> Result<(), EncoderFailed> {
        let Some((mut encoder, _lease)) = self.encoder.take() else { return Ok(()) };
        self.holds_back = false;
        encoder.start_last(&mut self.output)?;
        match encoder {
            Encoder::Waiting(..) => Err(EncoderFailed),
            Encoder::Gzip(mut gzip) => deflate(&mut gzip, &[], DeflateFlush::Finish, &mut self.output),
            Encoder::Brotli(brotli) => {
                self.output.extend_from_slice(&brotli.into_inner());
                Ok(())
            }
        }
    }

    /// Whether the body has ended. Some of its output may still have to be sent.
    pub(crate) fn has_ended(&self) -> bool {
        self.encoder.is_none()
    }

    /// Whether [`Self::flush`] would bring output.
    pub(crate) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// The output that has not been sent.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// Adds bytes behind the output: the coding of chunks.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Notes that `n` bytes of the output were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        self.output.advance(n.min(self.output.len()));
    }

    /// Takes out the first `n` bytes of the output.
    pub(crate) fn take(&mut self, n: usize) -> Bytes {
        self.output.split_to(n.min(self.output.len())).freeze()
    }

    /// Whether so much was compressed that other tasks of the worker should run first. True once for each turn.
    pub(crate) fn ends_turn(&mut self) -> bool {
        let ends = self.turn >= TURN;
        if ends {
            self.turn = 0;
        }
        ends
    }
}

impl Encoder {
    /// Creates the encoder, if there is none yet, for a body of this length; without one, of any length.
    fn start(&mut self, length: Option<u64>, output: &mut BytesMut) -> Result<(), EncoderFailed> {
        let Self::Waiting(coding, first) = self else { return Ok(()) };
        let (coding, first) = (*coding, mem::take(first));
        *self = Setup::of(coding, length).encoder();
        self.put(&first, output)
    }

    /// The same if there is no more of the body.
    fn start_last(&mut self, output: &mut BytesMut) -> Result<(), EncoderFailed> {
        let Self::Waiting(_, first) = self else { return Ok(()) };
        let length = first.len() as u64;
        self.start(Some(length), output)
    }

    fn put(&mut self, content: &[u8], output: &mut BytesMut) -> Result<(), EncoderFailed> {
        match self {
            Self::Waiting(..) => Err(EncoderFailed),
            Self::Gzip(gzip) => deflate(gzip, content, DeflateFlush::NoFlush, output),
            Self::Brotli(brotli) => {
                brotli.write_all(content).map_err(|_| EncoderFailed)?;
                output.extend_from_slice(&mem::take(brotli.get_mut()));
                Ok(())
            }
        }
    }
}

/// Compresses all of `input`.
fn deflate(
    encoder: &mut Deflate,
    mut input: &[u8],
    flush: DeflateFlush,
    output: &mut BytesMut,
) -> Result<(), EncoderFailed> {
    loop {
        let before = output.len();
        output.resize(before + ROOM, 0);
        let (read, written) = (encoder.total_in(), encoder.total_out());
        let room = output.get_mut(before..).unwrap_or_default();
        let status = encoder.compress(input, room, flush).map_err(|_| EncoderFailed)?;
        let moved = |count: u64, since: u64| usize::try_from(count.wrapping_sub(since)).unwrap_or(0);
        let (read, written) = (moved(encoder.total_in(), read), moved(encoder.total_out(), written));
        output.truncate(before + written.min(ROOM));
        input = input.get(read..).unwrap_or_default();
        let is_done = match flush {
            DeflateFlush::Finish => status == Status::StreamEnd,
            _ => input.is_empty() && written < ROOM,
        };
        if is_done {
            return Ok(());
        }
        if read == 0 && written == 0 {
            return Err(EncoderFailed);
        }
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coder").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::budget::Budget;

    const CODINGS: [Coding; 5] = [
        Coding::Gzip { level: 1 },
        Coding::Gzip { level: 9 },
        Coding::Brotli { level: 0 },
        Coding::Brotli { level: 4 },
        Coding::Brotli { level: 6 },
    ];

    fn coder(coding: Coding, length: Option<u64>) -> Box<Coder> {
        let account = Budget::new(1 << 30).account([]);
        Coder::new(coding, length, account.lease(1).unwrap())
    }

    /// What another implementation makes of the output so far.
    fn decoded(coding: Coding, output: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        // An error is that of an output that goes on.
        let _ = match coding {
            Coding::Gzip { .. } => flate2::read::GzDecoder::new(output).read_to_end(&mut all),
            Coding::Brotli { .. } => brotli::Decompressor::new(output, 4096).read_to_end(&mut all),
        };
        all
    }

    fn text(len: usize) -> Vec<u8> {
        let mut random = 7_u32;
        let word = |random: &mut u32| {
            *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("{} ", *random >> 18)
        };
        let mut text = String::new();
        while text.len() < len {
            text.push_str(&word(&mut random));
        }
        text.truncate(len);
        text.into_bytes()
    }

    #[test]
    fn a_body_is_decoded_as_it_was_whatever_its_parts() {
        for coding in CODINGS {
            for (len, part, length) in [
                (0, 1, None),
                (1, 1, None),
                (1000, 7, None),
                (FIRST, 100, None),
                (FIRST + 1, FIRST, None),
                (100_000, 1013, None),
                (400_000, Coder::AT_ONCE, None),
                (1, 1, Some(1)),
                (250, 250, Some(250)),
                (1000, 100, Some(1000)),
                (5000, 1000, Some(5000)),
                (60_000, Coder::AT_ONCE, Some(60_000)),
                (100_000, Coder::AT_ONCE, Some(100_000)),
                // Longer than stated.
                (100_000, 1013, Some(10)),
            ] {
                let (body, mut coder) = (text(len), coder(coding, length));
                let mut output = Vec::new();
                for (n, part) in body.chunks(part).enumerate() {
                    coder.put(part).unwrap();
                    if n % 5 == 4 {
                        coder.flush().unwrap();
                        assert!(!coder.holds_back());
                    }
                    let n = coder.output().len().min(100);
                    output.extend_from_slice(&coder.output()[..n]);
                    coder.sent(n);
                    output.extend_from_slice(&coder.take(usize::MAX));
                }
                assert!(!coder.has_ended());
                coder.end().unwrap();
                assert!(coder.has_ended());
                output.extend_from_slice(coder.output());
                assert!(decoded(coding, &output) == body, "{coding:?} {len} {part} {length:?}");
                // Each flush takes some bytes.
                let most = len * 3 / 4 + 20 * len.div_ceil(part);
                assert!(
                    len < 10_000 || length == Some(10) || output.len() < most,
                    "{coding:?} {len}: {}",
                    output.len()
                );
                coder.sent(usize::MAX);
                coder.end().unwrap();
                assert!(coder.output().is_empty() && coder.put(b"x").is_err());
            }
        }
    }

    #[test]
    fn flushed_input_can_be_decoded() {
        for coding in CODINGS {
            let mut coder = coder(coding, None);
            let mut output = Vec::new();
            for count in 1..20 {
                coder.put(b"event\n\n").unwrap();
                coder.flush().unwrap();
                output.extend_from_slice(&coder.take(usize::MAX));
                assert_eq!(decoded(coding, &output), b"event\n\n".repeat(count), "{coding:?}");
                coder.flush().unwrap();
                assert!(coder.output().is_empty(), "nothing is flushed twice");
            }
        }
    }

    #[test]
    fn random_bytes_are_not_inflated() {
        let random: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for coding in CODINGS {
            let mut coder = coder(coding, None);
            for part in random.chunks(Coder::AT_ONCE) {
                coder.put(part).unwrap();
            }
            coder.end().unwrap();
            assert!(coder.output().len() < random.len() + 1000, "{coding:?}");
        }
    }

    #[test]
    fn a_turn_ends_after_some_bytes() {
        let mut coder = coder(Coding::Gzip { level: 1 }, None);
        coder.put(&[0; TURN - 1]).unwrap();
        assert!(!coder.ends_turn());
        coder.put(&[0]).unwrap();
        assert!(coder.ends_turn() && !coder.ends_turn());
    }
}
