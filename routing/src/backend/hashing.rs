//! Hashes that are the same in every process and release, so that all replicas choose alike.
//!
//! SipHash-2-4, as the standard library has it with keys; its newer hashers may change from release to release.

#![expect(deprecated, reason = "the standard library's only hasher whose algorithm is fixed")]

use std::hash::{Hasher as _, SipHasher};

/// The hash of a text, which anybody can compute.
pub(crate) fn stable_hash(text: &[u8]) -> u64 {
    keyed_hash(text, [0, 0])
}

/// 32 hexadecimal digits of a text that cannot be computed without the key, nor traced back to the text.
pub(crate) fn keyed_digits(text: &[u8], [a, b]: [u64; 2]) -> String {
    format!("{:016x}{:016x}", keyed_hash(text, [a, b]), keyed_hash(text, [!a, b]))
}

/// The hash of a text, which cannot be computed without the key.
pub(crate) fn keyed_hash(text: &[u8], [a, b]: [u64; 2]) -> u64 {
    let mut hasher = SipHasher::new_with_keys(a, b);
    hasher.write(text);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_in_every_release() {
        // The test vectors of the paper: SipHash-2-4 with the key 00..0f.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(keyed_hash(b"", key), 0x726f_db47_dd0e_0e31);
        assert_eq!(keyed_hash(&(0..15).collect::<Vec<_>>(), key), 0xa129_ca61_49be_45e5);
        assert_eq!(keyed_digits(b"", key).get(..16), Some("726fdb47dd0e0e31"));
    }
}
