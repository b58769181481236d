use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

#[test]
fn clients_over_tls_may_have_a_backend_of_their_own() {
    let to = |name: &str| WeightedBackend {
        weight: 1,
        backend: Err(Box::new(BackendError::NotFound(name.into()))),
        steps: Steps::default(),
        balance: Balance::default(),
    };
    let backends = Backends::by_tls(to("plain"), to("tls"));
    for random in RANDOMS {
        for (is_tls, want) in [(false, 0), (true, 1)] {
            let picked = backends.pick_for(random, is_tls).unwrap();
            assert!(std::ptr::eq(picked, &backends.all()[want]), "{is_tls}");
        }
        let same = Backends::new([to("plain"), to("tls")]);
        assert!(std::ptr::eq(same.pick_for(random, true).unwrap(), same.pick(random).unwrap()));
    }
}

#[test]
fn requests_are_shared_out_by_weight() {
    for (weights, want) in [
        (&[1, 1][..], &[500, 500][..]),
        (&[9, 1], &[900, 100]),
        (&[0, 1], &[0, 1000]),
        (&[1, 0], &[1000, 0]),
        (&[0, 0], &[0, 0]),
        (&[], &[]),
        (&[u32::MAX, u32::MAX], &[1000, 0]),
    ] {
        let backends = Backends::new(weights.iter().map(|weight| WeightedBackend {
            weight: *weight,
            backend: Err(Box::new(BackendError::NotFound("n/s".into()))),
            steps: Steps::default(),
            balance: Balance::default(),
        }));
        let mut taken = vec![0; weights.len()];
        for random in 0..1000 {
            if let Some(choice) = backends.pick(random) {
                taken[backends.all().iter().position(|c| std::ptr::eq(c, choice)).unwrap()] += 1;
            }
        }
        assert_eq!(taken, want, "{weights:?}");
    }
}

#[test]
fn the_less_loaded_of_two_is_chosen() {
    let endpoints = endpoints(2);
    let _busy = endpoints[0].begin();
    let chosen = |random| pick(&endpoints, random, &[]).unwrap().address;
    for random in RANDOMS {
        assert_eq!(chosen(random), endpoints[1].address);
    }
    // Another thread does not see this request, and considers only its own requests.
    std::thread::scope(|scope| {
        let elsewhere = scope.spawn(|| {
            let _busy = endpoints[1].begin();
            RANDOMS.map(chosen)
        });
        assert_eq!(elsewhere.join().unwrap(), [endpoints[0].address; RANDOMS.len()]);
    });
}

#[test]
fn an_endpoint_that_was_tried_is_left_out_while_there_is_another() {
    let endpoints = endpoints(3);
    let tried = |places: &[usize]| places.iter().map(|p| endpoints[*p].address).collect::<Vec<_>>();
    for random in RANDOMS {
        let chosen = |avoid: &[SocketAddr]| pick(&endpoints, random, avoid).unwrap().address;
        assert_ne!(chosen(&tried(&[1])), endpoints[1].address);
        assert_eq!(chosen(&tried(&[0, 2])), endpoints[1].address);
        assert!(endpoints.iter().any(|e| e.address == chosen(&tried(&[0, 1, 2]))));
    }
    assert!(pick(&[], 0, &[]).is_none());
    assert!(pick(&[], 0, &tried(&[0])).is_none());
}

#[test]
fn an_endpoint_is_permitted_by_the_last_version_only() {
    let endpoint = Endpoint::new(address(1));
    let permitted = || [1, 2].map(|version| endpoint.is_permitted_by(version));
    assert_eq!(permitted(), [false, false]);
    endpoint.permit(1);
    assert_eq!(permitted(), [true, false]);
    endpoint.permit(2);
    assert_eq!(permitted(), [false, true]);
}

#[test]
fn every_endpoint_has_its_share() {
    let endpoints = endpoints(5);
    let mut taken = [0_u32; 5];
    for i in 0..50_000_u64 {
        // A sequence that visits the whole range evenly.
        let chosen = pick(&endpoints, i.wrapping_mul(0x9e37_79b9_7f4a_7c15), &[]).unwrap();
        taken[endpoints.iter().position(|e| Arc::ptr_eq(e, chosen)).unwrap()] += 1;
    }
    assert!(taken.iter().all(|t| (9_000..11_000).contains(t)), "{taken:?}");
}

#[test]
fn a_name_has_no_addresses_of_its_own() {
    let pool = EndpointPool::new(Endpoints::Addresses(endpoints(1).into()));
    assert!(pool.load().pick(0, &[]).is_some());
    pool.store_name("db.example", 80);
    assert!(pool.load().pick(0, &[]).is_none());
}

#[test]
fn a_request_is_in_flight_until_its_guard_is_dropped() {
    let endpoint = Endpoint::new(address(1));
    let guards = [endpoint.begin(), endpoint.begin()];
    assert_eq!(endpoint.in_flight(), 2);
    drop(guards);
    assert_eq!(endpoint.in_flight(), 0);
}

proptest! {
    #[test]
    fn an_address_that_stays_keeps_its_endpoint(
        before in prop::collection::vec(1..20_u16, 0..12),
        after in prop::collection::vec(1..20_u16, 0..12),
    ) {
        let addresses = |ports: &[u16]| ports.iter().map(|p| address(*p)).collect::<Vec<_>>();
        let pool = EndpointPool::new(Endpoints::Addresses(Box::default()));
        pool.store_addresses(&addresses(&before));
        let old = list(&pool);
        let _guards: Vec<_> = old.iter().map(|endpoint| endpoint.begin()).collect();
        pool.store_addresses(&addresses(&after));
        let new = list(&pool);
        prop_assert_eq!(pool.is_empty(), new.is_empty());

        let mut once = Vec::new();
        for address in addresses(&after) {
            if !once.contains(&address) {
                once.push(address);
            }
        }
        prop_assert_eq!(new.iter().map(|e| e.address).collect::<Vec<_>>(), once);
        for endpoint in &new {
            let known = old.iter().find(|o| o.address == endpoint.address);
            prop_assert_eq!(endpoint.in_flight(), u32::from(known.is_some()));
            prop_assert!(known.is_none_or(|known| Arc::ptr_eq(known, endpoint)));
        }
    }
}

const RANDOMS: [u64; 6] = [0, 1, u64::MAX, u64::MAX << 32, u64::MAX >> 32, 0x9e37_79b9_7f4a_7c15];

fn list(pool: &EndpointPool) -> Vec<Arc<Endpoint>> {
    match &**pool.load() {
        Endpoints::Addresses(endpoints) => endpoints.to_vec(),
        Endpoints::Name { .. } => Vec::new(),
    }
}

fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
    (1..=count).map(|port| Arc::new(Endpoint::new(address(port)))).collect()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
