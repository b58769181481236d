//! Gateways with addresses of their own, from the objects of an API server to Services and EndpointSlices in it.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

#[path = "../api_server/mod.rs"]
mod api_server;
mod record;
mod releases;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use api_server::{Answer, ApiServer, Fault, Log, Request, until};
use portcullis_controller::{
    Bindings, Controller, Handle, Publication, Settings,
    cluster::{DedicatedLinks, DedicatedOptions, dedicated::provide},
    ir::{Kind, ObjectKey},
    objects,
    snapshot::Change,
    source::{Delta, Extent},
    status::{Condition, ConditionType, GatewayStatus},
    translate::{DedicatedPorts, PortRange},
};
use portcullis_routing::PortKey;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// A release of ours: the names of its controller and of its GatewayClass. Its own objects are in a namespace with its
/// name.
struct Release {
    name: &'static str,
    controller: &'static str,
    class: &'static str,
}

const PORTCULLIS: Release =
    Release { name: "portcullis", controller: "portcullis.dev/gateway-controller", class: "dedicated" };

/// What runs in one pod. What is published counts as bound.
struct Replica {
    leads: watch::Sender<bool>,
    handle: Handle,
    table: watch::Receiver<Option<Publication>>,
    /// Ports that cannot be bound.
    refuses: Arc<Mutex<BTreeSet<u16>>>,
    _tasks: JoinSet<()>,
}

impl Replica {
    fn start(server: &Arc<ApiServer>, identity: &str, leads: bool) -> Self {
        Self::of(&PORTCULLIS, server, identity, leads)
    }

    fn of(release: &Release, server: &Arc<ApiServer>, identity: &str, leads: bool) -> Self {
        let mut tasks = JoinSet::new();
        let range: PortRange = "20000-20009".parse().unwrap();
        let settings = Settings {
            dedicated: DedicatedPorts::Of(range),
            gateway_controller: release.controller.into(),
            ..Settings::default()
        };
        let (deltas, received) = mpsc::channel(64);
        let (controller, handle) = Controller::of(received, settings);
        let (table, published) = watch::channel(None);
        let (bind, refuses) = (handle.clone(), Arc::<Mutex<BTreeSet<u16>>>::default());
        let (bindings, are_bound) = watch::channel(Arc::default());
        let refused = Arc::clone(&refuses);
        tasks.spawn(controller.run(move |publication| {
            let now = bound(&publication, &refused.lock().unwrap());
            bind.bindings(now.clone());
            bindings.send_replace(Arc::new(now));
            table.send_replace(Some(publication));
        }));
        tasks.spawn(read(Arc::clone(server), deltas));
        let leads = watch::Sender::new(leads);
        let links = DedicatedLinks {
            desired: handle.desired_services(),
            leadership: leads.subscribe().into(),
            bindings: are_bound,
            provisioning_errors: handle.provisioning_errors(),
            allocation: handle.allocation(),
        };
        tasks.spawn(provide(server.client(), options_of(release, identity, range), links));
        Self { leads, handle, table: published, refuses, _tasks: tasks }
    }

    fn status(&self, gateway: &str) -> Option<GatewayStatus> {
        let key = ObjectKey::new(Kind::Gateway, "infra", gateway);
        self.handle.statuses().borrow().get(&key)?.status.of_gateway().cloned()
    }

    fn programmed(&self, gateway: &str) -> Option<Condition> {
        let conditions = self.status(gateway)?.conditions;
        conditions.into_iter().find(|condition| condition.kind == ConditionType::Programmed)
    }

    /// The ports that are bound, each with the number that its listeners have.
    fn ports(&self) -> Vec<(u16, u16)> {
        let publication = self.table.borrow();
        let ports = publication.iter().flat_map(|publication| &publication.table.ports);
        ports.map(|(bound, port)| (bound.number, port.number)).collect()
    }
}

fn bound(publication: &Publication, refused: &BTreeSet<u16>) -> Bindings {
    let bind =
        |port: &PortKey| if refused.contains(&port.number) { Err("in use".to_owned()) } else { Ok(()) };
    publication.table.ports.keys().map(|port| (*port, bind(port))).collect()
}

/// The names of all that the tests make, as a source that looks again and again would find them.
const GATEWAYS: [&str; 3] = ["one", "two", "two.with.dots"];

