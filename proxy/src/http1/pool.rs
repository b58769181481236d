//! A worker thread's idle connections to HTTP/1 backends. They have no lock, no task and no timer of their own.
//!
//! ```text
//! take    returns an idle connection, if there is one
//! lend    waits for a connection: one that another request gives back or a new one, whichever comes first
//! demand  decides how many new connections are begun
//! ```
//!
//! The connection that was used last is lent first, so that those that are not needed grow old. A connection is closed after
//! a minute, when its backend closes it, when its endpoint is removed, and when there are too many.

mod demand;
mod lend;
mod limit;

use std::{
    cell::RefCell,
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use foldhash::HashMap;
use tokio::time::Instant;

pub(crate) use self::limit::IdleLimit;
pub(super) use self::{
    demand::Takes,
    lend::{Lent, lend},
};

use self::{demand::Demand, limit::Part};

use super::backend::{Connection, TlsId};
use crate::{
    clock::{self, Ticks},
    upstream::kept::{self, MAX_IDLE},
};

/// Connections with the same identity are interchangeable. The Service is not part of it: a connection to an address is the
/// same whichever Service led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) address: SocketAddr,
    pub(super) tls: TlsId,
}

// One `write` call where possible: the hasher costs per call.
impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let port = u64::from(self.address.port());
        match self.address {
            SocketAddr::V4(address) => state.write_u64(port << 32 | u64::from(address.ip().to_bits())),
            SocketAddr::V6(address) => {
                state.write_u128(address.ip().to_bits());
                state.write_u64(port << 32 | u64::from(address.scope_id()));
            }
        }
        let TlsId(tls) = self.tls;
        state.write_u64(tls);
    }
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Ticks,
    /// For how long it may carry a request that must not be sent twice; `None`: not at all.
    good_for: Option<Ticks>,
}

/// The idle connections with one identity, and the requests that wait for such a connection.
#[derive(Debug, Default)]
struct Stack {
    /// In the order of their last use.
    idle: Vec<Idle>,
    /// `Some` while requests wait, and for a short time after.
    demand: Option<Box<Demand>>,
}

#[derive(Debug, Default)]
struct Pool {
    stacks: HashMap<Identity, Stack>,
    len: usize,
    /// How many connections there may be.
    part: Part,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// How long a connection is kept idle.
const KEPT: Duration = Duration::from_secs(60);
/// The same while another worker may keep fewer connections than it needs.
const KEPT_IF_WANTED: Duration = Duration::from_secs(4);
/// When there are too many, one part in this many is closed at once, the oldest ones.
const PART: usize = 16;

/// Makes this thread one of the workers that share this limit of idle connections.
pub(crate) fn set_limit(limit: &Arc<IdleLimit>) {
    POOL.with_borrow_mut(|pool| pool.part = Part::new(limit));
}

/// Closes connections that were idle for too long, or that their backend has closed. Called from time to time.
pub(crate) fn sweep() {
    POOL.with_borrow_mut(Pool::sweep);
}

/// Closes all connections.
pub(crate) fn clear() {
    POOL.take();
}

/// Takes a connection out of the pool, if there is one that the request may use.
pub(super) fn take(identity: &Identity, takes: Takes) -> Option<Connection> {
    POOL.with_borrow_mut(|pool| pool.take(identity, takes))
}

/// Puts a connection into the pool after a request. `keep_alive`: how long the backend says that it keeps it idle.
pub(super) fn give_back(identity: Identity, connection: Connection, keep_alive: Option<Duration>) {
    POOL.with_borrow_mut(|pool| pool.give_back(identity, connection, keep_alive));
}

impl Pool {
    fn take(&mut self, identity: &Identity, takes: Takes) -> Option<Connection> {
        if takes == Takes::New {
            return None;
        }
        let stack = self.stacks.get_mut(identity)?;
        while let Some(last) = stack.idle.pop() {
            self.len -= 1;
            if takes == Takes::Open && last.good_for.is_none_or(|limit| last.since.is_past(limit)) {
                // Those below are older; all of them may still carry other requests.
                stack.idle.push(last);
                self.len += 1;
                return None;
            }
            if let Some(connection) = last.lend(takes) {
                return Some(connection);
            }
        }
        None
    }

    fn give_back(&mut self, identity: Identity, connection: Connection, keep_alive: Option<Duration>) {
        let good_for = Ticks::within(keep_alive.map_or(MAX_IDLE, |limit| limit.min(MAX_IDLE)));
        self.put(identity, Idle { connection, since: clock::now(), good_for });
    }

    /// Gives a connection to a waiting request, or keeps it if no request waits for it.
    fn put(&mut self, identity: Identity, mut idle: Idle) {
        let stack = self.stacks.entry(identity).or_default();
        if let Some(demand) = stack.demand.as_deref_mut() {
            match demand.give(idle) {
                Some(left) => idle = left,
                None => return,
            }
        }
        if self.part.permits(self.len + 1) {
            stack.idle.push(idle);
        } else {
            // This may remove the stack.
            self.make_room();
            self.stacks.entry(identity).or_default().idle.push(idle);
        }
        self.len += 1;
        self.part.note(self.len);
    }

    /// Returns the requests that wait for a connection with this identity.
    fn demand(&mut self, identity: Identity) -> &mut Demand {
        let demand = &mut self.stacks.entry(identity).or_default().demand;
        demand.get_or_insert_with(|| Box::new(Demand::new(Instant::now())))
    }

    /// Returns the requests that wait for a connection with this identity, if any wait or have waited recently.
    fn waiting(&mut self, identity: &Identity) -> Option<&mut Demand> {
        self.stacks.get_mut(identity)?.demand.as_deref_mut()
    }

    /// See [`Demand::next_round`].
    fn next_round(&mut self, identity: &Identity) -> bool {
        self.waiting(identity).is_some_and(|demand| demand.next_round(Instant::now()))
    }

    fn sweep(&mut self) {
        let limit = Ticks::of(if self.part.is_wanted() { KEPT_IF_WANTED } else { KEPT });
        self.retain(|idle| {
            let has_endpoint = idle.connection.endpoint.strong_count() > 0;
            has_endpoint && !idle.since.is_past(limit) && idle.connection.is_quiet()
        });
        self.part.release(self.len);
    }

    /// Closes the oldest ones.
    fn make_room(&mut self) {
        let mut all: Vec<Ticks> =
            self.stacks.values().flat_map(|stack| &stack.idle).map(|idle| idle.since).collect();
        let go = (all.len() / PART).max(1).min(all.len());
        let Some(last) = go.checked_sub(1) else { return };
        let oldest = *all.select_nth_unstable(last).1;
        let mut left = go;
        self.retain(|idle| {
            let goes = left > 0 && idle.since <= oldest;
            left -= usize::from(goes);
            !goes
        });
    }

    fn retain(&mut self, mut stays: impl FnMut(&mut Idle) -> bool) {
        let now = Instant::now();
        for stack in self.stacks.values_mut() {
            let before = stack.idle.len();
            stack.idle.retain_mut(&mut stays);
            self.len -= before - stack.idle.len();
            stack.demand.take_if(|demand| demand.is_over(now));
        }
        self.stacks.retain(|_, stack| !stack.idle.is_empty() || stack.demand.is_some());
    }
}

impl Idle {
    /// Returns the connection, unless its backend has closed it.
    fn lend(mut self, takes: Takes) -> Option<Connection> {
        let is_open =
            self.connection.is_quiet() && (takes != Takes::Open || kept::is_silent(self.connection.raw_fd()));
        is_open.then_some(self.connection)
    }
}

#[cfg(test)]
mod tests;
