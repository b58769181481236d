//! How the requests of a backend are spread over its endpoints, and those of an Ingress over its backend and a canary.
//!
//! ```text
//! Backends (and Canary)  which backend, by headers, cookies and weight     when it is decided about the request
//! Balance                how its endpoint is chosen                        when it is connected to
//! ```

mod affinity;
mod canary;
mod cookies;

use std::{fmt, num::NonZeroUsize, sync::Arc};

pub(crate) use affinity::Client;
pub use affinity::{Affinity, SameSite, SessionCookie, SessionToken};
pub use canary::{Canary, HeaderTest};

use crate::Template;

/// How the requests of a backend are spread over its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// To the one of two at random with fewer requests in flight.
    #[default]
    LessLoaded,
    /// One after the other.
    RoundRobin,
    /// To the one of two at random that answers faster.
    Faster,
    /// By the hash of a text.
    Hash(Arc<HashBy>),
    /// By a cookie or a header.
    Session(Arc<Affinity>),
}

/// A text whose hash chooses the endpoint: equal texts go to the same endpoint, and when endpoints come or go, only their
/// share of the texts moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashBy {
    /// The text.
    pub text: Template,
    /// How many endpoints share the requests of one text; `None` is one.
    pub subset: Option<NonZeroUsize>,
}

/// Writes, after a space, what is not the default of routes or of Ingresses.
impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LessLoaded | Self::RoundRobin => Ok(()),
            Self::Faster => f.write_str(" by latency"),
            Self::Hash(hash) => {
                write!(f, " by hash of {}", hash.text)?;
                hash.subset.iter().try_for_each(|size| write!(f, " to {size}"))
            }
            Self::Session(affinity) => affinity.fmt(f),
        }
    }
}
