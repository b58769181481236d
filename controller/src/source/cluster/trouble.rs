//! Why a kind is not read, and how long to wait before it is tried again.

use std::time::Duration;

use rand::Rng as _;

/// Why nothing comes of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The API server does not know the kind.
    Absent,
    /// Its CRD is there, and not in a version that is read; or the API server does not know the kind any more, and
    /// nobody knows whether its CRD is there.
    Unserved(String),
    /// We may not read it.
    Forbidden(String),
    /// Anything else; it passes or it does not.
    Failing(String),
}

impl Trouble {
    /// Whether nobody has to wait for it: there is nothing that could be served.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self, Self::Failing(_))
    }

    /// Whether it is what another one is, in other words.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How long to wait after so many failures in a row; not the same for everybody.
pub(super) fn pause(failures: u32) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE);
    most.mul_f64(rand::rng().random_range(0.5..1.0))
}
