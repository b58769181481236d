//! The requests of a thread that found no idle connection to an endpoint, and the number of connections that may be
//! established for them.
//!
//! When many requests arrive at once and are answered within milliseconds, they need few connections: each connection
//! is given back and carries the next request. Requests that take long need a connection each, and should not wait for
//! it longer than necessary. So connections are begun in rounds of [`PACE`]. The first round begins up to [`FIRST`]
//! connections. Each following round may begin twice as many as the round before, as long as requests remain for which
//! no connection was begun.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::Idle;

/// The maximum number of connections that are begun in the first round, and that are being established at any time.
pub(super) const FIRST: usize = 16;
/// The duration of a round.
pub(super) const PACE: Duration = Duration::from_millis(10);

/// The requests that wait for a connection to one endpoint.
#[derive(Debug)]
pub(super) struct Demand {
    /// The waiting requests, by their order of arrival.
    waiting: BTreeMap<u64, Waiting>,
    arrived: u64,
    /// The number of connections that are being established.
    making: usize,
    round: Round,
    /// The number of connections that could not be established since one last was established or given back.
    failed: usize,
    /// Whether a task calls [`Self::next_round`] after each [`PACE`].
    paced: bool,
}

/// A waiting request.
#[derive(Debug)]
struct Waiting {
    takes: Takes,
    /// Whether a connection is being established for this request.
    has_place: bool,
    tell: oneshot::Sender<Given>,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    size: usize,
    /// The number of connections that may still be begun in this round.
    left: usize,
}

/// Which connections a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http1) enum Takes {
    /// Any connection.
    Any,
    /// Only connections that are certainly open, because the request must not be sent twice.
    Open,
    /// Only connections that no request has used.
    New,
}

/// What a waiting request receives.
#[derive(Debug)]
pub(super) enum Given {
    /// A connection.
    Connection(Idle),
    /// Permission to establish a connection.
    Place,
    /// No connection: none can be established.
    Nothing,
}

/// Whether a connection was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Yes,
    No,
    /// The attempt was given up.
    GivenUp,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: BTreeMap::new(),
            arrived: 0,
            making: 0,
            round: Round { began: now, size: FIRST, left: FIRST },
            failed: 0,
            paced: false,
        }
    }

    /// Whether this demand is over and can be removed.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.waiting.is_empty() && self.making == 0 && !self.paced && self.round.is_over(now)
    }

    /// Returns the place of a new request in the order of arrival. Begins a round if the last one is over.
    pub(super) fn arrive(&mut self, now: Instant) -> u64 {
        if self.round.is_over(now) {
            self.begin_round(now);
        }
        self.arrived += 1;
        self.arrived
    }

    /// Makes a request wait. `has_place`: whether a connection is being established for it.
    pub(super) fn wait(&mut self, place: u64, takes: Takes, has_place: bool) -> oneshot::Receiver<Given> {
        let (tell, given) = oneshot::channel();
        self.waiting.insert(place, Waiting { takes, has_place, tell });
        self.share_out();
        given
    }

    /// Removes a request that no longer waits.
    pub(super) fn leave(&mut self, place: u64) {
        self.waiting.remove(&place);
    }

    /// Whether the caller has to start a task that calls [`Self::next_round`] after each [`PACE`].
    pub(super) fn wants_pace(&mut self) -> bool {
        !self.paced && self.next_without_place().is_some() && {
            self.paced = true;
            true
        }
    }

    /// Begins another round if requests wait for one. Returns whether requests still wait for a round.
    pub(super) fn next_round(&mut self, now: Instant) -> bool {
        if self.next_without_place().is_some() {
            if self.round.is_over(now) {
                self.begin_round(now);
            }
            self.share_out();
        }
        self.paced = self.next_without_place().is_some();
        self.paced
    }

    /// Gives a connection to the first request that may use it; returns the connection if no request may.
    pub(super) fn give(&mut self, idle: Idle) -> Option<Idle> {
        self.failed = 0;
        match self.first_for(&idle).and_then(|place| self.waiting.remove(&place)) {
            Some(waiting) => {
                // The receiver exists: a request that ends calls `leave` first.
                let _ = waiting.tell.send(Given::Connection(idle));
                None
            }
            None => Some(idle),
        }
    }

    /// Notes that a connection is no longer being established.
    pub(super) fn made(&mut self, made: Made) {
        self.making = self.making.saturating_sub(1);
        match made {
            Made::Yes => self.failed = 0,
            Made::No => self.failed += 1,
            Made::GivenUp => {}
        }
        if made != Made::Yes {
            self.round.left = self.round.size.min(self.round.left + 1);
        }
        if self.failed >= FIRST {
            while let Some(waiting) = self.take_without_place() {
                let _ = waiting.tell.send(Given::Nothing);
            }
        }
        self.share_out();
    }

    /// Lets as many requests establish connections as may, in their order of arrival.
    fn share_out(&mut self) {
        while self.making < FIRST
            && self.round.left > 0
            && let Some(waiting) = self.take_without_place()
        {
            if waiting.tell.send(Given::Place).is_ok() {
                self.making += 1;
                self.round.left -= 1;
            }
        }
    }

    fn begin_round(&mut self, now: Instant) {
        let size = match (self.next_without_place(), &self.round) {
            (None, _) => FIRST,
            (Some(_), Round { left: 0, size, .. }) => size.saturating_mul(2),
            // The requests did not have to wait because of the round's size.
            (Some(_), Round { size, .. }) => *size,
        };
        self.round = Round { began: now, size, left: size };
    }

    /// The first request that may use this connection.
    fn first_for(&self, idle: &Idle) -> Option<u64> {
        let takes = |waiting: &Waiting| match waiting.takes {
            Takes::Any => true,
            Takes::Open => idle.good_for.is_some(),
            Takes::New => false,
        };
        self.waiting.iter().find(|(_, waiting)| takes(waiting)).map(|(place, _)| *place)
    }

    /// The first request for which no connection is being established. Those for which one is being established are few
    /// and arrived earlier.
    fn next_without_place(&self) -> Option<u64> {
        self.waiting.iter().find(|(_, waiting)| !waiting.has_place).map(|(place, _)| *place)
    }

    fn take_without_place(&mut self) -> Option<Waiting> {
        self.waiting.remove(&self.next_without_place()?)
    }
}

impl Round {
    fn is_over(&self, now: Instant) -> bool {
        now >= self.began + PACE
    }
}
