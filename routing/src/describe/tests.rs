use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::{
    BackendError, BackendKey, BackendObject, BackendTls, Backends, ClientAuth, EndpointPool, Endpoints,
    HeaderMatch, HostMap, ListenerId, ListenerOwner, Pattern, Port, PortKey, Precedence, Protocol,
    QueryMatch, Retry, RouteId, RouteKind, Timeouts, Verify,
};

#[test]
fn a_table_is_read_from_top_to_bottom() {
    let host = HostPattern::parse("shop.example.com").unwrap();
    let mut routes = HttpRoutes::default();
    routes.hosts.insert(HostPattern::Any, table([(any(), rule(3, Steps::default(), []))]));
    routes.hosts.insert(host.clone(), table(rules()));
    let mut behind = HttpRoutes::default();
    let label = HostPattern::parse_ingress("*.example.com").unwrap();
    behind.hosts.insert(label.clone(), table([(any(), rule(4, Steps::default(), [to(1, "web", 80)]))]));
    routes.fallback = Some(Arc::new(Listener::http(ListenerId::ingress(label), behind)));
    let listener = Listener::http(ListenerId::gateway("infra", "public", "web"), routes);

    let mut table = Table::default();
    let mut port = Port::new(Protocol::Http, 80);
    port.listeners.insert(HostPattern::parse("*.example.com").unwrap(), Arc::new(listener));
    table.ports.insert(PortKey::tcp(80), Arc::new(port));
    assert_eq!(
        table.to_string(),
        "\
http:80 *.example.com at Gateway infra/public listener web
  *
    prefix / -> 500 (no backend) [HTTPRoute shop/web rule 3]
  shop.example.com
    GET prefix /cart header x-canary=1 query q~a. -> 9 shop/cart:8080, 1 request headers x-a=1 +x-b=2 -x-c; \
        shop/next:8443 h2 tls next.shop unverified request timeout 10s backend timeout 2s retry 2 on [503] \
        [HTTPRoute shop/web rule 0]
    grpc method Get -> redirect 301 https host b.example port 8443 path /new; [HTTPRoute shop/web rule 2]
    prefix / -> cors https://a.example; rewrite host b.example prefix /; \
        mirror 1/4 to no backend (Service shop/copy not found); response headers x-a=1 +x-b=2 -x-c; \
        1 500 (Service shop/gone not found) [HTTPRoute shop/web rule 1]
  then Ingress
  *.example.com (one label)
    prefix / -> 1 shop/web:80 [HTTPRoute shop/web rule 4]
"
    );
}

#[test]
fn a_listener_says_what_becomes_of_tls_and_what_it_serves() {
    let rule = || Arc::new(rule(0, Steps::default(), [to(1, "db", 5432)]));
    let mut stream = HostMap::default();
    stream.insert(HostPattern::parse("db.example.com").unwrap(), rule());
    let id = Arc::new(ListenerId {
        owner: ListenerOwner::ListenerSet { namespace: "shop".into(), name: "more".into() },
        section: "l".into(),
    });
    let http = || Serves::Http(HttpRoutes::default());
    let mut table = Table::default();
    for (key, protocol, host, tls, serves) in [
        (PortKey::tcp(443), Protocol::Tls, "a.example.com", TlsMode::Terminate(ClientAuth::Unasked), http()),
        (
            PortKey::tcp(443),
            Protocol::Tls,
            "b.example.com",
            TlsMode::Terminate(ClientAuth::Unasked),
            Serves::Stream(stream.clone()),
        ),
        (PortKey::tcp(443), Protocol::Tls, "db.example.com", TlsMode::Passthrough, Serves::Stream(stream)),
        (PortKey::tcp(53), Protocol::Tcp, "", TlsMode::None, Serves::Stream(HostMap::default())),
        (PortKey::udp(53), Protocol::Udp, "", TlsMode::None, Serves::Datagram(Some(rule()))),
    ] {
        let port = table.ports.entry(key).or_insert_with(|| Arc::new(Port::new(protocol, key.number)));
        let listener = Listener { id: Arc::clone(&id), tls, serves };
        Arc::make_mut(port).listeners.insert(HostPattern::parse(host).unwrap(), Arc::new(listener));
    }
    assert_eq!(
        table.to_string(),
        "\
tcp:53 * at ListenerSet shop/more listener l
https:443 a.example.com at ListenerSet shop/more listener l
tls:443 b.example.com at ListenerSet shop/more listener l
  db.example.com
    every connection -> 1 shop/db:5432 [HTTPRoute shop/web rule 0]
tls:443 db.example.com passed through at ListenerSet shop/more listener l
  db.example.com
    every connection -> 1 shop/db:5432 [HTTPRoute shop/web rule 0]
udp:53 * at ListenerSet shop/more listener l
    every datagram -> 1 shop/db:5432 [HTTPRoute shop/web rule 0]
"
    );
}

