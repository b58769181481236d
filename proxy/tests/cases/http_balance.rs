//! How requests are spread over endpoints and canaries, and the cookies that keep clients at one endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use crate::support::{
    backend::TestBackend,
    client::{self, Raw, connect, exchange, get},
    raw::{RawBackend, Reply, ok, status},
    site::{Site, backend, refusing, rule, share, to},
    start, within,
};
use portcullis_routing::{
    Affinity, Backends, Balance, Canary, HashBy, Retry, Rule, Template, WeightedBackend,
    balance::{SessionCookie, SessionToken},
};
use tokio::net::TcpStream;

const HOST: &str = "a.example";

fn spread(addresses: &[SocketAddr], balance: Balance) -> WeightedBackend {
    WeightedBackend { balance, ..share(1, Ok(backend(addresses))) }
}

fn session(name: &str) -> Affinity {
    Affinity {
        token: SessionToken::Cookie {
            name: "route".into(),
            set: Some(SessionCookie {
                expires: Some(60),
                max_age: Some(60),
                path: "/".into(),
                ..SessionCookie::default()
            }),
        },
        lifetime: None,
        is_persistent: false,
        changes_on_failure: false,
        backend: Affinity::backend_of(name),
        key: Affinity::key_of("secret"),
    }
}

fn by_cookie(affinity: Affinity) -> Balance {
    Balance::Session(Arc::new(affinity))
}

async fn three() -> ([TestBackend; 3], Vec<SocketAddr>) {
    let backends =
        [TestBackend::start("one").await, TestBackend::start("two").await, TestBackend::start("three").await];
    let addresses = backends.iter().map(|backend| backend.address).collect();
    (backends, addresses)
}

/// Who answered.
fn who(raw: &Raw) -> String {
    raw.body.split(' ').next().unwrap_or_default().to_owned()
}

/// The cookies that an answer sets.
fn cookies(raw: &Raw) -> Vec<String> {
    raw.head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).map(Into::into).collect()
}

