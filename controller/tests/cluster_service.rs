//! The Service that everything comes in through. In paused time: a clock that only this process has.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

mod api_server;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use portcullis_controller::{
    cluster::{Leadership, ServiceLinks, SharedService, Term},
    translate::Address,
};
use portcullis_routing::PortKey;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use api_server::{Answer, ApiServer, Fault, Log};

/// The Service, and what is told of it.
struct Followed {
    ports: watch::Sender<Option<BTreeSet<PortKey>>>,
    leads: watch::Sender<bool>,
    term: Term,
    addresses: watch::Receiver<Vec<Address>>,
    read: watch::Receiver<bool>,
    missing: watch::Receiver<BTreeMap<PortKey, String>>,
}

impl Followed {
    fn start(server: &ApiServer, add_ports: bool) -> Self {
        let (ports, needed) = watch::channel(None);
        let (leads, leading) = watch::channel(true);
        let term = Term::default();
        term.set(Some(Instant::now() + Duration::from_secs(1_000_000)));
        let (to_addresses, addresses) = watch::channel(Vec::new());
        let (to_read, read) = watch::channel(false);
        let (to_missing, missing) = watch::channel(BTreeMap::new());
        let service = SharedService {
            namespace: "infra".into(),
            name: "portcullis".into(),
            add_ports,
            port_offset: 8000,
            field_manager: "portcullis".to_owned(),
        };
        let links = ServiceLinks {
            ports: needed,
            leadership: Leadership::within(leading, term.clone()),
            addresses: to_addresses,
            read: to_read,
            missing: to_missing,
        };
        tokio::spawn(service.follow(server.client(), links));
        Self { ports, leads, term, addresses, read, missing }
    }

    async fn need(&self, ports: &[u16]) {
        self.need_both(ports, &[]).await;
    }