async fn read(server: Arc<ApiServer>, deltas: mpsc::Sender<Delta>) {
    let mut known = BTreeMap::new();
    let mut extent = Extent::Complete;
    loop {
        let mut changes = Vec::new();
        for (plural, api_version, key) in places() {
            let object = server.get(plural, &key.namespace, &key.name).and_then(|mut object| {
                (object["apiVersion"], object["kind"]) = (api_version.into(), key.kind.as_str().into());
                objects::decode_live(object).object
            });
            let version = object.as_ref().map(|object| object.meta().version);
            if known.insert(key.clone(), version).flatten() != version {
                changes.push(object.map_or(Change::Delete(key), Change::Apply));
            }
        }
        let delta = Delta { changes, extent: std::mem::take(&mut extent), ..Delta::default() };
        if !delta.is_empty() && deltas.send(delta).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn places() -> Vec<(&'static str, &'static str, ObjectKey)> {
    let gateway_api = "gateway.networking.k8s.io/v1";
    let parameters = ObjectKey::new(Kind::GatewayParameters, "portcullis", "dedicated");
    let mut places = vec![("gatewayparameters", "portcullis.dev/v1alpha1", parameters)];
    for release in [PORTCULLIS, releases::INTERNAL] {
        places.push(("gatewayclasses", gateway_api, ObjectKey::new(Kind::GatewayClass, "", release.class)));
    }
    for gateway in GATEWAYS {
        places.push(("gateways", gateway_api, ObjectKey::new(Kind::Gateway, "infra", gateway)));
        places.push(("services", "v1", ObjectKey::new(Kind::Service, "infra", &service_of(gateway))));
    }
    places
}

fn options_of(release: &Release, identity: &str, range: PortRange) -> DedicatedOptions {
    let name = release.name.to_owned();
    DedicatedOptions {
        namespaces: Vec::new(),
        own_service: Some((name.clone(), name.clone())),
        range,
        record: (name.clone(), format!("{name}-ports")),
        reports: (name.clone(), format!("{name}-bound-ports")),
        identity: identity.to_owned(),
        controller: release.controller.into(),
        field_manager: name,
    }
}

/// Class, parameters, and the endpoints that we are.
async fn cluster() -> Arc<ApiServer> {
    let server = Arc::new(ApiServer::new());
    class(&server, &PORTCULLIS);
    parameters(&server, "Dedicated");
    pods(&server, &[("a", "10.244.0.7")]);
    server
}

fn class(server: &ApiServer, release: &Release) {
    server.apply(
        "gatewayclasses",
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": release.class},
            "spec": {
                "controllerName": release.controller,
                "parametersRef": {
                    "group": "portcullis.dev", "kind": "GatewayParameters", "name": "dedicated", "namespace": "portcullis"},
            },
        }),
    );
}

fn parameters(server: &ApiServer, addressing: &str) {
    server.apply(
        "gatewayparameters",
        json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "GatewayParameters",
            "metadata": {"name": "dedicated", "namespace": "portcullis"}, "spec": {"addressing": addressing},
        }),
    );
}

/// The pods that we are: names and addresses.
fn pods(server: &ApiServer, pods: &[(&str, &str)]) {
    pods_of(server, &PORTCULLIS, pods);
}

fn pods_of(server: &ApiServer, release: &Release, pods: &[(&str, &str)]) {
    let name = release.name;
    let endpoints = pods.iter().map(|(pod, address)| {
        json!({
            "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": release.name, "name": pod},
        })
    });
    server.apply(
        "endpointslices",
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-1"), "namespace": name, "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints.collect::<Vec<_>>(),
        }),
    );
}

fn gateway(server: &ApiServer, name: &str, ports: &[u16]) {
    gateway_of(server, &PORTCULLIS, name, ports);
}

fn gateway_of(server: &ApiServer, release: &Release, name: &str, ports: &[u16]) {
    let listeners =
        ports.iter().map(|port| json!({"name": format!("l{port}"), "port": port, "protocol": "HTTP"}));
    server.apply(
        "gateways",
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": name, "namespace": "infra"},
            "spec": {"gatewayClassName": release.class, "listeners": listeners.collect::<Vec<_>>()},
        }),
    );
}

fn service_of(gateway: &str) -> String {
    portcullis_controller::translate::service_name(gateway)
}

