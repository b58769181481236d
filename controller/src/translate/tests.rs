use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{HostPattern, PathMatch, pattern::Source};

use super::{
    testing::{CLASS, apply, snapshot},
    *,
};
use crate::{
    facts::Fact,
    ir::{Kind, ObjectKey},
    snapshot::{Change, Snapshot},
    status::Status,
};

const GATEWAY: &str = "
kind: Gateway
metadata: { namespace: infra, name: public }
spec:
  gatewayClassName: portcullis
  listeners:
  - { name: http, port: 80, protocol: HTTP, allowedRoutes: { namespaces: { from: Selector, selector: { matchLabels: { a: b } } } } }
---
";

/// What was noted of objects and of listeners, each once.
fn noted(reader: &Reader<'_>) -> Vec<String> {
    let facts: BTreeSet<_> = reader.take_noted().into_iter().collect();
    let text = |fact| match fact {
        Fact::Object(key) => Some(key.to_string()),
        Fact::Settings => None,
        other => Some(format!("{other:?}")),
    };
    facts.into_iter().filter_map(text).collect()
}

#[test]
fn a_route_notes_all_that_it_read() {
    let snapshot = snapshot(&format!(
        "{CLASS}{GATEWAY}
kind: HTTPRoute
metadata: {{ namespace: shop, name: web }}
spec:
  parentRefs: [{{ namespace: infra, name: public }}, {{ name: missing }}]
  rules:
  - filters: [{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: shadow, port: 80 }} }} }}]
    backendRefs: [{{ name: missing, port: 80 }}, {{ namespace: media, name: img, port: 80 }}]
"
    ));
    let settings = Settings::default();
    let pools = Pools::default();
    let reader = Reader::new(&snapshot, &settings, None).noting();
    let listeners = listeners(&reader, &pools);
    let of_listeners = reader.take_noted();
    assert!(of_listeners.contains(&Fact::Gateways), "{of_listeners:?}");
    let web = &snapshot.routes[&ObjectKey::new(Kind::HttpRoute, "shop", "web")];
    let streams = StreamClaims::default();
    let others = OtherRoutes { patterns_granted: true, streams: &streams };
    route(&reader, &listeners, &pools, others, web);
    let gateway = |namespace, name| ObjectKey::new(Kind::Gateway, namespace, name);
    let want = [
        "Service shop/missing".to_owned(),
        "Service shop/shadow".to_owned(),
        "Namespace shop".to_owned(),
        format!("{:?}", Fact::Existence(gateway("shop", "missing"))),
        // A Service that may not be referred to is not read.
        format!("{:?}", Fact::GrantsIn("media".into())),
        format!("{:?}", Fact::ListenersOf(gateway("infra", "public"))),
        format!("{:?}", Fact::ListenersOf(gateway("shop", "missing"))),
    ];
    assert_eq!(noted(&reader), want);
}

/// A route of the namespace `shop` with these paths, each a regular expression.
fn with_paths(name: &str, created: u8, hostnames: &str, paths: &[&str]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| format!("{{ path: {{ type: RegularExpression, value: '{path}' }} }}"))
        .collect();
    format!(
        "
kind: HTTPRoute
metadata: {{ namespace: shop, name: {name}, creationTimestamp: '2024-01-0{created}T00:00:00Z' }}
spec:
  parentRefs: [{{ name: public }}]
  hostnames: {hostnames}
  rules: [{{ matches: [{}] }}]
---
",
        paths.join(", ")
    )
}

const TWO_LISTENERS: &str = "
kind: Gateway
metadata: { namespace: shop, name: public }
spec:
  gatewayClassName: portcullis
  listeners: [{ name: one, port: 80, protocol: HTTP }, { name: two, port: 8080, protocol: HTTP }]
---
";

