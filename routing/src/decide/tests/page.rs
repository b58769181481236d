//! Error pages: which answers a default backend is asked in place of.

use std::net::IpAddr;

use super::*;
use crate::{
    Networks,
    step::{AccessList, BodySize, ErrorOrigin, ErrorPages, Satisfy},
};

fn pages(by: Result<Endpoints, BackendError>) -> Step {
    let origin = ErrorOrigin {
        namespace: None,
        ingress: None,
        service: Some(HeaderValue::from_static("s")),
        port: None,
    };
    Step::ErrorPages(Box::new(ErrorPages {
        statuses: [403, 413, 503].into(),
        of_backends: true,
        rule: Arc::new(rule([], [by])),
        origin: Arc::new(origin),
    }))
}

fn only(address: &str) -> Step {
    let networks: Networks = [(address.parse::<IpAddr>().unwrap(), 32)].into_iter().collect();
    let allow = Some(Arc::new(networks));
    Step::AccessList(Arc::new(AccessList { deny: None, allow, satisfy: Satisfy::All }))
}

fn empty() -> Result<Endpoints, BackendError> {
    Ok(Endpoints::Addresses(Box::default()))
}

fn decided(rule: Rule, headers: &[(&'static str, &'static str)]) -> Decision {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let headers: HeaderMap = headers.iter().map(pair).collect();
    let asked = Asked::parse(&Method::POST, b"/a/b?c=d").unwrap();
    let request = Request { headers: &headers, ..request(&Method::POST, "a.example", &asked) };
    decide(&table(rule), request, plain(), 0)
}

/// Status of the answer, or what a default backend is asked for and whether with a body.
fn outcome(decision: &Decision) -> String {
    match decision {
        Decision::Forward(forward) if forward.route.is_page() => {
            let target = forward.target.as_deref().unwrap_or_default();
            format!("page {target}{}", if forward.route.is_bodiless() { " bodiless" } else { "" })
        }
        decision => text(decision),
    }
}

#[test]
fn what_the_proxy_refuses_with_a_listed_status_is_replaced() {
    let closed = || Err(BackendError::Closed("auth".into()));
    let none = "503 the backend has no ready endpoint";
    for (steps, backend, want) in [
        (vec![only("10.0.0.1"), pages(ready())], ready(), "page /?c=d"),
        (vec![only("127.0.0.1"), pages(ready())], ready(), "forward"),
        (vec![only("10.0.0.1"), pages(empty())], ready(), "403 the client's address is not allowed"),
        (vec![pages(ready())], empty(), "page /?c=d"),
        (vec![Step::Endpoints, pages(ready())], empty(), "page /?c=d"),
        (vec![pages(empty())], empty(), none),
        (vec![pages(Err(BackendError::NoPath))], empty(), none),
        (vec![pages(ready())], Err(BackendError::NoPath), "404 no path of this host matches this request"),
        // Nobody is asked about a path that is closed.
        (
            vec![pages(ready())],
            closed(),
            "503 closed: an annotation or setting that protects it cannot be served",
        ),
        (vec![Step::BodySize(BodySize(2)), pages(ready())], ready(), "page /?c=d bodiless"),
    ] {
        let got = outcome(&decided(rule(steps, [backend]), &[("content-length", "3")]));
        assert_eq!(got, want);
    }
}

#[test]
fn a_default_backend_is_asked_once() {
    let Decision::Forward(forward) = decided(rule([pages(ready())], [ready()]), &[]) else { panic!() };
    let route = forward.route;
    assert!(route.has_pages() && route.replaces_answer(503) && !route.replaces_answer(500));
    assert!(route.page(500).is_none());
    let page = route.page(503).expect("a page");
    assert!(!page.route.has_pages() && page.route.page(503).is_none());
    assert_eq!((page.carrier, page.target.as_deref()), (Carrier::Http1, Some("/?c=d")));
}

/// Clients of gRPC understand its statuses alone.
#[test]
fn answers_of_h2_backends_are_not_replaced() {
    let mut rule = rule([pages(ready())], [ready()]);
    let choice = rule.backends.all()[0].clone();
    let backend = choice.backend.unwrap();
    let h2 = Backend {
        key: backend.key.clone(),
        protocol: BackendProtocol::Http2,
        tls: None,
        proxy_protocol: None,
        endpoints: Arc::clone(&backend.endpoints),
    };
    rule.backends = Backends::new([WeightedBackend { backend: Ok(Arc::new(h2)), ..weighted(ready()) }]);
    let Decision::Forward(forward) = decided(rule, &[]) else { panic!() };
    assert!(!forward.route.has_pages() && !forward.route.replaces_answer(503));
}

#[test]
fn the_requests_of_a_backend_without_endpoints_go_to_the_default_backend_that_has_some() {
    let missing = || Err(BackendError::Missing(Box::new(BackendError::NotFound("n/s".into()))));
    let origin = || Arc::new(ErrorOrigin { namespace: None, ingress: None, service: None, port: None });
    for (backend, other, want) in [
        (ready(), ready(), "forward 0"),
        (empty(), ready(), "forward 1"),
        (missing(), ready(), "forward 1"),
        (empty(), empty(), "503 the backend has no ready endpoint"),
        (missing(), missing(), "503 the backend does not exist"),
        (
            Err(BackendError::Closed("auth".into())),
            ready(),
            "503 closed: an annotation or setting that protects it cannot be served",
        ),
    ] {
        let rule = rule([Step::Endpoints], []);
        let backends = Backends::new([weighted(backend)]).with_fallback(weighted(other), origin());
        let decision = decided(Rule { backends, ..rule }, &[]);
        let got = match &decision {
            Decision::Forward(forward) => {
                let chosen = forward.route.choice().unwrap();
                let all = forward.route.rule().backends.all();
                format!("forward {}", all.iter().position(|c| std::ptr::eq(c, chosen)).unwrap())
            }
            decision => text(decision),
        };
        assert_eq!(got, want);
    }
}

/// Access checks come before it, as before the backend itself.
#[test]
fn a_default_backend_protects_as_the_rule_does() {
    let origin = Arc::new(ErrorOrigin { namespace: None, ingress: None, service: None, port: None });
    let rule = rule([Step::Endpoints, only("10.0.0.1")], []);
    let backends = Backends::new([weighted(empty())]).with_fallback(weighted(ready()), origin);
    let decision = decided(Rule { backends, ..rule }, &[]);
    assert_eq!(text(&decision), "403 the client's address is not allowed");
}
