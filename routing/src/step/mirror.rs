//! RequestMirror: a copy of the request is sent to another backend. The response is discarded.

use std::sync::Arc;

use crate::{Backend, BackendError};

/// A copy of some or all requests (HTTPRequestMirrorFilter).
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The backend that receives the copy; if it is broken, no copy is sent.
    pub backend: Result<Arc<Backend>, BackendError>,
    /// How many of `denominator` requests are copied.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

impl Mirror {
    /// Whether this request is copied, for a uniformly random number.
    pub fn takes(&self, random: u64) -> bool {
        random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_the_requests_is_copied() {
        for (numerator, denominator, want) in [
            (0, 100, 0),
            (1, 100, 10),
            (50, 100, 500),
            (100, 100, 1000),
            (1, 4, 250),
            (3, 2, 1000),
            (1, 0, 1000),
        ] {
            let backend = Err(BackendError::NotFound("n/s".into()));
            let mirror = Mirror { backend, numerator, denominator };
            let taken = (0..1000).filter(|random| mirror.takes(*random)).count();
            assert_eq!(taken, want, "{numerator} of {denominator}");
        }
    }
}
