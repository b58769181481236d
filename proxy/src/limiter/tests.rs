//! Against a naive model of nginx, and what clients could try.

use std::{collections::BTreeMap, net::Ipv6Addr};

use http::StatusCode;
use portcullis_routing::step::{Counts, Rate, Rates};
use proptest::prelude::*;

use super::*;

fn limits(owner: &str, second: Option<u32>, minute: Option<u32>, in_flight: Option<u32>) -> Limits {
    let rate = |requests: Option<u32>, seconds| requests.map(|n| Rate::new(n, seconds, u64::from(n) * 5));
    Limits {
        owner: owner.into(),
        rates: Rates { second: rate(second, 1), minute: rate(minute, 60) },
        in_flight,
        ipv6_prefix: 128,
        exempt: None,
        rate_status: StatusCode::SERVICE_UNAVAILABLE,
        in_flight_status: StatusCode::SERVICE_UNAVAILABLE,
        counts: Counts::default(),
    }
}

fn zone() -> Arc<Zone> {
    Arc::new(Zone::new(Arc::default(), CLIENTS))
}

fn client(number: u128) -> std::net::IpAddr {
    Ipv6Addr::from_bits(number).into()
}

/// `ngx_http_limit_req_handler` with one zone for each limit, without a zone's limit of memory.
#[derive(Default)]
struct Nginx(BTreeMap<(usize, std::net::IpAddr), (i64, i64)>);

impl Nginx {
    fn admits(&mut self, rates: [Option<Rate>; 2], client: std::net::IpAddr, now: i64) -> bool {
        let mut next = Vec::new();
        for (number, rate) in rates.into_iter().enumerate() {
            let Some(Rate { speed, burst }) = rate else { continue };
            let (speed, burst) = (i64::try_from(speed).unwrap(), i64::try_from(burst).unwrap());
            let node = self.0.get(&(number, client));
            let (excess, last) = match node {
                None => (0, now),
                Some((excess, last)) => {
                    let ms = (now - last).max(0);
                    let excess = (excess - speed * ms / 1000 + 1000).max(0);
                    (excess, if ms > 0 { now } else { *last })
                }
            };
            if excess > burst {
                return false;
            }
            next.push(((number, client), (excess, last)));
        }
        self.0.extend(next);
        true
    }
}

proptest! {
    #[test]
    fn requests_pass_as_in_nginx(
        second in prop::option::of(1..8_u32),
        minute in prop::option::of(1..100_u32),
        arrivals in prop::collection::vec((0..3_u128, prop_oneof![Just(0), 0..50_u64, 0..3000_u64]), 0..200),
    ) {
        let (zone, limits, mut nginx) = (zone(), limits("a", second, minute, None), Nginx::default());
        let mut now = 1;
        for (number, pause) in arrivals {
            now += pause;
            let want = nginx.admits(
                [limits.rates.second, limits.rates.minute],
                client(number),
                i64::try_from(now).unwrap(),
            );
            prop_assert_eq!(zone.admit(&limits, client(number), now).is_ok(), want, "at {}", now);
        }
    }
}

#[test]
fn a_burst_passes_at_once_and_then_the_speed_holds() {
    for (second, minute, at_once, then_after) in [(Some(2), None, 11, 500), (None, Some(2), 11, 30_304)] {
        let (zone, limits) = (zone(), limits("a", second, minute, None));
        let admitted = (0..20).filter(|_| zone.admit(&limits, client(1), 1).is_ok()).count();
        assert_eq!(admitted, at_once);
        assert_eq!(zone.admit(&limits, client(1), then_after).map(|_| ()), Err(Refused::TooFast));
        assert!(zone.admit(&limits, client(1), 1 + then_after).is_ok());
        assert!(zone.admit(&limits, client(2), 1).is_ok(), "another client");
    }
}

/// A client must not get a new burst by having the configuration changed, or by waiting for an edit.
#[test]
fn a_new_table_counts_on() {
    let limiter = Limiter::new();
    let admitted = |limits: &Limits| (0..20).filter(|_| limiter.admit(limits, client(1)).is_ok()).count();
    assert_eq!(admitted(&limits("a/one", None, Some(1), None)), 6);
    assert_eq!(admitted(&limits("a/one", None, Some(1), None)), 0);
    assert_eq!(admitted(&limits("a/one", None, Some(2), None)), 5, "a greater burst, less what was used");
    assert_eq!(admitted(&limits("a/two", None, Some(1), None)), 6, "another owner");
}

#[test]
fn a_place_is_given_back_however_the_request_ends() {
    let (zone, limits) = (zone(), limits("a", None, None, Some(2)));
    let admit = || zone.admit(&limits, client(1), 1);
    let (one, two) = (admit().unwrap(), admit().unwrap());
    assert!(one.is_some() && admit().is_err_and(|why| why == Refused::InFlight));
    assert!(zone.admit(&limits, client(2), 1).is_ok(), "another client");
    drop(one);
    let three = admit().unwrap();
    assert!(admit().is_err());
    drop((two, three));
    assert!(zone.is_idle(1));
}