/// `80->20000` for each port of a Gateway's Service.
fn ports_of(server: &ApiServer, gateway: &str) -> Option<Vec<String>> {
    let service = server.get("services", "infra", &service_of(gateway))?;
    let ports = service["spec"]["ports"].as_array()?.iter();
    Some(ports.map(|port| format!("{}->{}", port["port"], port["targetPort"])).collect())
}

/// Where a Gateway's slice of a port leads: `20000 at 10.244.0.7`.
fn slice_of(server: &ApiServer, gateway: &str, port: u16) -> Option<String> {
    let slice = server.get("endpointslices", "infra", &format!("{}-{port}-ipv4", service_of(gateway)))?;
    let endpoints = slice["endpoints"].as_array()?.iter();
    let addresses: Vec<_> = endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str()).collect();
    Some(format!("{} at {}", slice["ports"][0]["port"], addresses.join(" ")))
}

/// Those of what is made for Gateways.
fn writes(server: &ApiServer) -> Vec<Request> {
    let is_write = |request: &Request| {
        matches!(&*request.method, "PATCH" | "DELETE") && !request.path.contains("/configmaps")
    };
    server.requests().into_iter().filter(is_write).collect()
}

/// The record, by the names of Gateways: `one 80 20000`.
fn record(server: &ApiServer) -> Vec<String> {
    record_of(server, &PORTCULLIS)
}

fn record_of(server: &ApiServer, release: &Release) -> Vec<String> {
    let name = release.name;
    let Some(record) = server.get("configmaps", name, &format!("{name}-ports")) else { return Vec::new() };
    let mut text = record["data"]["ports"].as_str().unwrap_or_default().to_owned();
    for name in GATEWAYS {
        let gateway = server.get("gateways", "infra", name);
        let uid = gateway.as_ref().and_then(|gateway| gateway["metadata"]["uid"].as_str());
        text = uid.map_or(text.clone(), |uid| text.replace(uid, name));
    }
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_gateway_gets_a_service_and_slices_and_its_address() {
    let server = cluster().await;
    let replica = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80]);
    until("a Service for the first one", || ports_of(&server, "one").filter(|ports| *ports == ["80->20000"]))
        .await;
    gateway(&server, "two.with.dots", &[80, 443]);
    until("a Service for the second one", || {
        ports_of(&server, "two.with.dots").filter(|ports| *ports == ["80->20001", "443->20002"])
    })
    .await;
    until("slices for both", || {
        let have = [("one", 80), ("two.with.dots", 80), ("two.with.dots", 443)];
        let have: Option<Vec<_>> = have.iter().map(|(name, port)| slice_of(&server, name, *port)).collect();
        (have? == ["20000 at 10.244.0.7", "20001 at 10.244.0.7", "20002 at 10.244.0.7"]).then_some(())
    })
    .await;
    until("both in the table", || {
        (replica.ports() == [(20000, 80), (20001, 80), (20002, 443)]).then_some(())
    })
    .await;
    until("the address is waited for", || {
        replica.programmed("one").filter(|condition| condition.reason == "AddressNotAssigned")
    })
    .await;
    let address = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}});
    server.set_status("services", "infra", &service_of("one"), address);
    until("its address", || {
        let addresses = replica.status("one")?.addresses;
        let has = addresses.iter().map(|address| &*address.value).eq(["203.0.113.5"]);
        (has && replica.programmed("one")?.is_true()).then_some(())
    })
    .await;
    let ours = server.get("services", "infra", &service_of("one")).unwrap();
    let gateway = server.get("gateways", "infra", "one").unwrap();
    assert_eq!(ours["metadata"]["ownerReferences"][0]["uid"], gateway["metadata"]["uid"]);
    assert_eq!(ours["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"], "one");
    // Two Services and three slices, each once.
    assert_eq!(writes(&server).len(), 5, "{:?}", writes(&server));
}

