use std::{
    cmp::Reverse,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::{
    Backends, HeaderMatch, HostPattern, Pattern, QueryMatch, RequestHead, RequestView, RouteId, RouteKind,
    Steps, ValueMatch,
    path::{
        InvalidPath, RequestPath, canonicalise,
        tests::{path, plain},
    },
};

#[test]
fn the_longest_path_that_fits_takes_the_request() {
    for (routes, path, want) in [
        (&["prefix /", "prefix /a", "exact /a"][..], "/a", Some("exact /a")),
        (&["prefix /", "prefix /a", "exact /a"], "/a/", Some("prefix /a")),
        (&["prefix /", "prefix /a", "prefix /a/b/c"], "/a/b", Some("prefix /a")),
        (&["prefix /", "prefix /a", "prefix /a/b/c"], "/a/b/c/d", Some("prefix /a/b/c")),
        (&["prefix /", "prefix /a"], "/ab", Some("prefix /")),
        (&["prefix /a"], "/", None),
        (&["prefix /a", "regex /a.*"], "/a/b", Some("regex /a.*")),
        (&["prefix /a", "method Get"], "/svc/Get", Some("method Get")),
        (&["prefix /svc", "method Get"], "/svc/Get", Some("prefix /svc")),
        (&["prefix /", "method Get"], "/svc/Get", Some("method Get")),
        (&["prefix /", "method Get"], "/svc/Got", Some("prefix /")),
        (&["prefix /"], "*", None),
        (&["exact /{a}", "prefix /{b}"], "/{b}/x", Some("prefix /{b}")),
        (&["exact /{a}", "prefix /{*b}"], "/{a}", Some("exact /{a}")),
        (&["exact /{a}", "prefix /{*b}"], "/x", None),
        (&["prefix /a/b/c/d/e", "prefix /a"], "/a/b/c/d/x", Some("prefix /a")),
        (&["prefix /a/b/c/d/e", "prefix /a/b", "exact /a/b/c"], "/a/b/c/d", Some("prefix /a/b")),
        (&["prefix /a/b", "exact /a/b/c"], "/a/b/c", Some("exact /a/b/c")),
    ] {
        // Once walked along, once with an index: what is added fits no request.
        for filler in [0, 10] {
            let filler = (0..filler).map(|i| path_match(&format!("exact /filler/{i}")));
            let all: Vec<_> = routes.iter().map(|r| path_match(r)).chain(filler).collect();
            let entries = all.into_iter().enumerate().map(|(i, path)| entry(condition(path), i));
            let table = HostTable::compile(entries.collect());
            let headers = HeaderMap::new();
            let request = RequestHead { method: &Method::GET, path, query: None, headers: &headers };
            let found = table.find(&request).and_then(|e| routes.get(e.rule.index));
            assert_eq!(found.copied(), want, "{routes:?} on {path}");
        }
    }
}

/// Longer than what is indexed, in nests as deep as can be, and with all that the tree could take for its own syntax.
#[test]
fn paths_of_any_length_and_depth_are_found() {
    let nest = |step: &str, count: usize| (1..=count).map(|n| step.repeat(n)).collect::<Vec<_>>();
    let long = |end: &str| format!("/{}{end}", "x".repeat(1100));
    let texts = [nest("/a", 700), nest("x", 1030), nest("{}", 60), vec![long(""), long("/b"), long("/b/c")]];
    let texts: Vec<_> =
        texts.concat().into_iter().map(|text| format!("/{}", text.trim_matches('/'))).collect();
    let matches = texts.iter().flat_map(|text| {
        [PathMatch::Exact(text.as_str().into()), PathMatch::Prefix(text.trim_end_matches('/').into())]
    });
    let entries = matches.enumerate().map(|(i, path)| entry(condition(path), i));
    let table = HostTable::compile(entries.collect());
    let headers = HeaderMap::new();
    let hostile = ["/".repeat(64 << 10), "/a".repeat(32 << 10), long("/b/d"), long("/bc"), long("/b/c/d")];
    for path in texts.iter().step_by(7).chain(&hostile) {
        let request = RequestHead { method: &Method::GET, path, query: None, headers: &headers };
        let want = table.entries().iter().find(|e| e.route_match.matches(&request));
        let found = table.find(&request);
        assert_eq!(
            found.map(|e| e.rule.index),
            want.map(|e| e.rule.index),
            "{path:.20} of {} bytes",
            path.len()
        );
    }
}

#[test]
fn of_many_regular_expressions_the_first_that_fits_takes_the_request() {
    let narrow = (0..12).map(|i| format!("regex /(?i:item)-{i}(/[a-z]+)?"));
    let wide = ["regex /item-1.*", "regex /.*", "regex (?m)^/a$|^/b$", "regex /a|/ab?"].map(str::to_owned);
    // As large as one may be, so that there is no search of all as one.
    let most = (1..200).take_while(|n| Pattern::compile(&format!("/\\pL{{{n}}}")).is_ok()).last().unwrap();
    let large = (0..12).map(|i| format!("regex /\\pL{{{most}}}{i}"));
    for large in [vec![], large.collect()] {
        let texts = narrow.clone().chain(wide.clone()).chain(large);
        let entries = texts.enumerate().map(|(i, text)| {
            let method = (i % 3 == 0).then(|| Box::new(Method::POST));
            entry(RouteMatch { method, ..condition(path_match(&text)) }, i)
        });
        let table = HostTable::compile(entries.collect());
        let headers = HeaderMap::new();
        for path in ["/item-1", "/item-1/a", "/ITEM-12/a", "/item-11", "/a", "/b", "/ab", "/", "", "*"] {
            for method in [Method::GET, Method::POST] {
                let request = RequestHead { method: &method, path, query: None, headers: &headers };
                let want = table.entries().iter().find(|e| e.route_match.matches(&request));
                let found = table.find(&request);
                assert_eq!(found.map(|e| e.rule.index), want.map(|e| e.rule.index), "{method} {path}");
            }
        }
    }
}

#[test]
fn a_host_without_an_answer_leaves_it_to_the_wider_one_and_to_the_fallback() {
    let (mut routes, mut fallback) = (HttpRoutes::default(), HttpRoutes::default());
    let add = |routes: &mut HttpRoutes, host: &str, path, i| {
        let host = HostPattern::parse(host).unwrap();
        let table = HostTable::compile(vec![entry(condition(path_match(path)), i)]);
        routes.hosts.insert(host, Arc::new(table));
    };
    add(&mut routes, "a.example", "prefix /exact", 0);
    add(&mut routes, "*.example", "prefix /wild", 1);
    add(&mut fallback, "", "prefix /", 2);
    routes.fallback = Some(Arc::new(Listener::http(ingress(), fallback)));
    let listener = Listener::http(ingress(), routes);
    for (host, path, want) in
        [("a.example", "/exact", 0), ("a.example", "/wild", 1), ("b.example", "/exact", 2), ("c", "/", 2)]
    {
        let found = route(&listener, host, path);
        assert_eq!(found, Ok(Some(want)), "{host}{path}");
    }
}

#[test]
fn a_gateway_and_the_ingress_behind_it_have_to_mean_the_same_rule() {
    let make = |paths: &[&str], first| {
        let mut routes = HttpRoutes::default();
        let entries = paths.iter().enumerate();
        let entries = entries.map(|(i, p)| entry(condition(path_match(p)), first + i)).collect();
        routes.hosts.insert(HostPattern::Any, Arc::new(HostTable::compile(entries)));
        routes
    };
    let behind = Listener::http(ingress(), make(&["prefix /", "prefix /adm"], 10));
    let routes = make(&["prefix /moved", "prefix /moved/a!"], 0);
    let gateway = Listener::http(gateway(), HttpRoutes { fallback: Some(Arc::new(behind)), ..routes });
    for (path, want) in [
        ("/moved/x", Ok(Some(0))),
        ("/moved/x%2Fy", Ok(Some(0))),
        ("/moved/a!", Ok(Some(1))),
        ("/moved/a%21", Err(InvalidPath::Ambiguous)),
        ("/moved%2Fx", Err(InvalidPath::Ambiguous)),
        ("/x/..%2Fmoved", Err(InvalidPath::Ambiguous)),
        ("/moved/..%2Fadm", Err(InvalidPath::Ambiguous)),
        ("/moved%2Fx/../y", Err(InvalidPath::Ambiguous)),
        ("/adm%2Fx", Ok(Some(11))),
        ("/x%2F..%2Fadm", Ok(Some(11))),
        ("/adm%5Cx", Err(InvalidPath::Ambiguous)),
        ("/x/%21", Ok(Some(10))),
        ("/../moved", Ok(Some(0))),
        ("/../x", Err(InvalidPath::AboveRoot)),
    ] {
        assert_eq!(route(&gateway, "a", path), want, "{path}");
    }
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let paths = ["exact /a", "exact /b", "prefix /a", "prefix /b", "regex /a", "method A", "prefix /"];
    let entries = |order: &[usize]| {
        let of = |i: &usize| entry(condition(path_match(paths[*i])), *i);
        let table = HostTable::compile(order.iter().map(of).collect());
        table.entries().iter().map(|e| e.rule.index).collect::<Vec<_>>()
    };
    assert_eq!(entries(&[0, 1, 2, 3, 4, 5, 6]), entries(&[6, 3, 1, 5, 0, 4, 2]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn route_is_the_first_of_a_naive_scan(
        own in prop::collection::vec((host_pattern(), route_match()), 0..40),
        rest in prop::collection::vec((host_pattern(), route_match()), 0..8),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let own = entries(own, 0);
        let rest = entries(rest, 1000);
        let fallback = Some(Arc::new(Listener::http(ingress(), routes(&rest))));
        let listener = Listener::http(ingress(), HttpRoutes { fallback, ..routes(&own) });
        for (host, method, path, query, headers) in &requests {
            let Ok(read) = RequestPath::parse(path) else { continue };
            let query = query.as_deref();
            let head = RequestHead { method, path: read.canonical(), query, headers };
            let want = scan(&own, host, &head).or_else(|| scan(&rest, host, &head));
            let found = listener.route(host, &RequestView { method, path: &read, query, headers });
            prop_assert_eq!(found.map(|s| s.map(|s| s.rule.index)), Ok(want), "{} {:?}", host, head);
        }
    }

    #[test]
    fn an_entry_found_is_the_first_of_the_entries_that_matches(
        matches in prop::collection::vec(route_match(), 0..40),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let entries = matches.into_iter().enumerate().map(|(i, m)| entry(m, i)).collect();
        let table = HostTable::compile(entries);
        for (_, method, path, query, headers) in &requests {
            let request = RequestHead { method, path, query: query.as_deref(), headers };
            let want = table.entries().iter().find(|e| e.route_match.matches(&request));
            prop_assert_eq!(table.find(&request).map(|e| e.rule.index), want.map(|e| e.rule.index));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whoever reads what is forwarded in another way is led to the rule that took the request, or it is refused.
    #[test]
    fn no_other_reading_of_a_path_leads_to_another_rule(
        own in prop::collection::vec(path_condition(), 0..6),
        rest in prop::collection::vec(path_condition(), 0..6),
        gateways in any::<bool>(),
        ingresses in any::<bool>(),
        paths in prop::collection::vec(path(), 1..12),
    ) {
        let at_any = |m: Vec<_>, first| entries(m.into_iter().map(|m| (HostPattern::Any, condition(m))).collect(), first);
        let own = at_any(if gateways { own } else { Vec::new() }, 0);
        let rest = at_any(rest, 100);
        let of_ingresses = Listener::http(ingress(), routes(&rest));
        let (listener, ingresses) = match (gateways, ingresses) {
            (false, _) => (of_ingresses, true),
            (true, ingresses) => {
                let fallback = ingresses.then(|| Arc::new(of_ingresses));
                (Listener::http(gateway(), HttpRoutes { fallback, ..routes(&own) }), ingresses)
            }
        };
        for path in &paths {
            if RequestPath::parse(path).is_ok() {
                let want = read_in_every_way(gateways.then_some(&own), ingresses.then_some(&rest), path);
                prop_assert_eq!(route(&listener, "a", path), want, "{}", path);
            }
        }
    }
}

/// The rule of a path by decision alone: all ways to read it are gone through, and all entries in each.
fn read_in_every_way(
    routes: Option<&Vec<(HostPattern, Entry)>>,
    ingresses: Option<&Vec<(HostPattern, Entry)>>,
    path: &str,
) -> Result<Option<usize>, InvalidPath> {
    let headers = HeaderMap::new();
    let find = |entries: &Vec<_>, (form, above): (String, bool)| {
        let head = RequestHead { method: &Method::GET, path: &form, query: None, headers: &headers };
        if above { Err(InvalidPath::AboveRoot) } else { Ok(scan(entries, "a", &head)) }
    };
    let choose = |by_routes, by_ingresses| {
        let own = routes.map_or(Ok(None), |entries| find(entries, by_routes))?;
        own.map_or_else(
            || ingresses.map_or(Ok(None), |entries| find(entries, by_ingresses)),
            |own| Ok(Some(own)),
        )
    };
    let as_nginx = |backslash| plain::form(path, [true, backslash, true]);
    let first = choose((plain::form(path, plain::NOTHING).0, false), as_nginx(false))?;
    let forwarded = plain::forwarded(path);
    let mut others = Vec::new();
    for way in 0..8 {
        let [slash, backslash, reserved] = [way & 1, way & 2, way & 4].map(|bit| bit != 0);
        others.push(choose(plain::form(&forwarded, [slash, backslash, reserved]), as_nginx(backslash)));
    }
    if ingresses.is_some() && plain::has(path, plain::AS_NGINX) {
        others.push(choose(as_nginx(false), as_nginx(false)));
    }
    if others.iter().all(|other| *other == Ok(first)) { Ok(first) } else { Err(InvalidPath::Ambiguous) }
}

fn path_condition() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        2 => "(/[ab!]{0,2}){1,3}/?".prop_map(|p| exact(&p)),
        4 => "(/[ab!]{1,2}){0,3}".prop_map(|p| PathMatch::Prefix(p.into())),
        1 => prop::sample::select(&**REGEXES).prop_map(PathMatch::Regex),
    ]
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(canonicalise(path).unwrap().into())
}

fn gateway() -> ListenerId {
    ListenerId::gateway("n", "g", "s")
}

fn ingress() -> ListenerId {
    ListenerId::ingress(HostPattern::Any)
}

/// The number of the rule that takes a `GET`.
fn route(listener: &Listener, host: &str, path: &str) -> Result<Option<usize>, InvalidPath> {
    let headers = HeaderMap::new();
    let path = RequestPath::parse(path).unwrap();
    let request = RequestView { method: &Method::GET, path: &path, query: None, headers: &headers };
    listener.route(host, &request).map(|selected| selected.map(|s| s.rule.index))
}

/// The plain reading: all matches in the order of precedence, the first that fits.
fn scan(entries: &[(HostPattern, Entry)], host: &str, request: &RequestHead<'_>) -> Option<usize> {
    let mut all: Vec<_> = entries.iter().filter(|(pattern, _)| pattern.matches(host)).collect();
    all.sort_by_key(|(pattern, entry)| Reverse((pattern.specificity(), &entry.precedence)));
    all.iter().find(|(_, entry)| entry.route_match.matches(request)).map(|(_, entry)| entry.rule.index)
}

fn routes(entries: &[(HostPattern, Entry)]) -> HttpRoutes {
    let mut by_host: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for (host, entry) in entries {
        by_host.entry(host.clone()).or_default().push(entry.clone());
    }
    let mut routes = HttpRoutes::default();
    for (host, entries) in by_host {
        routes.hosts.insert(host, Arc::new(HostTable::compile(entries)));
    }
    routes
}

fn entries(matches: Vec<(HostPattern, RouteMatch)>, first: usize) -> Vec<(HostPattern, Entry)> {
    let numbered = matches.into_iter().enumerate();
    numbered.map(|(i, (host, m))| (host.clone(), entry(m, first + i))).collect()
}

/// An entry whose rule bears a number; ages repeat, so that name and position decide too.
fn entry(route_match: RouteMatch, number: usize) -> Entry {
    let route = RouteId { kind: RouteKind::Http, namespace: "n".into(), name: "r".into() };
    let rule = Rule {
        route: Arc::new(route),
        index: number,
        name: None,
        steps: Steps::default(),
        backends: Backends::default(),
        timeouts: None,
        retry: None,
        labels: None,
    };
    let (age, name) = ((number % 2) as i64, format!("n/{}", number % 3));
    let precedence = Precedence::of(&route_match, age, name.into(), (number, 0));
    Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
}

fn path_match(text: &str) -> PathMatch {
    match text.split_once(' ').unwrap() {
        ("exact", path) => PathMatch::Exact(path.into()),
        ("regex", path) => PathMatch::Regex(Pattern::compile(path).unwrap()),
        ("method", method) => PathMatch::GrpcMethod(method.into()),
        (_, path) => PathMatch::Prefix(path.trim_end_matches('/').into()),
    }
}

fn condition(path: PathMatch) -> RouteMatch {
    RouteMatch { path, method: None, headers: Box::default(), query: Box::default() }
}

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        Just(HostPattern::Any),
        "[ab](\\.a)?".prop_map(|n| HostPattern::Exact(n.into())),
        "a(\\.a)?".prop_map(|n| HostPattern::Wildcard(n.into())),
        "a(\\.a)?".prop_map(|n| HostPattern::WildcardLabel(n.into())),
    ]
}

/// Compiled once; that takes most of the time otherwise.
static REGEXES: LazyLock<Vec<Pattern>> =
    LazyLock::new(|| ["/a.*", "/[ab]", "/.*/b", "(/a)+"].map(|p| Pattern::compile(p).unwrap()).into());

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        2 => "(/[ab{]?){1,3}".prop_map(|p| PathMatch::Exact(p.into())),
        4 => "(/[ab}]){0,4}".prop_map(|p| PathMatch::Prefix(p.into())),
        2 => "(/a){0,17}(/b)?".prop_map(|p| PathMatch::Prefix(p.into())),
        2 => prop::sample::select(&**REGEXES).prop_map(PathMatch::Regex),
        1 => "[ab]{1,2}".prop_map(|m| PathMatch::GrpcMethod(m.into())),
    ];
    let value = || "[ab]".prop_map(|v| ValueMatch::Exact(v.into()));
    let header = (prop::sample::select(&["x", "y"][..]), value());
    let header = header.prop_map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value });
    let query = ("[pq]", value()).prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    let method = prop::option::weighted(0.2, prop::sample::select(&[Method::GET, Method::POST][..]));
    let few = 0..2usize;
    (path, method, prop::collection::vec(header, few.clone()), prop::collection::vec(query, few)).prop_map(
        |(path, method, headers, query)| RouteMatch {
            path,
            method: method.map(Box::new),
            headers: headers.into(),
            query: query.into(),
        },
    )
}

fn request() -> impl Strategy<Value = (String, Method, String, Option<String>, HeaderMap)> {
    let header = (prop::sample::select(&["x", "y"][..]), prop::sample::select(&["a", "b"][..]));
    let headers = prop::collection::vec(header, 0..3).prop_map(|headers| {
        headers
            .into_iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect::<HeaderMap>()
    });
    (
        "[ab](\\.[ab]){0,2}",
        prop::sample::select(&[Method::GET, Method::POST][..]),
        prop_oneof![9 => "(/[ab{}]{0,2}){1,4}", 4 => "(/a){0,18}(/[ab])?/?", 1 => "[*a/]{0,3}"],
        prop::option::of("[pq]=[ab](&[pq]=[ab])?"),
        headers,
    )
}
