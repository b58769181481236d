mod access;
mod compress;
mod cors;
mod header_values;
mod ingress_auth;
mod page;

use std::{net::Ipv4Addr, sync::Arc};

use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::{
    Backend, BackendError, BackendKey, BackendObject, BackendProtocol, Backends, Balance, Endpoint,
    EndpointPool, Endpoints, Entry, HostMap, HostPattern, HostTable, HttpRoutes, ListenerId, PathMatch,
    Precedence, Protocol, Retry, RouteId, RouteKind, RouteMatch, Rule, Serves, Step, Steps, TlsMaterial,
    TlsMode, WeightedBackend,
    step::{
        AuthProtocol, Check, Cors, ExternalAuth, HeaderModifier, HttpAuth, PathRewrite, Redirect, UrlRewrite,
    },
};

#[test]
fn a_request_ends_where_the_first_thing_that_stops_it_says() {
    let table = table(rule([], [Ok(Endpoints::Addresses(Box::default()))]));
    for (method, host, target, wanted) in [
        ("CONNECT", "a.example", "/", Err("405")),
        ("GET", "a.example", "/", Ok("503 the backend has no ready endpoint")),
        ("GET", "b.example", "/", Ok("404 no listener for this host")),
        ("GET", "a.example", "/%00", Err("400")),
        ("OPTIONS", "a.example", "*", Ok("204 ")),
        ("GET", "a.example", "*", Err("400")),
    ] {
        let method: Method = method.parse().unwrap();
        let got = match Asked::parse(&method, target.as_bytes()) {
            Ok(asked) => Ok(text(&decide(&table, request(&method, host, &asked), plain(), 0))),
            Err((rejection, _)) => Err(rejection.status().as_str().to_owned()),
        };
        assert_eq!(got.as_deref().map_err(|e| &**e), wanted, "{method} {host} {target}");
    }
}

#[test]
fn a_connection_answers_for_the_listener_and_policy_of_its_handshake_alone() {
    let (open, asking, misdirected) =
        (ClientAuth::Unasked, asking(), "421 the connection was made for another host's listener");
    for (policy, server_name, client_auth, wanted) in [
        (&open, Some("a.example"), &open, "forward"),
        (&open, Some("b.example"), &open, misdirected),
        (&open, None, &open, misdirected),
        (&asking, Some("a.example"), &asking, "forward"),
        // The policy has changed since.
        (&asking, Some("a.example"), &open, misdirected),
        (&open, Some("a.example"), &asking, misdirected),
    ] {
        let mut table = table(rule([], [ready()]));
        let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
        let mut listener = Listener::clone(port.listener("a.example").unwrap());
        listener.tls = TlsMode::Terminate(policy.clone());
        port.listeners.insert(HostPattern::parse("a.example").unwrap(), Arc::new(listener));
        let other = Listener {
            tls: TlsMode::Terminate(ClientAuth::Unasked),
            ..Listener::http(ListenerId::gateway("n", "g", "other"), HttpRoutes::default())
        };
        port.listeners.insert(HostPattern::parse("b.example").unwrap(), Arc::new(other));
        let connection =
            Connection { tls: Some(Tls { server_name, client_auth, certificate: None }), ..plain() };
        let got = with_target(&table, &Method::GET, "/", connection);
        assert_eq!(got, wanted, "{server_name:?} under {client_auth:?} at {policy:?}");
    }
}

/// A policy that asks for certificates.
fn asking() -> ClientAuth {
    ClientAuth::Required([TlsMaterial::new([1; 32], Arc::new(()))].into())
}

