//! Who leads, and the Service that everything comes in through. In paused time: a clock that only this process has.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

mod api_server;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use portcullis_controller::{
    cluster::{
        ServiceLinks, SharedService,
        lease::{self, LeaseOptions},
    },
    translate::Address,
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};

use api_server::{Answer, ApiServer, Fault, Log, until};

/// One that competes for the Lease.
struct Contender {
    leads: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Contender {
    fn start(server: &ApiServer, identity: &str) -> Self {
        let (leads, leading) = watch::channel(false);
        let (stop, stopped) = oneshot::channel::<()>();
        let options = LeaseOptions::new("infra", "portcullis", identity);
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(lease::compete(server.client(), options, leads, stopped));
        Self { leads: leading, stop: Some(stop), task }
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    async fn until_it_leads(&self) -> Duration {
        let begun = Instant::now();
        until("a leader", || self.leads().then_some(())).await;
        begun.elapsed()
    }

    /// Ends as a process does that is told to.
    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Ends as a process does that is killed.
    fn kill(self) {
        self.task.abort();
        std::mem::forget(self.stop);
    }
}

fn holder(server: &ApiServer) -> Value {
    server.get("leases", "infra", "portcullis").unwrap()["spec"]["holderIdentity"].clone()
}

#[tokio::test(start_paused = true)]
async fn one_of_several_leads() {
    let server = ApiServer::new();
    let contenders: Vec<_> =
        ["a", "b", "c"].iter().map(|identity| Contender::start(&server, identity)).collect();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(contenders.iter().filter(|contender| contender.leads()).count(), 1);
    assert_eq!(server.get("leases", "infra", "portcullis").unwrap()["spec"]["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_silent_is_followed_by_another_one() {
    let server = ApiServer::new();
    let first = Contender::start(&server, "a");
    first.until_it_leads().await;
    let second = Contender::start(&server, "b");
    sleep(Duration::from_secs(60)).await;
    assert!(!second.leads());
    first.kill();
    // Not before the time that the first one was promised, and not long after.
    let took = second.until_it_leads().await;
    assert!((7..15).contains(&took.as_secs()), "took over after {took:?}");
    assert_eq!(holder(&server), "b");
    assert_eq!(server.get("leases", "infra", "portcullis").unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_in_good_order_lets_the_next_one_lead() {
    let server = ApiServer::new();
    let first = Contender::start(&server, "a");
    first.until_it_leads().await;
    let second = Contender::start(&server, "b");
    sleep(Duration::from_secs(5)).await;
    first.stop().await;
    assert_eq!(holder(&server), Value::Null);
    let took = second.until_it_leads().await;
    assert!(took.as_secs() <= 2, "took over after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_does_not_keep_the_lease() {
    let server = ApiServer::new();
    let first = Contender::start(&server, "a");
    first.until_it_leads().await;
    // The renewal is carried out, which the one that ends does not know.
    server.fault(Fault { method: "PUT", path: "/leases/", times: 1, answer: Answer::CutAfter });
    until("a renewal that is cut", || {
        server.asked("PUT", "/leases/").iter().any(|r| r.status == 0).then_some(())
    })
    .await;
    first.stop().await;
    assert_eq!(holder(&server), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn clocks_of_others_are_not_believed() {
    for time in ["1970-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"] {
        let server = ApiServer::new();
        let lease = |round: u32| {
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": "infra", "name": "portcullis"},
                "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": time, "leaseTransitions": round}})
        };
        server.apply("leases", lease(0));
        let contender = Contender::start(&server, "a");
        // The other one lives: its record changes, whatever time it names.
        for round in 1..30 {
            sleep(Duration::from_secs(5)).await;
            server.apply("leases", lease(round));
            assert!(!contender.leads(), "{time}, round {round}");
        }
        // And then it does not.
        let took = contender.until_it_leads().await;
        assert!((15..=18).contains(&took.as_secs()), "{time}: took over after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_before_another_one_may_lead() {
    for answer in [Answer::Status(500), Answer::Stall, Answer::Cut, Answer::TooMany] {
        let (server, log) = (ApiServer::new(), Log::begin());
        let first = Contender::start(&server, "a");
        first.until_it_leads().await;
        sleep(Duration::from_secs(30)).await;
        server.fault(Fault { method: "", path: "/leases", times: usize::MAX, answer });
        let begun = Instant::now();
        until("a step down", || (!first.leads()).then_some(())).await;
        let took = begun.elapsed();
        assert!((5..=7).contains(&took.as_secs()), "{answer:?}: stepped down after {took:?}");
        assert_eq!(log.lines(&["WARN", "no longer leading"]).len(), 1, "{answer:?}");
        assert_eq!(log.lines(&["WARN", "the Lease cannot be had"]).len(), 1, "{answer:?}");
        server.heal();
        first.until_it_leads().await;
        assert_eq!(log.lines(&["the Lease can be had again"]).len(), 1, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_never_lead_at_the_same_time() {
    let server = ApiServer::new();
    let contenders: Vec<_> = ["a", "b", "c"].iter().map(|name| Contender::start(&server, name)).collect();
    let faults = [Answer::Status(500), Answer::Stall, Answer::Cut, Answer::CutAfter, Answer::TooMany];
    let (mut changes, mut last) = (0, None);
    for round in 0..4000_usize {
        if round % 40 == 0 {
            // Half of the time something is wrong, for one verb or for all of them.
            server.heal();
            let (method, times) = ([("GET", 9), ("PUT", 15), ("", 60)])[round / 40 % 3];
            if round % 80 == 0 {
                server.fault(Fault { method, path: "/leases", times, answer: faults[round / 80 % 5] });
            }
        }
        sleep(Duration::from_millis(500)).await;
        let leaders: Vec<_> = (0..contenders.len()).filter(|at| contenders[*at].leads()).collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead in round {round}");
        if let Some(leader) = leaders.first() {
            changes += usize::from(last.replace(*leader) != Some(*leader));
        }
    }
    assert!(changes > 1, "a test in which nobody takes over shows nothing");
}

#[tokio::test(start_paused = true)]
async fn without_permission_nobody_leads() {
    let (server, log) = (ApiServer::new(), Log::begin());
    server.deny("create", "leases");
    let contender = Contender::start(&server, "a");
    sleep(Duration::from_secs(300)).await;
    assert!(!contender.leads());
    assert_eq!(log.lines(&["WARN", "the Lease cannot be had", "forbidden"]).len(), 1);
}

/// The Service, and what is told of it.
struct Followed {
    ports: watch::Sender<Option<BTreeSet<u16>>>,
    leads: watch::Sender<bool>,
    addresses: watch::Receiver<Vec<Address>>,
    read: watch::Receiver<bool>,
    missing: watch::Receiver<BTreeMap<u16, String>>,
}

impl Followed {
    fn start(server: &ApiServer, add_ports: bool) -> Self {
        let (ports, needed) = watch::channel(None);
        let (leads, leading) = watch::channel(true);
        let (to_addresses, addresses) = watch::channel(Vec::new());
        let (to_read, read) = watch::channel(false);
        let (to_missing, missing) = watch::channel(BTreeMap::new());
        let service = SharedService {
            namespace: "infra".into(),
            name: "portcullis".into(),
            add_ports,
            port_offset: 8000,
        };
        let links = ServiceLinks {
            ports: needed,
            leads: leading,
            addresses: to_addresses,
            read: to_read,
            missing: to_missing,
        };
        tokio::spawn(service.follow(server.client(), links));
        Self { ports, leads, addresses, read, missing }
    }

    async fn need(&self, ports: &[u16]) {
        self.ports.send_replace(Some(ports.iter().copied().collect()));
        sleep(Duration::from_secs(1)).await;
    }
}

/// As the chart makes it, with a port that somebody else put there.
fn chart_service(server: &ApiServer) {
    server.apply(
        "services",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "infra", "name": "portcullis"},
            "spec": {"type": "LoadBalancer", "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080},
                {"name": "quic", "port": 443, "protocol": "UDP", "targetPort": 8443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
    );
}

/// `80/TCP->8080`.
fn ports(server: &ApiServer) -> Vec<String> {
    let service = server.get("services", "infra", "portcullis").unwrap();
    let text = |port: &Value| {
        format!("{}/{}->{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"), port["targetPort"])
    };
    service["spec"]["ports"].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn ports_of_listeners_come_and_go_and_those_of_others_stay() {
    let server = ApiServer::new();
    chart_service(&server);
    let followed = Followed::start(&server, true);
    followed.need(&[80]).await;
    assert_eq!(server.asked("PATCH", "").len(), 0, "there it is already");
    followed.need(&[80, 443, 8443]).await;
    let all = ["80/TCP->8080", "443/UDP->8443", "443/TCP->8443", "8443/TCP->16443"];
    assert_eq!(ports(&server), all);
    let patch = &server.asked("PATCH", "/services/portcullis")[0];
    assert!(patch.path.contains("fieldManager=portcullis") && !patch.path.contains("force=true"));
    assert_eq!(patch.body["spec"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ports"]);
    // Somebody else adds one: what is ours stays, what is theirs too.
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "infra", "name": "portcullis"},
        "spec": {"ports": [{"name": "extra", "port": 9000, "protocol": "TCP", "targetPort": 9000}]}});
    server.apply_as("somebody", "services", theirs);
    followed.need(&[80, 443]).await;
    assert_eq!(ports(&server), ["80/TCP->8080", "443/UDP->8443", "443/TCP->8443", "9000/TCP->9000"]);
    followed.need(&[]).await;
    assert_eq!(ports(&server), ["80/TCP->8080", "443/UDP->8443", "9000/TCP->9000"]);
    let patches = server.asked("PATCH", "").len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!((server.asked("PATCH", "").len(), patches), (3, 3), "each once");
    assert_eq!(*followed.missing.borrow(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn whoever_leads_just_after_its_start_leaves_the_ports_that_are_there() {
    let server = ApiServer::new();
    chart_service(&server);
    let first = Followed::start(&server, true);
    first.need(&[80, 8088]).await;
    first.leads.send_replace(false);
    let before = ports(&server);
    assert!(before.contains(&"8088/TCP->16088".to_owned()), "{before:?}");
    // The next leader has not read yet which ports there are to be.
    let next = Followed::start(&server, true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(ports(&server), before);
    assert!(*next.read.borrow(), "its addresses are known all the same");
    next.need(&[80]).await;
    assert!(!ports(&server).contains(&"8088/TCP->16088".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_adds_ports() {
    let server = ApiServer::new();
    chart_service(&server);
    let followed = Followed::start(&server, true);
    followed.leads.send_replace(false);
    followed.need(&[443]).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.asked("PATCH", "").len(), 0);
    followed.leads.send_replace(true);
    sleep(Duration::from_secs(1)).await;
    assert!(ports(&server).contains(&"443/TCP->8443".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_not_added_is_named_with_the_reason() {
    for (what, add_ports, reason) in [
        ("not allowed by a flag", false, "and none is added to it (--no-service-ports)"),
        ("not allowed by RBAC", true, "and it could not be added: services is forbidden"),
    ] {
        let (server, log) = (ApiServer::new(), Log::begin());
        chart_service(&server);
        server.deny("patch", "services");
        let followed = Followed::start(&server, add_ports);
        followed.need(&[80, 8443]).await;
        sleep(Duration::from_secs(60)).await;
        let missing = followed.missing.borrow().clone();
        assert_eq!(missing.keys().copied().collect::<Vec<_>>(), [8443], "{what}");
        assert!(missing[&8443].starts_with("Service infra/portcullis has no port 8443, and "), "{what}");
        assert!(missing[&8443].contains(reason), "{what}: {}", missing[&8443]);
        assert_eq!(log.lines(&["WARN", "does not take the ports"]).len(), usize::from(add_ports), "{what}");
        server.allow("patch", "services");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(followed.missing.borrow().is_empty(), add_ports, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_stay_what_they_were_while_there_are_none() {
    let server = ApiServer::new();
    let followed = Followed::start(&server, true);
    sleep(Duration::from_secs(5)).await;
    assert!(*followed.read.borrow() && followed.addresses.borrow().is_empty(), "there is no such Service");
    chart_service(&server);
    let known = vec![Address::Ip("192.0.2.1".parse().unwrap())];
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*followed.addresses.borrow(), known);
    server.set_status("services", "infra", "portcullis", json!({"loadBalancer": {}}));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*followed.addresses.borrow(), known);
    server.delete("services", "infra", "portcullis");
    server.is_down(true);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(*followed.addresses.borrow(), known);
    server.is_down(false);
    chart_service(&server);
    server.set_status(
        "services",
        "infra",
        "portcullis",
        json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}),
    );
    sleep(Duration::from_secs(30)).await;
    assert_eq!(*followed.addresses.borrow(), [Address::Hostname("lb.example.com".into())]);
}
