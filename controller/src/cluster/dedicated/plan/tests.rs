use serde_json::json;

use super::*;
use crate::ir::parameters::{ServiceParameters, ServiceType, TrafficPolicy};

fn range() -> PortRange {
    "20000-20009".parse().unwrap()
}

fn gateway(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Gateway, "infra", name)
}

fn spec(name: &str, ports: &[u16]) -> DesiredService {
    DesiredService {
        uid: format!("uid-{name}").into(),
        class: "dedicated".into(),
        service: format!("svc-{name}").into(),
        parameters: ServiceParameters::default(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        address: None,
        ports: ports.iter().copied().map(PortKey::tcp).collect(),
    }
}

fn desired(all: &[(&str, DesiredService)]) -> DesiredServices {
    let mut desired = DesiredServices::default();
    for (name, spec) in all {
        desired.services.insert(gateway(name), spec.clone());
        desired.kept.insert(spec.uid.clone(), ("infra".into(), spec.service.clone()));
    }
    desired
}

/// The Service of a Gateway as the server has it.
fn service(name: &str, ports: &[(u16, u16)]) -> Value {
    let ports: BTreeMap<_, _> = ports.iter().map(|(port, ours)| (PortKey::tcp(*port), *ours)).collect();
    let mut service = place().identity.marked(manifests::service(&gateway(name), &spec(name, &[]), &ports));
    service["metadata"]["uid"] = format!("of-svc-{name}").into();
    service["spec"]["clusterIP"] = "10.96.0.1".into();
    service
}

/// The slice of ours with pods at these addresses, which are called after them.
fn own(family: &str, addresses: &[&str]) -> Value {
    let endpoints = addresses.iter().map(|address| {
        json!({
            "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-1", "zone": "a", "targetRef": {"kind": "Pod", "name": pod(address)},
        })
    });
    json!({
        "metadata": {"namespace": "portcullis", "name": format!("portcullis-{family}")}, "addressType": family,
        "endpoints": endpoints.collect::<Vec<_>>(), "ports": [{"name": "http", "port": 8080}],
    })
}

fn pod(address: &str) -> String {
    format!("pod-{}", address.replace([':', '.'], "-"))
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"namespace": "portcullis", "name": name, "resourceVersion": "7"}, "data": data})
}

/// The record with these lines: `a 80 20000`.
fn recorded(lines: &[&str]) -> Value {
    let ports: String = lines.iter().map(|line| format!("uid-{line}\n")).collect();
    config_map("ports", json!({"ports": ports, "released": ""}))
}

/// What these pods, by their addresses, have bound.
fn reported(pods: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<_, _> =
        pods.iter().map(|(address, ports)| (pod(address), json!(ports))).collect();
    config_map("bound", data.into())
}

fn identity(controller: &str) -> Identity {
    Identity { controller: controller.into(), field_manager: "portcullis".to_owned() }
}

fn place() -> Place {
    let name = |name: &str| ("portcullis".into(), name.into());
    Place {
        range: range(),
        record: name("ports"),
        reports: name("bound"),
        pod: "pod-own".into(),
        identity: identity("portcullis.dev/gateway-controller"),
        has_endpoints: true,
    }
}

fn planned(desired: &DesiredServices, live: &Live) -> Plan {
    let lost = BTreeMap::new();
    let now = Now { recorded: live.record().record.as_ref(), lost: &lost, bound: None, time: 1_000 };
    plan(desired, live, &place(), now)
}

/// `Service infra/svc-a 80->20000`, `EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.1`, `delete ...`,
/// `ConfigMap portcullis/ports at 7: uid-a 80 20000`.
fn texts(plan: &Plan) -> Vec<String> {
    let data = |fields: &Value| {
        let fields = fields["data"].as_object().unwrap().iter().filter(|(_, value)| **value != "");
        fields
            .map(|(name, value)| format!(" {name}={}", value.to_string().replace("\\n", ";")))
            .collect::<String>()
    };
    let text = |act: &Act| match &act.deed {
        Deed::Delete { uid } => format!("delete {} {uid}", act.target),
        Deed::Create(fields) => format!("create {}:{}", act.target, data(fields)),
        Deed::Merge(fields) => match fields["metadata"]["resourceVersion"].as_str() {
            Some(version) => format!("{} at {version}:{}", act.target, data(fields)),
            None => format!("{}:{}", act.target, data(fields)),
        },
        Deed::Apply(manifest) => {
            let ports = manifest["spec"]["ports"].as_array().or_else(|| manifest["ports"].as_array());
            let ports = ports.unwrap().iter().map(|port| match port.get("targetPort") {
                Some(target) => format!(" {}->{target}", port["port"]),
                None => format!(" {}->{}", port["name"].as_str().unwrap(), port["port"]),
            });
            let endpoints = manifest["endpoints"].as_array().into_iter().flatten();
            let endpoints = endpoints.map(|e| format!(" {}", e["addresses"][0].as_str().unwrap()));
            let urgent = if act.turn == Turn::LeaderFirst { " urgent" } else { "" };
            format!("{}{}{}{urgent}", act.target, ports.collect::<String>(), endpoints.collect::<String>())
        }
    };
    plan.acts.iter().map(text).collect()
}

