//! What is written to a cluster: by whom, how often, and what of it is left alone. In paused time.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

#[path = "../api_server/mod.rs"]
mod api_server;
mod events;
mod leading;
mod pending;
mod refused;
mod releases;
mod services;
mod side_by_side;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_controller::{
    Bindings, Controller, DefaultBackend, Handle, Settings, Topic,
    cluster::{
        Leadership, Term,
        statuses::{ControllerNames, RefusedStatuses, Writer},
    },
    ir::{Kind, ObjectKey},
    source::cluster::{self, ClusterOptions, Outlets, Progress},
    translate::Address,
};
use portcullis_routing::Table;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use api_server::{Answer, ApiServer, Fault, Log, objects::*, until};

/// A replica of ours: source, controller and writer. It ends when this is dropped.
struct Replica {
    handle: Handle,
    leads: watch::Sender<bool>,
    term: Term,
    refused: RefusedStatuses,
    /// As it was published last.
    table: Arc<Mutex<Option<Arc<Table>>>>,
    _tasks: JoinSet<()>,
}

impl Replica {
    fn start(server: &ApiServer, leads: bool) -> Self {
        Self::at(server, leads, &["192.0.2.1"])
    }

    /// With these addresses.
    fn at(server: &ApiServer, leads: bool, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|ip| Address::Ip(ip.parse().unwrap())).collect();
        Self::with(server, leads, Settings { addresses, ..in_cluster() })
    }

    fn with(server: &ApiServer, leads: bool, settings: Settings) -> Self {
        Self::of(server, leads, settings, "portcullis")
    }

    /// One of a release with this field manager.
    fn of(server: &ApiServer, leads: bool, settings: Settings, field_manager: &str) -> Self {
        let controllers = ControllerNames {
            field_manager: field_manager.into(),
            gateway: settings.gateway_controller.clone(),
            ingress: settings.ingress_controller.clone(),
        };
        let (to_deltas, deltas) = mpsc::channel(64);
        let (to_seen, seen) = mpsc::channel(1024);
        let outlets =
            Outlets { deltas: to_deltas, seen: to_seen, progress: watch::Sender::new(Progress::default()) };
        let service_maps = settings.tcp_services.iter().chain(&settings.udp_services).cloned().collect();
        let settings_map = settings.settings_map.clone();
        let options = ClusterOptions { service_maps, settings_map, ..ClusterOptions::default() };
        let (controller, handle) = Controller::of(deltas, settings);
        let (leads, leading) = watch::channel(leads);
        let feed = handle.status_feed();
        let term = Term::default();
        term.set(Some(Instant::now() + Duration::from_secs(1_000_000)));
        let leadership = Leadership::within(leading, term.clone());
        let writer = Writer::new(server.client(), feed, seen, leadership, controllers, "pod-1");
        let refused = writer.refused();
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster::watch(server.client(), options, handle.demand(), outlets));
        let bound = handle.clone();
        let table = Arc::new(Mutex::new(None));
        let published = Arc::clone(&table);
        tasks.spawn(controller.run(move |publication| {
            *published.lock().unwrap() = Some(Arc::clone(&publication.table));
            let ports = publication.table.ports.keys();
            bound.bindings(ports.map(|port| (*port, Ok(()))).collect::<Bindings>());
        }));
        tasks.spawn(writer.run());
        Self { handle, leads, term, refused, table, _tasks: tasks }
    }

    async fn ready(self) -> Self {
        self.handle.ready().wait_for(|ready| *ready).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        self
    }
}

/// The settings of a process that a Service leads to, as in every cluster.
fn in_cluster() -> Settings {
    Settings { direct: false, ..Settings::default() }
}

fn shop(routes: usize) -> ApiServer {
    let server = ApiServer::new();
    server.apply("gatewayclasses", class());
    server.apply("gateways", gateway("public"));
    server.apply("services", service("shop", "web"));
    for number in 0..routes {
        server.apply("httproutes", route(&format!("r{number}"), &format!("/{number}")));
    }
    server
}

fn writes_of(server: &ApiServer, part: &str) -> usize {
    server.status_writes().iter().filter(|write| write.path.contains(part)).count()
}

