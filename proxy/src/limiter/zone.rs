//! The clients of an owner's rules: how fast each sends, and how many of its requests are in flight.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use portcullis_routing::step::{Limits, Rates};

use super::bucket::Bucket;
use crate::recent::Recent;

/// Parts of a zone, each with a lock of its own, so that workers do not wait for each other.
const PARTS: usize = 16;
/// How many clients a part holds: with all parts, about as many as 5 MB of nginx.
const CLIENTS: usize = 4096;
/// How many clients a part may hold, however many there are in all zones.
const SHARE: usize = 64;
/// How many clients with requests in flight are passed over in the search for one that can be forgotten.
const SEARCH: usize = 32;
/// How many clients that could be forgotten are removed when one is added.
const REMOVED: usize = 2;

/// The clients of an owner's rules.
#[derive(Debug)]
pub(super) struct Zone {
    parts: [Mutex<Recent<Client>>; PARTS],
    /// The key by which clients are spread over the parts; nobody outside knows it.
    key: RandomState,
    /// How many clients all zones hold, and may hold.
    all: Arc<AtomicUsize>,
    most: usize,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    second: Bucket,
    minute: Bucket,
    in_flight: u32,
    /// The limits of its last request.
    rates: Rates,
}

/// A request that is counted as in flight, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    zone: Arc<Zone>,
    part: usize,
    place: usize,
}

/// Why a request may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The client's requests come too fast.
    TooFast,
    /// Too many of them are in flight.
    InFlight,
    /// The client cannot be counted.
    Full,
}

impl Zone {
    pub(super) fn new(all: Arc<AtomicUsize>, most: usize) -> Self {
        Self { parts: Default::default(), key: RandomState::new(), all, most }
    }

    /// Counts a request of a client at this time, in the order of nginx: speed first, and a request that is refused for its
    /// speed counts for nothing.
    pub(super) fn admit(
        self: &Arc<Self>,
        limits: &Limits,
        client: IpAddr,
        now: u64,
    ) -> Result<Option<Place>, Refused> {
        let address = address(client, limits.ipv6_prefix);
        let part = self.part(address);
        let mut clients = self.locked(part);
        let place = match clients.find(address) {
            Some(place) => place,
            None => self.add(&mut clients, address, now)?,
        };
        let Some(known) = clients.get_mut(place) else { return Err(Refused::Full) };
        let Rates { second, minute } = limits.rates;
        let next = |bucket: Bucket, rate| match rate {
            Some(rate) => bucket.with_request(rate, now).ok_or(Refused::TooFast),
            None => Ok(bucket),
        };
        let (second, minute) = (next(known.second, second)?, next(known.minute, minute)?);
        (known.second, known.minute, known.rates) = (second, minute, limits.rates);
        match limits.in_flight {
            None => Ok(None),
            Some(most) if known.in_flight >= most => Err(Refused::InFlight),
            Some(_) => {
                known.in_flight += 1;
                Ok(Some(Place { zone: Arc::clone(self), part, place }))
            }
        }
    }

    /// Whether it says no more of any client than a new zone would.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        (0..PARTS).all(|part| self.locked(part).values().all(|client| client.is_forgettable(now)))
    }

    /// Adds a client; for it, others are forgotten that could send a whole burst again, and if there is no room, the one whose
    /// last request is longest ago.
    fn add(&self, clients: &mut Recent<Client>, address: u128, now: u64) -> Result<usize, Refused> {
        for _ in 0..REMOVED {
            let Some(oldest) = clients.oldest() else { break };
            if !clients.get(oldest).is_some_and(|client| client.is_forgettable(now)) {
                break;
            }
            self.remove(clients, oldest);
        }
        let is_full = || self.all.load(Ordering::Relaxed) >= self.most;
        if clients.len() >= CLIENTS || (clients.len() >= SHARE && is_full()) {
            self.make_room(clients)?;
        }
        self.all.fetch_add(1, Ordering::Relaxed);
        Ok(clients.insert(address, Client::default()))
    }

    /// Forgets the oldest client without a request in flight.
    fn make_room(&self, clients: &mut Recent<Client>) -> Result<(), Refused> {
        for _ in 0..SEARCH {
            let Some(oldest) = clients.oldest() else { break };
            if clients.get(oldest).is_some_and(|client| client.in_flight == 0) {
                self.remove(clients, oldest);
                return Ok(());
            }
            clients.touch(oldest);
        }
        Err(Refused::Full)
    }

    fn remove(&self, clients: &mut Recent<Client>, place: usize) {
        clients.remove(place);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }

    fn part(&self, address: u128) -> usize {
        usize::try_from(self.key.hash_one(address) % PARTS as u64).unwrap_or_default()
    }

    fn locked(&self, part: usize) -> MutexGuard<'_, Recent<Client>> {
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients it holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        (0..PARTS).map(|part| self.locked(part).len()).sum()
    }
}

/// The clients that it still holds are no longer among all.
impl Drop for Zone {
    fn drop(&mut self) {
        let held = (0..PARTS).map(|part| self.locked(part).len()).sum();
        self.all.fetch_sub(held, Ordering::Relaxed);
    }
}

/// The number that identifies a client: an IPv4 address in full, also one that is mapped into IPv6, and the prefix of an IPv6
/// address.
fn address(client: IpAddr, ipv6_prefix: u8) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shr(ipv6_prefix.into()).unwrap_or_default();
            address.to_bits() & !mask
        }
    }
}

impl Client {
    fn is_forgettable(&self, now: u64) -> bool {
        let Rates { second, minute } = self.rates;
        self.in_flight == 0 && self.second.is_empty(second, now) && self.minute.is_empty(minute, now)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A client with a place is not removed, so the place is still its own.
        if let Some(client) = self.zone.locked(self.part).get_mut(self.place) {
            client.in_flight = client.in_flight.saturating_sub(1);
        }
    }
}
