//! Chooses an endpoint of a backend for a request.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc};

use super::{Endpoint, EndpointPool, Endpoints, in_flight::Number};
use crate::balance::Affinity;

/// How the endpoint of a request is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub enum Spread<'r> {
    /// The one of two at random with fewer requests in flight.
    #[default]
    LessLoaded,
    /// One after the other.
    RoundRobin,
    /// The one of two at random that answers faster.
    Faster,
    /// By the hash of a text, always the same or, of a subset, one of the same few. An endpoint that does not answer is
    /// chosen all the same.
    Hash {
        /// The hash.
        key: u64,
        /// How many endpoints share the requests of one text.
        subset: Option<NonZeroUsize>,
    },
    /// By a cookie or a header.
    Session {
        /// What it means.
        affinity: &'r Affinity,
        /// What the client's says of the endpoint; `None` if it sends none.
        sent: Option<&'r str>,
    },
}

/// An endpoint that was chosen.
#[derive(Debug)]
pub struct Picked<'e> {
    /// The endpoint.
    pub endpoint: &'e Arc<Endpoint>,
    /// Whether another attempt may get another endpoint.
    pub may_move: bool,
    /// What the client's cookie or header is to say from now on, if it is a new one.
    pub session: Option<Box<str>>,
}

/// What a choice depends on beside the request and the endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Draw {
    /// Uniformly random over all of `u64`.
    pub random: u64,
    /// The time in milliseconds since any instant; read where endpoints are chosen by latency.
    pub milliseconds: u32,
    /// The time in seconds since 1970; read where sessions have a lifetime.
    pub seconds: u64,
}

/// How often a new session is drawn again that leads to an endpoint that was tried.
const DRAWS: u64 = 20;

impl EndpointPool {
    /// Chooses one of these endpoints, which are the pool's, or those of its DNS name. Leaves out the endpoints in `avoid`
    /// (tried before for this request) as long as there is another, where `spread` permits another.
    pub fn pick<'e>(
        &self,
        endpoints: &'e Endpoints,
        spread: Spread<'_>,
        draw: Draw,
        avoid: &[SocketAddr],
    ) -> Option<Picked<'e>> {
        let Endpoints::Addresses(endpoints) = endpoints else { return None };
        let Draw { random, milliseconds: now, .. } = draw;
        let picked = |endpoint| Picked { endpoint, may_move: true, session: None };
        match spread {
            Spread::LessLoaded => pick(endpoints, random, avoid).map(picked),
            Spread::RoundRobin => in_turn(endpoints, self.turn.next(random as u32), avoid).map(picked),
            Spread::Faster => one_of_two(endpoints, random, avoid, |a, b| faster(a, b, now)).map(picked),
            Spread::Hash { key, subset } => {
                let endpoint = match subset {
                    None => highest(endpoints, key),
                    Some(size) => one_of_highest(endpoints, key, size.get(), random, avoid),
                };
                endpoint.map(|endpoint| Picked { may_move: subset.is_some(), ..picked(endpoint) })
            }
            Spread::Session { affinity, sent } => of_session(endpoints, affinity, sent, draw, avoid),
        }
    }
}

/// The endpoint whose turn it is, or the next one that was not tried.
fn in_turn<'e>(endpoints: &'e [Arc<Endpoint>], turn: u32, avoid: &[SocketAddr]) -> Option<&'e Arc<Endpoint>> {
    let first = turn as usize % endpoints.len().max(1);
    let (before, after) = endpoints.split_at_checked(first)?;
    let mut round = after.iter().chain(before);
    let whose = round.clone().next()?;
    round.find(|endpoint| !avoid.contains(&endpoint.address)).or(Some(whose))
}

fn faster<'e>(a: &'e Arc<Endpoint>, b: &'e Arc<Endpoint>, now: u32) -> &'e Arc<Endpoint> {
    if b.latency.now(now) < a.latency.now(now) { b } else { a }
}

/// The endpoint with the highest score for a key (rendezvous hashing): when endpoints come or go, only the keys of those
/// move.
fn highest(endpoints: &[Arc<Endpoint>], key: u64) -> Option<&Arc<Endpoint>> {
    endpoints.iter().max_by_key(|endpoint| endpoint.score(key))
}