#[test]
fn a_port_of_tcp_and_one_of_udp_lead_to_ports_of_their_own() {
    let (tcp, udp) = (PortKey::tcp(53), PortKey::udp(53));
    let spec = DesiredService { ports: [tcp, udp].into(), ..spec("a", &[]) };
    let one = desired(&[("a", spec.clone())]);
    assert_eq!(
        texts(&planned(&one, &Live::of(&[], &[], &[]))),
        ["create ConfigMap portcullis/ports: ports=\"uid-a 53 20000;uid-a 53/udp 20001;\""]
    );
    let live = Live::of(&[], &[], &[]).recorded(&recorded(&["a 53 20000", "a 53/udp 20001"]));
    assert_eq!(texts(&planned(&one, &live)), ["Service infra/svc-a 53->20000 53->20001"]);

    let ours = BTreeMap::from([(tcp, 20000), (udp, 20001)]);
    let service = manifests::service(&gateway("a"), &spec, &ours);
    let read: Vec<_> = ports_of_service(&service).into_iter().collect();
    assert_eq!(read, [(tcp, Some(20000)), (udp, Some(20001))], "{service}");
    for (port, name, protocol) in [(tcp, "53", "TCP"), (udp, "53-udp", "UDP")] {
        let slice = manifests::slice(&gateway("a"), &spec, (port, ours[&port]), "IPv4", 0, &[]);
        assert_eq!(slice["metadata"]["name"], format!("svc-a-{name}-ipv4"));
        let want = json!([{"name": format!("port-{name}"), "port": ours[&port], "protocol": protocol}]);
        assert_eq!(slice["ports"], want);
    }

    // A pod reports the ports of each transport separately.
    let pods = [own("IPv4", &["10.0.0.1", "10.0.0.2"])];
    let reports = reported(&[("10.0.0.1", "20000,20001/udp"), ("10.0.0.2", "20000-20001")]);
    let live = Live::of(&[service], &[], &pods)
        .recorded(&recorded(&["a 53 20000", "a 53/udp 20001"]))
        .reported(&reports);
    let acts = texts(&planned(&one, &live));
    let slices: Vec<_> = acts.iter().filter(|act| act.starts_with("EndpointSlice")).collect();
    assert_eq!(
        slices,
        [
            "EndpointSlice infra/svc-a-53-ipv4 port-53->20000 10.0.0.1 10.0.0.2",
            "EndpointSlice infra/svc-a-53-udp-ipv4 port-53-udp->20001 10.0.0.1",
        ]
    );
}

#[test]
fn a_port_is_recorded_before_a_service_leads_there() {
    let two = desired(&[("a", spec("a", &[80, 443])), ("b", spec("b", &[80]))]);
    let live = || Live::of(&[], &[], &[]);
    let lines = "uid-a 80 20000;uid-a 443 20001;uid-b 80 20002;";
    assert_eq!(
        texts(&planned(&two, &live())),
        [format!("create ConfigMap portcullis/ports: ports=\"{lines}\"")]
    );
    let chart = config_map("ports", Value::Null);
    assert_eq!(
        texts(&planned(&two, &live().recorded(&chart))),
        [format!("ConfigMap portcullis/ports at 7: ports=\"{lines}\"")]
    );
    // A Service gets the ports that are recorded so far.
    let some = recorded(&["a 443 20004"]);
    assert_eq!(
        texts(&planned(&two, &live().recorded(&some))),
        [
            "ConfigMap portcullis/ports at 7: ports=\"uid-a 80 20000;uid-a 443 20004;uid-b 80 20001;\"",
            "Service infra/svc-a 443->20004",
        ]
    );
    let all = recorded(&["a 80 20000", "a 443 20001", "b 80 20002"]);
    assert_eq!(
        texts(&planned(&two, &live().recorded(&all))),
        ["Service infra/svc-a 80->20000 443->20001", "Service infra/svc-b 80->20002"]
    );
    // A cluster without such Gateways has no record.
    assert_eq!(texts(&planned(&desired(&[]), &live())), [""; 0]);
}

