//! What an edit does not concern stays the very same: by pointer, not by value.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::sync::Arc;

use portcullis_controller::{
    Bindings, Index, Publication, Settings, ir::ObjectKey, objects, snapshot::Change, status::Statuses, yaml,
};
use portcullis_routing::{Backend, Endpoints, HostPattern, HostTable, Listener, PortKey, Table};

const ROUTES: usize = 200;

#[test]
fn a_changed_route_is_compiled_alone() {
    let mut site = Site::new();
    let before = site.publish().unwrap();
    site.apply(&route(7, "other"));
    let after = site.publish().unwrap();
    for i in 0..ROUTES {
        assert_eq!(Arc::ptr_eq(&host(&before, i), &host(&after, i)), i != 7, "host {i}");
    }
    assert_eq!(after.table.generation, before.table.generation + 1);
    assert!(Arc::ptr_eq(&before.certificates, &after.certificates));
    assert!(
        !Arc::ptr_eq(listener(&before.table, 80, "*"), listener(&after.table, 80, "*")),
        "its host is another"
    );
    let beside = |table| Arc::clone(listener(table, 80, "beside.test"));
    assert!(Arc::ptr_eq(&beside(&before.table), &beside(&after.table)), "another listener of the same port");
    assert!(
        Arc::ptr_eq(&before.table.ports[&PortKey::tcp(8080)], &after.table.ports[&PortKey::tcp(8080)]),
        "another port"
    );
}

#[test]
fn endpoint_slices_reach_pools_and_no_table() {
    let mut site = Site::new();
    let before = site.publish().unwrap();
    site.index.update_statuses(&mut Statuses::default());
    let address = || addresses(&backend(&before, 7));
    assert_eq!(address(), ["10.0.0.1:8080"]);
    site.apply(&slice("s7", "10.0.0.9"));
    assert!(site.publish().is_none());
    assert_eq!(address(), ["10.0.0.9:8080"], "in the pool that the table from before refers to");
    assert!(!site.index.has_stale_statuses(), "and no status is concerned");
}

#[test]
fn pods_reach_the_pools_of_x_backends_and_no_table() {
    let mut site = Site::new();
    site.apply(&x_backend("app: web"));
    site.apply(&route(7, "s7").replace("{name: s7, port: 80}", X_BACKEND));
    site.apply(&pod("a", "app: web", "10.0.1.1", "True"));
    let before = site.publish().unwrap();
    site.index.update_statuses(&mut Statuses::default());
    let address = || addresses(&backend(&before, 7));
    assert_eq!(address(), ["10.0.1.1:8080"]);
    for (what, edit, want) in [
        ("a Pod comes", pod("b", "app: web", "10.0.1.2", "True"), &["10.0.1.1:8080", "10.0.1.2:8080"][..]),
        ("a Pod is not ready", pod("a", "app: web", "10.0.1.1", "False"), &["10.0.1.2:8080"]),
        ("a Pod has other labels", pod("b", "app: other", "10.0.1.2", "True"), &[]),
    ] {
        site.apply(&edit);
        assert!(site.publish().is_none(), "{what}");
        assert_eq!(address(), want, "{what}");
        assert!(!site.index.has_stale_statuses(), "{what}: and no status is concerned");
    }
    site.apply(&x_backend("app: other"));
    drop(site.publish());
    assert_eq!(address(), ["10.0.1.2:8080"], "the XBackend selects others");
}

#[test]
fn a_service_that_says_the_same_concerns_nobody() {
    let mut site = Site::new();
    site.publish().unwrap();
    site.apply(&service("s7").replace("name: s7", "name: s7\n  labels: {edited: \"true\"}"));
    assert!(site.publish().is_none());
}

#[test]
fn a_route_that_is_deleted_leaves_the_others() {
    let mut site = Site::new();
    let before = site.publish().unwrap();
    site.index.apply([Change::Delete(key(&route(7, "s7")))]);
    let after = site.publish().unwrap();
    let hosts = &listener(&after.table, 80, "*").http_routes().unwrap().hosts;
    assert!(hosts.get(&exact("h7.test")).is_none());
    assert_eq!(hosts.len(), ROUTES - 1);
    assert!(Arc::ptr_eq(&host(&before, 8), &host(&after, 8)));
}

