//! Carries a connection through its requests: HTTP/1 one after the other, HTTP/2 by its streams.

mod http1;
mod http2;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use pingora_proxy::HttpProxy;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

pub(crate) use self::{
    http1::{serve as serve_http1, speaks_h2},
    http2::serve as serve_http2,
};
use crate::{
    conn::{SCOPE, Scope},
    http::HttpService,
};

/// What serves the requests of one worker thread.
pub(crate) type Service = Arc<HttpProxy<HttpService>>;

/// Polls a timer that wakes its task when it goes off, though it be polled no more. Outside of the task's budget: where
/// that is used up, a timer says that it is pending and notes nobody to wake.
fn poll_timer(timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    pin!(unconstrained(timer)).poll(cx)
}

/// What the request has set ([`Scope::set_deadline`]).
fn told() -> Option<Instant> {
    SCOPE.with(Scope::deadline)
}

/// Carries out the request, no longer than it says itself.
async fn until_deadline<T>(
    request: impl Future<Output = Option<T>>,
    deadline: impl Fn() -> Option<Instant>,
) -> Option<T> {
    let mut request = pin!(request);
    let mut cut = pin!(None::<Sleep>);
    poll_fn(|cx| {
        if let Poll::Ready(done) = request.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        let Some(deadline) = deadline() else { return Poll::Pending };
        if cut.is_none() {
            cut.set(Some(sleep_until(deadline)));
        }
        let mut timer = cut.as_mut().as_pin_mut().expect("set above");
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_cut_at_the_deadline_that_it_sets() {
        let (begin, deadline) = (Instant::now(), Cell::new(None));
        let request = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            deadline.set(Some(begin + Duration::from_secs(30)));
            std::future::pending::<Option<()>>().await
        };
        let answer = until_deadline(request, || deadline.get()).await;
        assert_eq!((answer, begin.elapsed().as_secs()), (None, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_be_moved_and_lifted() {
        let (begin, deadline) = (Instant::now(), Cell::new(None));
        let request = async {
            let set = |s| deadline.set(Some(begin + Duration::from_secs(s)));
            set(10);
            tokio::time::sleep(Duration::from_secs(5)).await;
            set(100);
            tokio::time::sleep(Duration::from_secs(50)).await;
            deadline.set(None);
            tokio::time::sleep(Duration::from_secs(500)).await;
            Some("answer")
        };
        let answer = until_deadline(request, || deadline.get()).await;
        assert_eq!(answer, Some("answer"));
    }
}
