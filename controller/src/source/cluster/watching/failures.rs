//! What becomes of failures of a watch: what is told of them, how long is waited, and when everything is listed again.

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
/// So many refusals in a row are believed: just after a start of the API server, or of ours, they may pass.
const BELIEVED: u32 = 3;
/// The same for a kind whose CRD is there: it may be about to be served.
const UNSERVED: u32 = 8;
/// After so many failures in a row it may be the place to go on from that is wrong: everything is listed. After a list
/// that did not help twice as many are waited for, and so on.
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
        // One watch that broke is no trouble yet, as long as the next one goes on from there.
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

    /// None of its versions is known. Whether that is believed depends on what is known of its CRD: just after a start
    /// the API server does not know the kinds of CRDs yet.
    async fn is_absent(&mut self) -> Result<(), Stop> {
        self.position = None;
        let definition = self.watched.definition();
        let defined = definition.as_ref().and_then(|name| self.definitions.borrow_and_update().has(name));
        let trouble = match &defined {
            Some(None) => {
                // They went with their CRD. A refusal alone says nothing of them.
                for name in self.known.keys().cloned().collect::<Vec<_>>() {
                    self.delete(name).await?;
                }
                Some(Trouble::Absent)
            }
            Some(Some(bundle)) if self.refusals >= UNSERVED => {
                let versions = self.watched.versions().join(" or ");
                Some(Trouble::Unserved(format!("its CRD, of {bundle}, does not serve {versions}")))
            }
            Some(Some(_)) => None,
            None if self.refusals >= BELIEVED && self.known.is_empty() => Some(Trouble::Absent),
            None if self.refusals >= BELIEVED => {
                Some(Trouble::Unserved("the API server answers that it does not know the kind".to_owned()))
            }
            None => None,
        };
        self.refused(trouble).await
    }

    /// Waits, a short time as long as a refusal is not believed.
    async fn refused(&mut self, believed: Option<Trouble>) -> Result<(), Stop> {
        let pause = if believed.is_some() { REFUSED_PAUSE } else { FIRST_REFUSED_PAUSE };
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

    /// Something was read.
    pub(super) async fn is_well(&mut self) -> Result<(), Stop> {
        (self.failures, self.refusals, self.lists) = (0, 0, 0);
        match std::mem::take(&mut self.troubled) {
            // It can be asked for again, and is missing as before.
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