#[test]
fn hosts_of_ingresses_are_told_apart_by_what_they_ask_of_clients_alone() {
    let mut table = table(rule([], [ready()]));
    let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
    let routes = port.listener("a.example").unwrap().http_routes().unwrap();
    let hosts: Vec<_> = routes.hosts.iter().map(|(_, table)| Arc::clone(table)).collect();
    let (open, asking) = (ClientAuth::Unasked, asking());
    for (host, policy) in [("open.example", &open), ("other.example", &open), ("asking.example", &asking)] {
        let host = HostPattern::parse(host).unwrap();
        let mut routes = HttpRoutes::default();
        routes.hosts.insert(HostPattern::Any, Arc::clone(&hosts[0]));
        let tls = TlsMode::Terminate(policy.clone());
        let listener = Listener { tls, ..Listener::http(ListenerId::ingress(host.clone()), routes) };
        port.listeners.insert(host, Arc::new(listener));
    }
    let misdirected = "421 the connection was made for another host's listener";
    for (server_name, client_auth, host, wanted) in [
        (Some("open.example"), &open, "other.example", "forward"),
        (Some("open.example"), &open, "asking.example", misdirected),
        (Some("asking.example"), &asking, "asking.example", "forward"),
        (Some("asking.example"), &asking, "open.example", misdirected),
        // The default certificate.
        (Some("unknown.example"), &open, "open.example", "forward"),
        (None, &open, "open.example", "forward"),
        (None, &open, "asking.example", misdirected),
        // The policy has changed since.
        (Some("asking.example"), &open, "asking.example", misdirected),
        // The Gateway's.
        (Some("a.example"), &open, "open.example", misdirected),
        (Some("open.example"), &open, "a.example", misdirected),
        (None, &open, "a.example", misdirected),
    ] {
        let connection =
            Connection { tls: Some(Tls { server_name, client_auth, certificate: None }), ..plain() };
        let asked = Asked::parse(&Method::GET, b"/").unwrap();
        let got = text(&decide(&table, request(&Method::GET, host, &asked), connection, 0));
        assert_eq!(got, wanted, "{server_name:?} under {client_auth:?}, Host: {host}");
    }
}

#[test]
fn a_host_that_serves_no_requests_is_left_to_no_other_listener() {
    let mut table = table(rule([], [ready()]));
    let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
    let wide = Arc::clone(port.listener("a.example").unwrap());
    port.listeners.insert(HostPattern::Any, wide);
    let serves = Serves::Stream(HostMap::default());
    let id = Arc::new(ListenerId::gateway("n", "g", "db"));
    port.listeners.insert(
        HostPattern::parse("a.example").unwrap(),
        Arc::new(Listener { id, tls: TlsMode::Passthrough, serves }),
    );
    let of_another = Connection {
        tls: Some(Tls {
            server_name: Some("b.example"),
            client_auth: &ClientAuth::Unasked,
            certificate: None,
        }),
        ..plain()
    };
    for (connection, wanted) in [
        (plain(), "404 no route matches this request"),
        (of_another, "421 the connection was made for another host's listener"),
    ] {
        assert_eq!(with_target(&table, &Method::GET, "/", connection), wanted);
    }
}

#[test]
fn an_ingress_that_asks_for_tls_of_its_own_is_forbidden_behind_that_of_a_gateway() {
    let forbidden =
        "403 TLS for this host terminates at a Gateway, but the Ingress requires its own TLS settings";
    let passed_through = "403 TLS was terminated, but the Ingress requires passthrough";
    let of_ingress = |step, fallback| {
        let table = table(rule([step, Step::Redirect(Box::new(redirect()))], [ready()]));
        let port = &table.ports[&PortKey::tcp(80)];
        let routes = port.listener("a.example").unwrap().http_routes().unwrap().clone();
        let mut listener = Listener::http(ingress(), routes);
        if fallback {
            let routes = HttpRoutes { fallback: Some(Arc::new(listener)), ..HttpRoutes::default() };
            listener = Listener::http(ListenerId::gateway("n", "g", "s"), routes);
        }
        listener.tls = TlsMode::Terminate(ClientAuth::Unasked);
        let mut port = Port::clone(port);
        port.listeners.insert(HostPattern::parse("a.example").unwrap(), Arc::new(listener));
        let mut table = Table::default();
        table.ports.insert(PortKey::tcp(80), Arc::new(port));
        table
    };
    let tls = Tls { server_name: Some("a.example"), client_auth: &ClientAuth::Unasked, certificate: None };
    let over_tls = || Connection { tls: Some(tls), ..plain() };
    for (what, behind, connection, certificates, passthrough) in [
        ("behind a Gateway, over TLS", true, over_tls(), forbidden, passed_through),
        ("behind a Gateway, in plain", true, plain(), "302 ", "302 "),
        ("alone, over TLS", false, over_tls(), "302 ", passed_through),
        ("alone, in plain", false, plain(), "302 ", "302 "),
    ] {
        for (step, wanted) in [(Step::OwnTls, certificates), (Step::PassedThrough, passthrough)] {
            let table = of_ingress(step.clone(), behind);
            assert_eq!(with_target(&table, &Method::GET, "/", connection), wanted, "{what}: {step:?}");
        }
    }
}

