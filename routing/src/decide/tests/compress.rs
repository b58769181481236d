//! Compression: the request decides which codings are possible, the response whether one is applied.

use super::*;
use crate::step::{Coding, Compress, Compression, ErrorOrigin, ErrorPages};

fn compress() -> Step {
    let mut compress = Compress::default();
    compress.gzip.is_on = true;
    Step::Compress(Arc::new(compress))
}

fn route(rule: Rule, method: Method, accept: &'static str) -> Route {
    let headers = HeaderMap::from_iter([(http::header::ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
    let asked = Asked::parse(&method, b"/").unwrap();
    let request = Request { headers: &headers, ..request(&method, "a.example", &asked) };
    let Decision::Forward(forward) = decide(&table(rule), request, plain(), 0) else { panic!() };
    forward.route
}

fn of(route: &Route) -> Option<Compression> {
    let answer = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    route.compression(200, &answer)
}

#[test]
fn a_response_is_compressed_by_the_step_of_its_rule() {
    let gzip = Some(Coding::Gzip { level: 1 });
    let compression = |coding| Some(Compression { coding, length: None });
    for (steps, method, accept, want) in [
        (vec![compress()], Method::GET, "gzip", compression(gzip)),
        (vec![compress()], Method::POST, "gzip", compression(gzip)),
        (vec![compress()], Method::GET, "br", compression(None)),
        (vec![compress()], Method::HEAD, "gzip", None),
        (vec![], Method::GET, "gzip", None),
    ] {
        let route = route(rule(steps, [ready()]), method.clone(), accept);
        assert_eq!(of(&route), want, "{method} {accept}");
        assert_eq!(route.may_compress(), want.is_some(), "{method} {accept}");
    }
}

#[test]
fn an_error_page_is_compressed_if_its_rule_compresses() {
    for (of_page, want) in [(vec![compress()], true), (vec![], false)] {
        let origin = ErrorOrigin { namespace: None, ingress: None, service: None, port: None };
        let pages = Step::ErrorPages(Box::new(ErrorPages {
            statuses: [503].into(),
            of_backends: true,
            rule: Arc::new(rule(of_page, [ready()])),
            origin: Arc::new(origin),
        }));
        // In place of a backend's response, and of one of the proxy.
        let with_backend = route(rule([compress(), pages.clone()], [ready()]), Method::GET, "gzip");
        let page = with_backend.page(503).expect("a page").route;
        let none = Ok(Endpoints::Addresses(Box::default()));
        let without = route(rule([compress(), pages], [none]), Method::GET, "gzip");
        for page in [page, without] {
            assert!(page.is_page());
            assert_eq!(of(&page).is_some_and(|compression| compression.coding.is_some()), want);
        }
    }
}
