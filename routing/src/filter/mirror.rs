//! RequestMirror: a copy of the request to another backend, whose answer nobody waits for.

use std::sync::Arc;

use crate::{Backend, BackendError};

/// A copy of some or all requests (HTTPRequestMirrorFilter).
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Who gets the copy; nobody does where it is broken.
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