    async fn need_both(&self, tcp: &[u16], udp: &[u16]) {
        let udp = udp.iter().copied().map(PortKey::udp);
        self.ports.send_replace(Some(tcp.iter().copied().map(PortKey::tcp).chain(udp).collect()));
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
async fn ports_of_tcp_and_udp_of_one_number_stand_side_by_side() {
    let server = ApiServer::new();
    chart_service(&server);
    let followed = Followed::start(&server, true);
    // Another owner has added UDP 443 to the Service.
    followed.need_both(&[80, 53], &[53, 443]).await;
    let others = ["80/TCP->8080", "443/UDP->8443"];
    assert_eq!(ports(&server), [&others[..], &["53/TCP->8053", "53/UDP->8053"]].concat());
    followed.need_both(&[80], &[53]).await;
    assert_eq!(ports(&server), [&others[..], &["53/UDP->8053"]].concat());
    server.deny("patch", "services");
    followed.need_both(&[80, 53], &[53, 54]).await;
    let missing: Vec<_> = followed.missing.borrow().keys().copied().collect();
    assert_eq!(missing, [PortKey::tcp(53), PortKey::udp(54)]);
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
async fn whose_term_is_over_adds_no_port_before_it_is_told() {
    let server = ApiServer::new();
    chart_service(&server);
    let followed = Followed::start(&server, true);
    // As after a freeze: nobody has said yet that another one leads.
    followed.term.set(Some(Instant::now()));
    followed.need(&[443]).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.asked("PATCH", "").len(), 0);
    followed.term.set(Some(Instant::now() + Duration::from_secs(60)));
    followed.leads.send_replace(true);
    sleep(Duration::from_secs(1)).await;
    assert!(ports(&server).contains(&"443/TCP->8443".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_not_added_is_named_with_the_reason() {
    for (what, add_ports, reason) in [
        ("not allowed by a flag", false, "and ports are not added to it (--no-service-ports)"),
        ("not allowed by RBAC", true, "and it could not be added: services is forbidden"),
    ] {
        let (server, log) = (ApiServer::new(), Log::begin());
        chart_service(&server);
        server.deny("patch", "services");
        let followed = Followed::start(&server, add_ports);
        followed.need(&[80, 8443]).await;
        sleep(Duration::from_secs(60)).await;
        let missing = followed.missing.borrow().clone();
        let port = PortKey::tcp(8443);
        assert_eq!(missing.keys().copied().collect::<Vec<_>>(), [port], "{what}");
        assert!(missing[&port].starts_with("Service infra/portcullis has no port 8443, and "), "{what}");
        assert!(missing[&port].contains(reason), "{what}: {}", missing[&port]);
        assert_eq!(
            log.lines(&["WARN", "rejects ports of listeners"]).len(),
            usize::from(add_ports),
            "{what}"
        );
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

/// Refuses a Service with one of these ports.
fn refuse_ports(server: &ApiServer, refused: &'static [u16], code: u16) {
    server.admit(move |plural, object| {
        let ports = object["spec"]["ports"].as_array()?;
        let found = ports.iter().find_map(|port| refused.iter().find(|refused| port["port"] == **refused))?;
        (plural == "services").then(|| (code, format!("port {found} is not for you")))
    });
}

#[tokio::test(start_paused = true)]
async fn one_refused_port_costs_one_listener() {
    for (what, refused, code) in [
        ("validation", &[9003][..], 422),
        ("two of them", &[9001, 9007], 422),
        ("a quota", &[9000], 403),
        ("a range that is full", &[9007], 500),
    ] {
        let (server, log) = (ApiServer::new(), Log::begin());
        chart_service(&server);
        refuse_ports(&server, refused, code);
        let followed = Followed::start(&server, true);
        let needed: Vec<u16> = [80].into_iter().chain(9000..9008).collect();
        followed.need(&needed).await;
        let missing = followed.missing.borrow().clone();
        assert_eq!(missing.keys().map(|port| port.number).collect::<Vec<_>>(), refused, "{what}");
        for (port, why) in &missing {
            let want = format!(
                "Service infra/portcullis has no port {port}, and it could not be added: port {port} is not for you"
            );
            assert_eq!(*why, want, "{what}");
        }
        let others = (9000..9008).filter(|port| !refused.contains(port));
        let want = others.map(|port| format!("{port}/TCP->{}", port + 8000)).collect::<Vec<_>>();
        assert_eq!(ports(&server)[2..], want, "{what}");
        assert_eq!(
            log.lines(&["WARN", "rejects ports of listeners"]).len(),
            refused.len(),
            "{what}: each is logged once"
        );
        // What is refused is asked for again, alone and ever more rarely; a new port does not wait for it.
        let asked = server.asked("PATCH", "").len();
        sleep(Duration::from_secs(600)).await;
        let again = server.asked("PATCH", "").len() - asked;
        assert!((refused.len()..=14 * refused.len()).contains(&again), "{what}: {again} times");
        followed.need(&[&needed[..], &[9100]].concat()).await;
        assert!(ports(&server).contains(&"9100/TCP->17100".to_owned()), "{what}: {:?}", ports(&server));
        // It is added as soon as it is taken, and what nobody needs any more is forgotten.
        server.admit(|_, _| None);
        sleep(Duration::from_secs(61)).await;
        assert!(followed.missing.borrow().is_empty(), "{what}");
        assert_eq!(ports(&server).len(), 2 + 9, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_refused_keeps_no_other_from_going() {
    let server = ApiServer::new();
    chart_service(&server);
    let followed = Followed::start(&server, true);
    followed.need(&[80, 8081, 8082]).await;
    refuse_ports(&server, &[9000], 422);
    followed.need(&[80, 8082, 9000]).await;
    assert_eq!(ports(&server), ["80/TCP->8080", "443/UDP->8443", "8082/TCP->16082"]);
    followed.need(&[80, 8082]).await;
    assert!(followed.missing.borrow().is_empty(), "nobody needs it any more");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_matter_of_ports_is_not_asked_for_port_by_port() {
    let refuse: fn(&ApiServer) = |server| server.admit(|_, _| Some((403, "nobody writes today".to_owned())));
    let fail: fn(&ApiServer) = |server| {
        server.fault(Fault { method: "PATCH", path: "", times: usize::MAX, answer: Answer::Status(503) })
    };
    for (what, begin) in [("every write is refused", refuse), ("the API server is ill", fail)] {
        let server = ApiServer::new();
        chart_service(&server);
        begin(&server);
        let followed = Followed::start(&server, true);
        let needed: Vec<u16> = (9000..9064).collect();
        followed.need(&needed).await;
        assert_eq!(followed.missing.borrow().len(), 64, "{what}");
        let first = server.asked("PATCH", "").len();
        assert!(first <= 2, "{what}: {first} requests");
        sleep(Duration::from_secs(60)).await;
        let more = server.asked("PATCH", "").len() - first;
        assert!((1..=42).contains(&more), "{what}: {more} requests in a minute");
        server.admit(|_, _| None);
        server.heal();
        sleep(Duration::from_secs(4)).await;
        assert!(followed.missing.borrow().is_empty(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_the_load_balancer_does_not_serve_is_named_with_its_reason() {
    let server = ApiServer::new();
    chart_service(&server);
    let followed = Followed::start(&server, true);
    followed.need(&[80, 8081]).await;
    let status = |errors: [Option<&str>; 2]| {
        let point = |(ip, error): (&str, Option<&str>)| {
            let mut port = json!({"port": 8081, "protocol": "TCP"});
            if let Some(error) = error {
                port["error"] = error.into();
            }
            json!({"ip": ip, "ports": [{"port": 80, "protocol": "TCP"}, port]})
        };
        let points = ["192.0.2.1", "192.0.2.2"].into_iter().zip(errors).map(point);
        json!({"loadBalancer": {"ingress": points.collect::<Vec<_>>()}})
    };
    let why = "Service infra/portcullis has port 8081, but its load balancer does not serve it: TooManyPorts";
    for (what, errors, want) in [
        ("at no address", [Some("TooManyPorts"), Some("TooManyPorts")], Some(why)),
        ("at one of two", [None, Some("TooManyPorts")], None),
        ("at both", [None, None], None),
    ] {
        server.set_status("services", "infra", "portcullis", status(errors));
        sleep(Duration::from_secs(1)).await;
        let want = want.map(|why| (PortKey::tcp(8081), why.to_owned())).into_iter().collect();
        assert_eq!(*followed.missing.borrow(), want, "{what}");
    }
}
