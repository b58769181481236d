use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::*;
use crate::{
    Asked, BackendError, ClientAuth, Connection, Entry, HeaderMatch, HostPattern, HostTable, HttpRoutes,
    ListenerId, PathMatch, Port, PortKey, Precedence, Protocol, RouteMatch, Step, Table, TlsMode, ValueMatch,
    decide::{
        Outcome, Reply, Tls, decide, resume,
        tests::{asks, plain, question, ready, request, rule, text},
    },
    explain::{ExplainedOutcome, explain},
    step::HeaderModifier,
};

fn filter(name: &str) -> Check {
    match asks(name, ready()) {
        Step::Check(check) => check,
        step => panic!("{step}"),
    }
}

fn closed() -> Check {
    Check::Closed(Arc::new("no such filter".into()))
}

fn missing() -> Check {
    match asks("gone", Err(BackendError::NotFound("n/gone".into()))) {
        Step::Check(check) => check,
        step => panic!("{step}"),
    }
}

/// A rule for `/gold` and requests with this tenant, which is told by the redirect that it answers with; `check` comes
/// before that.
fn entry(prefix: &str, tenant: Option<&str>, to: &str, steps: impl IntoIterator<Item = Step>) -> Entry {
    let headers: Box<[_]> = tenant
        .map(|tenant| HeaderMatch {
            name: HeaderName::from_static("x-tenant"),
            value: ValueMatch::Exact(tenant.into()),
        })
        .into_iter()
        .collect();
    let path = PathMatch::Prefix(prefix.into());
    let route_match = RouteMatch { path, method: None, headers, query: Box::default() };
    let redirect = crate::step::Redirect {
        scheme: None,
        hostname: Some(to.into()),
        port: None,
        path: None,
        status: StatusCode::FOUND,
    };
    let steps = steps.into_iter().chain([Step::Redirect(Box::new(redirect))]);
    let precedence = Precedence::of(&route_match, 0, "n/r".into(), (0, 0));
    Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule(steps, [])) }
}

fn routes(filters: impl IntoIterator<Item = Check>, entries: Vec<Entry>) -> HttpRoutes {
    let mut routes = HttpRoutes { filters: filters.into_iter().collect(), ..HttpRoutes::default() };
    routes.hosts.insert(HostPattern::Any, Arc::new(HostTable::compile(entries)));
    routes
}

/// One listener for `a.example` at port 80.
fn site(routes: HttpRoutes) -> Table {
    let mut port = Port::new(Protocol::Http, 80);
    let listener = Listener::http(ListenerId::gateway("n", "g", "s"), routes);
    port.listeners.insert(HostPattern::parse("a.example").unwrap(), Arc::new(listener));
    let mut table = Table::default();
    table.ports.insert(PortKey::tcp(80), Arc::new(port));
    table
}

fn tenants(filters: impl IntoIterator<Item = Check>) -> Table {
    site(routes(
        filters,
        vec![
            entry("/shop", Some("gold"), "gold.example", []),
            entry("/shop", Some(""), "empty.example", []),
            entry("/shop", None, "rest.example", []),
        ],
    ))
}

type Headers<'h> = &'h [(&'static str, &'static str)];

fn pairs(headers: Headers<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    headers.iter().map(pair).collect()
}

fn sets(headers: Headers<'_>) -> Step {
    Step::RequestHeaders(HeaderModifier::new(pairs(headers), [], []).unwrap())
}

fn removes(name: &'static str) -> Step {
    Step::RequestHeaders(HeaderModifier::new([], [], [HeaderName::from_static(name)]).unwrap())
}