#[tokio::test]
async fn slices_follow_pods_and_what_was_made_goes_with_the_mode() {
    let server = cluster().await;
    let replica = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80]);
    until("a slice", || slice_of(&server, "one", 80)).await;
    let _second = Replica::start(&server, "b", false);
    pods(&server, &[("a", "10.244.0.7"), ("b", "10.244.1.3")]);
    until("another pod", || {
        slice_of(&server, "one", 80).filter(|slice| slice == "20000 at 10.244.0.7 10.244.1.3")
    })
    .await;
    // Without its parameters a Gateway is not accepted, and keeps what it has.
    server.delete("gatewayparameters", "portcullis", "dedicated");
    until("not accepted", || replica.programmed("one").filter(|condition| condition.reason == "Invalid"))
        .await;
    assert_eq!(ports_of(&server, "one").unwrap(), ["80->20000"]);
    parameters(&server, "Shared");
    until("nothing of its own any more", || {
        (ports_of(&server, "one").is_none() && slice_of(&server, "one", 80).is_none()).then_some(())
    })
    .await;
    until("its port is given up", || record(&server).is_empty().then_some(())).await;
    let given_up = server.get("configmaps", "portcullis", "portcullis-ports").unwrap();
    assert!(given_up["data"]["released"].as_str().unwrap().starts_with("20000 "), "{given_up}");
}

#[tokio::test]
async fn another_replica_takes_what_there_is_and_steps_in_for_endpoints() {
    let server = cluster().await;
    let first = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80]);
    until("a slice", || slice_of(&server, "one", 80)).await;
    let second = Replica::start(&server, "b", false);
    until("its report", || {
        let reports = server.get("configmaps", "portcullis", "portcullis-bound-ports")?;
        (reports["data"]["b"] == "20000").then_some(())
    })
    .await;
    until("the same port in both", || {
        (first.ports() == [(20000, 80)] && second.ports() == first.ports()).then_some(())
    })
    .await;
    let made = writes(&server).len();
    // The leader is gone, and nobody leads yet: a Service has to wait, endpoints have not.
    drop(first);
    gateway(&server, "two", &[80]);
    pods(&server, &[("b", "10.244.1.3")]);
    until("the slice without the pod that is gone", || {
        slice_of(&server, "one", 80).filter(|slice| slice == "20000 at 10.244.1.3")
    })
    .await;
    assert_eq!(ports_of(&server, "two"), None);
    assert_eq!(writes(&server).len(), made + 1, "{:?}", writes(&server));
    second.leads.send_replace(true);
    until("the second Gateway's", || ports_of(&server, "two").filter(|ports| *ports == ["80->20001"])).await;
    assert_eq!(ports_of(&server, "one").unwrap(), ["80->20000"]);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_and_tried_again() {
    let server = cluster().await;
    let service = Fault { method: "PATCH", path: "/services/", times: 2, answer: Answer::Status(403) };
    server.fault(service);
    let replica = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80]);
    until("the reason", || {
        let condition = replica.programmed("one")?;
        let is_told = condition.message.contains("cannot be created: asked for by the test");
        (condition.reason == "Pending" && is_told).then_some(())
    })
    .await;
    until("a Service all the same", || ports_of(&server, "one")).await;
    let refused = writes(&server).into_iter().filter(|request| request.status == 403).count();
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn somebody_elses_service_is_left_alone() {
    let server = cluster().await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service_of("one"), "namespace": "infra"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 20000}]},
    });
    server.apply("services", theirs);
    let replica = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80]);
    gateway(&server, "two", &[80]);
    until("a Service for the other one", || ports_of(&server, "two")).await;
    until("the reason", || {
        replica
            .programmed("one")?
            .message
            .contains("exists and does not belong to this Gateway")
            .then_some(())
    })
    .await;
    let theirs = server.get("services", "infra", &service_of("one")).unwrap();
    assert!(theirs["metadata"].get("ownerReferences").is_none(), "{theirs}");
    until("one in the table", || (replica.ports().len() == 1).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(writes(&server).iter().all(|request| !request.path.contains(&service_of("one"))));
}

#[tokio::test]
async fn a_pod_that_cannot_bind_a_port_is_no_endpoint_of_it() {
    let server = cluster().await;
    let _leader = Replica::start(&server, "a", true);
    let other = Replica::start(&server, "b", false);
    other.refuses.lock().unwrap().insert(20001);
    pods(&server, &[("a", "10.244.0.7"), ("b", "10.244.1.3")]);
    gateway(&server, "one", &[80, 443]);
    until("both pods at one port", || {
        slice_of(&server, "one", 80).filter(|slice| slice == "20000 at 10.244.0.7 10.244.1.3")
    })
    .await;
    until("one of them at the other", || {
        slice_of(&server, "one", 443).filter(|slice| slice == "20001 at 10.244.0.7")
    })
    .await;
}
