//! Caching of a service's responses (`auth-cache-key`, `auth-cache-duration`).

use std::{fmt, time::Duration};

use http::StatusCode;

use crate::Template;

/// How responses of a service are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthCaching {
    /// The cache key.
    pub key: Template,
    /// How long responses are cached; the first entry for a status applies.
    pub times: Box<[CacheTime]>,
    /// The scope of the cache: responses are never reused in another scope, even with equal keys.
    pub place: Box<str>,
}

/// How long responses with certain statuses are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTime {
    /// The statuses; `None` is every status that can be cached.
    pub statuses: Option<Box<[u16]>>,
    /// The duration.
    pub time: Duration,
}

impl AuthCaching {
    /// How long a response with this status is cached, unless its headers define it. 403 and errors are never cached.
    pub fn time(&self, status: StatusCode) -> Option<Duration> {
        if !(status.is_success() || status == StatusCode::UNAUTHORIZED) {
            return None;
        }
        let fits = |time: &&CacheTime| {
            time.statuses.as_ref().is_none_or(|statuses| statuses.contains(&status.as_u16()))
        };
        self.times.iter().find(fits).map(|time| time.time).filter(|time| !time.is_zero())
    }
}

impl fmt::Display for AuthCaching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cached by {}", self.key)?;
        for CacheTime { statuses, time } in &self.times {
            statuses.iter().flatten().try_for_each(|status| write!(f, " {status}"))?;
            write!(f, " {time:?}")?;
        }
        Ok(())
    }
}