#[test]
fn a_regular_expression_is_compiled_once_whatever_it_stands_in() {
    let one = with_paths("one", 1, "[a.test, b.test]", &["/a.*", "/b.*"]);
    let two = with_paths("two", 2, "[a.test]", &["/a.*"]);
    let snapshot = snapshot(&format!("{CLASS}{TWO_LISTENERS}{one}{two}"));
    let pools = Pools::default();
    let translation = full(&snapshot, &Settings::default(), None, &pools);
    let tables = translation.table.ports.values().flat_map(|port| port.listeners.iter());
    let hosts = tables.flat_map(|(_, listener)| listener.http_routes().unwrap().hosts.iter());
    let entries = hosts.flat_map(|(_, table)| table.entries());
    let found: Vec<_> = entries
        .filter_map(|entry| match &entry.route_match.path {
            PathMatch::Regex(pattern) if pattern.as_str() == "/a.*" => Some(pattern.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|pattern| pattern.ptr_eq(&found[0])));
    assert_eq!(pools.patterns.len(), 2);
    drop((found, translation));
    assert!(pools.patterns.is_empty(), "nobody uses them any more");
}

#[test]
fn routes_beyond_the_budget_of_their_namespace_say_so_and_older_ones_are_served() {
    let old = with_paths("old", 1, "[a.test]", &["/a.*"]);
    let mid = with_paths("mid", 2, "[b.test]", &["/b.*", "/c.*"]);
    let new = with_paths("new", 3, "[c.test]", &["/a.*"]);
    let elsewhere = with_paths("elsewhere", 1, "[d.test]", &["/d.*"]).replace("public", "nowhere");
    let snapshot = snapshot(&format!("{CLASS}{TWO_LISTENERS}{new}{elsewhere}{mid}{old}"));
    let one = Source::parse("/a.*").unwrap().cost();
    let of = |pattern_budget| {
        let settings = Settings { pattern_budget, ..Settings::default() };
        full(&snapshot, &settings, None, &Pools::default())
    };
    let said = |translation: &Translation, name: &str| {
        let report = translation.statuses.get(&ObjectKey::new(Kind::HttpRoute, "shop", name)).unwrap();
        let Status::Parents(status) = &report.status else { panic!("{report:?}") };
        let accepted = &status.parents[0].conditions[0];
        (accepted.is_true(), accepted.reason, accepted.message.to_string())
    };
    let within = of(3 * one);
    let beyond = of(2 * one);
    for name in ["old", "mid", "new"] {
        assert!(said(&within, name).0, "{name}");
        assert_eq!(said(&beyond, name).0, name != "mid", "{name}");
    }
    let (_, reason, message) = said(&beyond, "mid");
    assert_eq!(reason, "UnsupportedValue");
    for part in ["spec.rules[0].matches[0].path.value: ", "of namespace shop would need more than 0 MiB"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(beyond.table.to_string().contains("regex /a.*"));
    assert!(!beyond.table.to_string().contains("regex /b.*"));
}

#[test]
fn objects_of_namespaces_that_are_not_selected_do_not_exist() {
    let namespace = "
kind: Namespace
metadata: { name: shop, labels: { team: red } }
";
    let of_media = |text: &str| text.replace("namespace: shop", "namespace: media");
    let other_ports =
        of_media(TWO_LISTENERS).replace("port: 80,", "port: 81,").replace("port: 8080,", "port: 8081,");
    let here = with_paths("here", 1, "[a.test]", &["/a.*"]);
    let there = of_media(&with_paths("there", 1, "[b.test]", &["/b.*"]));
    let snapshot = snapshot(&format!("{CLASS}{TWO_LISTENERS}{other_ports}{here}{there}{namespace}"));
    for (selector, want) in [(None, "[a] [b]"), (Some("team=red"), "[a]"), (Some("team=blue"), "")] {
        let selector = selector.map(|selector| selector.parse().unwrap());
        let settings = Settings { namespace_selector: selector, ..Settings::default() };
        let table = full(&snapshot, &settings, None, &Pools::default()).table.to_string();
        let found =
            [("a.test", "[a]"), ("b.test", "[b]")].into_iter().filter(|(host, _)| table.contains(host));
        assert_eq!(found.map(|(_, name)| name).collect::<Vec<_>>().join(" "), want, "{table}");
    }
}

#[test]
fn an_ingress_notes_all_that_it_read() {
    let snapshot = snapshot(
        "
kind: Ingress
metadata: { namespace: shop, name: web }
spec:
  ingressClassName: portcullis
  defaultBackend: { service: { name: rest, port: { number: 80 } } }
  rules: [{ host: a.example.com, http: { paths: [{ path: /a, pathType: Prefix, backend: { service: { name: web, port: { name: http } } } }] } }]
---
kind: Ingress
metadata: { namespace: shop, name: all }
spec: { ingressClassName: portcullis, defaultBackend: { service: { name: rest, port: { number: 80 } } } }
",
    );
    let settings = Settings::default();
    let pools = Pools::default();
    let reader = Reader::new(&snapshot, &settings, None).noting();
    let listeners = listeners(&reader, &pools);
    reader.take_noted();
    let host = HostPattern::parse("a.example.com").unwrap();
    for (ingress, host, services) in [
        ("web", host, &["Service shop/rest", "Service shop/web"][..]),
        ("all", HostPattern::Any, &["Service shop/rest"]),
    ] {
        let (backends, quotas) = (&IngressBackends::default(), &PatternQuotas::default());
        ingress_host(&reader, &listeners, &pools, OtherHosts { backends, quotas }, &host);
        let mut want = vec![format!("Ingress shop/{ingress}")];
        want.extend(services.iter().map(|service| (*service).to_owned()));
        want.push(format!("{:?}", Fact::ListenerAt(host)));
        assert_eq!(noted(&reader), want);
    }
}

#[test]
fn listeners_that_stay_the_same_for_routes_are_not_changed() {
    let gateway = |listener: &str| {
        format!(
            "
kind: Gateway
metadata: {{ namespace: infra, name: public }}
spec: {{ gatewayClassName: portcullis, listeners: [{{ name: tls, port: 443, protocol: HTTPS, {listener} }}] }}
"
        )
    };
    let tls = "tls: { certificateRefs: [{ name: one }] }";
    let (settings, pools) = (Settings::default(), Pools::default());
    let key = ObjectKey::new(Kind::Gateway, "infra", "public");
    let is_changed = |first: &Snapshot, second: &Snapshot| {
        let mut all = listeners(&Reader::new(first, &settings, None), &pools);
        let facts = facts_after(&mut all, &Reader::new(second, &settings, None), &pools, &key);
        facts.contains(&Fact::ListenersOf(key.clone()))
    };
    let first = snapshot(&format!("{CLASS}{}", gateway(tls)));
    for (listener, changed) in [
        (tls.to_owned(), false),
        ("tls: { certificateRefs: [{ name: other }] }".into(), false),
        (format!("{tls}, hostname: a.example.com"), true),
        (format!("{tls}, allowedRoutes: {{ namespaces: {{ from: All }} }}"), true),
        (format!("{tls}, allowedRoutes: {{ kinds: [{{ kind: HTTPRoute }}] }}"), true),
        ("tls: { mode: Terminate, certificateRefs: [{ name: one, namespace: certs }] }".into(), false),
    ] {
        let mut second = first.clone();
        apply(&mut second, &gateway(&listener));
        assert_eq!(is_changed(&first, &second), changed, "{listener}");
    }
    let mut gone = first.clone();
    gone.apply(Change::Delete(key.clone()));
    assert!(is_changed(&first, &gone), "a Gateway that is gone");
    assert!(is_changed(&gone, &first), "a Gateway that is new");
}

/// What differs once a Gateway or a ListenerSet has changed.
fn facts_after(all: &mut Listeners, reader: &Reader<'_>, pools: &Pools, key: &ObjectKey) -> Vec<Fact> {
    all.translate(reader, pools, key);
    all.resolve(reader);
    all.finish(reader).facts
}

#[test]
fn a_host_is_changed_when_another_ingress_asks_for_tls_there() {
    let ingress = |name: &str, rest: &str| {
        format!(
            "
kind: Ingress
metadata: {{ namespace: shop, name: {name} }}
spec: {{ ingressClassName: portcullis, rules: [{{ host: a.example.com }}]{rest} }}
---
"
        )
    };
    let (settings, pools) = (Settings::default(), Pools::default());
    let host = Fact::ListenerAt(HostPattern::parse("a.example.com").unwrap());
    let is_changed = |text: &str| {
        let first = snapshot(&ingress("one", ""));
        let mut all = listeners(&Reader::new(&first, &settings, None), &pools);
        all.translate_ingresses(&Reader::new(&snapshot(text), &settings, None), &pools, None)
            .facts
            .contains(&host)
    };
    assert!(!is_changed(&ingress("one", ", tls: []")));
    for (what, other) in [
        ("another Ingress has it, too", ingress("one", "") + &ingress("two", "")),
        ("it has TLS", ingress("one", ", tls: [{ hosts: [a.example.com] }]")),
    ] {
        assert!(is_changed(&other), "{what}");
    }
}

#[test]
fn a_secret_is_read_once_for_as_long_as_its_data_stay() {
    let secret = |crt: &str, key: &str, label: &str| {
        let indent = |text: &str| text.replace('\n', "\n    ");
        format!(
            "
kind: Secret
metadata: {{ namespace: shop, name: web, labels: {{ a: {label} }} }}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {}
  tls.key: |
    {}
",
            indent(crt),
            indent(key)
        )
    };
    let pair = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let ((crt, key), (other_crt, other_key)) = (pair(), pair());
    let pool = CertificatePool::default();
    let name = ObjectKey::new(Kind::Secret, "shop", "web");
    let settings = Settings::default();
    let read = |text: &str| pool.read(&Reader::new(&snapshot(text), &settings, None), &name);
    let first = read(&secret(&crt, &key, "one")).unwrap();
    assert!(Arc::ptr_eq(&first, &read(&secret(&crt, &key, "two")).unwrap()), "another label");
    assert!(
        !Arc::ptr_eq(&first, &read(&secret(&other_crt, &other_key, "two")).unwrap()),
        "another certificate"
    );
    let mismatch = read(&secret(&crt, &other_key, "two")).unwrap_err();
    assert_eq!(mismatch.reason(), "InvalidCertificateRef");
    pool.forget_unused(&Snapshot::default());
    assert!(
        !Arc::ptr_eq(&first, &read(&secret(&crt, &key, "one")).unwrap()),
        "forgotten, as the Secret was gone"
    );
}

#[test]
fn names_that_may_lead_nowhere_are_no_backends() {
    use portcullis_routing::ExternalNames;
    let snapshot = snapshot(&format!(
        "{CLASS}
kind: Gateway
metadata: {{ namespace: shop, name: public }}
spec: {{ gatewayClassName: portcullis, listeners: [{{ name: http, port: 80, protocol: HTTP }}] }}
---
kind: HTTPRoute
metadata: {{ namespace: shop, name: web }}
spec: {{ parentRefs: [{{ name: public }}], rules: [{{ backendRefs: [{{ name: away, port: 80 }}] }}] }}
---
kind: Ingress
metadata: {{ namespace: shop, name: web }}
spec: {{ ingressClassName: portcullis, defaultBackend: {{ service: {{ name: away, port: {{ number: 80 }} }} }} }}
---
kind: Service
metadata: {{ namespace: shop, name: away }}
spec: {{ type: ExternalName, externalName: away.example.com }}
"
    ));
    let said = "Service shop/away is of type ExternalName, which --external-names none forbids";
    for external_names in ExternalNames::ALL {
        let settings = Settings { external_names, ..Settings::default() };
        let statuses = full(&snapshot, &settings, None, &Pools::default()).statuses.to_string();
        let times = if external_names == ExternalNames::None { 2 } else { 0 };
        assert_eq!(statuses.matches(said).count(), times, "{external_names}: {statuses}");
        assert_eq!(statuses.contains("RefNotPermitted"), times > 0, "{external_names}: {statuses}");
    }
}

#[test]
fn an_object_that_refers_to_a_config_map_says_that_none_is_read() {
    let snapshot = snapshot(&format!(
        "{CLASS}
kind: Gateway
metadata: {{ namespace: shop, name: public }}
spec: {{ gatewayClassName: portcullis, listeners: [{{ name: a, port: 80, protocol: HTTP }}] }}
---
kind: HTTPRoute
metadata: {{ namespace: shop, name: web }}
spec: {{ parentRefs: [{{ name: public }}], rules: [{{ backendRefs: [{{ name: web, port: 80 }}] }}] }}
---
kind: BackendTLSPolicy
metadata: {{ namespace: shop, name: verified }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: web }}]
  validation: {{ hostname: web.example, caCertificateRefs: [{{ group: '', kind: ConfigMap, name: ca }}] }}
---
kind: Service
metadata: {{ namespace: shop, name: web }}
spec: {{ ports: [{{ port: 80 }}] }}
---
kind: ConfigMap
metadata: {{ namespace: shop, name: ca }}
data: {{ ca.crt: roots }}
"
    ));
    for (config_maps, want) in [
        (true, "ca.crt of ConfigMap shop/ca: "),
        (false, "ConfigMap shop/ca is not read: ConfigMaps are disabled (--no-config-maps, "),
    ] {
        let settings = Settings { config_maps, ..Settings::default() };
        let statuses = full(&snapshot, &settings, None, &Pools::default()).statuses.to_string();
        assert!(statuses.contains(want) && statuses.contains("InvalidCACertificateRef"), "{statuses}");
    }
}