#[test]
fn what_somebody_writes_into_a_service_moves_no_port() {
    let two = desired(&[("a", spec("a", &[80])), ("b", spec("b", &[80]))]);
    let all = recorded(&["a 80 20000", "b 80 20001"]);
    let mut edited = service("b", &[(80, 20000)]);
    edited["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
    let live = Live::of(&[service("a", &[(80, 20000)]), edited], &[], &[]).recorded(&all);
    assert_eq!(texts(&planned(&two, &live)), ["Service infra/svc-b 80->20001"]);
}

#[test]
fn a_record_that_somebody_deleted_is_made_anew_as_it_was() {
    let one = desired(&[("a", spec("a", &[80]))]);
    let live = Live::of(&[service("a", &[(80, 20009)])], &[], &[]);
    let remembered = Record::read(&recorded(&["a 80 20004"])).record.unwrap();
    let lost = BTreeMap::new();
    let now = Now { recorded: Some(&remembered), lost: &lost, bound: None, time: 1_000 };
    assert_eq!(
        texts(&plan(&one, &live, &place(), now)),
        ["create ConfigMap portcullis/ports: ports=\"uid-a 80 20004;\"", "Service infra/svc-a 80->20004"]
    );
}

#[test]
fn broken_lines_are_taken_out_of_the_record() {
    let one = desired(&[("a", spec("a", &[80]))]);
    let live =
        Live::of(&[service("a", &[(80, 20000)])], &[], &[]).recorded(&recorded(&["a 80 20000", "nonsense"]));
    assert_eq!(texts(&planned(&one, &live)), ["ConfigMap portcullis/ports at 7: ports=\"uid-a 80 20000;\""]);
}

#[test]
fn whoever_gets_no_port_is_told_and_the_others_are_served() {
    let ports: Vec<u16> = (1..=9).collect();
    let all = desired(&[("a", spec("a", &ports)), ("b", spec("b", &[80, 81, 82])), ("c", spec("c", &[80]))]);
    let planned = planned(&all, &Live::of(&[], &[], &[]));
    let failed: Vec<_> = planned.errors.iter().map(|(key, why)| (&*key.name, &**why)).collect();
    let why = "no port is left of 20000-20009 (--dedicated-ports)";
    assert_eq!(failed, [("b", &*format!("port 81, 82: {why}")), ("c", &*format!("port 80: {why}"))]);
}

#[test]
fn slices_are_those_of_our_own_service_at_the_ports_of_the_gateway() {
    let known = desired(&[("a", spec("a", &[80, 443]))]);
    let services = [service("a", &[(80, 20000), (443, 20001)])];
    let mut more = own("IPv4", &["10.0.0.2"]);
    more["metadata"]["name"] = "portcullis-more".into();
    let ours = [own("IPv4", &["10.0.0.2", "10.0.0.1"]), more, own("IPv6", &["fd00::1"])];
    let bound =
        reported(&[("10.0.0.1", "20000-20001"), ("10.0.0.2", "20000-20004"), ("fd00::1", "20000,20001")]);
    let live =
        Live::of(&services, &[], &ours).recorded(&recorded(&["a 80 20000", "a 443 20001"])).reported(&bound);
    let planned = planned(&known, &live);
    assert_eq!(
        texts(&planned),
        [
            "EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.1 10.0.0.2",
            "EndpointSlice infra/svc-a-443-ipv4 port-443->20001 10.0.0.1 10.0.0.2",
            "EndpointSlice infra/svc-a-80-ipv6 port-80->20000 fd00::1",
            "EndpointSlice infra/svc-a-443-ipv6 port-443->20001 fd00::1",
        ]
    );
    let Deed::Apply(slice) = &planned.acts[0].deed else { panic!("{planned:?}") };
    assert_eq!(
        slice["endpoints"][0],
        json!({
            "addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-1", "zone": "a",
        })
    );
    let labels = &slice["metadata"]["labels"];
    assert_eq!(labels["kubernetes.io/service-name"], "svc-a");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "portcullis.dev");
}

