use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::{
    BackendError, BackendKey, BackendTls, Backends, EndpointPool, Endpoints, HeaderMatch, ListenerId,
    Pattern, Port, Precedence, QueryMatch, Retry, RouteId, RouteKind, Timeouts,
};

#[test]
fn a_table_is_read_from_top_to_bottom() {
    let host = HostPattern::parse("shop.example.com").unwrap();
    let mut listener = Listener::new(ListenerId::Gateway {
        namespace: "infra".into(),
        name: "public".into(),
        section: "web".into(),
    });
    listener
        .hosts
        .insert(HostPattern::Any, table(&HostPattern::Any, [(any(), rule(3, Steps::default(), []))]));
    listener.hosts.insert(host.clone(), table(&host, rules()));
    let mut fallback = Listener::new(ListenerId::Ingress);
    let label = HostPattern::parse_ingress("*.example.com").unwrap();
    fallback
        .hosts
        .insert(label.clone(), table(&label, [(any(), rule(4, Steps::default(), [to(1, "web", 80)]))]));
    listener.fallback = Some(Arc::new(fallback));

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
        mirror 1/4 to nobody (Service shop/copy not found); response headers x-a=1 +x-b=2 -x-c; \
        1 500 (Service shop/gone not found) [HTTPRoute shop/web rule 1]
  then Ingress
  *.example.com (one label)
    prefix / -> 1 shop/web:80 [HTTPRoute shop/web rule 4]
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
            tls: Some(BackendTls { server_name: "next.shop".into(), verify: Verify::Nothing }),
            endpoints: Arc::clone(&backend.endpoints),
        })
    });
    let mut canary = rule(0, Steps::default(), [to(9, "cart", 8080), next]);
    canary.timeouts =
        Timeouts { request: Some(Duration::from_secs(10)), backend_request: Some(Duration::from_secs(2)) };
    canary.retry = Some(Retry { codes: [503].into(), attempts: 2, backoff: None });

    let gone = |name: &str| BackendError::NotFound(format!("shop/{name}").into());
    let steps = Steps::new([
        Step::ResponseHeaders(modifier()),
        Step::Rewrite(UrlRewrite {
            hostname: Some("b.example".into()),
            path: Some(PathRewrite::Prefix("".into())),
        }),
        Step::Mirror(Mirror { backend: Err(gone("copy")), numerator: 1, denominator: 4 }),
        Step::Cors(Box::new(Cors {
            allow_origins: ["https://a.example".into()].into(),
            allow_credentials: false,
            allow_methods: Box::default(),
            allow_headers: Box::default(),
            expose_headers: Box::default(),
            max_age: HeaderValue::from_static("5"),
        })),
    ]);
    let broken = WeightedBackend { weight: 1, backend: Err(gone("gone")), steps: Default::default() };
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
        (method, rule(2, Steps::new([Step::Redirect(redirect)]), [])),
        (cart, canary),
    ]
}

fn table(host: &HostPattern, rules: impl IntoIterator<Item = (RouteMatch, Rule)>) -> Arc<HostTable> {
    let entries = rules.into_iter().map(|(route_match, rule)| {
        let precedence = Precedence::of(host, &route_match, 0, "shop/web".into(), (rule.index, 0));
        Entry { route_match, precedence, rule: Arc::new(rule) }
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
        timeouts: Timeouts::default(),
        retry: None,
    }
}

fn to(weight: u32, service: &str, port: u16) -> WeightedBackend {
    let backend = Backend {
        key: BackendKey { namespace: "shop".into(), service: service.into(), port },
        protocol: BackendProtocol::Http1,
        tls: None,
        endpoints: Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default()))),
    };
    WeightedBackend { weight, backend: Ok(Arc::new(backend)), steps: Default::default() }
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
