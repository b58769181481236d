//! Lends a connection to a request that found no idle one: a connection that another request gives back, or a new one.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Identity, POOL, Pool,
    demand::{Given, Made, PACE, Takes},
};
use crate::http1::backend::{ConnectError, Connection};

/// A connection that is lent to a request.
#[derive(Debug)]
pub(in crate::http1) struct Lent {
    pub(in crate::http1) connection: Connection,
    /// Whether the connection may have carried another request before.
    pub(in crate::http1) reused: bool,
}

/// Waits for a connection that another request gives back, and meanwhile establishes a new one as soon as this is
/// permitted. If the request gets another connection first, the next request gets the new one. `limit` is the time
/// limit for the wait and for `connect` together: `connect` is passed the time that is left for it.
///
/// # Errors
/// If there is no connection in time, or it could not be established.
pub(in crate::http1) async fn lend<C>(
    identity: Identity,
    takes: Takes,
    limit: Duration,
    connect: impl FnOnce(Duration) -> C,
) -> Result<Lent, ConnectError>
where
    C: Future<Output = Result<Connection, ConnectError>> + Send + 'static,
{
    let until = Instant::now() + limit;
    let mut turn = Turn::begin(identity, takes);
    let place = loop {
        match timeout_at(until, turn.given()).await.map_err(|_| ConnectError::TimedOut)? {
            Given::Place => break Place { identity, made: Made::GivenUp },
            Given::Nothing => return Err(ConnectError::Others),
            Given::Connection(idle) => {
                if let Some(connection) = idle.lend(takes) {
                    return Ok(Lent { connection, reused: true });
                }
                turn.wait(false);
            }
        }
    };
    let left = until.saturating_duration_since(Instant::now());
    let mut making = Box::pin(make(place, connect(left)));
    if takes == Takes::New {
        return making.await.map(Lent::new);
    }
    turn.wait(true);
    loop {
        let given = match select(&mut making, pin!(turn.given())).await {
            Either::Left((made, _)) => return made.map(Lent::new),
            Either::Right((given, _)) => given,
        };
        if let Given::Connection(idle) = given
            && let Some(connection) = idle.lend(takes)
        {
            tokio::spawn(keep(identity, making));
            return Ok(Lent { connection, reused: true });
        }
        turn.wait(true);
    }
}

async fn make(
    mut place: Place,
    connecting: impl Future<Output = Result<Connection, ConnectError>>,
) -> Result<Connection, ConnectError> {
    let made = connecting.await;
    place.made = if made.is_ok() { Made::Yes } else { Made::No };
    made
}

/// Finishes establishing a connection that its request no longer needs, and gives it back to the pool.
async fn keep(identity: Identity, making: Pin<Box<impl Future<Output = Result<Connection, ConnectError>>>>) {
    if let Ok(connection) = making.await {
        super::give_back(identity, connection, None);
    }
}

/// Begins rounds as long as requests wait for them.
async fn pace(identity: Identity) {
    loop {
        sleep(PACE).await;
        if !POOL.with_borrow_mut(|pool| pool.next_round(&identity)) {
            return;
        }
    }
}

impl Lent {
    fn new(connection: Connection) -> Self {
        Self { connection, reused: false }
    }
}

/// A waiting request's turn. Dropping the turn makes the request stop waiting; what the request was given and did not
/// use goes to the next request.
struct Turn {
    identity: Identity,
    takes: Takes,
    place: u64,
    given: oneshot::Receiver<Given>,
}

impl Turn {
    fn begin(identity: Identity, takes: Takes) -> Self {
        let (place, given, wants_pace) = POOL.with_borrow_mut(|pool| {
            let demand = pool.demand(identity);
            let place = demand.arrive(Instant::now());
            let given = demand.wait(place, takes, false);
            (place, given, demand.wants_pace())
        });
        if wants_pace {
            tokio::spawn(pace(identity));
        }
        Self { identity, takes, place, given }
    }

    /// Makes the request wait again, at the same place in the order of arrival.
    fn wait(&mut self, has_place: bool) {
        let Self { identity, takes, place, .. } = *self;
        let (given, wants_pace) = POOL.with_borrow_mut(|pool| {
            let demand = pool.demand(identity);
            (demand.wait(place, takes, has_place), demand.wants_pace())
        });
        self.given = given;
        if wants_pace {
            tokio::spawn(pace(identity));
        }
    }

    async fn given(&mut self) -> Given {
        // The sender is gone if the thread's pool was closed.
        poll_fn(|cx| Pin::new(&mut self.given).poll(cx)).await.unwrap_or(Given::Nothing)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Self { identity, place, .. } = *self;
        with_pool(|pool| {
            if let Some(demand) = pool.waiting(&identity) {
                demand.leave(place);
            }
        });
        match self.given.try_recv() {
            Ok(Given::Connection(idle)) => with_pool(|pool| pool.put(identity, idle)),
            Ok(Given::Place) => drop(Place { identity, made: Made::GivenUp }),
            Ok(Given::Nothing) | Err(_) => {}
        }
    }
}

/// Permission to establish a connection. Dropping it notes how the attempt ended.
struct Place {
    identity: Identity,
    made: Made,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { identity, made } = *self;
        with_pool(|pool| {
            if let Some(demand) = pool.waiting(&identity) {
                demand.made(made);
            }
        });
    }
}

/// Changes the thread's pool. Does nothing once the thread ends.
fn with_pool(change: impl FnOnce(&mut Pool)) {
    let _ = POOL.try_with(|pool| change(&mut pool.borrow_mut()));
}
