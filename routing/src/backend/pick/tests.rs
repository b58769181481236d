use std::collections::BTreeMap;

use super::*;
use crate::{backend::stable_hash, balance::SessionToken};

#[test]
fn endpoints_take_turns_from_a_start_at_random() {
    let pool = pool(3);
    let mut turns = (0..9).map(|_| chosen(&pool, Spread::RoundRobin, 7, &[])).collect::<Vec<_>>();
    assert_eq!(turns, [2, 3, 1, 2, 3, 1, 2, 3, 1]);
    // The round goes on when an endpoint comes, and passes one that was tried.
    pool.store_addresses(&(1..=4).map(address).collect::<Vec<_>>());
    turns = (0..4).map(|_| chosen(&pool, Spread::RoundRobin, 7, &[])).collect();
    turns.sort_unstable();
    assert_eq!(turns, [1, 2, 3, 4]);
    let next = chosen(&pool, Spread::RoundRobin, 7, &[]);
    let after = next % 4 + 1;
    assert_eq!(chosen(&pool, Spread::RoundRobin, 7, &[address(after)]), after % 4 + 1);
    let all: Vec<_> = (1..=4).map(address).collect();
    assert!((1..=4).contains(&chosen(&pool, Spread::RoundRobin, 7, &all)));
    assert!(
        picked(&EndpointPool::new(Endpoints::Addresses(Box::default())), Spread::RoundRobin, 7, &[])
            .is_none()
    );
}

#[test]
fn the_faster_of_two_is_chosen() {
    let pool = pool(2);
    each(&pool, |endpoint| endpoint.took(if endpoint.address == address(1) { 0.5 } else { 0.1 }, 1_000));
    for random in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
        assert_eq!(chosen(&pool, Spread::Faster, random, &[]), 2);
        assert_eq!(chosen(&pool, Spread::Faster, random, &[address(2)]), 1);
    }
}

#[test]
fn only_the_share_of_an_endpoint_moves_when_it_comes_or_goes() {
    let pool = pool(10);
    let by_key = |pool: &EndpointPool| {
        let keys = (0..10_000_u32).map(|key| stable_hash(&key.to_be_bytes()));
        keys.map(|key| chosen(pool, Spread::Hash { key, subset: None }, key, &[])).collect::<Vec<_>>()
    };
    let before = by_key(&pool);
    let mut shares = BTreeMap::new();
    before.iter().for_each(|port| *shares.entry(*port).or_insert(0) += 1);
    assert!(shares.len() == 10 && shares.values().all(|share| (850..1150).contains(share)), "{shares:?}");

    pool.store_addresses(&(1..=11).map(address).collect::<Vec<_>>());
    let after = by_key(&pool);
    let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(moved.iter().all(|(_, after)| **after == 11), "they move to the new endpoint alone");
    assert!((750..1100).contains(&moved.len()), "{}", moved.len());

    pool.store_addresses(&(2..=11).map(address).collect::<Vec<_>>());
    let last = by_key(&pool);
    let stayed = after.iter().zip(&last).all(|(before, after)| before == after || *before == 1);
    assert!(stayed, "only the keys of the endpoint that went move");
}

#[test]
fn a_hash_stays_with_an_endpoint_that_does_not_answer() {
    let pool = pool(3);
    let spread = Spread::Hash { key: 5, subset: None };
    let first = picked(&pool, spread, 0, &[]).unwrap();
    assert!(!first.1, "no other endpoint is tried");
    assert_eq!(chosen(&pool, spread, 9, &[address(first.0)]), first.0);
}

