//! What is written to a cluster: by whom, how often, and what of it is left alone. In paused time.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

mod api_server;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_controller::{
    Bindings, Controller, Handle, Settings, Topic,
    cluster::{
        Leadership, Term,
        statuses::{ControllerNames, RefusedStatuses, Writer},
    },
    ir::Kind,
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
        let settings = Settings { addresses, ..Settings::default() };
        let controllers = ControllerNames {
            field_manager: "portcullis".into(),
            gateway: settings.gateway_controller.clone(),
            ingress: settings.ingress_controller.clone(),
        };
        let (to_deltas, deltas) = mpsc::channel(64);
        let (to_seen, seen) = mpsc::channel(1024);
        let outlets =
            Outlets { deltas: to_deltas, seen: to_seen, progress: watch::Sender::new(Progress::default()) };
        let (controller, handle) = Controller::of(deltas, settings);
        let (leads, leading) = watch::channel(leads);
        let feed = handle.status_feed();
        let term = Term::default();
        term.set(Some(Instant::now() + Duration::from_secs(1_000_000)));
        let leadership = Leadership::within(leading, term.clone());
        let writer = Writer::new(server.client(), feed, seen, leadership, controllers, "pod-1");
        let refused = writer.refused();
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster::watch(server.client(), ClusterOptions::default(), outlets));
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
async fn only_the_leader_writes() {
    let server = shop(3);
    let replica = Replica::start(&server, false).ready().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.asked("PUT", "").len() + server.asked("POST", "").len(), 0);
    replica.leads.send_replace(true);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(writes_of(&server, "/httproutes/"), 3);
    replica.leads.send_replace(false);
    sleep(Duration::from_secs(1)).await;
    let before = server.asked("PUT", "").len();
    server.apply("httproutes", route("r0", "/other"));
    server.apply("httproutes", route("new", "/new"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.asked("PUT", "").len(), before);
    // Whoever leads next looks at everything once.
    replica.leads.send_replace(true);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((writes_of(&server, "/httproutes/r0/"), writes_of(&server, "/httproutes/new/")), (2, 1));
    assert_eq!(writes_of(&server, "/httproutes/r1/"), 1);
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
async fn whose_time_is_over_begins_no_write_before_it_is_told() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    let writes = || server.asked("PUT", "/status").len();
    let before = writes();
    // As after a freeze: nobody has said yet that another one leads.
    replica.term.set(Some(Instant::now()));
    server.apply("httproutes", route("late", "/late"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(writes(), before);
    // A renewal that was only late is told to nobody either.
    replica.term.set(Some(Instant::now() + Duration::from_secs(60)));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(parents(&server, "late"), [format!("{OURS} Accepted=True")]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_none_any_more_gives_up_what_it_waits_for() {
    let server = shop(3);
    server.fault(Fault { method: "PUT", path: "/status", times: usize::MAX, answer: Answer::Status(500) });
    let replica = Replica::start(&server, true).ready().await;
    until("a write that fails", || (!server.asked("PUT", "/status").is_empty()).then_some(())).await;
    replica.leads.send_replace(false);
    sleep(Duration::from_millis(1)).await;
    server.heal();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(server.status_writes().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_on_its_way_ends_with_the_lead() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    let before = server.status_writes().len();
    server.fault(Fault { method: "PUT", path: "/status", times: usize::MAX, answer: Answer::Late });
    server.apply("httproutes", route("r0", "/other"));
    sleep(Duration::from_secs(1)).await;
    replica.leads.send_replace(false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.status_writes().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_waits_for_what_the_other_one_wrote() {
    let server = shop(1);
    let _replica = Replica::start(&server, true).ready().await;
    // Somebody writes, and the watch does not say so; then there is something else to say.
    server.stall_watches("httproutes");
    let mut now = status(&server, "httproutes", "shop", "r0");
    now["parents"].as_array_mut().unwrap().insert(0, foreign_entry(1));
    server.set_status("httproutes", "shop", "r0", now);
    let before = server.asked("PUT", "/httproutes/r0/").len();
    server.delete("services", "shop", "web");
    sleep(Duration::from_secs(1)).await;
    let tries = server.asked("PUT", "/httproutes/r0/");
    assert_eq!((tries.len(), tries.last().unwrap().status), (before + 1, 409));
    sleep(Duration::from_secs(300)).await;
    let tries = server.asked("PUT", "/httproutes/r0/");
    assert_eq!(tries.last().unwrap().status, 200);
    assert!(tries.len() <= before + 8, "{} tries before the other write was seen", tries.len() - before);
    assert_eq!(parents(&server, "r0").len(), 2, "nothing is lost");
    let written = status(&server, "httproutes", "shop", "r0");
    assert_eq!(written["parents"][0], foreign_entry(1));
    assert_eq!(written["parents"][1]["conditions"][1]["reason"], "BackendNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_in_case_it_is_never_seen() {
    let server = shop(1);
    let _replica = Replica::start(&server, true).ready().await;
    server.fault(Fault { method: "PUT", path: "/httproutes/r0/", times: 5, answer: Answer::Status(409) });
    let before = server.asked("PUT", "/httproutes/r0/").len();
    server.apply("httproutes", route("r0", "/other"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.asked("PUT", "/httproutes/r0/").len(), before + 1, "not at once");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(server.asked("PUT", "/httproutes/r0/").len(), before + 6);
    assert_eq!(
        status(&server, "httproutes", "shop", "r0")["parents"][0]["conditions"][0]["observedGeneration"],
        2
    );
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
async fn an_api_server_that_refuses_is_not_hammered() {
    for answer in [Answer::Status(500), Answer::TooMany, Answer::Cut, Answer::Stall] {
        let (server, log) = (shop(300), Log::begin());
        server.fault(Fault { method: "PUT", path: "/status", times: usize::MAX, answer });
        let _replica = Replica::start(&server, true).ready().await;
        sleep(Duration::from_secs(300)).await;
        let tries = server.asked("PUT", "/status").len();
        assert!(tries < 1200, "{tries} tries in five minutes, {answer:?}");
        assert_eq!(log.lines(&["WARN", "statuses cannot be written"]).len(), 1, "{answer:?}");
        server.heal();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(log.lines(&["statuses can be written again"]).len(), 1, "{answer:?}");
        assert_eq!(writes_of(&server, "/httproutes/"), 300, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_repeated() {
    let server = shop(1);
    server.fault(Fault { method: "PUT", path: "/httproutes/", times: 1, answer: Answer::CutAfter });
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(parents(&server, "r0").len(), 1);
    assert_eq!(server.asked("PUT", "/httproutes/").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kind_whose_status_may_not_be_written_does_not_hold_up_the_others() {
    let (server, log) = (shop(100), Log::begin());
    server.apply("ingresses", ingress("old", "old.example.com"));
    server.deny("update", "httproutes/status");
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!((writes_of(&server, "/gateways/"), writes_of(&server, "/ingresses/")), (1, 1));
    assert_eq!(server.asked("PUT", "/httproutes/").len(), 100, "each once");
    assert_eq!(log.lines(&["WARN", "may not be written", "HTTPRoute"]).len(), 1);
    server.allow("update", "httproutes/status");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(writes_of(&server, "/httproutes/"), 100);
}

#[tokio::test(start_paused = true)]
async fn another_controller_on_the_same_objects_is_no_opponent() {
    let server = shop(10);
    let _replica = Replica::start(&server, true).ready().await;
    let before = server.status_writes().len();
    for round in 0..300 {
        for number in 0..10 {
            let name = format!("r{number}");
            let mut now = status(&server, "httproutes", "shop", &name);
            let entries = now["parents"].as_array_mut().unwrap();
            entries.retain(|entry| entry["controllerName"] == OURS);
            entries.insert(0, foreign_entry(round));
            server.set_status("httproutes", "shop", &name, now);
        }
        sleep(Duration::from_millis(200)).await;
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(server.status_writes().len(), before, "what is ours was never another");
    for number in 0..10 {
        let status = status(&server, "httproutes", "shop", &format!("r{number}"));
        assert!(status["parents"].as_array().unwrap().contains(&foreign_entry(299)));
        assert_eq!(parents(&server, &format!("r{number}")).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_our_entries_away_is_not_fought_with() {
    let (server, log) = (shop(2), Log::begin());
    let _replica = Replica::start(&server, true).ready().await;
    let before = writes_of(&server, "/httproutes/r0/");
    for round in 0..300 {
        server.set_status("httproutes", "shop", "r0", json!({"parents": [foreign_entry(round)]}));
        sleep(Duration::from_millis(200)).await;
    }
    let rounds = writes_of(&server, "/httproutes/r0/") - before;
    assert!((2..12).contains(&rounds), "{rounds} writes in 300 rounds");
    assert_eq!(log.lines(&["WARN", "HTTPRoute shop/r0", "somebody else changes"]).len(), 1);
    // A change of the object is answered all the same, and the last word is ours.
    sleep(Duration::from_secs(120)).await;
    assert_eq!(parents(&server, "r0").len(), 2);
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

/// A route with a message about each of its backends, none of which exists.
fn lost_route(name: &str) -> Value {
    let mut lost = route(name, "/");
    let backend = |number: usize| json!({"group": "", "kind": "Service", "name": format!("gone-{number}-{}", "x".repeat(40)), "port": 80, "weight": 1});
    lost["spec"]["rules"][0]["backendRefs"] = (0..16).map(backend).collect();
    lost
}

fn longest_message(status: &Value) -> usize {
    let conditions = status["parents"][0]["conditions"].as_array().unwrap();
    conditions.iter().map(|condition| condition["message"].as_str().unwrap().len()).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_is_tried_once_more_with_shortened_messages() {
    let server = shop(0);
    server.apply("httproutes", lost_route("r0"));
    server.fault(Fault { method: "PUT", path: "/httproutes/r0/", times: 1, answer: Answer::Status(422) });
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(600)).await;
    let tries = server.asked("PUT", "/httproutes/r0/");
    let lengths: Vec<_> = tries.iter().map(|tried| longest_message(&tried.body["status"])).collect();
    assert_eq!(lengths.len(), 2, "{lengths:?}");
    assert!(lengths[0] > 400 && lengths[1] < 240, "{lengths:?}");
    assert_eq!((tries[0].status, tries[1].status), (422, 200));
    assert_eq!(replica.refused.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_for_good_is_given_up_and_counted() {
    let (server, log) = (shop(1), Log::begin());
    server.apply("httproutes", lost_route("lost"));
    server.fault(Fault {
        method: "PUT",
        path: "/httproutes/lost/",
        times: usize::MAX,
        answer: Answer::Status(422),
    });
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(600)).await;
    let tries = || server.asked("PUT", "/httproutes/lost/").len();
    assert_eq!((tries(), replica.refused.count()), (2, 1));
    assert_eq!(log.lines(&["WARN", "HTTPRoute shop/lost", "given up"]).len(), 1);
    assert_eq!(writes_of(&server, "/httproutes/r0/"), 1, "others are written");
    // It is tried again when something changes.
    server.apply("httproutes", route("lost", "/"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(tries(), 4);
    server.heal();
    server.apply("httproutes", route("lost", "/other"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!((tries(), replica.refused.count()), (5, 0));
}

/// `Warning HTTPRoute r0 BackendNotFound`.
fn events(server: &ApiServer) -> Vec<String> {
    let text = |event: &Value| {
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let regarding = &event["regarding"];
        assert!(!part(&regarding["uid"]).is_empty(), "{event}");
        let names = (part(&regarding["kind"]), part(&regarding["name"]));
        format!("{} {} {} {}", part(&event["type"]), names.0, names.1, part(&event["reason"]))
    };
    server.all("events").iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn events_tell_what_changes_and_only_then() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    assert_eq!(events(&server), [""; 0], "all is well from the beginning");
    server.delete("services", "shop", "web");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events(&server), ["Warning HTTPRoute r0 BackendNotFound"]);
    drop(replica);
    let _replica = Replica::start(&server, true).ready().await;
    assert_eq!(events(&server).len(), 1, "a restart changes nothing");
    server.apply("services", service("shop", "web"));
    sleep(Duration::from_secs(5)).await;
    let mut now = events(&server);
    now.sort();
    assert_eq!(now, ["Normal HTTPRoute r0 ResolvedRefs", "Warning HTTPRoute r0 BackendNotFound"]);
}

#[tokio::test(start_paused = true)]
async fn an_ingress_has_events_too() {
    let server = shop(1);
    server.apply("ingresses", ingress("first", "a.example.com"));
    let replica = Replica::start(&server, true).ready().await;
    let mut second = ingress("second", "a.example.com");
    second["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    server.apply("ingresses", second);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events(&server), ["Warning Ingress second NotServed"]);
    let note = server.all("events")[0]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("shop/first"), "{note}");
    drop(replica);
    let before = events(&server).len();
    let _replica = Replica::start(&server, false).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events(&server).len(), before, "whoever does not lead tells nothing");
}

/// The table, and everything that is said of objects.
fn outcome(replica: &Replica) -> (String, String) {
    let table = replica.table.lock().unwrap().as_ref().map(ToString::to_string);
    (table.unwrap_or_default(), format!("{:#}", replica.handle.report()["objects"]))
}

#[tokio::test(start_paused = true)]
async fn refused_objects_are_served_and_told_alike_by_a_replica_that_saw_them_before_and_by_a_new_one() {
    let server = shop(3);
    server.apply("services", service("shop", "other"));
    server.apply("ingresses", ingress("web", "a.example.com"));
    let mut second = gateway("second");
    second["spec"]["listeners"][0]["port"] = json!(8080);
    server.apply("gateways", second.clone());
    let mut theirs = route("theirs", "/theirs");
    theirs["spec"]["parentRefs"][0]["name"] = "theirs".into();
    let mut their_gateway = gateway("theirs");
    their_gateway["spec"]["gatewayClassName"] = "theirs".into();
    let mut their_class = class();
    their_class["metadata"]["name"] = "theirs".into();
    their_class["spec"]["controllerName"] = "example.com/theirs".into();
    server.apply("gatewayclasses", their_class);
    server.apply("gateways", their_gateway.clone());
    server.apply("httproutes", theirs.clone());
    let before = Replica::start(&server, true).ready().await;
    let good = outcome(&before).0;
    assert!(good.contains("/0") && good.contains("a.example.com"), "{good}");

    // Each is edited into something that cannot be read.
    let refuse = |plural: &str, mut object: Value, field: &str| {
        object["spec"][field] = json!(7);
        server.apply(plural, object);
    };
    refuse("httproutes", route("r0", "/0"), "rules");
    refuse("ingresses", ingress("web", "a.example.com"), "rules");
    refuse("gateways", second, "listeners");
    refuse("services", service("shop", "other"), "ports");
    refuse("httproutes", theirs, "rules");
    refuse("gateways", their_gateway, "listeners");
    sleep(Duration::from_secs(5)).await;
    let (table, said) = outcome(&before);
    assert!(!table.contains("prefix /0") && table.contains("prefix /1"), "{table}");
    assert!(!table.contains("a.example.com"), "{table}");
    let accepted = |status: &Value| {
        format!("{} {}", status["conditions"][0]["status"], status["conditions"][0]["reason"])
    };
    let unsupported = r#""False" "UnsupportedValue""#;
    assert_eq!(accepted(&status(&server, "httproutes", "shop", "r0")["parents"][0]), unsupported);
    assert_eq!(accepted(&status(&server, "gateways", "infra", "second")), unsupported);
    let conditions = &status(&server, "httproutes", "shop", "r0")["parents"][0]["conditions"];
    assert_eq!(
        (&conditions[1]["type"], &conditions[1]["status"]),
        (&json!("ResolvedRefs"), &json!("Unknown"))
    );
    assert_eq!(conditions[1]["observedGeneration"], 2, "{conditions}");
    for (plural, namespace, name) in [("httproutes", "shop", "theirs"), ("gateways", "infra", "theirs")] {
        assert_eq!(status(&server, plural, namespace, name), Value::Null, "{plural}");
    }
    let mut told = events(&server);
    told.sort();
    let want = [
        "Warning Gateway second Invalid",
        "Warning Gateway second UnsupportedValue",
        "Warning HTTPRoute r0 UnsupportedValue",
        "Warning Ingress web NotServed",
    ];
    assert_eq!(told, want, "once, and of our own objects alone");

    // One that never saw them in a better state serves and says the same, and has nothing to write.
    let writes = server.status_writes().len();
    let follower = Replica::start(&server, false).ready().await;
    assert_eq!(outcome(&follower), (table.clone(), said.clone()));
    drop((before, follower));
    let after = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(outcome(&after), (table, said));
    assert_eq!((server.status_writes().len(), events(&server).len()), (writes, want.len()));

    server.apply("httproutes", route("r0", "/0"));
    sleep(Duration::from_secs(5)).await;
    assert!(outcome(&after).0.contains("prefix /0"));
    assert_eq!(parents(&server, "r0"), [format!("{OURS} Accepted=True")]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_refused_at_a_start_is_told_of() {
    let server = shop(0);
    let mut bad = route("bad", "/");
    bad["spec"]["rules"] = json!(7);
    server.apply("httproutes", bad.clone());
    let mut bad_ingress = ingress("bad", "a.example.com");
    bad_ingress["spec"]["rules"] = json!(7);
    server.apply("ingresses", bad_ingress);
    for _ in 0..2 {
        let _replica = Replica::start(&server, true).ready().await;
        sleep(Duration::from_secs(5)).await;
        let mut told = events(&server);
        told.sort();
        assert_eq!(told, ["Warning HTTPRoute bad UnsupportedValue", "Warning Ingress bad NotServed"]);
    }
    let status = status(&server, "httproutes", "shop", "bad");
    let condition = &status["parents"][0]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["observedGeneration"]),
        (&json!("UnsupportedValue"), &json!(1))
    );
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("spec.rules: has the wrong type"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_is_remarked_about_accepted_objects_is_told_once() {
    let server = shop(0);
    let mut closed = ingress("closed", "a.example.com");
    closed["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/auth-url": "http://auth"});
    let mut theirs = ingress("theirs", "b.example.com");
    theirs["metadata"]["annotations"] = closed["metadata"]["annotations"].clone();
    theirs["spec"]["ingressClassName"] = "nginx".into();
    let mut marked = gateway("public");
    marked["metadata"]["annotations"] = json!({"portcullis.dev/no-such": ""});
    let mut odd = route("odd", "/");
    odd["spec"]["rules"][0]["sessionPersistence"] = json!({"sessionName": "s"});
    for (plural, object) in
        [("ingresses", &closed), ("ingresses", &theirs), ("gateways", &marked), ("httproutes", &odd)]
    {
        server.apply(plural, object.clone());
    }
    let told = [
        "Warning Gateway public NoEffect",
        "Warning HTTPRoute odd NoEffect",
        "Warning Ingress closed NotServed",
    ];
    let sorted = || {
        let mut events = events(&server);
        events.sort();
        events
    };
    // Whoever becomes the leader tells what was there before, the next one nothing that was told.
    for _ in 0..3 {
        let replica = Replica::start(&server, false).ready().await;
        replica.leads.send_replace(true);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(sorted(), told);
        server.end_watches();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(sorted(), told);
    }
    let note = server.all("events").iter().map(|event| event["note"].to_string()).collect::<String>();
    assert!(note.contains("its paths are closed (503)") && note.contains("auth-url"), "{note}");

    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(5)).await;
    let report = replica.handle.report();
    let objects = report["objects"].as_array().unwrap();
    let messages = &objects.iter().find(|o| o["metadata"]["name"] == "closed").unwrap()["messages"];
    let levels: Vec<_> = messages.as_array().unwrap().iter().map(|message| &message["level"]).collect();
    assert_eq!(levels, ["refused", "warning"], "{messages}");
    let counted: Vec<_> =
        replica.handle.remarks().into_iter().map(|((kind, topic), n)| (kind, topic, n)).collect();
    let want = [
        (Kind::Gateway, Topic::UnknownAnnotation, 1),
        (Kind::HttpRoute, Topic::NotServed, 1),
        (Kind::Ingress, Topic::Protection("auth-url"), 1),
        (Kind::Ingress, Topic::Closed, 1),
    ];
    assert_eq!(counted, want);
    // That it is well again is told to whoever saw that it was not.
    server.apply("ingresses", ingress("closed", "a.example.com"));
    sleep(Duration::from_secs(60)).await;
    assert!(sorted().contains(&"Normal Ingress closed Accepted".to_owned()), "{:?}", sorted());
}

#[tokio::test(start_paused = true)]
async fn remarks_wait_for_their_turn_and_none_is_left_out() {
    let server = shop(0);
    for number in 0..200 {
        let mut closed = ingress(&format!("i{number}"), &format!("{number}.example.com"));
        closed["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/auth-url": "http://auth"});
        server.apply("ingresses", closed);
    }
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(10)).await;
    assert!(events(&server).len() < 40, "{}", events(&server).len());
    sleep(Duration::from_secs(300)).await;
    assert_eq!(events(&server).len(), 200);
}

#[tokio::test(start_paused = true)]
async fn events_are_few_and_nobody_waits_for_them() {
    let server = shop(500);
    server.delete("services", "shop", "web");
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    let told = server.asked("POST", "/events").len();
    assert!((50..150).contains(&told), "{told} events for 500 routes");
    assert_eq!(writes_of(&server, "/httproutes/"), 500);
    // Where they cannot be written, everything else is.
    let server = shop(10);
    server.delete("services", "shop", "web");
    server.fault(Fault { method: "POST", path: "/events", times: usize::MAX, answer: Answer::Stall });
    server.apply("gateways", gateway("public"));
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(writes_of(&server, "/httproutes/"), 10);
}

/// A route of this namespace.
fn route_of(namespace: &str, name: &str) -> Value {
    let mut route = route(name, "/");
    route["metadata"]["namespace"] = namespace.into();
    route
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_changes_all_the_time_leaves_statuses_of_others_their_turn() {
    let server = shop(150);
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(30)).await;
    for round in 0..10 {
        // In the middle of more than is written meanwhile, and more than was saved for bursts.
        if round == 4 {
            server.apply("httproutes", route_of("zoo", "quiet"));
        }
        for number in 0..150 {
            server.apply("httproutes", route(&format!("r{number}"), &format!("/{number}/{round}")));
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(writes_of(&server, "/zoo/httproutes/quiet/"), 1);
    let noisy = writes_of(&server, "/shop/httproutes/");
    assert!(noisy < 150 + 10 * 150, "{noisy} writes: all of the noise was written too");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_many_events_leaves_others_their_turn() {
    let server = shop(500);
    server.delete("services", "shop", "web");
    for namespace in ["aquarium", "zoo"] {
        server.apply("httproutes", route_of(namespace, &format!("of-{namespace}")));
    }
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    let events = events(&server);
    assert!(events.len() < 150, "{} events", events.len());
    for name in ["of-aquarium", "of-zoo"] {
        assert!(events.contains(&format!("Warning HTTPRoute {name} BackendNotFound")), "{name}");
    }
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
