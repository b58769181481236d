//! What is measured of a request while it is served.

use std::{sync::Arc, time::Duration};

use http::Method;
use portcullis_routing::Route;
use tokio::time::Instant;

use super::{MethodLabel, Sample};

/// What is measured of a request of an Ingress.
#[derive(Debug)]
pub(crate) struct Measured {
    began: Instant,
    method: MethodLabel,
    /// The size of the head, in bytes.
    head: u64,
    /// The size of the body that was received, in bytes.
    body: u64,
    /// The size of the head of the response, in bytes.
    answer_head: u64,
    /// The label of the canary, if the request was sent to it.
    canary: Option<Arc<str>>,
    attempt: Option<Attempt>,
}

/// The last attempt at a backend.
#[derive(Debug)]
struct Attempt {
    began: Instant,
    connect: Option<Duration>,
    header: Option<Duration>,
}

impl Measured {
    /// Begins with a request that was decided about. `head` is the size of its head, in bytes.
    pub(crate) fn begin(method: &Method, head: usize) -> Self {
        Self {
            began: Instant::now(),
            method: method.into(),
            head: head as u64,
            body: 0,
            answer_head: 0,
            canary: None,
            attempt: None,
        }
    }

    /// Notes which backend was chosen. A default backend that is asked later does not change it.
    pub(crate) fn forwarded(&mut self, route: &Route) {
        if let Some(canary) = route.canary() {
            self.canary = Some(Arc::clone(canary));
        }
    }

    /// An attempt begins.
    pub(crate) fn attempt(&mut self) {
        self.attempt = Some(Attempt { began: Instant::now(), connect: None, header: None });
    }

    /// The attempt has a connection; `reused`: it has carried another request before.
    pub(crate) fn connected(&mut self, reused: bool) {
        if let Some(attempt) = &mut self.attempt {
            attempt.connect = Some(if reused { Duration::ZERO } else { attempt.began.elapsed() });
        }
    }

    /// The head of a backend's response has been received, and is sent to the client with this size.
    pub(crate) fn answered(&mut self, head: usize) {
        self.answer_head = head as u64;
        if let Some(attempt) = &mut self.attempt {
            attempt.header = Some(attempt.began.elapsed());
        }
    }

    /// The head of the response has this size.
    pub(crate) fn sent_head(&mut self, head: usize) {
        self.answer_head = head as u64;
    }

    /// So many bytes of the body were received.
    pub(crate) fn received(&mut self, body: u64) {
        self.body = body;
    }

    /// The request has ended. `bytes`: the size of the body that was sent to the client.
    pub(crate) fn end(&self, status: u16, bytes: usize) -> Sample<'_> {
        let (attempt, now) = (self.attempt.as_ref(), Instant::now());
        Sample {
            method: self.method,
            // As nginx counts a request that was aborted before any response.
            status: if status == 0 { 499 } else { status },
            canary: self.canary.as_ref(),
            duration: micros(now.duration_since(self.began)),
            response: attempt.map(|attempt| micros(now.duration_since(attempt.began))),
            header: attempt.and_then(|attempt| attempt.header).map(micros),
            connect: attempt.and_then(|attempt| attempt.connect).map(micros),
            received: self.head.saturating_add(self.body),
            sent: self.answer_head.saturating_add(bytes as u64),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