/// A route may be at 64 listeners with 16 hostnames and 128 matches: what a match asks is kept once.
#[test]
fn the_matches_of_a_route_are_kept_once_for_all_its_listeners_and_hostnames() {
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let rule = match kind {
            "HTTPRoute" => "matches: [{ path: { value: /a } }], backendRefs: [{ name: web, port: 80 }]",
            _ => "matches: [{ method: { service: a.B } }], backendRefs: [{ name: web, port: 80 }]",
        };
        let snapshot = snapshot(&format!(
            "{CLASS}
kind: Gateway
metadata: {{ namespace: shop, name: public }}
spec:
  gatewayClassName: portcullis
  listeners:
  - {{ name: a, port: 80, protocol: HTTP }}
  - {{ name: b, port: 81, protocol: HTTP }}
---
kind: {kind}
metadata: {{ namespace: shop, name: web }}
spec:
  parentRefs: [{{ name: public }}]
  hostnames: [a.example, b.example]
  rules: [{{ {rule} }}]
"
        ));
        let table = full(&snapshot, &Settings::default(), None, &Pools::default()).table;
        let ports = table.ports.values();
        let listeners = ports.flat_map(|port| port.listeners.iter().map(|(_, listener)| listener));
        let tables = listeners.filter_map(|listener| listener.http_routes());
        let hosts = tables.flat_map(|routes| routes.hosts.iter().map(|(_, table)| table));
        let matches: Vec<_> =
            hosts.flat_map(|table| table.entries()).map(|entry| Arc::as_ptr(&entry.route_match)).collect();
        assert_eq!((matches.len(), matches.iter().collect::<BTreeSet<_>>().len()), (4, 1), "{kind}");
    }
}