#[test]
fn what_is_too_much_for_one_slice_is_in_several() {
    let known = desired(&[("a", spec("a", &[80]))]);
    let addresses: Vec<_> =
        (0..2 * MOST_ENDPOINTS + 1).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let addresses: Vec<_> = addresses.iter().map(|address| &**address).collect();
    for (pods, want) in [
        (MOST_ENDPOINTS, &[("svc-a-80-ipv4", 1000)][..]),
        (MOST_ENDPOINTS + 1, &[("svc-a-80-ipv4", 1000), ("svc-a-80-ipv4-2", 1)]),
        (
            2 * MOST_ENDPOINTS + 1,
            &[("svc-a-80-ipv4", 1000), ("svc-a-80-ipv4-2", 1000), ("svc-a-80-ipv4-3", 1)],
        ),
    ] {
        let addresses = &addresses[..pods];
        let bound: Vec<_> = addresses.iter().map(|address| (*address, "20000")).collect();
        let services = [service("a", &[(80, 20000)])];
        let ours = [own("IPv4", addresses)];
        let live = |slices: &[Value]| {
            let live = Live::of(&services, slices, &ours).recorded(&recorded(&["a 80 20000"]));
            live.reported(&reported(&bound))
        };
        let planned_first = planned(&known, &live(&[]));
        let written = planned_first.acts.iter().map(|act| match &act.deed {
            Deed::Apply(slice) => slice.clone(),
            other => panic!("{other:?}"),
        });
        let written: Vec<_> = written.collect();
        let of = |slice: &Value| slice["endpoints"].as_array().unwrap().len();
        let slices: Vec<_> =
            written.iter().map(|s| (s["metadata"]["name"].as_str().unwrap(), of(s))).collect();
        assert_eq!(slices, want, "{pods} pods");
        let all: BTreeSet<_> =
            written.iter().flat_map(endpoints_of).map(|e| e["addresses"][0].as_str()).collect();
        assert_eq!(all.len(), pods);
        assert_eq!(texts(&planned(&known, &live(&written))), [""; 0], "{pods} pods, written once");
    }
}

#[test]
fn a_pod_enters_a_slice_when_it_has_that_port_bound() {
    let known = desired(&[("a", spec("a", &[80, 443]))]);
    let services = [service("a", &[(80, 20000), (443, 20001)])];
    let ours = [own("IPv4", &["10.0.0.1", "10.0.0.2", "10.0.0.3"])];
    let record = recorded(&["a 80 20000", "a 443 20001"]);
    let live = |reports: &[(&str, &str)]| {
        Live::of(&services, &[], &ours).recorded(&record).reported(&reported(reports))
    };
    for (what, reports, want) in [
        ("nobody has reported", &[][..], &[][..]),
        (
            "one port here, another there",
            &[("10.0.0.1", "20000"), ("10.0.0.2", "20000-20001"), ("10.0.0.3", "20005")],
            &[
                "EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.1 10.0.0.2",
                "EndpointSlice infra/svc-a-443-ipv4 port-443->20001 10.0.0.2",
            ],
        ),
    ] {
        assert_eq!(texts(&planned(&known, &live(reports))), want, "{what}");
    }
    // An endpoint that is not a pod cannot report: it enters at once.
    let mut by_hand = own("IPv4", &["10.0.0.9"]);
    by_hand["endpoints"][0]["targetRef"] = Value::Null;
    let live = Live::of(&services, &[], &[by_hand]).recorded(&record);
    assert_eq!(
        texts(&planned(&known, &live)),
        [
            "EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.9",
            "EndpointSlice infra/svc-a-443-ipv4 port-443->20001 10.0.0.9",
        ]
    );
}