#[test]
fn a_subset_is_the_same_for_a_key_and_is_used_evenly() {
    let pool = pool(10);
    let subset = |key: u64, size: usize| {
        let spread = Spread::Hash { key, subset: NonZeroUsize::new(size) };
        let randoms = (0..900_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut counts = BTreeMap::new();
        randoms.for_each(|random| *counts.entry(chosen(&pool, spread, random, &[])).or_insert(0) += 1);
        counts
    };
    let three = subset(7, 3);
    assert!(three.len() == 3 && three.values().all(|count| (250..350).contains(count)), "{three:?}");
    assert_ne!(three.keys().collect::<Vec<_>>(), subset(8, 3).keys().collect::<Vec<_>>());
    assert_eq!(subset(7, 20).len(), 10);
    let [a, b, c] = three.keys().copied().collect::<Vec<_>>()[..] else { panic!("not three") };
    let spread = Spread::Hash { key: 7, subset: NonZeroUsize::new(3) };
    assert_eq!(chosen(&pool, spread, 1, &[address(a), address(b)]), c);
}

#[test]
fn a_session_leads_to_its_endpoint() {
    for is_persistent in [false, true] {
        let (pool, affinity) = (pool(5), affinity(is_persistent, false));
        let affinity = &affinity;
        for random in 0..50 {
            let fresh = Spread::Session { affinity, sent: None };
            let (port, may_move, session) = picked(&pool, fresh, random, &[]).unwrap();
            let session = session.expect("a new session");
            assert!(may_move && !session.contains("127.0.0.1"));
            let known = Spread::Session { affinity, sent: Some(&session) };
            for again in 0..5 {
                assert_eq!(picked(&pool, known, again, &[]).unwrap(), (port, false, None));
                // It stays there though the endpoint does not answer.
                assert_eq!(chosen(&pool, known, again, &[address(port)]), port);
            }
        }
    }
}

#[test]
fn a_session_moves_when_its_endpoint_fails_if_it_is_to() {
    for is_persistent in [false, true] {
        let (pool, affinity) = (pool(3), affinity(is_persistent, true));
        let (port, _, session) =
            picked(&pool, Spread::Session { affinity: &affinity, sent: None }, 1, &[]).unwrap();
        let session = session.unwrap();
        let spread = Spread::Session { affinity: &affinity, sent: Some(&session) };
        let (same, may_move, none) = picked(&pool, spread, 2, &[]).unwrap();
        assert_eq!((same, may_move, none), (port, true, None));
        for random in 0..50 {
            let (other, _, new) = picked(&pool, spread, random, &[address(port)]).unwrap();
            assert!(other != port && new.is_some_and(|new| new != session));
        }
    }
}

#[test]
fn what_a_client_makes_up_is_hashed_or_replaced() {
    let pool = pool(3);
    let balanced = affinity(false, false);
    let made_up = Spread::Session { affinity: &balanced, sent: Some("127.0.0.1:2") };
    let (port, _, session) = picked(&pool, made_up, 1, &[]).unwrap();
    assert_eq!(session, None);
    assert!((0..9).all(|random| chosen(&pool, made_up, random, &[]) == port));

    let persistent = affinity(true, false);
    let elsewhere = Affinity { backend: "other".into(), ..affinity(true, false) };
    let foreign = elsewhere.name_of(address(2), None);
    for sent in ["127.0.0.1:2", &foreign, ""] {
        let spread = Spread::Session { affinity: &persistent, sent: Some(sent) };
        assert!(picked(&pool, spread, 1, &[]).unwrap().2.is_some(), "{sent}");
    }
}

#[test]
fn a_session_of_limited_lifetime_is_followed_by_another() {
    let (pool, affinity) = (pool(3), Affinity { lifetime: Some(60), ..affinity(true, true) });
    let endpoints = pool.load();
    let pick = |sent: Option<&str>, seconds| {
        let spread = Spread::Session { affinity: &affinity, sent };
        let picked = pool.pick(&endpoints, spread, Draw { random: seconds, milliseconds: 0, seconds }, &[]);
        picked.map(|picked| (picked.endpoint.address, picked.session)).unwrap()
    };
    let (first, session) = pick(None, 1_000);
    let session = session.unwrap();
    for seconds in 1_000..1_060 {
        assert_eq!(pick(Some(&session), seconds), (first, None), "at {seconds}");
    }
    let (_, next) = pick(Some(&session), 1_060);
    let next = next.expect("a new session");
    assert_eq!(pick(Some(&next), 1_061).1, None);
    // A client cannot postpone the end of its session.
    let (digits, _) = session.split_once('.').unwrap();
    let made_up = format!("{digits}.{:x}", 1_100);
    assert!(pick(Some(&made_up), 1_061).1.is_some());
}

#[test]
fn balanced_sessions_move_to_new_endpoints_and_persistent_ones_do_not() {
    for (is_persistent, moves) in [(false, 350..650), (true, 0..1)] {
        let (pool, affinity) = (pool(5), affinity(is_persistent, false));
        let of = |pool: &EndpointPool, sent: Option<&str>, random: u64| {
            picked(pool, Spread::Session { affinity: &affinity, sent }, random, &[]).unwrap()
        };
        let sessions: Vec<_> = (0..1000_u64)
            .map(|n| of(&pool, None, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .map(|(port, _, session)| (port, session.unwrap()))
            .collect();
        pool.store_addresses(&(1..=10).map(address).collect::<Vec<_>>());
        let moved = sessions.iter().filter(|(port, session)| of(&pool, Some(session), 0).0 != *port);
        let moved = moved.count();
        assert!(moves.contains(&moved), "{moved} of persistent {is_persistent}");
    }
}

fn affinity(is_persistent: bool, changes_on_failure: bool) -> Affinity {
    let (backend, key) = (Affinity::backend_of("n/s:80"), Affinity::key_of("secret"));
    let token = SessionToken::Cookie { name: "route".into(), set: None };
    Affinity { token, lifetime: None, is_persistent, changes_on_failure, backend, key }
}

fn pool(count: u16) -> EndpointPool {
    let pool = EndpointPool::new(Endpoints::Addresses(Box::default()));
    pool.store_addresses(&(1..=count).map(address).collect::<Vec<_>>());
    pool
}

fn each(pool: &EndpointPool, visit: impl FnMut(&Arc<Endpoint>)) {
    if let Endpoints::Addresses(endpoints) = &**pool.load() {
        endpoints.iter().for_each(visit);
    }
}

fn chosen(pool: &EndpointPool, spread: Spread<'_>, random: u64, avoid: &[SocketAddr]) -> u16 {
    picked(pool, spread, random, avoid).unwrap().0
}

/// The port of the endpoint, whether another may be tried, and the new session.
fn picked(
    pool: &EndpointPool,
    spread: Spread<'_>,
    random: u64,
    avoid: &[SocketAddr],
) -> Option<(u16, bool, Option<Box<str>>)> {
    let endpoints = pool.load();
    let picked = pool.pick(&endpoints, spread, Draw { random, milliseconds: 1_000, seconds: 0 }, avoid)?;
    Some((picked.endpoint.address.port(), picked.may_move, picked.session))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