#[test]
fn steps_are_asked_in_the_order_of_work() {
    let cors = || {
        Step::Cors(Box::new(Cors {
            allow_origins: ["*".into()].into(),
            allow_credentials: false,
            allow_methods: Default::default(),
            allow_headers: Default::default(),
            expose_headers: Default::default(),
            max_age: HeaderValue::from_static("5"),
        }))
    };
    let away = || Step::Redirect(Box::new(redirect()));
    let asks = |name: &str| asks(name, ready());
    type Outcomes = fn() -> Outcome;
    let pass: Outcomes = || Outcome::Pass(Vec::new());
    let denied: Outcomes = || Outcome::Deny(Rejection::Overloaded, "denied");
    for (steps, method, outcome, wanted) in [
        (vec![away(), asks("one")], Method::GET, pass, "ask /one, 302 "),
        (vec![asks("one"), asks("two")], Method::GET, pass, "ask /one, ask /two, forward"),
        (vec![asks("one"), cors()], Method::OPTIONS, pass, "204 "),
        (vec![asks("one"), away()], Method::GET, denied, "ask /one, 503 denied"),
    ] {
        let table = table(rule(steps, [ready()]));
        let asked = Asked::parse(&method, b"/").unwrap();
        let headers = HeaderMap::from_iter([
            (http::header::ORIGIN, HeaderValue::from_static("https://o.example")),
            (http::header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET")),
        ]);
        let request = Request { headers: &headers, ..request(&method, "a.example", &asked) };
        let mut said = Vec::new();
        let mut decision = decide(&table, request, plain(), 0);
        while let Decision::Ask(cursor) = decision {
            said.push(question(&cursor));
            decision = resume(*cursor, request, plain(), outcome());
        }
        said.push(text(&decision));
        assert_eq!(said.join(", "), wanted);
    }
}

#[test]
fn what_checks_bring_comes_before_what_the_rule_does() {
    let headers = |name: &'static str, value: &'static str| {
        let set = [(http::HeaderName::from_static(name), HeaderValue::from_static(value))];
        HeaderModifier::new(set, [], []).unwrap()
    };
    let bring = |name, value| vec![Step::RequestHeaders(headers(name, value))];
    let of_rule = Step::RequestHeaders(headers("x-both", "rule"));
    let table = table(rule([of_rule, asks("one", ready()), asks("two", ready())], [ready()]));
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let request = request(&Method::GET, "a.example", &asked);
    let mut decision = decide(&table, request, plain(), 0);
    for steps in [bring("x-one", "1"), bring("x-both", "check")] {
        let Decision::Ask(cursor) = decision else { panic!("{decision:?}") };
        decision = resume(*cursor, request, plain(), Outcome::Pass(steps));
    }
    let Decision::Forward(forward) = decision else { panic!("{decision:?}") };
    let mut text = Vec::new();
    forward.route.request_edits().write(&mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "x-one: 1\r\nx-both: rule\r\n");
}

#[test]
fn a_check_that_nobody_can_carry_out_closes_the_rule() {
    let gone = || asks("one", Err(BackendError::NotFound("n/gone".into())));
    let table = table(rule([gone()], [ready()]));
    let wanted = "503 closed: the authorization service cannot be used";
    assert_eq!(with_target(&table, &Method::GET, "/", plain()), wanted);
}

#[test]
fn an_answer_of_a_check_is_that_of_the_request() {
    let table = table(rule([asks("one", ready())], [ready()]));
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let request = request(&Method::GET, "a.example", &asked);
    let Decision::Ask(cursor) = decide(&table, request, plain(), 0) else { panic!("nobody is asked") };
    let headers = vec![(http::header::LOCATION, HeaderValue::from_static("/login"))];
    let why = (Rejection::Unauthorized, "denied");
    let reply = Reply { status: StatusCode::FOUND, headers, content: (*b"go").into(), why };
    let decision = resume(*cursor, request, plain(), Outcome::Reply(reply));
    let Decision::Answer(answer) = decision else { panic!("{decision:?}") };
    assert_eq!((answer.status, answer.content.as_deref()), (StatusCode::FOUND, Some(&b"go"[..])));
    assert_eq!(answer.headers[0].1, "/login");
    assert!(answer.route.is_some(), "CORS applies to it");
}

#[test]
fn a_backend_that_cannot_be_used_answers_for_its_share() {
    let gone = || Err(BackendError::NotFound("n/gone".into()));
    let named = || Ok(Endpoints::Name { host: "x.example".into(), port: 80 });
    for (backends, random, wanted) in [
        (vec![], 0, "500 the rule has no backend"),
        (vec![gone(), ready()], 0, "500 the backend cannot be used"),
        (vec![gone(), ready()], 1, "forward"),
        (vec![named()], 0, "forward"),
    ] {
        let table = table(rule([], backends));
        let asked = Asked::parse(&Method::GET, b"/").unwrap();
        let decision = decide(&table, request(&Method::GET, "a.example", &asked), plain(), random);
        assert_eq!(text(&decision), wanted, "{random}");
    }
}

#[test]
fn what_is_forwarded_is_rewritten_by_the_backend_before_the_rule() {
    let rewrite = |path: &str| {
        Step::Rewrite(Box::new(UrlRewrite { hostname: None, path: Some(PathRewrite::Full(path.into())) }))
    };
    let table_of = |steps| {
        let choice = WeightedBackend { steps, ..weighted(ready()) };
        table(Rule { backends: Backends::new([choice]), ..rule([rewrite("/rule")], []) })
    };
    for (steps, wanted) in [(Steps::default(), "/rule?q"), (Steps::new([rewrite("/backend")]), "/backend?q")]
    {
        let table = table_of(steps);
        let asked = Asked::parse(&Method::GET, b"/a?q").unwrap();
        let Decision::Forward(forward) =
            decide(&table, request(&Method::GET, "a.example", &asked), plain(), 0)
        else {
            panic!("{wanted}")
        };
        assert_eq!(forward.target.as_deref(), Some(wanted));
    }
}

#[test]
fn an_answer_is_dropped_for_another_attempt_as_the_rule_says() {
    let retry = Some(Arc::new(Retry { codes: [503].into(), attempts: 2, ..Retry::default() }));
    let rule = Arc::new(Rule { retry, ..rule([], []) });
    let route = Route::new(&rule, None);
    for (status, retries, repeatable, wanted) in [
        (503, 0, true, OnAnswer::Retry),
        (503, 1, true, OnAnswer::Retry),
        (503, 2, true, OnAnswer::Pass),
        (503, 0, false, OnAnswer::Pass),
        (500, 0, true, OnAnswer::Pass),
        (200, 0, true, OnAnswer::Pass),
    ] {
        let got = route.on_answer(status, Attempts { retries, repeatable, idempotent: false });
        assert_eq!(got, wanted, "{status} after {retries}");
    }
    let none = Route::new(&Arc::new(self::rule([], [])), None);
    assert_eq!(
        none.on_answer(503, Attempts { retries: 0, repeatable: true, idempotent: true }),
        OnAnswer::Pass
    );
}

/// A check by a service, which is told by the prefix of its path.
pub(super) fn asks(name: &str, endpoints: Result<Endpoints, BackendError>) -> Step {
    let http = HttpAuth { path_prefix: format!("/{name}").into(), ..HttpAuth::default() };
    let (backend, protocol) = (weighted(endpoints).backend.map_err(|error| *error), AuthProtocol::Http(http));
    Step::Check(Check::ExternalAuth(Arc::new(ExternalAuth { backend, protocol, body: 0 })))
}

fn with_target(table: &Table, method: &Method, target: &str, connection: Connection<'_>) -> String {
    let asked = Asked::parse(method, target.as_bytes()).unwrap();
    text(&decide(table, request(method, "a.example", &asked), connection, 0))
}

pub(super) fn text(decision: &Decision) -> String {
    match decision {
        Decision::Answer(answer) => {
            let why = answer.rejection.map_or("", |(_, why)| why);
            format!("{} {why}", answer.status.as_u16())
        }
        Decision::Forward(_) => "forward".to_owned(),
        Decision::Ask(cursor) => question(cursor),
    }
}

pub(super) fn question(cursor: &Cursor) -> String {
    match cursor.check() {
        Some(Check::ExternalAuth(auth)) => match &auth.protocol {
            AuthProtocol::Http(http) => format!("ask {}", http.path_prefix),
            AuthProtocol::Grpc { .. } => "ask by gRPC".to_owned(),
        },
        Some(Check::IngressAuth(auth)) => format!("ask {}", auth.url),
        Some(Check::Limits(_)) => "ask limits".to_owned(),
        Some(Check::Basic(_)) => "ask password".to_owned(),
        Some(Check::Closed(why)) => format!("closed: {why}"),
        None => "no check".to_owned(),
    }
}

pub(super) fn request<'r>(method: &'r Method, host: &'r str, asked: &'r Asked<'r>) -> Request<'r> {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    Request { method, host, sent_host: host, asked, headers: &*NONE, upgrade: false }
}

fn ingress() -> ListenerId {
    ListenerId::ingress(HostPattern::parse("a.example").unwrap())
}

pub(super) fn plain() -> Connection<'static> {
    Connection {
        port: PortKey::tcp(80),
        tls: None,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scheme: "http",
        client_port: 80,
        port_offset: 0,
    }
}