#[test]
fn pods_of_a_release_that_does_not_report_stay_where_they_are() {
    let known = desired(&[("a", spec("a", &[80]))]);
    let services = [service("a", &[(80, 20000)])];
    let ours = [own("IPv4", &["10.0.0.1", "10.0.0.2"])];
    // As such a release wrote it: one for all ports.
    let mut before =
        manifests::slice(&gateway("a"), &spec("a", &[80]), (PortKey::tcp(80), 20000), "IPv4", 0, &[]);
    before["metadata"]["name"] = "svc-a-ipv4".into();
    before["metadata"]["uid"] = "of-before".into();
    before["endpoints"] = json!([{"addresses": ["10.0.0.1"]}]);
    let record = recorded(&["a 80 20000"]);
    let live = |slices: &[Value]| {
        Live::of(&services, slices, &ours).recorded(&record).reported(&reported(&[("10.0.0.2", "20000")]))
    };
    let begun = planned(&known, &live(std::slice::from_ref(&before)));
    assert_eq!(texts(&begun), ["EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.1 10.0.0.2"]);
    // The old slice is deleted once the new one is there.
    let Deed::Apply(made) = &begun.acts[0].deed else { panic!("{begun:?}") };
    assert_eq!(
        texts(&planned(&known, &live(&[before, made.clone()]))),
        ["delete EndpointSlice infra/svc-a-ipv4 of-before"]
    );
}

#[test]
fn a_slice_that_leads_to_another_port_than_the_recorded_one_goes_at_once() {
    let known = desired(&[("a", spec("a", &[80, 443]))]);
    let services = [service("a", &[(80, 20000), (443, 20001)])];
    let slice = |port: u16, bound: u16| {
        let endpoints = json!({"addresses": ["10.0.0.1"]});
        let slice = manifests::slice(
            &gateway("a"),
            &spec("a", &[]),
            (PortKey::tcp(port), bound),
            "IPv4",
            0,
            &[&endpoints],
        );
        let mut slice = place().identity.marked(slice);
        slice["metadata"]["uid"] = format!("of-{port}").into();
        slice
    };
    let slices = [slice(80, 20000), slice(443, 20001)];
    let live = |record: Value| {
        let live = Live::of(&services, &slices, &[own("IPv4", &["10.0.0.1"])]).recorded(&record);
        live.reported(&reported(&[("10.0.0.1", "20000-20009")]))
    };
    let planned = |record| texts(&planned(&known, &live(record)));
    // Its line was taken out by hand; it gets another port, and this one may be somebody else's by then.
    let without = planned(recorded(&["a 80 20000"]));
    assert!(without.contains(&"delete EndpointSlice infra/svc-a-443-ipv4 of-443".to_owned()), "{without:?}");
    let other = planned(recorded(&["a 80 20000", "a 443 20002"]));
    assert!(
        other.contains(&"EndpointSlice infra/svc-a-443-ipv4 port-443->20002 10.0.0.1 urgent".to_owned()),
        "{other:?}"
    );
    // Without any record nothing is known.
    let nothing = planned(config_map("ports", Value::Null));
    assert!(nothing.iter().all(|text| !text.contains("EndpointSlice")), "{nothing:?}");
}

#[test]
fn each_replica_reports_what_it_has_bound() {
    let bound = |ports: &[u16]| ports.iter().copied().map(PortKey::tcp).collect::<BTreeSet<_>>();
    let lost = BTreeMap::new();
    let texts = |live: &Live, bound: Option<&BTreeSet<PortKey>>| {
        let now = Now { recorded: None, lost: &lost, bound, time: 1_000 };
        let planned = plan(&desired(&[]), live, &place(), now);
        assert!(planned.acts.iter().all(|act| act.turn == Turn::Everyone), "{planned:?}");
        texts(&planned)
    };
    let live = |reports: Value| Live::of(&[], &[], &[own("IPv4", &["10.0.0.1"])]).reported(&reports);
    let none = Live::of(&[], &[], &[own("IPv4", &["10.0.0.1"])]);
    let own = |text: &str| config_map("bound", json!({"pod-own": text}));
    assert_eq!(texts(&none, None), [""; 0], "it does not know");
    assert_eq!(texts(&none, Some(&bound(&[]))), [""; 0], "there is nothing to say");
    assert_eq!(
        texts(&none, Some(&bound(&[20000]))),
        ["create ConfigMap portcullis/bound: pod-own=\"20000\""]
    );
    let some = bound(&[20000, 20001]);
    assert_eq!(texts(&live(own("20000-20001")), Some(&some)), [""; 0]);
    assert_eq!(
        texts(&live(own("20000")), Some(&some)),
        ["ConfigMap portcullis/bound: pod-own=\"20000-20001\""]
    );
    assert_eq!(texts(&live(own("20000")), Some(&bound(&[]))), ["ConfigMap portcullis/bound:"]);
    // A replica that writes removes the reports of pods that are gone, if there are too many.
    let gone: serde_json::Map<_, _> = (10..40).map(|i| (format!("gone-{i}"), json!("20000"))).collect();
    let mut many = config_map("bound", gone.into());
    many["data"][pod("10.0.0.1")] = "20000".into();
    let written = texts(&live(many), Some(&some)).concat();
    assert_eq!(written.matches("=null").count(), 30, "{written}");
    assert!(!written.contains("pod-10-0-0-1") && written.contains("pod-own=\"20000-20001\""), "{written}");
}

