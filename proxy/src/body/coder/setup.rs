//! The configuration of encoders, and the memory that they take. For a short body, an encoder needs less of it.

use brotli::CompressorWriter;
use portcullis_routing::step::{Coding, MAX_BROTLI_LEVEL};
use zlib_rs::{Deflate, DeflateConfig};

use super::{Encoder, ROOM};

/// The configuration of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::body) enum Setup {
    Gzip {
        level: u8,
        /// The size of the window as a power of 2.
        window: u32,
        /// How many symbols a block has, as a power of 2 less 6.
        memory: u32,
    },
    Brotli {
        level: u8,
        /// The size of the window as a power of 2.
        window: u32,
    },
}

/// gzip does not find matches in the last bytes of its window.
const LOOKAHEAD: u64 = 262;
/// The hash table of gzip, which has the same size for any window, and the remaining memory of an encoder.
const GZIP_HASH: usize = 128 << 10;
const GZIP_OTHER: usize = 16 << 10;

/// The window of Brotli. Its own default, 4 MiB, is for files.
const BROTLI_WINDOW: u32 = 17;
/// From this level on, the encoder takes 32 MiB if its window is smaller.
const BROTLI_FIXED: u8 = 5;
impl Setup {
    /// The configuration for a body of this length, or of any length.
    pub(in crate::body) fn of(coding: Coding, length: Option<u64>) -> Self {
        match coding {
            Coding::Gzip { level } => Self::Gzip {
                level: level.clamp(1, 9),
                window: length.map_or(15, |length| bits(length.saturating_add(LOOKAHEAD - 1)).clamp(9, 15)),
                memory: length.map_or(8, |length| bits(length).saturating_sub(6).clamp(1, 8)),
            },
            Coding::Brotli { level } => {
                let level = level.min(MAX_BROTLI_LEVEL);
                let length = length.filter(|_| level < BROTLI_FIXED);
                let window = length.map(|length| bits(length.saturating_add(15)).clamp(10, BROTLI_WINDOW));
                Self::Brotli { level, window: window.unwrap_or(BROTLI_WINDOW) }
            }
        }
    }

    /// The memory of the encoder, in bytes.
    pub(in crate::body) fn memory(self) -> usize {
        match self {
            Self::Gzip { window, memory, level: _ } => {
                // The window is there twice, and has two bytes for each of its positions.
                (4 << window) + (7 << (memory + 6)) + GZIP_HASH + GZIP_OTHER
            }
            Self::Brotli { level, window } => {
                // Measured: the hash table, what each byte of the window takes, and the rest.
                let (hash, factor, other) = match level {
                    0 | 1 => (32 << 10, 12, 16 << 10),
                    2 | 3 => (256 << 10, 11, 128 << 10),
                    4 => (512 << 10, 19, 256 << 10),
                    5 => (1056 << 10, 19, 256 << 10),
                    _ => (2080 << 10, 19, 256 << 10),
                };
                hash + (factor << window) + other
            }
        }
    }

    pub(super) fn encoder(self) -> Encoder {
        match self {
            Self::Gzip { level, window, memory } => {
                let number = |value: u32| i32::try_from(value).unwrap_or_default();
                let config = DeflateConfig {
                    level: level.into(),
                    // 16 more stand for the format of gzip.
                    window_bits: 16 + number(window),
                    mem_level: number(memory),
                    ..DeflateConfig::default()
                };
                Encoder::Gzip(Box::new(Deflate::new_with_config(config)))
            }
            Self::Brotli { level, window } => {
                Encoder::Brotli(Box::new(CompressorWriter::new(Vec::new(), ROOM, level.into(), window)))
            }
        }
    }
}

/// The number of bits of a number: the smallest power of 2 above it.
fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_for_a_short_body_takes_less_memory() {
        let gzip = |length| Setup::of(Coding::Gzip { level: 1 }, length);
        for (length, window, memory) in [
            (None, 15, 8),
            (Some(u64::MAX), 15, 8),
            (Some(40_000), 15, 8),
            (Some(1000), 11, 4),
            (Some(0), 9, 1),
        ] {
            assert_eq!(gzip(length), Setup::Gzip { level: 1, window, memory }, "{length:?}");
        }
        // A match in the first byte is found from the last one.
        for (length, window) in [(2048 - LOOKAHEAD, 11), (2049 - LOOKAHEAD, 12)] {
            assert!(matches!(gzip(Some(length)), Setup::Gzip { window: of, .. } if of == window), "{length}");
        }
        assert_eq!(gzip(None).memory(), 384 << 10);
        assert!(gzip(Some(1000)).memory() < 160 << 10);

        let brotli = |level, length| Setup::of(Coding::Brotli { level }, length);
        assert_eq!(brotli(4, Some(1000)), Setup::Brotli { level: 4, window: 10 });
        assert!(brotli(4, None).memory() > 3 * brotli(4, Some(1000)).memory());
        for level in 5..=6 {
            assert_eq!(brotli(level, Some(1000)), brotli(level, None), "level {level}");
        }
    }
}