fn redirect() -> Redirect {
    let status = StatusCode::FOUND;
    Redirect { scheme: Some("https".into()), hostname: None, port: None, path: None, status }
}

pub(super) fn ready() -> Result<Endpoints, BackendError> {
    Ok(Endpoints::Addresses([Arc::new(Endpoint::new(([127, 0, 0, 1], 80).into()))].into()))
}

pub(super) fn weighted(endpoints: Result<Endpoints, BackendError>) -> WeightedBackend {
    let backend = endpoints.map(|endpoints| {
        Arc::new(Backend {
            key: BackendKey {
                kind: BackendObject::Service,
                namespace: "n".into(),
                service: "s".into(),
                port: PortKey::tcp(80),
            },
            protocol: BackendProtocol::Http1,
            tls: None,
            proxy_protocol: None,
            endpoints: Arc::new(EndpointPool::new(endpoints)),
        })
    });
    WeightedBackend {
        weight: 1,
        backend: backend.map_err(Box::new),
        steps: Steps::default(),
        balance: Balance::default(),
    }
}

pub(super) fn rule(
    steps: impl IntoIterator<Item = Step>,
    backends: impl IntoIterator<Item = Result<Endpoints, BackendError>>,
) -> Rule {
    Rule {
        route: Arc::new(RouteId { kind: RouteKind::Http, namespace: "n".into(), name: "r".into() }),
        index: 0,
        name: None,
        steps: Steps::new(steps),
        backends: Backends::new(backends.into_iter().map(weighted).collect::<Vec<_>>()),
        timeouts: None,
        retry: None,
        labels: None,
    }
}

/// One listener for `a.example` at port 80, whose every path is the rule's.
pub(super) fn table(rule: Rule) -> Table {
    let host = HostPattern::parse("a.example").unwrap();
    let path = PathMatch::Prefix("".into());
    let route_match = RouteMatch { path, method: None, headers: Box::default(), query: Box::default() };
    let precedence = Precedence::of(&route_match, 0, "n/r".into(), (0, 0));
    let entry = Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) };
    let mut routes = HttpRoutes::default();
    routes.hosts.insert(host.clone(), Arc::new(HostTable::compile(vec![entry])));
    let mut port = Port::new(Protocol::Http, 80);
    let listener = Listener::http(ListenerId::gateway("n", "g", "s"), routes);
    port.listeners.insert(host, Arc::new(listener));
    let mut table = Table::default();
    table.ports.insert(PortKey::tcp(80), Arc::new(port));
    table
}
