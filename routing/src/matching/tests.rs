use http::{HeaderMap, HeaderValue};

use super::*;
use crate::Pattern;

#[test]
fn paths_match_as_their_kind_says() {
    let exact = |p: &str| PathMatch::Exact(p.into());
    let prefix = |p: &str| PathMatch::Prefix(p.into());
    let regex = |p: &str| PathMatch::Regex(Pattern::compile(p).unwrap());
    let method = |p: &str| PathMatch::GrpcMethod(p.into());
    for (path_match, path, want) in [
        (exact("/abc"), "/abc", true),
        (exact("/abc"), "/abc/", false),
        (exact("/abc"), "/Abc", false),
        (prefix("/abc"), "/abc", true),
        (prefix("/abc"), "/abc/", true),
        (prefix("/abc"), "/abc/def", true),
        (prefix("/abc"), "/abcd", false),
        (prefix(""), "/", true),
        (prefix(""), "/a", true),
        (prefix(""), "*", false),
        (regex("/a.c"), "/abc", true),
        (regex("/a.c"), "/abcd", false),
        (method("Get"), "/svc/Get", true),
        (method("Get"), "/svc/Getter", false),
        (method("Get"), "//Get", false),
        (method("Get"), "/svc/other/Get", false),
        (method("Get"), "/Get", false),
    ] {
        assert_eq!(path_match.matches(path), want, "{path_match:?} on {path}");
    }
}

#[test]
fn a_header_matches_by_a_value_or_by_all_as_a_list() {
    let exact = |text: &str| ValueMatch::Exact(text.into());
    let regex = |text: &str| ValueMatch::Regex(Pattern::compile(text).unwrap());
    for (values, value, want) in [
        (&["a"][..], exact("a"), true),
        (&["A"], exact("a"), false),
        (&["ab"], exact("a"), false),
        (&[], exact(""), false),
        (&[""], exact(""), true),
        (&["a", "b"], exact("a"), true),
        (&["a", "b"], exact("b"), true),
        (&["a", "b"], exact("a,b"), true),
        (&["a", "b"], exact("a, b"), true),
        (&["a", "b"], exact("b,a"), false),
        (&["a", "b"], exact("a,b,"), false),
        (&["a", "b", "c"], exact("a,b"), false),
        (&["a,b"], exact("a"), false),
        (&["v1"], regex("v[0-9]"), true),
        (&["v10"], regex("v[0-9]"), false),
        (&["x", "v1"], regex("v[0-9]"), true),
        (&["x", "y"], regex("x,y"), true),
        (&["\u{e9}"], exact("\u{e9}"), true),
        (&["\u{e9}"], regex("."), true),
    ] {
        let header = HeaderMatch { name: HeaderName::from_static("x"), value };
        let headers: HeaderMap = values
            .iter()
            .map(|v| (HeaderName::from_static("x"), HeaderValue::from_bytes(v.as_bytes()).unwrap()))
            .collect();
        assert_eq!(header.matches(&headers), want, "{header:?} on {values:?}");
    }
}

#[test]
fn bytes_that_are_no_text_fail_no_match() {
    let headers =
        HeaderMap::from_iter([(HeaderName::from_static("x"), HeaderValue::from_bytes(b"a\xff").unwrap())]);
    let value = ValueMatch::Regex(Pattern::compile("a.").unwrap());
    assert!(HeaderMatch { name: HeaderName::from_static("x"), value }.matches(&headers));
    let value = ValueMatch::Exact("a".into());
    assert!(!HeaderMatch { name: HeaderName::from_static("x"), value }.matches(&headers));
}

#[test]
fn split_cookies_are_one_list_of_semicolons() {
    let cookie = http::header::COOKIE;
    let headers = HeaderMap::from_iter(["a=1", "b=2"].map(|v| (cookie.clone(), HeaderValue::from_static(v))));
    let value = ValueMatch::Regex(Pattern::compile("(.*; )?b=2(;.*)?").unwrap());
    assert!(HeaderMatch { name: cookie.clone(), value }.matches(&headers));
    assert!(HeaderMatch { name: cookie, value: ValueMatch::Exact("a=1; b=2".into()) }.matches(&headers));
}

#[test]
fn the_first_value_of_a_query_parameter_counts() {
    let exact = |text: &str| ValueMatch::Exact(text.into());
    let regex = |text: &str| ValueMatch::Regex(Pattern::compile(text).unwrap());
    for (query, value, want) in [
        ("a=1", exact("1"), true),
        ("b=2&a=1", exact("1"), true),
        ("a=2&a=1", exact("1"), false),
        ("A=1", exact("1"), false),
        ("ab=1", exact("1"), false),
        ("a=1=2", exact("1=2"), true),
        ("a", exact(""), true),
        ("a=", exact(""), true),
        ("", exact(""), false),
        ("a=%31", exact("1"), true),
        ("%61=1", exact("1"), true),
        ("a=x+y%20z", exact("x y z"), true),
        ("a=x%2By", exact("x+y"), true),
        ("a=%c3%a9", exact("\u{e9}"), true),
        ("a=100%", exact("100%"), true),
        ("a=+", exact(" "), true),
        ("a=v1", regex("v[0-9]"), true),
        ("a=v%31", regex("v[0-9]"), true),
        ("a=v12", regex("v[0-9]"), false),
        ("a=%ff", regex("."), true),
    ] {
        let parameter = QueryMatch { name: "a".into(), value };
        assert_eq!(parameter.matches(query), want, "{parameter:?} on {query}");
    }
}

#[test]
fn precedence_is_the_specifications_order() {
    let at = |route_match: &RouteMatch, age, name: &str, position| {
        Precedence::of(route_match, age, name.into(), position)
    };
    let of = |path| at(&RouteMatch { path, ..any_request() }, 0, "n/r", (0, 0));
    let header = HeaderMatch { name: HeaderName::from_static("x"), value: ValueMatch::Exact("1".into()) };
    let query = QueryMatch { name: "q".into(), value: ValueMatch::Exact("1".into()) };
    let order = [
        of(PathMatch::Exact("/svc/Method".into())),
        of(PathMatch::Exact("/a".into())),
        of(PathMatch::Regex(Pattern::compile("/a/b/c.*").unwrap())),
        of(PathMatch::Regex(Pattern::compile("/a.*").unwrap())),
        of(PathMatch::Prefix("/svc/a".into())),
        of(PathMatch::Prefix("/svc".into())),
        of(PathMatch::GrpcMethod("GetLonger".into())),
        of(PathMatch::GrpcMethod("Get".into())),
        at(&RouteMatch { method: Some(Method::GET.into()), ..any_request() }, 0, "n/r", (0, 0)),
        at(
            &RouteMatch { headers: [header.clone(), header.clone()].into(), ..any_request() },
            0,
            "n/r",
            (0, 0),
        ),
        at(&RouteMatch { headers: [header].into(), ..any_request() }, 0, "n/r", (0, 0)),
        at(&RouteMatch { query: [query].into(), ..any_request() }, 0, "n/r", (0, 0)),
        at(&any_request(), 0, "n/r", (0, 0)),
        at(&any_request(), 1, "a/a", (0, 0)),
        at(&any_request(), 1, "a/b", (0, 1)),
        at(&any_request(), 1, "a/b", (1, 0)),
    ];
    for (place, pair) in order.windows(2).enumerate() {
        assert!(pair[0] > pair[1], "{place}: {pair:?}");
    }
}

fn any_request() -> RouteMatch {
    RouteMatch {
        path: PathMatch::Prefix("".into()),
        method: None,
        headers: Box::default(),
        query: Box::default(),
    }
}
