//! The requests of a thread that found no idle connection to an endpoint, and how many connections may be made for them.
//!
//! When many requests come at once, those that are answered within milliseconds need few connections: each of these is given
//! back and carries the next request. Those that take long need a connection each, and must not wait for it without need. So
//! connections are begun in rounds of [`PACE`]: [`FIRST`] in the first one and, as long as requests are left over that no
//! connection was begun for, twice as many in each one that follows.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::Idle;

/// So many connections are begun in the first round, and as many may be in the making at any time.
pub(super) const FIRST: usize = 16;
/// The length of a round.
pub(super) const PACE: Duration = Duration::from_millis(10);

/// What one endpoint's requests wait for.
#[derive(Debug)]
pub(super) struct Demand {
    /// By their order of arrival.
    waiting: BTreeMap<u64, Waiting>,
    arrived: u64,
    /// How many connections are in the making.
    making: usize,
    round: Round,
    /// How many could not be made since the last one was, or one was given back.
    failed: usize,
    /// Whether somebody calls [`Self::next_round`].
    paced: bool,
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    takes: Takes,
    /// Whether a connection is in the making for it meanwhile.
    has_place: bool,
    tell: oneshot::Sender<Given>,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    size: usize,
    /// How many connections may still be begun in it.
    left: usize,
}

/// Which connections a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http1) enum Takes {
    /// All.
    Any,
    /// Those that are certainly open, as it must not be sent twice.
    Open,
    /// Those that no request has used.
    New,
}

/// What a request that waits is given.
#[derive(Debug)]
pub(super) enum Given {
    /// A connection.
    Connection(Idle),
    /// It may make one.
    Place,
    /// None can be made.
    Nothing,
}

/// How the making of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Yes,
    No,
    /// It was given up.
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

    /// Whether it can be forgotten.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.waiting.is_empty() && self.making == 0 && !self.paced && self.round.is_over(now)
    }

    /// The place of a request in the order of arrival.
    pub(super) fn arrive(&mut self, now: Instant) -> u64 {
        if self.round.is_over(now) {
            self.begin_round(now);
        }
        self.arrived += 1;
        self.arrived
    }

    /// A request waits. `has_place`: while a connection is in the making for it.
    pub(super) fn wait(&mut self, place: u64, takes: Takes, has_place: bool) -> oneshot::Receiver<Given> {
        let (tell, given) = oneshot::channel();
        self.waiting.insert(place, Waiting { takes, has_place, tell });
        self.share_out();
        given
    }

    /// A request does not wait any more.
    pub(super) fn leave(&mut self, place: u64) {
        self.waiting.remove(&place);
    }

    /// Whether somebody has to begin to call [`Self::next_round`] after each [`PACE`].
    pub(super) fn wants_pace(&mut self) -> bool {
        !self.paced && self.next_without_place().is_some() && {
            self.paced = true;
            true
        }
    }

    /// Begins another round for the requests that wait for one. `false`: nobody does.
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

    /// Gives a connection to the first request that takes it; returns it if none does.
    pub(super) fn give(&mut self, idle: Idle) -> Option<Idle> {
        self.failed = 0;
        match self.first_for(&idle).and_then(|place| self.waiting.remove(&place)) {
            Some(waiting) => {
                // Nobody waits who is not there: a request that goes leaves first.
                let _ = waiting.tell.send(Given::Connection(idle));
                None
            }
            None => Some(idle),
        }
    }

    /// A connection is not in the making any more.
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

    /// Lets requests make connections, as many as may be made, in the order of their arrival.
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
            // It was not for the round that they had to wait.
            (Some(_), Round { size, .. }) => *size,
        };
        self.round = Round { began: now, size, left: size };
    }

    /// The first request that takes this connection.
    fn first_for(&self, idle: &Idle) -> Option<u64> {
        let takes = |waiting: &Waiting| match waiting.takes {
            Takes::Any => true,
            Takes::Open => idle.good_for.is_some(),
            Takes::New => false,
        };
        self.waiting.iter().find(|(_, waiting)| takes(waiting)).map(|(place, _)| *place)
    }

    /// The first request for which no connection is in the making. Those for which one is are few, and came before.
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
