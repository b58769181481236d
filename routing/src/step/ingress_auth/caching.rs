//! Which answers of a service hold for other requests, too (`auth-cache-key`, `auth-cache-duration`).

use std::{fmt, time::Duration};

use http::StatusCode;

use crate::Template;

/// How answers of a service are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthCaching {
    /// What requests have to have in common.
    pub key: Template,
    /// How long answers are kept; of several for a status, the first counts.
    pub times: Box<[CacheTime]>,
    /// Tells the places apart whose answers are kept: those of one never hold for another, even with equal keys.
    pub place: Box<str>,
}

/// How long answers with some statuses are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTime {
    /// The statuses; `None` is every one that is kept at all.
    pub statuses: Option<Box<[u16]>>,
    /// How long.
    pub time: Duration,
}

impl AuthCaching {
    /// How long an answer with this status is kept, unless it says otherwise itself. Denials for good and failures are asked
    /// for anew each time.
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
