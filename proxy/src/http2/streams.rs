//! The open streams of an HTTP/2 connection, and how long it has been without any.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{admission::Held, stall::poll_timer};

/// The streams of a connection.
pub(crate) struct Streams {
    held: Arc<Held>,
    /// Whether the connection has been without a stream for too long.
    expired: AtomicBool,
    /// Whether the connection has ended, and its streams are without a client.
    over: AtomicBool,
}

/// Dropped when the connection has ended.
pub(crate) struct ConnectionOver(Arc<Streams>);

impl Drop for ConnectionOver {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// A stream; it is over when this is dropped.
pub(crate) struct OpenStream(Arc<Streams>);

impl Streams {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self { held, expired: AtomicBool::new(false), over: AtomicBool::new(false) }
    }

    /// Its streams are without a client once the returned value is dropped.
    pub(crate) fn until_dropped(self: &Arc<Self>) -> ConnectionOver {
        ConnectionOver(Arc::clone(self))
    }

    /// A stream begins.
    pub(crate) fn open(self: &Arc<Self>) -> OpenStream {
        self.held.begin();
        OpenStream(Arc::clone(self))
    }

    /// Whether the connection is about to be closed because it has been without a stream for too long, or to make room for
    /// others.
    pub(crate) fn is_closing(&self) -> bool {
        self.expired.load(Ordering::Relaxed) || self.held.goes()
    }

    /// Whether the client has opened no other streams than these many. The number wraps around.
    pub(crate) fn are_all(&self, accepted: u32) -> bool {
        self.held.opened() == accepted
    }

    /// When it will have been idle for that long, as far as can be said now.
    fn ends_at(&self, limit: Duration) -> Instant {
        self.held.idle_since().unwrap_or_else(Instant::now) + limit
    }

    /// Polls a connection until it ends or has been idle for too long. In the latter case it is polled once more with
    /// [`Self::is_closing`] set, so that it can tell its client. It is passed pinned for the reason of [`Port::hold`].
    ///
    /// [`Port::hold`]: crate::accept::Port::hold
    pub(crate) async fn serve(&self, mut connection: Pin<&mut impl Future<Output = ()>>, limit: Duration) {
        let mut timer = pin!(sleep_until(self.ends_at(limit)));
        let (mut runs, mut leaving) = (false, false);
        poll_fn(|cx| {
            // A stream that pingora accepted in the last turn has been counted by now, as its task has run.
            if std::mem::take(&mut leaving) && self.ends_at(limit) <= Instant::now() {
                self.expired.store(true, Ordering::Relaxed);
                let _ = connection.as_mut().poll(cx);
                return Poll::Ready(());
            }
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // It wakes this task when it goes off, however often the connection is polled meanwhile.
            if runs && !timer.is_elapsed() {
                return Poll::Pending;
            }
            runs = true;
            loop {
                ready!(poll_timer(timer.as_mut(), cx));
                let end = self.ends_at(limit);
                if end <= Instant::now() {
                    leaving = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                timer.as_mut().reset(end);
            }
        })
        .await;
    }
}

impl OpenStream {
    /// Whether its connection has ended.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.held.end(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_it_has_been_without_a_stream_for_too_long() {
        let limit = Duration::from_secs(60);
        let (streams, begin) = (Arc::new(Streams::new(Arc::new(Held::new()))), Instant::now());
        let connection = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            // Two at a time, longer than the limit.
            let (one, other) = (streams.open(), streams.open());
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(one);
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(other);
            std::future::pending().await
        };
        streams.serve(pin!(connection), limit).await;
        assert_eq!(begin.elapsed().as_secs(), 50 + 100 + 100 + 60);
        let (streams, begin) = (Arc::new(Streams::new(Arc::new(Held::new()))), Instant::now());
        streams.serve(pin!(std::future::pending()), limit).await;
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_accepted_in_the_last_moment_is_served() {
        let limit = Duration::from_secs(60);
        let (streams, begin) = (Arc::new(Streams::new(Arc::new(Held::new()))), Instant::now());
        let connection = async {
            tokio::time::sleep(limit).await;
            let streams = Arc::clone(&streams);
            // As pingora does: the stream's own task counts it.
            tokio::spawn(async move {
                let _open = streams.open();
                tokio::time::sleep(Duration::from_secs(100)).await;
            });
            std::future::pending().await
        };
        streams.serve(pin!(connection), limit).await;
        assert_eq!(begin.elapsed().as_secs(), 60 + 100 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_busy_at_first_ends_too() {
        let (limit, begin) = (Duration::from_secs(60), Instant::now());
        let mut first = true;
        // All that the runtime lets a task do in one turn.
        let busy = poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                while let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) {
                    budget.made_progress();
                }
            }
            Poll::Pending
        });
        let served = tokio::spawn(async move {
            Arc::new(Streams::new(Arc::new(Held::new()))).serve(pin!(busy), limit).await
        });
        tokio::time::timeout(limit * 2, served).await.expect("it ends").unwrap();
        assert_eq!(begin.elapsed().as_secs(), 60);
    }
}
