//! The event about the default backend of the operator. It is recorded on the Service, whether that exists or not.

use crate::{
    cluster::events::{self, Recorder},
    ir::ObjectKey,
    problem::Topic,
    status::Message,
    status_feed::ProblemFeed,
};

/// What is wrong with the default backend, and what was reported of it.
#[derive(Debug)]
pub(super) struct DefaultBackendRemark {
    feed: ProblemFeed,
    now: Option<(ObjectKey, Message)>,
    reported: Option<(ObjectKey, Message)>,
}

impl DefaultBackendRemark {
    pub(super) fn of(feed: ProblemFeed) -> Self {
        Self { now: feed.problem(Topic::DefaultBackend), feed, reported: None }
    }

    /// Waits until there may be something else to report. Cancel safe.
    pub(super) async fn changed(&mut self) {
        self.feed.changed().await;
        self.now = self.feed.problem(Topic::DefaultBackend);
    }

    /// Records an event, unless it was recorded.
    pub(super) fn report(&mut self, recorder: &Recorder) {
        if self.now == self.reported {
            return;
        }
        if let Some((key, message)) = &self.now {
            let transition = events::remarked(std::slice::from_ref(message));
            // An object that may not exist has no uid.
            if !recorder.try_record_lasting(key, "", transition) {
                return;
            }
        }
        self.reported.clone_from(&self.now);
    }
}