#[test]
fn slices_follow_and_that_is_urgent() {
    let known = desired(&[("a", spec("a", &[80]))]);
    let services = [service("a", &[(80, 20000)])];
    let first = [own("IPv4", &["10.0.0.1"]), own("IPv6", &["fd00::1"])];
    let record = recorded(&["a 80 20000"]);
    let bound = reported(&[("10.0.0.1", "20000"), ("10.0.0.2", "20000"), ("fd00::1", "20000")]);
    let live =
        |slices: &[Value], own: &[Value]| Live::of(&services, slices, own).recorded(&record).reported(&bound);
    let made = planned(&known, &live(&[], &first));
    let slices: Vec<_> = made
        .acts
        .iter()
        .map(|act| {
            let Deed::Apply(manifest) = &act.deed else { panic!("{act:?}") };
            let mut slice = manifest.clone();
            slice["metadata"]["uid"] = format!("of-{}", act.target.name).into();
            slice
        })
        .collect();
    for (what, desired, own, want) in [
        ("nothing new", known.clone(), first.to_vec(), vec![]),
        (
            "another pod, and one family less",
            known.clone(),
            vec![own("IPv4", &["10.0.0.2"])],
            vec!["EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.2 urgent"],
        ),
        (
            "one family less",
            known.clone(),
            vec![first[0].clone()],
            vec!["delete EndpointSlice infra/svc-a-80-ipv6 of-svc-a-80-ipv6"],
        ),
        (
            "no pod is left",
            known.clone(),
            vec![own("IPv4", &[]), first[1].clone()],
            vec!["EndpointSlice infra/svc-a-80-ipv4 port-80->20000 urgent"],
        ),
        ("our Service is gone", known.clone(), vec![], vec![]),
        (
            "another label",
            self::desired(&[(
                "a",
                DesiredService {
                    labels: BTreeMap::from([("team".into(), "red".into())]),
                    ..spec("a", &[80])
                },
            )]),
            first.to_vec(),
            vec![
                "Service infra/svc-a 80->20000",
                "EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.1",
                "EndpointSlice infra/svc-a-80-ipv6 port-80->20000 fd00::1",
            ],
        ),
    ] {
        assert_eq!(texts(&planned(&desired, &live(&slices, &own))), want, "{what}");
    }
}

