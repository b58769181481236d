//! The end: what is in flight may finish, up to a ceiling.

use std::time::Duration;

use tokio::time::Instant;

use crate::shared::Shared;

/// How often it is looked at whether all is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long connections that have nothing in flight are waited for: clients that never answer a GOAWAY, or never
/// close their side.
const IDLE: Duration = Duration::from_secs(3);

/// Waits until no connection is left, or none with anything in flight for a while, or `ceiling` is reached. A ceiling beyond
/// what the clock can hold is none.
pub(crate) async fn finished(shared: &Shared, ceiling: Duration) {
    let end = Instant::now().checked_add(ceiling);
    let mut busy = Instant::now();
    while shared.connections() > 0 || shared.in_flight() > 0 {
        let now = Instant::now();
        if shared.in_flight() > 0 {
            busy = now;
        }
        let left = end.map_or(LOOK, |end| end.saturating_duration_since(now));
        if left.is_zero() || now >= busy + IDLE {
            return;
        }
        tokio::time::sleep(LOOK.min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Options;

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_is_waited_for_up_to_the_ceiling() {
        for (request, connection, ceiling, want) in [
            (Some(10), Some(10), Some(30), 10),
            (Some(10), Some(500), Some(30), 13),
            (Some(500), Some(500), Some(30), 30),
            (None, Some(500), Some(30), 3),
            (None, Some(1), Some(30), 1),
            (None, None, Some(30), 0),
            (Some(500), Some(500), None, 500),
            (None, Some(500), None, 3),
        ] {
            let ceiling = ceiling.map_or(Duration::MAX, Duration::from_secs);
            let shared = Shared::new(Options { workers: 2, ..Options::default() });
            let [first, second] = [0, 1].map(|i| Arc::clone(&shared.loads[i]));
            let last = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
            if let Some(seconds) = request {
                tokio::spawn(async move {
                    let _request = first.request();
                    last(seconds).await;
                });
            }
            if let Some(seconds) = connection {
                tokio::spawn(async move {
                    let _connection = second.connection();
                    last(seconds).await;
                });
            }
            tokio::task::yield_now().await;
            let begin = Instant::now();
            finished(&shared, ceiling).await;
            assert_eq!(begin.elapsed().as_secs(), want, "request {request:?} connection {connection:?}");
        }
    }
}
