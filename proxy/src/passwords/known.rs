//! Credentials that were verified a moment ago.
//!
//! Kept is a hash, with a key of this process, of the password and of the hash that it was verified against. A change of the
//! Secret therefore takes effect at once: another hash was never verified.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::recent::Recent;

/// How long they are known.
const TIME: Duration = Duration::from_secs(60);
/// Parts, each with a lock of its own.
const PARTS: usize = 16;
/// How many are known in each part.
const MOST: usize = 512;

/// Credentials that were verified a moment ago.
pub(super) struct Known {
    key: [u8; 32],
    parts: [Mutex<Recent<Instant>>; PARTS],
}

impl Known {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self { key, parts: Default::default() }
    }

    /// Whether this password was verified against this hash.
    pub(super) fn has(&self, hash: &str, password: &[u8]) -> bool {
        let digest = self.digest(hash, password);
        let mut part = self.part(digest);
        let Some(place) = part.find(digest) else { return false };
        let is_known = part.get(place).is_some_and(|until| Instant::now() < *until);
        if !is_known {
            part.remove(place);
        }
        is_known
    }

    /// Notes that it was.
    pub(super) fn add(&self, hash: &str, password: &[u8]) {
        let digest = self.digest(hash, password);
        let until = Instant::now() + TIME;
        let mut part = self.part(digest);
        if let Some(place) = part.find(digest) {
            part.remove(place);
        } else if part.len() >= MOST
            && let Some(oldest) = part.oldest()
        {
            part.remove(oldest);
        }
        part.insert(digest, until);
    }

    /// The first half of a keyed SHA-256 digest. Without the key it cannot be computed.
    fn digest(&self, hash: &str, password: &[u8]) -> u128 {
        let length = u64::try_from(hash.len()).unwrap_or(u64::MAX).to_be_bytes();
        let digest = Sha256::new()
            .chain_update(self.key)
            .chain_update(length)
            .chain_update(hash)
            .chain_update(password)
            .finalize();
        digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    fn part(&self, digest: u128) -> MutexGuard<'_, Recent<Instant>> {
        let part = usize::try_from(digest % PARTS as u128).unwrap_or_default();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the key.
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_verified_is_known_for_a_while() {
        let known = Known::new();
        known.add("hash", b"secret");
        for (hash, password, want) in [
            ("hash", &b"secret"[..], true),
            // A user's new password has another hash.
            ("hash2", b"secret", false),
            ("hash", b"other", false),
            ("has", b"hsecret", false),
        ] {
            assert_eq!(known.has(hash, password), want, "{hash}");
        }
        assert!(!Known::new().has("hash", b"secret"), "each process has a key of its own");
        tokio::time::advance(TIME).await;
        assert!(!known.has("hash", b"secret"));
    }

    #[tokio::test]
    async fn what_is_known_is_bounded() {
        let known = Known::new();
        for n in 0..3 * PARTS * MOST {
            known.add(&n.to_string(), b"");
        }
        let held: usize = known.parts.iter().map(|part| part.lock().unwrap().len()).sum();
        assert!(held <= PARTS * MOST, "{held}");
    }
}
