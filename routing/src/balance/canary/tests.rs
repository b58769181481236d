use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use super::*;
use crate::{
    Affinity, Backend, BackendError, BackendKey, BackendObject, BackendProtocol, Endpoint, EndpointPool,
    Endpoints, PortKey, Steps,
};

const X: HeaderName = HeaderName::from_static("x-canary");

fn backend(count: u16, balance: Balance) -> WeightedBackend {
    let endpoints = (0..count).map(|port| Arc::new(Endpoint::new(([127, 0, 0, 1], port).into())));
    let backend = Backend {
        key: BackendKey {
            kind: BackendObject::Service,
            namespace: "n".into(),
            service: "s".into(),
            port: PortKey::tcp(80),
        },
        protocol: BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        endpoints: Arc::new(EndpointPool::new(Endpoints::Addresses(endpoints.collect()))),
    };
    WeightedBackend { weight: 1, backend: Ok(Arc::new(backend)), steps: Steps::default(), balance }
}

fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    lines.iter().for_each(|(name, value)| {
        headers.append(name, HeaderValue::from_static(value));
    });
    headers
}

fn canary(header: Option<HeaderTest>, cookie: Option<&str>, weight: u64) -> Canary {
    let header = header.map(|test| (X, test));
    Canary { header, cookie: cookie.map(Into::into), total: 100, weight, label: "".into() }
}

#[test]
fn header_comes_before_cookie_and_cookie_before_weight() {
    let pattern = |text: &str| HeaderTest::Pattern(Some(Pattern::compile(text).unwrap()));
    let word = || canary(Some(HeaderTest::Word), Some("can"), 100);
    let value = || canary(Some(HeaderTest::Value("yes".into())), Some("can"), 0);
    let (found, invalid) = (pattern("(?s:.*)(?:foo|bar)(?s:.*)"), HeaderTest::Pattern(None));
    let (always, never) = ((header::COOKIE, "x=1; Can=always"), (header::COOKIE, "can=never"));
    for (canary, sent, want) in [
        (word(), &[][..], true),
        (word(), &[(X, "never")], false),
        (word(), &[(X, " always ")], true),
        (word(), &[(X, "Never")], true),
        (word(), &[(X, "never"), (X, "never")], true),
        (word(), &[(X, "never"), always.clone()], false),
        (word(), &[(X, "z"), never.clone()], false),
        (word(), std::slice::from_ref(&never), false),
        (value(), &[(X, "yes"), never.clone()], true),
        (value(), &[(X, "always")], false),
        (value(), &[(X, "never"), always.clone()], true),
        (canary_of(found), &[(X, "xbarx")], true),
        (canary_of(pattern("foo")), &[(X, "xfoo")], false),
        (canary_of(invalid), &[(X, "always"), always.clone()], false),
        (canary(Some(HeaderTest::Pattern(None)), Some("can"), 0), &[always], true),
        (canary(None, Some("can"), 0), &[(header::COOKIE, "can=Always")], false),
    ] {
        let backends = [&backend(1, Balance::RoundRobin), &backend(1, Balance::RoundRobin)];
        assert_eq!(canary.takes(backends, &headers(sent), 0), want, "{canary} for {sent:?}");
    }
}

fn canary_of(test: HeaderTest) -> Canary {
    canary(Some(test), Some("can"), 0)
}

#[test]
fn the_weight_is_a_share_of_the_total() {
    let [main, other] = [(); 2].map(|()| backend(1, Balance::RoundRobin));
    for (weight, total, want) in
        [(0, 100, 0), (30, 100, 300), (100, 100, 1000), (5, 1000, 5), (200, 100, 1000)]
    {
        let canary = Canary { weight, total, ..canary(None, None, 0) };
        let taken = (0..1000).filter(|random| canary.takes([&main, &other], &HeaderMap::new(), *random));
        assert_eq!(taken.count(), want, "{weight}/{total}");
    }
}

#[test]
fn a_backend_without_endpoints_gets_no_canary_and_is_none() {
    let broken = WeightedBackend {
        backend: Err(Box::new(BackendError::NotFound("n/s".into()))),
        ..backend(1, Balance::RoundRobin)
    };
    let [one, none] = [1, 0].map(|count| backend(count, Balance::RoundRobin));
    for (backends, want) in
        [([&one, &one], true), ([&none, &one], false), ([&one, &none], false), ([&one, &broken], false)]
    {
        assert_eq!(canary(None, None, 100).takes(backends, &HeaderMap::new(), 0), want);
    }
}

#[test]
fn a_session_stays_with_its_backend() {
    let balance = |backend: &str| {
        let affinity = Affinity {
            token: crate::balance::SessionToken::Cookie { name: "route".into(), set: None },
            lifetime: None,
            is_persistent: false,
            changes_on_failure: false,
            backend: backend.into(),
            key: [0, 0],
        };
        Balance::Session(Arc::new(affinity))
    };
    let (main, other) = (backend(1, balance("m")), backend(1, balance("c")));
    let without = backend(1, Balance::RoundRobin);
    for (backends, cookie, weight, want) in [
        ([&main, &other], "route=s|m", 100, false),
        ([&main, &other], "route=s|c", 0, true),
        ([&main, &other], "route=s|x", 100, true),
        ([&main, &without], "route=s|m", 100, false),
        ([&main, &without], "route=s|c", 0, false),
    ] {
        let sent = headers(&[(header::COOKIE, cookie), (X, if want { "never" } else { "always" })]);
        let canary = Canary { header: None, ..canary(None, None, weight) };
        assert_eq!(canary.takes(backends, &sent, 0), want, "{cookie}");
    }
}