/// Decides about a request that sends these headers; the checks have these outcomes, one after the other. What was asked,
/// and how it ended.
fn played(table: &Table, path: &str, sent: Headers<'_>, outcomes: Vec<Outcome>) -> String {
    let headers: HeaderMap = pairs(sent).into_iter().collect();
    let asked = Asked::parse(&Method::GET, path.as_bytes()).unwrap();
    let request = Request { headers: &headers, ..request(&Method::GET, "a.example", &asked) };
    let mut outcomes = outcomes.into_iter();
    let mut said = Vec::new();
    let mut decision = decide(table, request, plain(), 0);
    while let Decision::Ask(cursor) = decision {
        let mut changed = HeaderMap::new();
        if let Some(edits) = cursor.request_edits() {
            edits.apply(&mut changed);
        }
        let changed: Vec<_> = changed.iter().map(|(n, v)| format!(" {n}={}", v.to_str().unwrap())).collect();
        said.push(question(&cursor) + &changed.concat());
        decision = resume(*cursor, request, plain(), outcomes.next().expect("another check"));
    }
    assert!(outcomes.next().is_none(), "checks that nobody asked: {said:?}");
    let location = match &decision {
        Decision::Answer(answer) => answer.headers.iter().find(|(name, _)| *name == header::LOCATION),
        _ => None,
    };
    said.push(match location {
        Some((_, to)) => to.to_str().unwrap().trim_start_matches("http://").to_owned(),
        None => text(&decision),
    });
    said.join(", ")
}

#[test]
fn routes_match_the_headers_as_the_filters_have_left_them() {
    let table = tenants([filter("one")]);
    let gold = || sets(&[("x-tenant", "gold")]);
    for (what, sent, brought, wanted) in [
        ("nothing is sent or brought", &[][..], vec![], "rest.example/shop"),
        ("the service says gold", &[], vec![gold()], "gold.example/shop"),
        (
            "against what the client says",
            &[("x-tenant", "gold")],
            vec![sets(&[("x-tenant", "lead")])],
            "rest.example/shop",
        ),
        (
            "the service takes it away",
            &[("x-tenant", "gold")],
            vec![removes("x-tenant")],
            "rest.example/shop",
        ),
        ("the service says nothing of it", &[("x-tenant", "gold")], vec![], "gold.example/shop"),
        ("other headers", &[("x-tenant", "gold")], vec![sets(&[("x-other", "1")])], "gold.example/shop"),
        ("the service says nothing in it", &[], vec![sets(&[("x-tenant", "")])], "empty.example/shop"),
        (
            "an answer's header is none of the request's",
            &[],
            vec![Step::ResponseHeaders(HeaderModifier::new(pairs(&[("x-tenant", "gold")]), [], []).unwrap())],
            "rest.example/shop",
        ),
    ] {
        let got = played(&table, "/shop", sent, vec![Outcome::Pass(brought)]);
        assert_eq!(got, format!("ask /one, {wanted}"), "{what}");
    }
}

#[test]
fn filters_are_asked_in_their_order_and_each_sees_what_the_ones_before_have_left() {
    let table = tenants([filter("one"), filter("two"), filter("three")]);
    let pass = |value| Outcome::Pass(vec![sets(&[("x-tenant", value)])]);
    let got = played(&table, "/shop", &[], vec![pass("lead"), Outcome::Pass(vec![]), pass("gold")]);
    let wanted = "ask /one, ask /two x-tenant=lead, ask /three x-tenant=lead, gold.example/shop";
    assert_eq!(got, wanted);
    let got = played(&table, "/shop", &[], vec![pass("gold"), Outcome::Pass(vec![]), pass("lead")]);
    assert_eq!(got, "ask /one, ask /two x-tenant=gold, ask /three x-tenant=gold, rest.example/shop");
}

#[test]
fn a_request_that_a_filter_stops_is_held_against_no_route() {
    let denied = || Outcome::Deny(Rejection::Unauthorized, "denied");
    let replied = || {
        let why = (Rejection::Unauthorized, "denied");
        Outcome::Reply(Reply {
            status: StatusCode::UNAUTHORIZED,
            headers: vec![],
            content: (*b"no").into(),
            why,
        })
    };
    let pass = || Outcome::Pass(Vec::new());
    for (filters, path, outcomes, wanted) in [
        (vec![filter("one")], "/shop", vec![denied()], "ask /one, 403 denied"),
        (vec![filter("one")], "/none", vec![denied()], "ask /one, 403 denied"),
        (vec![filter("one")], "/none", vec![pass()], "ask /one, 404 no route matches this request"),
        (vec![filter("one"), filter("two")], "/shop", vec![replied()], "ask /one, 401 denied"),
        (
            vec![filter("one"), filter("two")],
            "/shop",
            vec![pass(), denied()],
            "ask /one, ask /two, 403 denied",
        ),
        (vec![closed()], "/shop", vec![], "500 closed: a filter is not supported"),
        (vec![closed()], "/none", vec![], "500 closed: a filter is not supported"),
        (vec![missing()], "/shop", vec![], "500 closed: the authorization service cannot be used"),
        (
            vec![filter("one"), closed()],
            "/shop",
            vec![pass()],
            "ask /one, 500 closed: a filter is not supported",
        ),
        (vec![], "/shop", vec![], "rest.example/shop"),
    ] {
        assert_eq!(played(&tenants(filters), path, &[], outcomes), wanted, "{path}");
    }
}

