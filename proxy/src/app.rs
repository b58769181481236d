//! Carries a connection through its requests: HTTP/1 one after the other, HTTP/2 by its streams.

mod http1;
mod http2;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use pingora_proxy::HttpProxy;
use tokio::time::{Sleep, sleep_until};

pub(crate) use self::{
    http1::{serve as serve_http1, serve_one as serve_one_http1, speaks_h2},
    http2::{carry_stream, serve as serve_http2},
};
use crate::{
    clock::Watch,
    http::HttpService,
    limits::Limits,
    scope::{Cut, SCOPE, Scope},
    stall::{COARSE, CoarseStall},
};

/// What serves the requests of one worker thread.
pub(crate) type Service = Arc<HttpProxy<HttpService>>;

/// Who can say of a request what it does not see itself.
trait Client {
    /// Whether the client is gone, though nobody reads what it sent last.
    fn left(&self) -> bool;

    /// Whether this poll of the request is owed to something else that has nothing to do with it.
    fn woke(&mut self) -> bool;
}

/// Carries out a request inside its [`SCOPE`], no longer than it says itself, and while something happens.
///
/// What pingora waits for is hard to see from outside (a window, a socket, a channel between its two halves), and some of
/// it has no limit there. But whatever comes of it wakes the request: one that is not woken makes no progress. So it must be polled
/// only when it was woken.
async fn carry<T>(
    request: impl Future<Output = Option<T>>,
    limits: &Limits,
    mut client: impl Client,
) -> Option<T> {
    let mut request = pin!(request);
    let mut deadline = pin!(None::<Sleep>);
    let watch = Watch::new();
    let mut stall = CoarseStall::begin(idle_limit(limits), &watch);
    poll_fn(|cx| {
        if !(client.woke() || watch.is_due()) {
            stall.moved(&watch);
        }
        if let Poll::Ready(done) = request.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if let Some(at) = SCOPE.with(Scope::deadline) {
            if deadline.is_none() {
                deadline.set(Some(sleep_until(at)));
            }
            let mut timer = deadline.as_mut().as_pin_mut().expect("set above");
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
        }
        stall.set_limit(idle_limit(limits), &watch);
        while let Poll::Ready(stalled) = stall.poll_look(cx, &watch) {
            let left = client.left();
            if left || stalled {
                let why = if left { Cut::ClientLeft } else { Cut::Stalled };
                SCOPE.with(|scope| scope.set_cut(why));
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    })
    .await
}

/// How long nothing may move. A limit at whose end there is one look is extended: something else that has the same limit
/// can give the reason, and comes first.
fn idle_limit(limits: &Limits) -> Duration {
    let limit = SCOPE.with(|scope| scope.idle_limit(limits));
    if limit < COARSE { limit + limit / 8 } else { limit }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{clock, conn::tests::conn};

    const LIMITS: Limits = Limits {
        head_time: Duration::MAX,
        head_bytes: 0,
        idle: Duration::from_secs(60),
        body: Duration::from_secs(60),
        stream_idle: Duration::from_secs(300),
        keepalive: Duration::MAX,
    };

    /// Leaves at a time.
    struct Test {
        leaves: Option<Instant>,
    }

    impl Client for Test {
        fn left(&self) -> bool {
            self.leaves.is_some_and(|at| Instant::now() >= at)
        }

        fn woke(&mut self) -> bool {
            false
        }
    }

    const STAYS: Test = Test { leaves: None };

    /// What came of a request, why it was cut, and after how many seconds.
    async fn carried<T>(
        request: impl Future<Output = Option<T>>,
        client: Test,
    ) -> (Option<T>, Option<Cut>, u64) {
        carried_within(LIMITS, request, client).await
    }

    async fn carried_within<T>(
        limits: Limits,
        request: impl Future<Output = Option<T>>,
        client: Test,
    ) -> (Option<T>, Option<Cut>, u64) {
        let (clock, begin) = (tokio::spawn(clock::run()), Instant::now());
        let carrying = async {
            let done = carry(request, &limits, client).await;
            (done, SCOPE.with(Scope::cut), begin.elapsed().as_secs())
        };
        let carried = SCOPE.scope(Scope::new(conn()), carrying).await;
        clock.abort();
        carried
    }

    fn deadline(at: Option<Instant>) {
        SCOPE.with(|scope| scope.set_deadline(at));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_cut_at_the_deadline_that_it_sets() {
        let begin = Instant::now();
        let request = async {
            sleep(Duration::from_secs(5)).await;
            deadline(Some(begin + Duration::from_secs(30)));
            std::future::pending::<Option<()>>().await
        };
        assert_eq!(carried(request, STAYS).await, (None, None, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_be_moved_and_lifted() {
        let begin = Instant::now();
        let request = async {
            let set = |s| deadline(Some(begin + Duration::from_secs(s)));
            set(10);
            sleep(Duration::from_secs(5)).await;
            set(100);
            sleep(Duration::from_secs(50)).await;
            deadline(None);
            sleep(Duration::from_secs(60)).await;
            Some("answer")
        };
        assert_eq!(carried(request, STAYS).await, (Some("answer"), None, 115));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_on_which_nothing_happens_is_cut() {
        let (done, cut, after) = carried(std::future::pending::<Option<()>>(), STAYS).await;
        assert_eq!((done, cut), (None, Some(Cut::Stalled)));
        assert!((60..=75).contains(&after), "{after}");
        let answer_begins = async {
            SCOPE.with(Scope::streams);
            std::future::pending::<Option<()>>().await
        };
        let (done, cut, after) = carried(answer_begins, STAYS).await;
        assert_eq!((done, cut), (None, Some(Cut::Stalled)));
        assert!((300..=375).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_bodies_that_is_longer_holds_for_the_whole_request() {
        for (body, least) in [(30, 60), (240, 240)] {
            let limits = Limits { body: Duration::from_secs(body), ..LIMITS };
            let (_, cut, after) = carried_within(limits, std::future::pending::<Option<()>>(), STAYS).await;
            assert_eq!(cut, Some(Cut::Stalled));
            assert!((least..=least * 5 / 4).contains(&after), "{body}: {after}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_on_which_something_happens_goes_on() {
        let request = async {
            for _ in 0..10 {
                sleep(Duration::from_secs(59)).await;
            }
            Some("answer")
        };
        assert_eq!(carried(request, STAYS).await, (Some("answer"), None, 590));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_with_its_client() {
        let client = Test { leaves: Some(Instant::now() + Duration::from_secs(20)) };
        let (done, cut, after) = carried(std::future::pending::<Option<()>>(), client).await;
        assert_eq!((done, cut), (None, Some(Cut::ClientLeft)));
        assert!((20..=28).contains(&after), "{after}");
    }
}
