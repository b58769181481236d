//! TLS to backends under a policy: authorities, names, and a certificate of ours.

use std::sync::{Arc, Mutex};

use portcullis_routing::{
    Backend, BackendError, BackendTls, Rule, Step, Steps, SubjectName, TlsVersions, Verify, step::Mirror,
};
use rustls::HandshakeKind;

use crate::support::{
    Running,
    client::{self, connect, exchange, get},
    raw::RawBackend,
    secure::{Issuer, SecureBackend},
    site::{Site, backend, h2, listener, rule, share, tls, to},
    start_with, until, within,
};

const NAME: &str = "shop.example";
const ID: &str = "spiffe://shop.example/web";

fn only(backend: Backend) -> Rule {
    rule([share(1, Ok(backend))])
}

fn one_worker() -> Running {
    start_with(|options| options.workers = 1)
}

fn names(names: &[&str]) -> Box<[SubjectName]> {
    let name = |name: &&str| match name.contains(':') {
        true => SubjectName::Uri((*name).into()),
        false => SubjectName::Dns((*name).into()),
    };
    names.iter().map(name).collect()
}

#[tokio::test]
async fn nothing_is_sent_to_a_backend_whose_certificate_is_not_accepted() {
    let (ours, theirs) = (Issuer::new(), Issuer::new());
    let up = SecureBackend::start(&ours.certificate(&[NAME, ID])).await;
    let proxy = one_worker();
    let named = |server_name: &str, subject_names| BackendTls {
        subject_names: names(subject_names),
        ..ours.tls(server_name)
    };
    let cases = [
        ("/good", named(NAME, &[]), Some(NAME)),
        ("/authority", theirs.tls(NAME), None),
        ("/system", BackendTls::new(NAME, Verify::System), None),
        ("/name", named("other.example", &[]), None),
        ("/dns", named("other.example", &[NAME]), Some("other.example")),
        ("/dns-other", named(NAME, &["other.example"]), None),
        ("/uri", named("other.example", &[ID]), Some("other.example")),
        ("/uri-other", named(NAME, &["spiffe://shop.example/other"]), None),
        ("/one-of", named("other.example", &["other.example", ID]), Some("other.example")),
        ("/hidden", BackendTls { hides_name: true, ..ours.tls(NAME) }, Some("none")),
        ("/hidden-other", BackendTls { hides_name: true, ..ours.tls("other.example") }, None),
        ("/one-version", BackendTls { versions: TlsVersions::Tls12, ..ours.tls(NAME) }, Some(NAME)),
        ("/uri-authority", BackendTls { subject_names: names(&[ID]), ..theirs.tls(NAME) }, None),
    ];
    let (mut site, backend) = (Site::http(), || backend(&[up.address]));
    for (path, asked, _) in &cases {
        site = site.add("", listener("all"), &format!("/1{path}"), only(tls(backend(), asked.clone())));
        site = site.add("", listener("all"), &format!("/2{path}"), only(tls(h2(backend()), asked.clone())));
    }
    let at = site.serve(&proxy).await;
    let mut h2 = client::h2(connect(at).await).await;
    // Twice each: a connection that was accepted for one case must not be used for another.
    for (path, _, want) in cases.iter().chain(&cases) {
        for path in [format!("/1{path}"), format!("/2{path}")] {
            let want = want.map_or(502, |_| 200);
            let answer = get(&mut connect(at).await, "a.example", &path).await;
            assert_eq!(answer.status, want, "{path}: {}", answer.body);
            let (status, body) = h2.get(&format!("http://a.example{path}")).await.unwrap();
            assert_eq!(status, want, "{path} of an HTTP/2 client: {body}");
            if let (200, Some(name)) = (want, cases.iter().find(|c| path.ends_with(c.0)).and_then(|c| c.2)) {
                assert_eq!((&*answer.body, &*body), (name, name), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_backend_that_asks_for_it_gets_our_certificate() {
    let (ours, clients, others) = (Issuer::new(), Issuer::new(), Issuer::new());
    let up = SecureBackend::for_clients_of(&ours.certificate(&[NAME]), &clients).await;
    let proxy = one_worker();
    let presenting = |issuer: Option<&Issuer>| BackendTls {
        client_certificate: issuer.map(|issuer| issuer.certificate(&["gateway.example"]).to_material()),
        ..ours.tls(NAME)
    };
    let cases = [("/ours", Some(&clients), 200), ("/none", None, 502), ("/other", Some(&others), 502)];
    let mut site = Site::http();
    for (path, issuer, _) in cases {
        let (asked, backend) = (presenting(issuer), || backend(&[up.address]));
        site = site.add("", listener("all"), &format!("/1{path}"), only(tls(backend(), asked.clone())));
        site = site.add("", listener("all"), &format!("/2{path}"), only(tls(h2(backend()), asked)));
    }
    let at = site.serve(&proxy).await;
    for (path, _, want) in cases.into_iter().chain(cases) {
        for path in [format!("/1{path}"), format!("/2{path}")] {
            let answer = get(&mut connect(at).await, "a.example", &path).await;
            assert_eq!(answer.status, want, "{path}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn connections_are_used_again_and_sessions_resumed() {
    let ours = Issuer::new();
    let up = SecureBackend::start(&ours.certificate(&[NAME])).await;
    let proxy = one_worker();
    let over_tls = |backend| only(tls(backend, ours.tls(NAME)));
    let at = Site::of(over_tls(backend(&[up.address])))
        .add("", listener("all"), "/h2", over_tls(h2(backend(&[up.address]))))
        .serve(&proxy)
        .await;
    let get = async |path: &str| get(&mut connect(at).await, "a.example", path).await.status;
    let handshakes = || up.handshakes.lock().unwrap().clone();
    for _ in 0..5 {
        assert_eq!((get("/").await, get("/h2").await), (200, 200));
    }
    assert_eq!(handshakes().len(), 2, "one connection for each protocol");
    for _ in 0..3 {
        assert_eq!(get("/close").await, 200);
    }
    assert_eq!(get("/").await, 200);
    let resumed = handshakes().into_iter().filter(|kind| *kind == HandshakeKind::Resumed).count();
    assert!(resumed >= 2, "{:?}", handshakes());
}

#[tokio::test]
async fn a_mirror_is_verified_too() {
    let (ours, theirs) = (Issuer::new(), Issuer::new());
    let (main, copy) =
        (RawBackend::saying("main").await, SecureBackend::start(&ours.certificate(&[NAME])).await);
    let proxy = one_worker();
    let mirrored = |asked: BackendTls| {
        let backend = Ok(Arc::new(tls(backend(&[copy.address]), asked)));
        let mirror = Mirror { backend, numerator: 1, denominator: 1 };
        Rule { steps: Steps::new([Step::Mirror(Box::new(mirror))]), ..to(main.address) }
    };
    let at = Site::of(mirrored(ours.tls(NAME)))
        .add("", listener("all"), "/other", mirrored(theirs.tls(NAME)))
        .serve(&proxy)
        .await;
    let lost = || proxy.proxy.lost_mirrors().into_iter().find(|(name, _)| *name == "failed").unwrap().1;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.body, "main");
    until("it is copied", || copy.handshakes.lock().unwrap().len() == 1).await;
    assert_eq!(lost(), 0);
    assert_eq!(get(&mut connect(at).await, "a.example", "/other").await.body, "main");
    until("it is refused", || lost() == 1).await;
    assert_eq!(copy.handshakes.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_in_flight_keeps_the_tls_that_it_began_with() {
    let ours = Issuer::new();
    let up = SecureBackend::start(&ours.certificate(&[NAME])).await;
    let proxy = one_worker();
    let port = proxy.port();
    for over_tls in
        [tls(backend(&[up.address]), ours.tls(NAME)), tls(h2(backend(&[up.address])), ours.tls(NAME))]
    {
        proxy.serve_http(Site::of(only(over_tls)).table(port)).await;
        let held = tokio::spawn({
            let at = proxy.at(port);
            async move { get(&mut connect(at).await, "a.example", "/hold").await }
        });
        within(up.held.acquire()).await.unwrap().forget();
        let invalid = BackendError::InvalidPolicy {
            policy: "p".into(),
            service: "s".into(),
            why: "w".into(),
            is_missing: false,
        };
        proxy.serve_http(Site::of(rule([share(1, Err(invalid))])).table(port)).await;
        assert_eq!(get(&mut connect(proxy.at(port)).await, "a.example", "/").await.status, 503);
        up.go.add_permits(1);
        let answer = within(held).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, NAME));
    }
}

/// A policy appears, changes and goes under traffic: no request is lost.
#[tokio::test]
async fn no_request_is_lost_while_policies_change() {
    const CLIENTS: usize = 4;
    let ours = Issuer::new();
    let up = SecureBackend::start(&ours.certificate(&[NAME, ID])).await;
    let proxy = start_with(|options| options.workers = 2);
    let port = proxy.port();
    let with_names = BackendTls { subject_names: names(&[ID]), ..ours.tls("other.example") };
    let plain = || backend(&[up.address]);
    let policies = [None, Some(ours.tls(NAME)), Some(with_names), None, Some(ours.tls(NAME))];
    let rules = || {
        policies.iter().map(|policy| match policy {
            None => (only(plain()), "plain"),
            Some(asked) => (only(tls(plain(), asked.clone())), &*asked.server_name),
        })
    };
    proxy.serve_http(Site::of(only(plain())).table(port)).await;
    let (stop, _) = tokio::sync::watch::channel(false);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (at, stop, answered) = (proxy.at(port), stop.subscribe(), Arc::clone(&answers));
        clients.push(tokio::spawn(async move {
            let mut tcp = connect(at).await;
            while !*stop.borrow() {
                let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
                let answer = exchange(&mut tcp, request).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                answered.lock().unwrap().push(answer.body);
            }
        }));
    }
    for _ in 0..10 {
        for (rule, name) in rules() {
            answers.lock().unwrap().clear();
            proxy.serve_http(Site::of(rule).table(port)).await;
            until(name, || answers.lock().unwrap().iter().any(|answer| answer == name)).await;
        }
    }
    stop.send(true).unwrap();
    for client in clients {
        within(client).await.unwrap();
    }
}
