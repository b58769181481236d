//! The part of a client's connection that other tasks see.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;

/// The part of a client's connection that other tasks see: whether it is idle, and how to ask it to close.
///
/// Only the connection's own worker thread counts requests, so a plain store is enough; other threads only read.
#[derive(Debug)]
pub(crate) struct Held {
    begun: Instant,
    requests: AtomicU32,
    /// How many streams an HTTP/2 client has opened, whether they were accepted or not.
    opened: AtomicU32,
    /// When its last request ended, in microseconds after `begun`.
    idle_since: AtomicU64,
    asked: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Held {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            requests: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            waker: OnceLock::new(),
        }
    }

    /// Wakes its task. The waker stays the same for the life of the connection.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.requests.store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if self.asked.load(Ordering::Relaxed) {
            self.asked.store(false, Ordering::Relaxed);
        }
    }

    /// A request is over.
    pub(crate) fn end(&self, now: Instant) {
        let left = self.requests.load(Ordering::Relaxed) - 1;
        if left == 0 {
            let now = u64::try_from(now.duration_since(self.begun).as_micros()).unwrap_or(u64::MAX);
            self.idle_since.store(now, Ordering::Relaxed);
        }
        self.requests.store(left, Ordering::Relaxed);
    }

    /// The client has opened so many streams more.
    pub(crate) fn streams_opened(&self, count: u32) {
        self.opened.store(self.opened().wrapping_add(count), Ordering::Relaxed);
    }

    /// How many streams the client has opened. Wraps around.
    pub(crate) fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Since when it has been idle; `None` while it has a request.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.requests.load(Ordering::Relaxed) == 0)
            .then(|| self.begun + Duration::from_micros(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Asks it to close, unless a request begins first.
    pub(crate) fn ask_to_go(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether it was asked to close and has no request.
    pub(crate) fn goes(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.requests.load(Ordering::Relaxed) == 0
    }
}