#[test]
fn a_default_backend_of_the_operator_answers_what_no_ingress_does() {
    let objects = "
kind: Ingress
metadata: { namespace: shop, name: web }
spec:
  ingressClassName: portcullis
  rules: [{ host: a.example, http: { paths: [{ path: /a, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }]
---
kind: Service
metadata: { namespace: shop, name: web }
spec: { ports: [{ port: 80 }] }
---
kind: Service
metadata: { namespace: infra, name: errs }
spec: { ports: [{ port: 8080, name: first }, { port: 9090, name: second }] }
";
    let all = "
---
kind: Ingress
metadata: { namespace: shop, name: all }
spec: { ingressClassName: portcullis, defaultBackend: { service: { name: web, port: { number: 80 } } } }
";
    let service = ObjectKey::new(Kind::Service, "infra", "errs");
    let default_backend = Some(Arc::new(DefaultBackend::new(service)));
    let settings = Settings { default_backend, ..Settings::default() };
    let lines = |objects: &str| -> Vec<String> {
        let translated = full(&snapshot(&format!("{CLASS}{objects}")), &settings, None, &Pools::default());
        assert!(!translated.statuses.to_string().contains("default-backend-service"));
        let text = translated.table.to_string();
        text.lines().filter(|line| line.contains("->")).map(|line| line.trim().to_owned()).collect()
    };
    let body = "body 1 MiB at most;";
    let of_host = [
        format!("prefix /a -> {body} endpoints; 1 shop/web:80 [Ingress shop/web rule 0]"),
        format!("prefix / -> {body} 1 infra/errs:8080 [Ingress shop/web rule 1]"),
    ];
    let of_operator =
        format!("prefix / -> {body} 1 infra/errs:8080 [Ingress infra/--default-backend-service rule 0]");
    let got = lines(objects);
    assert!(of_host.iter().chain([&of_operator]).all(|line| got.contains(line)), "{got:#?}");
    // An Ingress without rules takes its place, whatever their ages.
    let got = lines(&format!("{objects}{all}"));
    let of_all = format!("prefix / -> {body} 1 shop/web:80 [Ingress shop/all rule 0]");
    assert!(got.contains(&of_all) && !got.contains(&of_operator), "{got:#?}");
}

#[test]
fn ingresses_of_ingress_nginx_are_served_beside_it_and_have_its_hsts() {
    let class = |name: &str, controller: &str, default: bool| {
        format!(
            "
kind: IngressClass
metadata: {{ name: {name}, annotations: {{ ingressclass.kubernetes.io/is-default-class: '{default}' }} }}
spec: {{ controller: {controller} }}
---
"
        )
    };
    let ingress = |class: &str| {
        let class = if class.is_empty() { String::new() } else { format!("ingressClassName: {class}, ") };
        format!(
            "
kind: Ingress
metadata: {{ name: web }}
spec: {{ {class}rules: [{{ host: a.example.com, http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }}] }} }}] }}
---
"
        )
    };
    let (ours, nginx) = ("portcullis.dev/ingress-controller", "k8s.io/ingress-nginx");
    let all = |default: &str| {
        ["portcullis", "nginx", "internal"]
            .map(|name| class(name, if name == "portcullis" { ours } else { nginx }, name == default))
            .concat()
    };
    use NginxClasses::{NotOurs, Published, Served};
    // Whether it is served, and with HSTS.
    let (own, of_nginx) = ((true, false), (true, true));
    let other = (false, false);
    for (classes, named, nginx_classes, want) in [
        (all(""), "portcullis", NotOurs, own),
        (all(""), "portcullis", Served, own),
        (all(""), "nginx", NotOurs, other),
        (all(""), "nginx", Served, of_nginx),
        (all(""), "internal", Published, of_nginx),
        (String::new(), "nginx", NotOurs, other),
        (String::new(), "nginx", Served, of_nginx),
        (String::new(), "internal", Served, other),
        (class("nginx", "example.com/other", false), "nginx", Served, other),
        (all("nginx"), "", NotOurs, other),
        (all("nginx"), "", Served, of_nginx),
        (all("portcullis"), "", Served, own),
        (all(""), "", Served, other),
    ] {
        let settings = Settings { nginx_classes, ..Settings::default() };
        let snapshot = snapshot(&format!("{classes}{}", ingress(named)));
        let table = full(&snapshot, &settings, None, &Pools::default()).table.to_string();
        let found = (table.contains("[Ingress default/web "), table.contains("hsts "));
        assert_eq!(found, want, "{named:?} {nginx_classes:?}\n{classes}{table}");
    }
}