#[test]
fn checks_of_the_rule_come_after_the_filters_of_the_listener() {
    let table = site(routes(
        [filter("one")],
        vec![entry("/shop", Some("gold"), "gold.example", [asks("rule", ready())])],
    ));
    let outcomes =
        vec![Outcome::Pass(vec![sets(&[("x-tenant", "gold")])]), Outcome::Pass(vec![removes("x-tenant")])];
    // What the rule's check changes is not matched any more.
    let got = played(&table, "/shop", &[], outcomes);
    assert_eq!(got, "ask /one, ask /rule x-tenant=gold, gold.example/shop");
}

#[test]
fn what_filters_bring_reaches_the_backend_but_never_as_its_host() {
    let table = {
        let mut entry = entry("", None, "x", []);
        entry.rule = Arc::new(rule([], [ready()]));
        site(routes([filter("one")], vec![entry]))
    };
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let request = request(&Method::GET, "a.example", &asked);
    let Decision::Ask(cursor) = decide(&table, request, plain(), 0) else { panic!("nobody is asked") };
    let brought = vec![sets(&[("host", "other.example"), ("x-tenant", "gold")]), removes("x-secret")];
    let decision = resume(*cursor, request, plain(), Outcome::Pass(brought));
    let Decision::Forward(forward) = decision else { panic!("{decision:?}") };
    let edits = forward.route.request_edits();
    assert_eq!(edits.host(), None);
    let mut text = Vec::new();
    edits.write(&mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "x-tenant: gold\r\n");
    assert!(edits.replaces(b"x-secret"));
}

#[test]
fn the_ingresses_behind_a_listener_are_guarded_by_its_filters() {
    let behind = routes([], vec![entry("/old", None, "ingress.example", [])]);
    let behind = Listener::http(ListenerId::ingress(HostPattern::parse("a.example").unwrap()), behind);
    let routes = HttpRoutes {
        fallback: Some(Arc::new(behind)),
        ..routes([filter("one")], vec![entry("/new", None, "gateway.example", [])])
    };
    let table = site(routes);
    for (path, wanted) in [("/new", "gateway.example/new"), ("/old", "ingress.example/old")] {
        let got = played(&table, path, &[], vec![Outcome::Pass(vec![])]);
        assert_eq!(got, format!("ask /one, {wanted}"));
        let denied = vec![Outcome::Deny(Rejection::Unauthorized, "denied")];
        assert_eq!(played(&table, path, &[], denied), "ask /one, 403 denied");
    }
}

#[test]
fn filters_are_those_of_the_listener_of_the_host() {
    let mut table = tenants([filter("one")]);
    let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
    for (host, filters) in [("", vec![]), ("b.example", vec![filter("b")])] {
        let routes = routes(filters, vec![entry("", None, "wide.example", [])]);
        let listener = Listener::http(ListenerId::gateway("n", "g", host), routes);
        port.listeners.insert(HostPattern::parse(host).unwrap(), Arc::new(listener));
    }
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    for (host, wanted) in
        [("a.example", "ask /one"), ("b.example", "ask /b"), ("c.example", "302 "), ("x.a.example", "302 ")]
    {
        let got = text(&decide(&table, request(&Method::GET, host, &asked), plain(), 0));
        assert_eq!(got, wanted, "{host}");
    }
}

