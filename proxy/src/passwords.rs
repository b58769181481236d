//! Passwords of clients, compared with the hashes of `htpasswd`.
//!
//! ```text
//! passwords.rs     what a request's Authorization is worth
//! credentials.rs   what is in it
//! hash.rs          the kinds of hashes
//! known.rs         credentials that were verified a moment ago
//! turns.rs         who may hash, when
//! ```
//!
//! Hashes are slow by design, so they are computed on threads of their own, a few at a time, and those of one namespace
//! never take all of them. What waits is bounded in number and in time, and beyond that requests get a 503. What was verified is
//! known for a short while, by a keyed hash, so that neither the password nor what it could be found from stays in memory.

mod credentials;
mod hash;
mod known;
mod turns;

use std::sync::Arc;

use http::{HeaderMap, header};
use portcullis_routing::{Headers, step::BasicAuth};
use zeroize::Zeroizing;

use self::{credentials::Credentials, known::Known, turns::Turns};

/// Verifies passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    known: Known,
    turns: Turns,
}

/// What a request's password is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// It could not be verified in time.
    Busy,
}

impl Passwords {
    pub(crate) fn new(workers: usize) -> Self {
        Self { known: Known::new(), turns: Turns::new(workers) }
    }

    /// The verdict, if it needs no slow hash; otherwise [`Self::verify`] has it.
    pub(crate) fn at_once(&self, auth: &BasicAuth, headers: &dyn Headers) -> Option<Verdict> {
        let Some(credentials) = Self::credentials(headers) else { return Some(Verdict::Wrong) };
        let Some(hash) = auth.users.hash_of(credentials.name()) else { return Some(Verdict::Wrong) };
        let is_right = match hash::is_quick(hash) {
            true => Some(hash::verify(hash, credentials.password())),
            false => self.known.has(hash, credentials.password()).then_some(true),
        };
        is_right.map(Verdict::of)
    }

    /// The verdict, after waiting for it.
    pub(crate) async fn verify(&self, auth: &BasicAuth, headers: &HeaderMap) -> Verdict {
        let Some(credentials) = Self::credentials(headers) else { return Verdict::Wrong };
        let Some(hash) = auth.users.hash_of(credentials.name()) else { return Verdict::Wrong };
        let Some(turn) = self.turns.take(&auth.users.owner).await else { return Verdict::Busy };
        // A client sends several requests at once, and the first has waited for all of them.
        if self.known.has(hash, credentials.password()) {
            return Verdict::Right;
        }
        let (hash, password) = (Box::<str>::from(hash), Zeroizing::new(credentials.password().to_vec()));
        // The turn ends with the work, even if nobody waits for it any more.
        let verified = tokio::task::spawn_blocking(move || {
            let is_right = hash::verify(&hash, &password);
            drop(turn);
            (is_right, hash, password)
        });
        match verified.await {
            Ok((true, hash, password)) => {
                self.known.add(&hash, &password);
                Verdict::Right
            }
            Ok((false, ..)) => Verdict::Wrong,
            Err(_) => Verdict::Busy,
        }
    }

    /// What the client says it is. Two different answers to that are none.
    fn credentials(headers: &dyn Headers) -> Option<Credentials> {
        let (mut count, mut first) = (0, None);
        headers.each(&header::AUTHORIZATION, &mut |value| {
            count += 1;
            first = first.or(Some(value));
            std::ops::ControlFlow::Continue(())
        });
        first.filter(|_| count == 1).and_then(Credentials::parse)
    }
}

impl Verdict {
    fn of(is_right: bool) -> Self {
        if is_right { Self::Right } else { Self::Wrong }
    }
}

/// One for all workers of a process.
pub(crate) fn shared(workers: usize) -> Arc<Passwords> {
    Arc::new(Passwords::new(workers))
}

#[cfg(test)]
mod tests;