#[test]
fn a_new_listener_leaves_the_others() {
    let mut site = Site::new();
    let before = site.publish().unwrap();
    site.apply(&gateway("new", 80, "new.test"));
    let after = site.publish().unwrap();
    assert!(Arc::ptr_eq(listener(&before.table, 80, "*"), listener(&after.table, 80, "*")));
    assert!(Arc::ptr_eq(&before.table.ports[&PortKey::tcp(8080)], &after.table.ports[&PortKey::tcp(8080)]));
    assert_eq!(
        after.table.ports[&PortKey::tcp(80)].listeners.len(),
        before.table.ports[&PortKey::tcp(80)].listeners.len() + 1
    );
}

#[test]
fn a_changed_listener_set_concerns_itself_alone() {
    let mut site = Site::new();
    site.apply(
        &gateway("main", 80, "").replace("spec:", "spec:\n  allowedListeners: {namespaces: {from: Same}}"),
    );
    let set = |i: usize, hostname: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{name: s{i}}}\n\
             spec:\n  parentRef: {{name: main}}\n  listeners:\n  \
             - {{name: http, port: 80, protocol: HTTP, hostname: {hostname}}}\n"
        )
    };
    let hostname = |i: usize| format!("s{i}.set.test");
    (0..20).for_each(|i| site.apply(&set(i, &hostname(i))));
    let mut statuses = Statuses::default();
    let before = site.publish().unwrap();
    site.index.update_statuses(&mut statuses);
    site.apply(&set(7, "new.set.test"));
    let after = site.publish().unwrap();
    let at = |publication: &Publication, hostname: &str| {
        publication.table.ports[&PortKey::tcp(80)].listeners.get(&exact(hostname)).cloned()
    };
    for i in (0..20).filter(|i| *i != 7) {
        let (before, after) = (at(&before, &hostname(i)).unwrap(), at(&after, &hostname(i)).unwrap());
        assert!(Arc::ptr_eq(&before, &after), "{}", hostname(i));
    }
    assert!(at(&after, &hostname(7)).is_none() && at(&after, "new.set.test").is_some());
    assert!(site.index.desired_services().is_some(), "those of the first time");
    assert!(site.index.update_statuses(&mut statuses).is_empty(), "a status names no hostname");
    // Another one wants the same hostname. It comes later by its name, so it is left with nothing, and its Gateway has one
    // ListenerSet less.
    site.apply(&set(8, "new.set.test"));
    assert!(site.publish().is_some(), "it loses its own");
    assert_eq!(site.index.update_statuses(&mut statuses), [key(&gateway("main", 80, "")), key(&set(8, ""))]);
    assert!(site.index.desired_services().is_none(), "no Gateway has a Service of its own");
}

#[test]
fn bindings_are_a_matter_of_statuses() {
    let mut site = Site::new();
    site.publish().unwrap();
    let mut statuses = Statuses::default();
    assert!(!site.index.update_statuses(&mut statuses).is_empty());
    let of = |statuses: &Statuses, name: &str| {
        serde_json::to_string(statuses.get(&key(&gateway(name, 80, ""))).unwrap()).unwrap()
    };
    let (main, other) = (of(&statuses, "main"), of(&statuses, "other"));
    site.index.set_bindings(&Bindings::from([(PortKey::tcp(80), Err("address in use".to_owned()))]));
    assert!(site.publish().is_none());
    assert!(!site.index.update_statuses(&mut statuses).is_empty());
    assert!(of(&statuses, "main").contains("address in use") && !main.contains("address in use"));
    assert_eq!(of(&statuses, "other"), other, "its port is another");
}

#[test]
fn nothing_is_published_before_everything_was_told() {
    let mut index = Index::new(Settings::default());
    assert!(index.publish().is_none());
    index.apply(objects_of(&route(0, "s0")));
    assert!(index.publish().is_none());
    assert!(index.update_statuses(&mut Statuses::default()).is_empty());
    index.complete();
    assert!(index.publish().is_some());
    assert!(index.publish().is_none(), "nothing happened since");
}