#[test]
fn a_decision_that_waits_goes_on_with_the_listener_that_it_began_with() {
    let table = tenants([filter("one")]);
    let asked = Asked::parse(&Method::GET, b"/shop").unwrap();
    let request = request(&Method::GET, "a.example", &asked);
    let Decision::Ask(cursor) = decide(&table, request, plain(), 0) else { panic!("nobody is asked") };
    assert!(cursor.rule().is_none(), "no rule is chosen before the last filter");
    drop(table);
    assert_eq!(text(&resume(*cursor, request, plain(), Outcome::Pass(vec![]))), "302 ");
}

#[test]
fn a_listener_of_another_connection_is_not_asked_for_its_filters() {
    let mut table = tenants([filter("one")]);
    let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
    let mut listener = Listener::clone(port.listener("a.example").unwrap());
    listener.tls = crate::TlsMode::Terminate(crate::ClientAuth::Unasked);
    port.listeners.insert(HostPattern::parse("a.example").unwrap(), Arc::new(listener));
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let tls = |server_name| {
        Some(crate::decide::Tls { server_name, client_auth: &crate::ClientAuth::Unasked, certificate: None })
    };
    for (server_name, wanted) in [
        (Some("a.example"), "ask /one"),
        (Some("b.example"), "421 the connection was made for another host's listener"),
    ] {
        let connection = Connection { tls: tls(server_name), ..plain() };
        let got = text(&decide(&table, request(&Method::GET, "a.example", &asked), connection, 0));
        assert_eq!(got, wanted, "{server_name:?}");
    }
}

#[test]
fn an_explanation_names_the_filters_and_takes_the_headers_as_they_left_them() {
    let asked = Asked::parse(&Method::GET, b"/shop").unwrap();
    let headers: HeaderMap = pairs(&[("x-tenant", "gold")]).into_iter().collect();
    let request = Request { headers: &headers, ..request(&Method::GET, "a.example", &asked) };
    let told = explain(&tenants([filter("one"), filter("two")]), request, plain());
    let listener = told.listener.clone().expect("a listener");
    let wanted = ["external auth n/s:80 by HTTP at /one", "external auth n/s:80 by HTTP at /two"];
    assert_eq!(listener.filters, wanted);
    assert!(told.to_string().contains("\n  first   external auth n/s:80 by HTTP at /one\n"), "{told}");
    assert_eq!(told.rule.map(|rule| rule.matched), Some("prefix /shop header x-tenant=gold".to_owned()));
    let told = explain(&tenants([closed()]), request, plain());
    let ExplainedOutcome::Answered { status, .. } = told.outcome else { panic!("{told}") };
    assert_eq!((status, told.rule, told.nearest), (500, None, None));
}

#[test]
fn hsts_is_in_responses_over_tls_to_requests_that_no_rule_matches() {
    let hsts = Some(Arc::new(HeaderValue::from_static("max-age=1")));
    let mut table = site(HttpRoutes { hsts, ..routes([], vec![entry("/old", None, "b.example", [])]) });
    let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
    let host = HostPattern::parse("a.example").unwrap();
    let listener = Listener::clone(port.listener("a.example").unwrap());
    let policy = ClientAuth::Unasked;
    let listener = Listener { tls: TlsMode::Terminate(policy.clone()), ..listener };
    port.listeners.insert(host, Arc::new(listener));
    let tls = Tls { server_name: Some("a.example"), client_auth: &policy, certificate: None };
    for (path, tls, status, want) in
        [(&b"/new"[..], Some(tls), 404, true), (b"/new", None, 404, false), (b"/old", Some(tls), 302, false)]
    {
        let asked = Asked::parse(&Method::GET, path).unwrap();
        let connection = Connection { tls, ..plain() };
        let decision = decide(&table, request(&Method::GET, "a.example", &asked), connection, 0);
        let Decision::Answer(answer) = decision else { panic!("not answered") };
        let has = answer.headers.iter().any(|(name, _)| *name == header::STRICT_TRANSPORT_SECURITY);
        assert_eq!((answer.status.as_u16(), has), (status, want), "{}", path.escape_ascii());
    }
}
