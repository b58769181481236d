//! The client that stops taking bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Ends writes that make no progress for a while. Armed at the first write that has to wait; a write that goes on
/// leaves a mark and no more, so that a fast download does not pay for a timer at each turn.
pub(crate) struct Stall {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: bool,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, progress: false }
    }

    /// Takes the result of a write through, or an error in its place when it has been waiting too long.
    pub(crate) fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.progress = true;
            return result;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| {
            self.progress = false;
            Box::pin(tokio::time::sleep(limit))
        });
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.progress) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_waits_too_long_fails() {
        let mut stall = Stall::new(Duration::from_secs(60));
        let begin = Instant::now();
        let error = poll_fn(|cx| stall.watch(cx, Poll::<io::Result<()>>::Pending)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_begins_the_wait_anew() {
        let mut stall = Stall::new(Duration::from_secs(60));
        let begin = Instant::now();
        for _ in 0..5 {
            let mut pause = Box::pin(tokio::time::sleep(Duration::from_secs(50)));
            let waited = poll_fn(|cx| {
                let write = pause.as_mut().poll(cx).map(Ok);
                let done = ready!(stall.watch(cx, write));
                Poll::Ready(done)
            });
            waited.await.unwrap();
        }
        assert!(begin.elapsed() >= Duration::from_secs(250));
    }
}
