//! Compresses the body of a response while it is streamed.

use std::{cell::Cell, fmt, io::Write, mem};

use brotli::CompressorWriter;
use bytes::{Buf, Bytes, BytesMut};
use portcullis_routing::step::{Coding, MAX_BROTLI_LEVEL};
use zlib_rs::{Deflate, DeflateFlush, Status};

/// The memory of all encoders of a worker. Beyond it, responses are sent uncompressed.
const MOST: usize = 64 << 20;
/// The memory of an encoder: of gzip, of Brotli up to level 4, and of Brotli above.
const GZIP: usize = 384 << 10;
const BROTLI: usize = 3 << 20;
const BROTLI_SLOW: usize = 5 << 20;

/// The size of Brotli's window as a power of 2. The default of 4 MiB is for files.
const BROTLI_WINDOW: u32 = 17;

/// The number of bytes that are compressed before other tasks of the worker run.
const TURN: usize = 64 << 10;

/// The unit in which room for output is made.
const ROOM: usize = 8 << 10;
/// `zlib_header` with this many window bits is the format of gzip, with a window of 32 KiB.
const GZIP_WINDOW: u8 = 15 + 16;

thread_local! {
    /// The memory of the encoders of this thread.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

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
    Gzip(Box<Deflate>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
}

/// A share of the memory for encoders.
struct Lease(usize);

/// An encoder has failed. It does not depend on the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncoderFailed;

impl Coder {
    /// The maximum number of bytes that are compressed at once.
    pub(crate) const AT_ONCE: usize = 32 << 10;

    /// Creates an encoder; `None` if there is no memory for it.
    pub(crate) fn new(coding: Coding) -> Option<Box<Self>> {
        let size = match coding {
            Coding::Gzip { .. } => GZIP,
            Coding::Brotli { level: 0..=4 } => BROTLI,
            Coding::Brotli { .. } => BROTLI_SLOW,
        };
        let lease = Lease::take(size)?;
        let encoder = match coding {
            Coding::Gzip { level } => {
                Encoder::Gzip(Box::new(Deflate::new(level.clamp(1, 9).into(), true, GZIP_WINDOW)))
            }
            Coding::Brotli { level } => {
                let level = level.min(MAX_BROTLI_LEVEL).into();
                Encoder::Brotli(Box::new(CompressorWriter::new(Vec::new(), ROOM, level, BROTLI_WINDOW)))
            }
        };
        let output = BytesMut::new();
        Some(Box::new(Self { encoder: Some((encoder, lease)), output, holds_back: false, turn: 0 }))
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
        match encoder {
            Encoder::Gzip(gzip) => deflate(gzip, content, DeflateFlush::NoFlush, &mut self.output),
            Encoder::Brotli(brotli) => {
                brotli.write_all(content).map_err(|_| EncoderFailed)?;
                self.output.extend_from_slice(&mem::take(brotli.get_mut()));
                Ok(())
            }
        }
    }

    /// Brings out all input that the encoder holds back, so that the client can decode it.
    ///
    /// # Errors
    /// If the encoder has failed.
    pub(crate) fn flush(&mut self) -> Result<(), EncoderFailed> {
        let Some((encoder, _)) = self.encoder.as_mut().filter(|_| self.holds_back) else { return Ok(()) };
        self.holds_back = false;
        match encoder {
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
        let Some((encoder, _lease)) = self.encoder.take() else { return Ok(()) };
        self.holds_back = false;
        match encoder {
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

impl Lease {
    fn take(size: usize) -> Option<Self> {
        HELD.with(|held| {
            let after = held.get().checked_add(size).filter(|after| *after <= MOST)?;
            held.set(after);
            Some(Self(size))
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(self.0)));
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

    const CODINGS: [Coding; 5] = [
        Coding::Gzip { level: 1 },
        Coding::Gzip { level: 9 },
        Coding::Brotli { level: 0 },
        Coding::Brotli { level: 4 },
        Coding::Brotli { level: 6 },
    ];

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
            for (len, part) in [(0, 1), (1, 1), (1000, 7), (100_000, 1013), (400_000, Coder::AT_ONCE)] {
                let (body, mut coder) = (text(len), Coder::new(coding).unwrap());
                let mut output = Vec::new();
                for (n, part) in body.chunks(part).enumerate() {
                    coder.put(part).unwrap();
                    if n % 5 == 0 {
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
                assert!(decoded(coding, &output) == body, "{coding:?} {len} {part}");
                // Each flush takes some bytes.
                let most = len * 3 / 4 + 20 * len.div_ceil(part);
                assert!(len < 10_000 || output.len() < most, "{coding:?} {len}: {}", output.len());
                coder.sent(usize::MAX);
                coder.end().unwrap();
                assert!(coder.output().is_empty() && coder.put(b"x").is_err());
            }
        }
    }

    #[test]
    fn flushed_input_can_be_decoded() {
        for coding in CODINGS {
            let mut coder = Coder::new(coding).unwrap();
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
            let mut coder = Coder::new(coding).unwrap();
            for part in random.chunks(Coder::AT_ONCE) {
                coder.put(part).unwrap();
            }
            coder.end().unwrap();
            assert!(coder.output().len() < random.len() + 1000, "{coding:?}");
        }
    }

    #[test]
    fn the_encoders_of_a_worker_have_bounded_memory() {
        std::thread::spawn(|| {
            let coders: Vec<_> = std::iter::from_fn(|| Coder::new(Coding::Gzip { level: 1 })).collect();
            assert_eq!(coders.len(), MOST / GZIP);
            assert!(Coder::new(Coding::Brotli { level: 4 }).is_none());
            let mut coders = coders.into_iter();
            // The memory is free once a body has ended, even if its output has not been sent.
            let mut ended = coders.next().unwrap();
            ended.end().unwrap();
            assert!(Coder::new(Coding::Gzip { level: 1 }).is_some());
            drop(coders);
            assert_eq!(HELD.get(), 0);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_turn_ends_after_some_bytes() {
        let mut coder = Coder::new(Coding::Gzip { level: 1 }).unwrap();
        coder.put(&[0; TURN - 1]).unwrap();
        assert!(!coder.ends_turn());
        coder.put(&[0]).unwrap();
        assert!(coder.ends_turn() && !coder.ends_turn());
    }
}