fn status(server: &ApiServer, plural: &str, namespace: &str, name: &str) -> Value {
    server.get(plural, namespace, name).unwrap()["status"].clone()
}

/// `Accepted=True` of each parent, with its controller.
fn parents(server: &ApiServer, name: &str) -> Vec<String> {
    let status = status(server, "httproutes", "shop", name);
    let parents = status["parents"].as_array().cloned().unwrap_or_default();
    let text = |parent: &Value| {
        let condition = parent["conditions"].as_array().and_then(|c| c.first().cloned()).unwrap_or_default();
        format!(
            "{} {}={}",
            parent["controllerName"].as_str().unwrap_or_default(),
            condition["type"].as_str().unwrap_or_default(),
            condition["status"].as_str().unwrap_or_default()
        )
    };
    parents.iter().map(text).collect()
}

fn foreign_entry(number: usize) -> Value {
    json!({"controllerName": "other.dev/controller", "parentRef": {"name": "theirs"}, "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": number.to_string(),
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_writes_each_status_once_and_the_next_one_none() {
    let server = shop(300);
    for number in 0..100 {
        server.apply("ingresses", ingress(&format!("i{number}"), &format!("{number}.example.com")));
    }
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    for number in 0..300 {
        let name = format!("r{number}");
        assert_eq!(writes_of(&server, &format!("/httproutes/{name}/status")), 1, "{name}");
        assert_eq!(parents(&server, &name), [format!("{OURS} Accepted=True")]);
    }
    assert_eq!(writes_of(&server, "/ingresses/"), 100);
    assert_eq!((writes_of(&server, "/gateways/"), writes_of(&server, "/gatewayclasses/")), (1, 1));
    let gateway = status(&server, "gateways", "infra", "public");
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 300);
    let refused = server.asked("PUT", "/status").iter().filter(|r| r.status != 200).count();
    assert_eq!(refused, 0, "nothing was written on top of something else");
    let (before, _) = (server.status_writes().len(), drop(replica));
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    drop(replica);
    assert_eq!(server.status_writes().len(), before, "a second start");
}

#[tokio::test(start_paused = true)]
async fn a_status_says_which_generation_it_is_of() {
    let server = shop(1);
    let _replica = Replica::start(&server, true).ready().await;
    for generation in 2..5 {
        let edited = server.apply("httproutes", route("r0", &format!("/{generation}")));
        assert_eq!(edited["metadata"]["generation"], generation);
        sleep(Duration::from_secs(1)).await;
        let status = status(&server, "httproutes", "shop", "r0");
        let conditions = status["parents"][0]["conditions"].as_array().unwrap();
        assert!(conditions.iter().all(|c| c["observedGeneration"] == generation), "{status}");
    }
    assert_eq!(writes_of(&server, "/httproutes/r0/"), 4);
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_stays() {
    let server = shop(1);
    server.set_status("httproutes", "shop", "r0", json!({"parents": [foreign_entry(7)]}));
    server.set_status(
        "gateways",
        "infra",
        "public",
        json!({"conditions": [{"type": "Theirs", "status": "True"}], "other": "field"}),
    );
    let _replica = Replica::start(&server, true).ready().await;
    let written = status(&server, "httproutes", "shop", "r0");
    assert_eq!(written["parents"][0], foreign_entry(7));
    assert_eq!(parents(&server, "r0")[1], format!("{OURS} Accepted=True"));
    let gateway = status(&server, "gateways", "infra", "public");
    assert_eq!((&gateway["conditions"][0]["type"], &gateway["other"]), (&json!("Theirs"), &json!("field")));
    // A route that leaves us loses our entry, and no other.
    let mut elsewhere = route("r0", "/");
    elsewhere["spec"]["parentRefs"][0]["group"] = "mesh.example.com".into();
    server.apply("httproutes", elsewhere);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(parents(&server, "r0"), ["other.dev/controller Accepted=True"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_everything_is_read() {
    let server = shop(3);
    drop(Replica::start(&server, true).ready().await);
    let before = server.status_writes().len();
    // The Gateway is not known: to write now would be to take back what is said of its routes.
    server.fault(Fault { method: "GET", path: "/gateways?", times: usize::MAX, answer: Answer::Status(500) });
    let replica = Replica::start(&server, true);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(server.status_writes().len(), before);
    server.heal();
    let replica = replica.ready().await;
    assert_eq!(server.status_writes().len(), before);
    drop(replica);
}

#[tokio::test(start_paused = true)]
async fn an_ingress_that_leaves_our_class_loses_our_address_and_no_other() {
    let server = ApiServer::new();
    let names = ["edited", "taken", "class"];
    for name in names {
        let mut ingress = ingress(name, &format!("{name}.example.com"));
        ingress["spec"]["ingressClassName"] = if name == "class" { "edge" } else { "portcullis" }.into();
        server.apply("ingresses", ingress);
    }
    let class = |controller: &str| json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "edge"}, "spec": {"controller": controller}});
    server.apply("ingressclasses", class("portcullis.dev/ingress-controller"));
    let address = |name: &str| {
        let ingress = server.get("ingresses", "shop", name).unwrap();
        ingress["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
    };
    let _replica = Replica::start(&server, true).ready().await;
    until("addresses", || names.iter().all(|name| address(name).is_some()).then_some(())).await;
    let other = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}});
    for name in ["edited", "taken"] {
        let mut ingress = ingress(name, &format!("{name}.example.com"));
        ingress["spec"]["ingressClassName"] = "other".into();
        server.apply("ingresses", ingress);
        if name == "taken" {
            server.set_status("ingresses", "shop", name, other.clone());
        }
    }
    // Nobody has edited the Ingresses of this class: names may still point to the address.
    server.apply("ingressclasses", class("example.com/other"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(address("edited"), None);
    assert_eq!(address("taken").as_deref(), Some("198.51.100.1"));
    assert_eq!(address("class").as_deref(), Some("192.0.2.1"));
}

#[tokio::test(start_paused = true)]
async fn a_status_leaves_the_metadata_of_its_object_unchanged() {
    let server = ApiServer::new();
    let mut ingress = ingress("web", "web.example.com");
    let metadata = [
        ("annotations", json!({"nginx.ingress.kubernetes.io/auth-type": "basic"})),
        ("labels", json!({"app": "web"})),
        ("finalizers", json!(["example.com/records"])),
        (
            "ownerReferences",
            json!([{"apiVersion": "example.com/v1", "kind": "App", "name": "web", "uid": "1"}]),
        ),
    ];
    for (part, value) in &metadata {
        ingress["metadata"][*part] = value.clone();
    }
    server.apply("ingresses", ingress);
    let _replica = Replica::start(&server, true).ready().await;
    let written = until("an address", || {
        let ingress = server.get("ingresses", "shop", "web").unwrap();
        ingress["status"]["loadBalancer"]["ingress"][0]["ip"].is_string().then_some(ingress)
    });
    let written = written.await;
    for (part, value) in metadata {
        assert_eq!(written["metadata"][part], value, "{part}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_let_go() {
    let server = shop(2);
    server.fault(Fault {
        method: "PUT",
        path: "/httproutes/r0/",
        times: usize::MAX,
        answer: Answer::Status(404),
    });
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(server.asked("PUT", "/httproutes/r0/").len(), 1);
    assert_eq!(writes_of(&server, "/httproutes/r1/"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_counts_its_routes_twice_a_second_at_most() {
    let server = shop(0);
    let _replica = Replica::start(&server, true).ready().await;
    let before = writes_of(&server, "/gateways/");
    for number in 0..100 {
        server.apply("httproutes", route(&format!("r{number}"), "/"));
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let writes = writes_of(&server, "/gateways/") - before;
    assert!((5..=12).contains(&writes), "{writes} writes in five seconds");
    assert_eq!(status(&server, "gateways", "infra", "public")["listeners"][0]["attachedRoutes"], 100);
    assert_eq!(writes_of(&server, "/httproutes/"), 100);
}

#[tokio::test(start_paused = true)]
async fn addresses_outlive_a_restart() {
    let server = shop(1);
    server.apply("ingresses", ingress("old", "old.example.com"));
    drop(Replica::at(&server, true, &["192.0.2.1"]).ready().await);
    let addresses = || {
        let gateway = status(&server, "gateways", "infra", "public")["addresses"].clone();
        (gateway, status(&server, "ingresses", "shop", "old")["loadBalancer"]["ingress"].clone())
    };
    let want = (json!([{"type": "IPAddress", "value": "192.0.2.1"}]), json!([{"ip": "192.0.2.1"}]));
    assert_eq!(addresses(), want);
    // The next one does not know them yet.
    let replica = Replica::at(&server, true, &[]).ready().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(addresses(), want);
    replica.handle.addresses(vec![Address::Ip("192.0.2.2".parse().unwrap())]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(addresses().1, json!([{"ip": "192.0.2.2"}]));
    // Losing the lead clears nothing either.
    replica.leads.send_replace(false);
    replica.handle.addresses(Vec::new());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(addresses().1, json!([{"ip": "192.0.2.2"}]));
}

#[tokio::test(start_paused = true)]
async fn a_class_says_whether_the_crds_are_of_the_release_that_is_served() {
    let server = shop(0);
    let condition = || {
        let status = status(&server, "gatewayclasses", "", "portcullis");
        let found =
            status["conditions"].as_array()?.iter().find(|c| c["type"] == "SupportedVersion").cloned()?;
        Some(format!("{} {}", found["status"].as_str()?, found["reason"].as_str()?))
    };
    server.apply("customresourcedefinitions", definition("gateways", "v1.7.0"));
    let replica = Replica::start(&server, true).ready().await;
    assert_eq!(condition().as_deref(), Some("True SupportedVersion"));
    let features = status(&server, "gatewayclasses", "", "portcullis")["supportedFeatures"].clone();
    assert!(features.as_array().unwrap().contains(&json!({"name": "HTTPRoute"})));
    let of_ports = json!({"name": "HTTPRouteDestinationPortMatching"});
    assert!(!features.as_array().unwrap().contains(&of_ports));
    server.apply("customresourcedefinitions", experimental(definition("httproutes", "v1.7.0")));
    sleep(Duration::from_secs(5)).await;
    let features = status(&server, "gatewayclasses", "", "portcullis")["supportedFeatures"].clone();
    assert!(features.as_array().unwrap().contains(&of_ports));
    assert_eq!(condition().as_deref(), Some("True SupportedVersion"));
    server.apply("customresourcedefinitions", definition("httproutes", "v1.4.0"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(condition().as_deref(), Some("False UnsupportedVersion"));
    drop(replica);
    // Where CRDs may not be seen, nothing is said of them.
    let server = shop(0);
    server.deny("watch", "customresourcedefinitions");
    let _replica = Replica::start(&server, true).ready().await;
    let status = status(&server, "gatewayclasses", "", "portcullis");
    assert_eq!(status["conditions"].as_array().unwrap().len(), 1, "{status}");
}

/// `Warning HTTPRoute r0 BackendNotFound`.
fn events(server: &ApiServer) -> Vec<String> {
    let text = |event: &Value| {
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let regarding = &event["regarding"];
        let is_known = !part(&regarding["uid"]).is_empty();
        assert!(is_known || regarding["kind"] == "Service", "a Service may not exist: {event}");
        let names = (part(&regarding["kind"]), part(&regarding["name"]));
        format!("{} {} {} {}", part(&event["type"]), names.0, names.1, part(&event["reason"]))
    };
    server.all("events").iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn the_shared_statuses_are_those_of_the_admin_port() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    let report = replica.handle.report();
    let route = report["objects"].as_array().unwrap().iter().find(|o| o["kind"] == "HTTPRoute").unwrap();
    let written = status(&server, "httproutes", "shop", "r0");
    assert_eq!(route["status"]["parents"][0]["parentRef"], written["parents"][0]["parentRef"]);
    assert_eq!(Arc::strong_count(&replica.handle.statuses().borrow()), 1, "nobody keeps a copy");
}
