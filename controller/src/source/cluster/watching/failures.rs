//! Handles failures of a watch: what to report, how long to wait, and when to list everything again.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    super::{
        Happening,
        kinds::Reads,
        reading::Failure,
        trouble::{Trouble, pause},
    },
    Stop, Watching,
};

/// How long to wait for a kind that is refused, unless something happens to its CRD.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
const FIRST_REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// The same for a kind that Kubernetes itself is without: that changes with an upgrade only.
const OPTIONAL_PAUSE: Duration = Duration::from_mins(1);
/// Refusals are reported after this many in a row: just after the API server or this process starts, they may pass.
const BELIEVED: u32 = 3;
/// The same for a kind whose CRD is there: it may be about to be served.
const UNSERVED: u32 = 8;
/// After this many failures in a row everything is listed, since the position may be what is wrong. After each list
/// that did not help, the number doubles.
const MISPLACED: u32 = 5;
const MOST_DOUBLINGS: u32 = 4;

impl Watching {
    pub(super) async fn fail(&mut self, failure: Failure) -> Result<(), Stop> {
        match failure {
            Failure::NotStreamed => {
                self.streaming = false;
                Ok(())
            }
            Failure::Expired => {
                self.list_again();
                if self.lists > 1 {
                    tokio::time::sleep(pause(self.lists)).await;
                }
                Ok(())
            }
            Failure::Unreachable(why) => self.failing(why).await,
            Failure::Failing(why) => {
                self.failing(why).await?;
                if self.failures.is_multiple_of(MISPLACED << self.lists.min(MOST_DOUBLINGS)) {
                    self.list_again();
                }
                Ok(())
            }
            Failure::Forbidden(why) => {
                self.refusals = self.refusals.saturating_add(1);
                self.refused(Some(Trouble::Forbidden(why)).filter(|_| self.refusals >= BELIEVED)).await
            }
            Failure::Absent => {
                self.version = (self.version + 1) % self.watched.versions().len();
                if self.version == 0 {
                    self.refusals = self.refusals.saturating_add(1);
                    self.is_absent().await
                } else {
                    Ok(())
                }
            }
        }
    }

    async fn failing(&mut self, why: String) -> Result<(), Stop> {
        self.failures = self.failures.saturating_add(1);
        // A single failure is not reported if the next watch can continue from the position.
        if self.failures > 1 || self.position.is_none() {
            self.suffer(Trouble::Failing(why)).await?;
        }
        tokio::time::sleep(pause(self.failures)).await;
        Ok(())
    }

    fn list_again(&mut self) {
        self.position = None;
        self.lists = self.lists.saturating_add(1);
    }

    /// The API server knows none of the kind's versions. Whether that is reported depends on its CRD: just after a
    /// start the API server does not know the kinds of CRDs yet.
    async fn is_absent(&mut self) -> Result<(), Stop> {
        self.position = None;
        let definition = self.watched.definition();
        let defined = definition.as_ref().and_then(|name| self.definitions.borrow_and_update().has(name));
        let trouble = match &defined {
            Some(None) => {
                // The objects were deleted with their CRD. A refusal alone does not prove that.
                for name in self.known.keys().cloned().collect::<Vec<_>>() {
                    self.delete(name).await?;
                }
                Some(Trouble::Absent)
            }
            Some(Some(release)) if self.refusals >= UNSERVED => {
                let versions = self.watched.versions().join(" or ");
                Some(Trouble::Unserved(format!("its CRD, of {}, does not serve {versions}", release.version)))
            }
            Some(Some(_)) => None,
            None if self.watched.is_optional() && self.known.is_empty() => Some(Trouble::Absent),
            None if self.refusals >= BELIEVED && self.known.is_empty() => Some(Trouble::Absent),
            None if self.refusals >= BELIEVED => {
                Some(Trouble::Unserved("the API server does not know the kind".to_owned()))
            }
            None => None,
        };
        self.refused(trouble).await
    }

    /// Reports trouble and waits; a short time as long as there is none to report.
    async fn refused(&mut self, believed: Option<Trouble>) -> Result<(), Stop> {
        let pause = match believed {
            None => FIRST_REFUSED_PAUSE,
            Some(Trouble::Absent) if self.watched.is_optional() => OPTIONAL_PAUSE,
            Some(_) => REFUSED_PAUSE,
        };
        if let Some(trouble) = believed {
            self.suffer(trouble).await?;
        }
        let changed = async {
            if self.definitions.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(pause, changed).await;
        Ok(())
    }

    async fn suffer(&mut self, trouble: Trouble) -> Result<(), Stop> {
        self.troubled = true;
        self.tell(Happening::Trouble(trouble)).await
    }

    /// Something was read: the failure is over.
    pub(super) async fn is_well(&mut self) -> Result<(), Stop> {
        (self.failures, self.refusals, self.lists) = (0, 0, 0);
        match std::mem::take(&mut self.troubled) {
            // The settings can be asked for again, and are missing as before.
            true if self.watched.reads == Reads::Settings && self.known.is_empty() => {
                self.settings_are_missing().await
            }
            true => self.tell(Happening::Recovered).await,
            false => Ok(()),
        }
    }

    pub(super) async fn settings_are_missing(&self) -> Result<(), Stop> {
        let why = "not found (--settings-configmap)".to_owned();
        self.tell(Happening::Trouble(Trouble::Failing(why))).await
    }
}