#[test]
fn error_pages_of_a_default_backend_that_cannot_be_used_are_reported() {
    let objects = "
kind: Ingress
metadata: { namespace: shop, name: web, annotations: { nginx.ingress.kubernetes.io/custom-http-errors: '404' } }
spec:
  ingressClassName: portcullis
  rules: [{ host: a.example, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }]
---
kind: Service
metadata: { namespace: shop, name: web }
spec: { ports: [{ port: 80 }] }
";
    for (service, want) in [
        (None, Some("there is no default backend")),
        (
            Some(("infra", "errs")),
            Some("the default backend of the controller (--default-backend-service) cannot be used"),
        ),
        (Some(("shop", "web")), None),
    ] {
        let key = service.map(|(namespace, name)| ObjectKey::new(Kind::Service, namespace, name));
        let default_backend = key.map(|key| Arc::new(DefaultBackend::new(key)));
        let settings = Settings { default_backend, ..Settings::default() };
        let translated = full(&snapshot(&format!("{CLASS}{objects}")), &settings, None, &Pools::default());
        let statuses = translated.statuses.to_string();
        assert_eq!(statuses.contains("custom-http-errors has no effect"), want.is_some(), "{statuses}");
        assert!(want.is_none_or(|want| statuses.contains(want)), "{statuses}");
    }
}