#[test]
fn a_survey_translates_and_publishes_nothing() {
    let mut site = Site::incomplete();
    site.index.survey();
    assert!(site.publish().is_none() && site.index.desired_services().is_none());
    assert!(!site.index.has_stale_statuses() && site.index.unclaimed().is_none());
    site.apply(&slice("s7", "10.0.0.9"));
    site.index.complete();
    let first = site.publish().unwrap();
    assert_eq!(addresses(&backend(&first, 7)), ["10.0.0.9:8080"]);
    assert!(site.index.desired_services().is_some() && site.index.has_stale_statuses());
}

/// One Gateway of many routes, another listener on its port, and one on another port.
struct Site {
    index: Index,
}

impl Site {
    fn new() -> Self {
        let mut site = Self::incomplete();
        site.index.complete();
        site
    }

    fn incomplete() -> Self {
        let mut site = Self { index: Index::new(Settings::default()) };
        site.apply(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\n\
             spec: {controllerName: portcullis.dev/gateway-controller}\n",
        );
        site.apply(&gateway("main", 80, ""));
        site.apply(&gateway("beside", 80, "beside.test"));
        site.apply(&gateway("other", 8080, ""));
        for i in 0..ROUTES {
            let name = format!("s{i}");
            site.apply(&route(i, &name));
            site.apply(&service(&name));
            site.apply(&slice(&name, "10.0.0.1"));
        }
        site.apply(&service("other"));
        site
    }

    fn apply(&mut self, manifest: &str) {
        self.index.apply(objects_of(manifest));
    }

    fn publish(&mut self) -> Option<Publication> {
        self.index.publish()
    }
}

fn listener<'t>(table: &'t Table, port: u16, host: &str) -> &'t Arc<Listener> {
    table.ports[&PortKey::tcp(port)].listeners.get(&HostPattern::parse(host).unwrap()).unwrap()
}

fn host(publication: &Publication, i: usize) -> Arc<HostTable> {
    let hosts = &listener(&publication.table, 80, "*").http_routes().unwrap().hosts;
    Arc::clone(hosts.get(&exact(&format!("h{i}.test"))).unwrap())
}

fn backend(publication: &Publication, i: usize) -> Arc<Backend> {
    let table = host(publication, i);
    Arc::clone(table.entries()[0].rule.backends.all()[0].backend.as_ref().unwrap())
}

fn addresses(backend: &Backend) -> Vec<String> {
    match &**backend.endpoints.load() {
        Endpoints::Addresses(all) => all.iter().map(|e| e.address.to_string()).collect(),
        Endpoints::Name { .. } => Vec::new(),
    }
}

fn exact(host: &str) -> HostPattern {
    HostPattern::parse(host).unwrap()
}

fn key(manifest: &str) -> ObjectKey {
    match objects_of(manifest).remove(0) {
        Change::Apply(object) => object.meta().key.clone(),
        Change::Delete(key) => key,
    }
}

fn objects_of(manifest: &str) -> Vec<Change> {
    let decoded = yaml::documents(manifest, "test.yaml").map(objects::decode_document);
    decoded
        .map(|decoded| Change::Apply(decoded.object.unwrap_or_else(|| panic!("{:?}", decoded.problems))))
        .collect()
}

fn gateway(name: &str, port: u16, hostname: &str) -> String {
    let hostname = if hostname.is_empty() { String::new() } else { format!(", hostname: {hostname}") };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n\
         spec:\n  gatewayClassName: c\n  listeners:\n  - {{name: http, port: {port}, protocol: HTTP{hostname}}}\n"
    )
}

fn route(i: usize, service: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{i}}}\n\
         spec:\n  parentRefs: [{{name: main}}]\n  hostnames: [h{i}.test]\n  rules:\n  \
         - backendRefs: [{{name: {service}, port: 80}}]\n"
    )
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports: [{{port: 80}}]\n")
}

fn slice(service: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-1\n  \
         labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\nports: [{{port: 8080}}]\n\
         endpoints: [{{addresses: [{address}]}}]\n"
    )
}

const X_BACKEND: &str = "{group: gateway.networking.x-k8s.io, kind: XBackend, name: web}";

fn x_backend(labels: &str) -> String {
    format!(
        "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata: {{name: web}}\n\
         spec: {{type: EndpointSelector, endpointSelector: {{matchLabels: {{{labels}}}}}, port: {{number: 8080}}}}\n"
    )
}

fn pod(name: &str, labels: &str, ip: &str, ready: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
         status: {{podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}\n"
    )
}