async fn with(io: &mut TcpStream, header: &str) -> Raw {
    exchange(io, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\n\r\n")).await
}

/// The `Cookie` header with the cookie that an answer sets.
fn returned(answer: &Raw) -> String {
    let cookies = cookies(answer);
    let [cookie] = &cookies[..] else { panic!("not one cookie: {cookies:?}") };
    let (pair, _) = cookie.split_once(';').unwrap();
    format!("Cookie: {pair}")
}

#[tokio::test]
async fn endpoints_take_turns() {
    let (_running, addresses) = three().await;
    let proxy = start();
    let at = Site::of(rule([spread(&addresses, Balance::RoundRobin)])).serve(&proxy).await;
    // A connection stays with one worker, which has turns of its own.
    let mut io = connect(at).await;
    let mut order = Vec::new();
    for _ in 0..9 {
        order.push(who(&get(&mut io, HOST, "/").await));
    }
    let begin = ["one", "two", "three"].iter().position(|name| *name == order[0]).unwrap();
    let want: Vec<_> = ["one", "two", "three"].into_iter().cycle().skip(begin).take(9).collect();
    assert_eq!(order, want);
}

#[tokio::test]
async fn a_turn_passes_an_endpoint_that_cannot_be_reached() {
    let (_running, mut addresses) = three().await;
    addresses[1] = refusing();
    let proxy = start();
    let at = Site::of(rule([spread(&addresses, Balance::RoundRobin)])).serve(&proxy).await;
    let mut io = connect(at).await;
    for _ in 0..6 {
        assert_eq!(get(&mut io, HOST, "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_slow_endpoint_gets_few_requests() {
    let slow = RawBackend::start(|_, _| {
        std::thread::sleep(Duration::from_millis(300));
        ok("slow ")
    })
    .await;
    let fast = RawBackend::saying("fast ").await;
    let proxy = start();
    let balance = Balance::Faster;
    let at = Site::of(rule([spread(&[slow.address, fast.address], balance)])).serve(&proxy).await;
    let mut io = connect(at).await;
    let mut counts = BTreeMap::new();
    for _ in 0..40 {
        *counts.entry(who(&get(&mut io, HOST, "/").await)).or_insert(0) += 1;
    }
    // Each of the two is asked first while nothing is known of it. Beside that, the fast one can be slow at times, too.
    assert!(counts["fast"] > 30, "{counts:?}");
}

#[tokio::test]
async fn equal_texts_go_to_one_endpoint_and_never_move() {
    let (_running, mut addresses) = three().await;
    addresses[2] = refusing();
    let proxy = start();
    let text = Template::parse("$request_uri", &[]).unwrap();
    let balance = Balance::Hash(Arc::new(HashBy { text, subset: None }));
    let repeated = Rule {
        retry: Some(Arc::new(Retry {
            codes: [503].into(),
            attempts: 2,
            backoff: Some(Duration::from_millis(1)),
            ..Retry::default()
        })),
        ..rule([spread(&addresses, balance.clone())])
    };
    for rule in [rule([spread(&addresses, balance)]), repeated] {
        let at = Site::of(rule).serve(&proxy).await;
        let mut answered = BTreeSet::new();
        for path in 0..24 {
            let path = format!("/{path}");
            // pingora closes a connection after an error, and the endpoint does not depend on the connection.
            let first = get(&mut connect(at).await, HOST, &path).await;
            let again = get(&mut connect(at).await, HOST, &path).await;
            assert_eq!((first.status, who(&first)), (again.status, who(&again)), "{path}");
            answered.insert((first.status, who(&first)));
        }
        let statuses = answered.iter().map(|(status, _)| *status);
        assert_eq!(statuses.collect::<Vec<_>>(), [200, 200, 502], "{answered:?}");
    }
}

#[tokio::test]
async fn a_cookie_keeps_a_client_at_its_endpoint() {
    let (_running, addresses) = three().await;
    let proxy = start();
    for is_persistent in [false, true] {
        let affinity = Affinity { is_persistent, ..session("n/s:80") };
        let at = Site::of(rule([spread(&addresses, by_cookie(affinity))])).serve(&proxy).await;
        let mut io = connect(at).await;
        for _ in 0..10 {
            let first = get(&mut io, HOST, "/").await;
            let set = cookies(&first);
            assert!(set.len() == 1 && set[0].ends_with("; max-age=60; path=/; httponly"), "{set:?}");
            assert!(set[0].contains("; expires=") && set[0].contains(" gmt;"), "{set:?}");
            assert!(!set[0].contains("127.0.0.1"), "{set:?}");
            let cookie = returned(&first);
            for _ in 0..5 {
                let again = with(&mut io, &cookie).await;
                assert_eq!(
                    (who(&again), cookies(&again)),
                    (who(&first), vec![]),
                    "persistent: {is_persistent}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_header_keeps_a_client_at_its_endpoint() {
    let (_running, addresses) = three().await;
    let proxy = start();
    let token = SessionToken::Header("x-session".parse().unwrap());
    let affinity = Affinity { token, is_persistent: true, lifetime: Some(60), ..session("n/s:80") };
    let at = Site::of(rule([spread(&addresses, by_cookie(affinity))])).serve(&proxy).await;
    let mut io = connect(at).await;
    let sessions = |raw: &Raw| -> Vec<String> {
        raw.head.lines().filter_map(|line| line.strip_prefix("x-session: ")).map(Into::into).collect()
    };
    for _ in 0..10 {
        let first = get(&mut io, HOST, "/").await;
        let begun = sessions(&first);
        assert!(begun.len() == 1 && cookies(&first).is_empty(), "{}", first.head);
        for _ in 0..5 {
            let again = with(&mut io, &format!("X-Session: {}", begun[0])).await;
            assert_eq!((who(&again), sessions(&again)), (who(&first), vec![]));
        }
        let made_up = with(&mut io, "X-Session: 127.0.0.1").await;
        assert_eq!((made_up.status, sessions(&made_up).len()), (200, 1));
    }
}

#[tokio::test]
async fn a_session_ends_with_its_lifetime() {
    let (_running, addresses) = three().await;
    let proxy = start();
    let affinity = Affinity { is_persistent: true, lifetime: Some(1), ..session("n/s:80") };
    let at = Site::of(rule([spread(&addresses, by_cookie(affinity))])).serve(&proxy).await;
    let mut io = connect(at).await;
    let cookie = returned(&get(&mut io, HOST, "/").await);
    let ended = async {
        while cookies(&with(&mut io, &cookie).await).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(ended).await;
}

#[tokio::test]
async fn a_client_of_h2_gets_the_cookie_too() {
    let (_running, addresses) = three().await;
    let proxy = start();
    let at = Site::of(rule([spread(&addresses, by_cookie(session("n/s:80")))])).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    let response = within(client.start(&format!("http://{HOST}/")).await.unwrap()).await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("route=") && cookie.ends_with("; Path=/; HttpOnly"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let request = http::Request::get(format!("http://{HOST}/")).header("cookie", pair).body(()).unwrap();
    let (response, _) = client.send.send_request(request, true).unwrap();
    let response = within(response).await.unwrap();
    assert!(!response.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn a_cookie_is_set_with_errors_and_not_without_endpoints() {
    let failing = RawBackend::start(|_, _| status(500)).await;
    let proxy = start();
    for (addresses, want, sets) in [(&[failing.address][..], 500, 1), (&[refusing()], 502, 1), (&[], 503, 0)]
    {
        let at = Site::of(rule([spread(addresses, by_cookie(session("n/s:80")))])).serve(&proxy).await;
        let answer = get(&mut connect(at).await, HOST, "/").await;
        assert_eq!((answer.status, cookies(&answer).len()), (want, sets));
    }
}

#[tokio::test]
async fn a_backends_own_cookies_stay() {
    let own = RawBackend::start(|_, _| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n".to_vec())
    })
    .await;
    let proxy = start();
    let at = Site::of(rule([spread(&[own.address], by_cookie(session("n/s:80")))])).serve(&proxy).await;
    let answer = get(&mut connect(at).await, HOST, "/").await;
    assert!(cookies(&answer).len() == 2 && cookies(&answer)[0] == "own=1", "{:?}", cookies(&answer));
}

#[tokio::test]
async fn a_session_at_an_endpoint_that_cannot_be_reached_moves_if_it_is_to() {
    let running = RawBackend::saying("up ").await;
    let proxy = start();
    for (changes_on_failure, moved) in [(false, (502, 0)), (true, (200, 1))] {
        let affinity = Affinity { changes_on_failure, ..session("n/s:80") };
        let gone = refusing();
        // With both endpoints, a session of the one that is gone is found by trying.
        let at = Site::of(rule([spread(&[gone, running.address], by_cookie(affinity.clone()))]))
            .serve(&proxy)
            .await;
        let mut statuses = BTreeSet::new();
        for n in 0..20 {
            let answer = with(&mut connect(at).await, &format!("Cookie: route=made-up-{n}|x")).await;
            statuses.insert((answer.status, cookies(&answer).len()));
        }
        assert_eq!(statuses, BTreeSet::from([(200, 0), moved]), "changes on failure: {changes_on_failure}");
    }
}

#[tokio::test]
async fn a_new_session_begins_where_it_can() {
    let running = RawBackend::saying("up ").await;
    let proxy = start();
    let endpoints = [refusing(), running.address];
    let at = Site::of(rule([spread(&endpoints, by_cookie(session("n/s:80")))])).serve(&proxy).await;
    let mut io = connect(at).await;
    for _ in 0..10 {
        let first = get(&mut io, HOST, "/").await;
        assert_eq!(first.status, 200);
        assert_eq!(
            with(&mut io, &returned(&first)).await.status,
            200,
            "the cookie leads to the same endpoint"
        );
    }
}

#[tokio::test]
async fn a_canary_gets_its_requests_and_sessions_stay_there() {
    let (main, other) = (RawBackend::saying("main ").await, RawBackend::saying("canary ").await);
    let proxy = start();
    let canary = |weight| Canary {
        header: Some(("x-canary".parse().unwrap(), portcullis_routing::balance::HeaderTest::Word)),
        cookie: None,
        total: 100,
        weight,
        label: "".into(),
    };
    let backends = |weight| {
        let of = |backend: &RawBackend, name| spread(&[backend.address], by_cookie(session(name)));
        Backends::with_canary(of(&main, "n/s:80"), of(&other, "n/c:80"), canary(weight))
    };
    let half = Site::of(Rule { backends: backends(50), ..to(main.address) }).serve(&proxy).await;
    let mut io = connect(half).await;
    let (mut counts, mut sessions) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..200 {
        let answer = get(&mut io, HOST, "/").await;
        *counts.entry(who(&answer)).or_insert(0) += 1;
        sessions.insert(who(&answer), returned(&answer));
    }
    assert!(counts.values().all(|count| (60..140).contains(count)), "{counts:?}");
    for (name, header) in [("main", "X-Canary: always"), ("canary", "X-Canary: never")] {
        let answer = with(&mut io, &format!("{header}\r\n{}", sessions[name])).await;
        assert_eq!((&*who(&answer), cookies(&answer)), (name, vec![]));
    }
    for (header, name) in [("X-Canary: always", "canary"), ("X-Canary: never", "main")] {
        for _ in 0..10 {
            assert_eq!(who(&with(&mut io, header).await), name);
        }
    }
}