/// Requests without limits are not counted for a place, and a limit that is added later does not wait for them.
#[test]
fn requests_that_are_refused_take_no_place() {
    let (zone, limits) = (zone(), limits("a", Some(1), None, Some(1)));
    let held = zone.admit(&limits, client(1), 1).unwrap();
    for _ in 0..5 {
        assert_eq!(zone.admit(&limits, client(1), 1).map(|_| ()), Err(Refused::InFlight));
    }
    assert_eq!(
        zone.admit(&limits, client(1), 1).map(|_| ()),
        Err(Refused::TooFast),
        "they counted for speed"
    );
    drop(held);
    assert_eq!(zone.admit(&limits, client(1), 1).map(|_| ()), Err(Refused::TooFast));
}

/// A subscriber has a network of IPv6, all of whose addresses it can use.
#[test]
fn a_client_is_an_address_or_a_prefix_of_ipv6() {
    let network = |n: u128| client((0x2001_0db8 << 96) | n);
    let admitted = |ipv6_prefix, clients: &[std::net::IpAddr]| {
        let (zone, limits) = (zone(), Limits { ipv6_prefix, ..limits("a/b", Some(1), None, None) });
        clients.iter().cycle().take(20).filter(|client| zone.admit(&limits, **client, 1).is_ok()).count()
    };
    let neighbours = [network(1), network(2)];
    assert_eq!(admitted(128, &neighbours), 12);
    assert_eq!(admitted(64, &neighbours), 6);
    assert_eq!(admitted(64, &[network(1), network(1 << 64)]), 12, "two networks");
    let v4 = |last| std::net::IpAddr::from([192, 0, 2, last]);
    assert_eq!(admitted(64, &[v4(1), v4(2)]), 12, "IPv4 addresses are not cut");
    let mapped = client(0xffff_c000_0201);
    assert_eq!(admitted(64, &[v4(1), mapped]), 6, "an address is the same in both notations");
}

/// A client with many addresses (any with IPv6) must not fill the memory, and must not make others forgotten that are active.
#[test]
fn a_flood_of_addresses_is_bounded_and_displaces_idle_clients_first() {
    const ALL: u128 = 16 * 4096;
    let (zone, limits) = (zone(), limits("a", None, Some(1), None));
    for n in 0..ALL * 3 {
        assert!(zone.admit(&limits, client(n), 1).is_ok());
        if n % 100 == 0 {
            let _ = zone.admit(&limits, client(u128::MAX), 1);
        }
    }
    assert!(zone.len() <= ALL as usize, "{}", zone.len());
    assert!(zone.admit(&limits, client(u128::MAX), 1).is_err(), "still known");
}

/// Where all who are known have requests in flight, a new client cannot be counted: it is refused rather than let through.
#[test]
fn a_client_that_cannot_be_counted_is_refused() {
    let zone = Arc::new(Zone::new(Arc::default(), 0));
    let limits = limits("a", None, None, Some(1));
    let held: Vec<_> = (0..16 * 64 * 8).filter_map(|n| zone.admit(&limits, client(n), 1).ok()).collect();
    assert_eq!(held.len(), 16 * 64, "each part keeps its share, though all zones are full");
    assert_eq!(zone.admit(&limits, client(u128::MAX), 1).map(|_| ()), Err(Refused::Full));
    drop(held);
    assert!(zone.admit(&limits, client(u128::MAX), 1).is_ok());
}

/// The clients of one tenant must not displace those of another.
#[test]
fn a_full_limiter_leaves_each_owner_its_share() {
    let all = Arc::new(AtomicUsize::new(0));
    let [theirs, ours] = [1, 2].map(|_| Arc::new(Zone::new(Arc::clone(&all), 2000)));
    let limits = limits("a", None, Some(1), None);
    for _ in 0..6 {
        assert!(ours.admit(&limits, client(1), 1).is_ok());
    }
    for n in 0..10_000 {
        assert!(theirs.admit(&limits, client(n), 1).is_ok());
    }
    assert!(ours.admit(&limits, client(1), 1).is_err(), "still known");
    assert!(ours.admit(&limits, client(2), 1).is_ok(), "there is room");
    assert!(all.load(Ordering::Relaxed) <= 2000 + 2 * 16 * 64);
    drop(theirs);
    assert_eq!(all.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn zones_of_rules_that_are_gone_go_once_their_clients_are_idle() {
    let limiter = Limiter::new();
    let zones = || limiter.zones.lock().unwrap().len();
    let rule = limits("a/one", None, Some(1), None);
    assert!(limiter.admit(&rule, client(1)).is_ok());
    for (seconds, what, want) in [(61, "its rule is there", 1), (3600, "its rule is there", 1)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        limiter.sweep();
        assert_eq!(zones(), want, "{what}");
    }
    assert!(limiter.admit(&rule, client(1)).is_ok());
    drop(rule);
    limiter.sweep();
    assert_eq!(zones(), 1, "the client could send its burst again");
    tokio::time::advance(Duration::from_secs(3600)).await;
    limiter.sweep();
    assert_eq!((zones(), limiter.clients.load(Ordering::Relaxed)), (0, 0));
}