#[test]
fn a_service_is_as_its_parameters_say() {
    let parameters = ServiceParameters {
        annotations: BTreeMap::from([("a".into(), "parameters".into()), ("b".into(), "parameters".into())]),
        traffic_policy: Some(TrafficPolicy::Local),
        load_balancer_class: Some("example.com/lb".into()),
        source_ranges: Some(vec!["192.0.2.0/24".into()]),
        node_ports: BTreeMap::from([(80, 30080), (443, 30443)]),
        ..ServiceParameters::default()
    };
    let made = |kind: Option<ServiceType>| {
        let spec = DesiredService {
            parameters: ServiceParameters { kind, ..parameters.clone() },
            labels: BTreeMap::from([
                ("team".into(), "red".into()),
                ("gateway.networking.k8s.io/gateway-name".into(), "another".into()),
                ("portcullis.dev/addressing".into(), "no".into()),
            ]),
            annotations: BTreeMap::from([
                ("b".into(), "gateway".into()),
                ("portcullis.dev/gateway-controller".into(), "another".into()),
            ]),
            address: Some("203.0.113.7".into()),
            ..spec("a", &[80])
        };
        let live = Live::of(&[], &[], &[]).recorded(&recorded(&["a 80 20000"]));
        let planned = planned(&desired(&[("a", spec)]), &live);
        let Deed::Apply(manifest) = planned.acts[0].deed.clone() else { panic!("{planned:?}") };
        manifest
    };
    let port = |node_port: bool| {
        let port = json!({"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 20000});
        let with =
            json!({"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 20000, "nodePort": 30080});
        if node_port { with } else { port }
    };
    let balancer = made(None);
    assert_eq!(
        balancer["spec"],
        json!({
            "type": "LoadBalancer", "ports": [port(true)], "externalTrafficPolicy": "Local",
            "loadBalancerClass": "example.com/lb", "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "loadBalancerIP": "203.0.113.7",
        })
    );
    assert_eq!(
        balancer["metadata"],
        json!({
            "name": "svc-a", "namespace": "infra",
            "labels": {
                "team": "red",
                "gateway.networking.k8s.io/gateway-name": "a",
                "gateway.networking.k8s.io/gateway-class-name": "dedicated",
                "app.kubernetes.io/managed-by": "portcullis",
                "portcullis.dev/addressing": "Dedicated",
            },
            "annotations": {
                "a": "parameters", "b": "gateway",
                "portcullis.dev/gateway-controller": "portcullis.dev/gateway-controller",
            },
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "a", "uid": "uid-a",
            }],
        })
    );
    assert_eq!(
        made(Some(ServiceType::NodePort))["spec"],
        json!({"type": "NodePort", "ports": [port(true)], "externalTrafficPolicy": "Local"})
    );
    assert_eq!(
        made(Some(ServiceType::ClusterIp))["spec"],
        json!({"type": "ClusterIP", "ports": [port(false)]})
    );
}

#[test]
fn what_was_made_goes_with_the_mode_and_nothing_else_does() {
    let mut going = service("going", &[(80, 20003)]);
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut slice =
        manifests::slice(&gateway("left"), &spec("left", &[]), (PortKey::tcp(80), 20000), "IPv4", 0, &[]);
    slice["metadata"]["uid"] = "of-slice".into();
    let mut unowned = service("unowned", &[(80, 20004)]);
    unowned["metadata"]["ownerReferences"] =
        json!([{"kind": "Gateway", "apiVersion": "v1", "uid": "uid-left"}]);
    let services = [service("left", &[(80, 20000)]), service("unknown", &[(80, 20001)]), going, unowned];
    let live = Live::of(&services, &[slice], &[own("IPv4", &["10.0.0.1"])]);
    let left = ["uid-left", "uid-going"].map(Into::into);
    let live = live.recorded(&recorded(&["left 80 20000", "unknown 80 20001", "going 80 20003"]));
    let desired = DesiredServices { left: left.into(), ..DesiredServices::default() };
    assert_eq!(
        texts(&planned(&desired, &live)),
        ["delete Service infra/svc-left of-svc-left", "delete EndpointSlice infra/svc-left-80-ipv4 of-slice"]
    );
}

#[test]
fn what_another_release_made_is_left_alone() {
    let desired = DesiredServices { left: ["uid-left".into()].into(), ..DesiredServices::default() };
    let theirs = |controller: &str| {
        let mut service = service("left", &[(80, 20000)]);
        service["metadata"]["annotations"] = json!({"portcullis.dev/gateway-controller": controller});
        Live::of(&[service], &[], &[]).recorded(&recorded(&["left 80 20000"]))
    };
    assert_eq!(texts(&planned(&desired, &theirs("portcullis.dev/internal"))), [""; 0]);
    assert_eq!(
        texts(&planned(&desired, &theirs("portcullis.dev/gateway-controller"))),
        ["delete Service infra/svc-left of-svc-left"]
    );
}

#[test]
fn what_is_another_gateways_is_left_alone() {
    let mut before = service("a", &[(80, 20000)]);
    before["metadata"]["ownerReferences"][0]["uid"] = "uid-of-one-before".into();
    let live = Live::of(&[before], &[], &[own("IPv4", &["10.0.0.1"])]).recorded(&recorded(&["a 80 20000"]));
    assert!(planned(&desired(&[("a", spec("a", &[80]))]), &live).acts.is_empty());
}

#[test]
fn without_a_service_of_our_own_there_are_no_endpoints_and_that_is_said() {
    let known = desired(&[("a", spec("a", &[80]))]);
    let live = Live::of(&[service("a", &[(80, 20000)])], &[], &[]).recorded(&recorded(&["a 80 20000"]));
    let lost = BTreeMap::new();
    let now = Now { recorded: live.record().record.as_ref(), lost: &lost, bound: None, time: 1_000 };
    let planned = plan(&known, &live, &Place { has_endpoints: false, ..place() }, now);
    assert!(planned.acts.is_empty());
    assert!(planned.errors[&gateway("a")].contains("--service"));
}