fn rules() -> [(RouteMatch, Rule); 3] {
    let cart = RouteMatch {
        path: PathMatch::Prefix("/cart".into()),
        method: Some(Method::GET.into()),
        headers: [HeaderMatch {
            name: HeaderName::from_static("x-canary"),
            value: ValueMatch::Exact("1".into()),
        }]
        .into(),
        query: [QueryMatch { name: "q".into(), value: ValueMatch::Regex(Pattern::compile("a.").unwrap()) }]
            .into(),
    };
    let mut next = to(1, "next", 8443);
    next.steps = Steps::new([Step::RequestHeaders(modifier())]);
    next.backend = next.backend.map(|backend| {
        Arc::new(Backend {
            key: backend.key.clone(),
            protocol: BackendProtocol::Http2,
            tls: Some(Arc::new(BackendTls::new("next.shop", Verify::Nothing))),
            proxy_protocol: None,
            endpoints: Arc::clone(&backend.endpoints),
        })
    });
    let mut canary = rule(0, Steps::default(), [to(9, "cart", 8080), next]);
    let (request, backend_request) = (Some(Duration::from_secs(10)), Some(Duration::from_secs(2)));
    canary.timeouts = Timeouts { request, backend_request, ..Timeouts::default() }.of_rule();
    canary.retry = Some(Arc::new(Retry { codes: [503].into(), attempts: 2, ..Retry::default() }));

    let gone = |name: &str| BackendError::NotFound(format!("shop/{name}").into());
    let steps = Steps::new([
        Step::ResponseHeaders(modifier()),
        Step::Rewrite(Box::new(UrlRewrite {
            hostname: Some("b.example".into()),
            path: Some(PathRewrite::Prefix("".into())),
        })),
        Step::Mirror(Box::new(Mirror { backend: Err(gone("copy")), numerator: 1, denominator: 4 })),
        Step::Cors(Box::new(Cors {
            allow_origins: ["https://a.example".into()].into(),
            allow_credentials: false,
            allow_methods: Default::default(),
            allow_headers: Default::default(),
            expose_headers: Default::default(),
            max_age: HeaderValue::from_static("5"),
        })),
    ]);
    let broken = WeightedBackend {
        weight: 1,
        backend: Err(Box::new(gone("gone"))),
        steps: Default::default(),
        balance: Default::default(),
    };
    let redirect = Redirect {
        scheme: Some("https".into()),
        hostname: Some("b.example".into()),
        port: Some(8443),
        path: Some(PathRewrite::Full("/new".into())),
        status: StatusCode::MOVED_PERMANENTLY,
    };
    let method = RouteMatch { path: PathMatch::GrpcMethod("Get".into()), ..any() };
    [
        (any(), rule(1, steps, [broken])),
        (method, rule(2, Steps::new([Step::Redirect(Box::new(redirect))]), [])),
        (cart, canary),
    ]
}

fn table(rules: impl IntoIterator<Item = (RouteMatch, Rule)>) -> Arc<HostTable> {
    let entries = rules.into_iter().map(|(route_match, rule)| {
        let precedence = Precedence::of(&route_match, 0, "shop/web".into(), (rule.index, 0));
        Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
    });
    Arc::new(HostTable::compile(entries.collect()))
}

fn rule(index: usize, steps: Steps, backends: impl IntoIterator<Item = WeightedBackend>) -> Rule {
    Rule {
        route: Arc::new(RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: "web".into() }),
        index,
        name: None,
        steps,
        backends: Backends::new(backends),
        timeouts: None,
        retry: None,
        labels: None,
    }
}

fn to(weight: u32, service: &str, port: u16) -> WeightedBackend {
    let backend = Backend {
        key: BackendKey {
            kind: BackendObject::Service,
            namespace: "shop".into(),
            service: service.into(),
            port: PortKey::tcp(port),
        },
        protocol: BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        endpoints: Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default()))),
    };
    WeightedBackend {
        weight,
        backend: Ok(Arc::new(backend)),
        steps: Default::default(),
        balance: Default::default(),
    }
}

fn modifier() -> HeaderModifier {
    let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let remove = [HeaderName::from_static("x-c")];
    HeaderModifier::new([pair("x-a", "1")], [pair("x-b", "2")], remove).unwrap()
}

fn any() -> RouteMatch {
    RouteMatch {
        path: PathMatch::Prefix("".into()),
        method: None,
        headers: Box::default(),
        query: Box::default(),
    }
}