/// One at random of the endpoints with the highest scores.
fn one_of_highest<'e>(
    endpoints: &'e [Arc<Endpoint>],
    key: u64,
    size: usize,
    random: u64,
    avoid: &[SocketAddr],
) -> Option<&'e Arc<Endpoint>> {
    let mut subset: Vec<_> = endpoints.iter().collect();
    let by_score = |endpoint: &&Arc<Endpoint>| std::cmp::Reverse(endpoint.score(key));
    if size < subset.len() {
        subset.select_nth_unstable_by_key(size - 1, by_score);
        subset.truncate(size);
    }
    let fresh: Vec<_> = subset.iter().copied().filter(|e| !avoid.contains(&e.address)).collect();
    let all = if fresh.is_empty() { subset } else { fresh };
    all.get(below(random, all.len())).copied()
}

/// The endpoint of a session, or a new session. A session stays where it is though its endpoint does not answer, unless
/// it changes on failure.
fn of_session<'e>(
    endpoints: &'e [Arc<Endpoint>],
    affinity: &Affinity,
    sent: Option<&str>,
    Draw { random, seconds: now, .. }: Draw,
    avoid: &[SocketAddr],
) -> Option<Picked<'e>> {
    let known = sent.filter(|_| avoid.is_empty() || !affinity.changes_on_failure);
    let known = known.and_then(|sent| match affinity.is_persistent {
        true => {
            let end = affinity.end_of(sent, now).ok()?;
            endpoints.iter().find(|endpoint| *affinity.name_of(endpoint.address, end) == *sent)
        }
        false => highest(endpoints, affinity.hash(sent)),
    });
    if let Some(endpoint) = known {
        return Some(Picked { endpoint, may_move: affinity.changes_on_failure, session: None });
    }
    if affinity.is_persistent {
        let endpoint = one_of_two(endpoints, random, avoid, |a, _| a)?;
        let session = affinity.begin(endpoint.address, now);
        return Some(Picked { endpoint, may_move: true, session: Some(session) });
    }
    let draw = |n: u64| {
        let session = format!("{:016x}", mix(random.wrapping_add(n)));
        let endpoint = highest(endpoints, affinity.hash(&session))?;
        Some(Picked { endpoint, may_move: true, session: Some(session.into()) })
    };
    let mut draws = (0..DRAWS).filter_map(draw);
    draws.find(|drawn| !avoid.contains(&drawn.endpoint.address)).or_else(|| draw(0))
}

impl Endpoint {
    fn score(&self, key: u64) -> u64 {
        mix(key ^ self.point)
    }
}

/// Spreads the bits of a number over all of it (the finalizer of MurmurHash3).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

/// Chooses an endpoint by the power of two choices: of two endpoints at random, the one with fewer requests of this
/// thread in flight. Leaves out the endpoints in `avoid` (tried before for this request) as long as there is another.
///
/// `random` is uniformly random over all of `u64`.
pub fn pick<'e>(
    endpoints: &'e [Arc<Endpoint>],
    random: u64,
    avoid: &[SocketAddr],
) -> Option<&'e Arc<Endpoint>> {
    one_of_two(endpoints, random, avoid, less_loaded)
}

/// Takes two endpoints at random, and of these the `better` one.
fn one_of_two<'e>(
    endpoints: &'e [Arc<Endpoint>],
    random: u64,
    avoid: &[SocketAddr],
    better: impl Fn(&'e Arc<Endpoint>, &'e Arc<Endpoint>) -> &'e Arc<Endpoint>,
) -> Option<&'e Arc<Endpoint>> {
    if avoid.is_empty() {
        let (a, b) = two_of(endpoints.len(), random)?;
        return Some(better(&endpoints[a], &endpoints[b]));
    }
    let fresh = || endpoints.iter().filter(|e| !avoid.contains(&e.address));
    match two_of(fresh().count(), random) {
        Some((a, b)) => Some(better(fresh().nth(a)?, fresh().nth(b)?)),
        None => one_of_two(endpoints, random, &[], better),
    }
}

/// Returns two indices below `len`, which differ if `len` is at least 2; `None` if `len` is 0.
fn two_of(len: usize, random: u64) -> Option<(usize, usize)> {
    // Each half of the random number serves one choice.
    match len {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = below(random, len);
            let step = 1 + below(random >> 32, len - 1);
            Some((first, (first + step) % len))
        }
    }
}

/// Maps the lower half of a random number to a range evenly.
fn below(random: u64, len: usize) -> usize {
    (((random & 0xffff_ffff) * len as u64) >> 32) as usize
}

fn less_loaded<'e>(a: &'e Arc<Endpoint>, b: &'e Arc<Endpoint>) -> &'e Arc<Endpoint> {
    if std::ptr::eq(a, b) {
        return a;
    }
    let [of_a, of_b] = Number::own([&a.number, &b.number]);
    if of_b < of_a { b } else { a }
}

#[cfg(test)]
mod tests;
