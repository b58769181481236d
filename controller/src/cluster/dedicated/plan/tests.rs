use serde_json::json;

use super::*;
use crate::ir::{
    Kind,
    parameters::{ServiceParameters, ServiceType, TrafficPolicy},
};

fn range() -> PortRange {
    "20000-20009".parse().unwrap()
}

fn gateway(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Gateway, "infra", name)
}

fn wish(name: &str, ports: &[u16]) -> Wish {
    Wish {
        uid: format!("uid-{name}").into(),
        class: "dedicated".into(),
        service: format!("svc-{name}").into(),
        parameters: ServiceParameters::default(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        address: None,
        ports: ports.iter().copied().collect(),
        bound: BTreeMap::new(),
    }
}

/// With the ports that translation knows to be its own.
fn bound(wish: Wish, bound: &[(u16, u16)]) -> Wish {
    Wish { bound: bound.iter().copied().collect(), ..wish }
}

fn wishes(all: &[(&str, Wish)]) -> Wishes {
    let wishes = all.iter().map(|(name, wish)| (gateway(name), wish.clone()));
    Wishes { wishes: wishes.collect(), left: BTreeSet::new() }
}

/// The Service of a Gateway as the server has it.
fn service(name: &str, ports: &[(u16, u16)]) -> Value {
    let mut service = manifests::service(
        &gateway(name),
        &wish(name, &[]),
        &ports.iter().copied().collect::<BTreeMap<_, _>>(),
    );
    service["metadata"]["uid"] = format!("of-svc-{name}").into();
    service["spec"]["clusterIP"] = "10.96.0.1".into();
    service
}

fn own(family: &str, addresses: &[&str]) -> Value {
    let endpoints = addresses.iter().map(|address| {
        json!({
            "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-1", "zone": "a", "targetRef": {"kind": "Pod", "name": "portcullis-1"},
        })
    });
    json!({
        "metadata": {"namespace": "portcullis", "name": format!("portcullis-{family}")}, "addressType": family,
        "endpoints": endpoints.collect::<Vec<_>>(), "ports": [{"name": "http", "port": 8080}],
    })
}

fn planned(wishes: &Wishes, live: &Live) -> Plan {
    plan(wishes, live, range(), &mut Assigned::new(), true)
}

/// `Service infra/svc-a 80->20000`, `EndpointSlice infra/svc-a-ipv4 80->20000 10.0.0.1`, `delete ...`.
fn texts(plan: &Plan) -> Vec<String> {
    let text = |act: &Act| match &act.deed {
        Deed::Delete { uid } => format!("delete {} {uid}", act.target),
        Deed::Apply(manifest) => {
            let ports = manifest["spec"]["ports"].as_array().or_else(|| manifest["ports"].as_array());
            let ports = ports.unwrap().iter().map(|port| match port.get("targetPort") {
                Some(target) => format!(" {}->{target}", port["port"]),
                None => format!(" {}->{}", port["name"].as_str().unwrap(), port["port"]),
            });
            let endpoints = manifest["endpoints"].as_array().into_iter().flatten();
            let endpoints = endpoints.map(|e| format!(" {}", e["addresses"][0].as_str().unwrap()));
            let urgent = if act.is_urgent { " urgent" } else { "" };
            format!("{}{}{}{urgent}", act.target, ports.collect::<String>(), endpoints.collect::<String>())
        }
    };
    plan.acts.iter().map(text).collect()
}

#[test]
fn each_port_gets_the_lowest_one_that_is_free_and_keeps_it() {
    let nothing = Live::of(&[], &[], &[]);
    let two = wishes(&[("a", wish("a", &[80, 443])), ("b", wish("b", &[80]))]);
    assert_eq!(
        texts(&planned(&two, &nothing)),
        ["Service infra/svc-a 80->20000 443->20001", "Service infra/svc-b 80->20002"]
    );
    let there =
        Live::of(&[service("a", &[(80, 20000), (443, 20004)]), service("b", &[(80, 20001)])], &[], &[]);
    let known = wishes(&[
        ("a", bound(wish("a", &[80, 443]), &[(80, 20000), (443, 20004)])),
        ("b", bound(wish("b", &[80]), &[(80, 20001)])),
        ("c", wish("c", &[80])),
    ]);
    assert_eq!(texts(&planned(&known, &there)), ["Service infra/svc-c 80->20002"]);
    // Before translation has seen the Services they are no less.
    let lagging = wishes(&[("a", wish("a", &[80, 443])), ("b", wish("b", &[80, 8080]))]);
    assert_eq!(texts(&planned(&lagging, &there)), ["Service infra/svc-b 80->20001 8080->20002"]);
}

#[test]
fn what_was_chosen_stays_until_it_is_seen() {
    let nothing = Live::of(&[], &[], &[]);
    let mut assigned = Assigned::new();
    let late = wishes(&[("m", wish("m", &[80]))]);
    assert_eq!(
        texts(&plan(&late, &nothing, range(), &mut assigned, true)),
        ["Service infra/svc-m 80->20000"]
    );
    let both = wishes(&[("a", wish("a", &[80])), ("m", wish("m", &[80]))]);
    assert_eq!(
        texts(&plan(&both, &nothing, range(), &mut assigned, true)),
        ["Service infra/svc-a 80->20001", "Service infra/svc-m 80->20000"]
    );
    // It is free again when the Gateway is gone.
    plan(&wishes(&[]), &nothing, range(), &mut assigned, true);
    assert!(assigned.is_empty());
}

#[test]
fn a_port_that_another_has_is_given_up() {
    let services = [service("a", &[(80, 20000)]), service("b", &[(80, 20000)])];
    let live = Live::of(&services, &[], &[]);
    for (what, a, b, want) in [
        (
            "the first one has it",
            bound(wish("a", &[80]), &[(80, 20000)]),
            wish("b", &[80]),
            vec!["Service infra/svc-b 80->20001"],
        ),
        (
            "the second one has it",
            wish("a", &[80]),
            bound(wish("b", &[80]), &[(80, 20000)]),
            vec!["Service infra/svc-a 80->20001"],
        ),
        (
            "nobody knows yet",
            wish("a", &[80]),
            wish("b", &[80]),
            vec!["Service infra/svc-a 80->20001", "Service infra/svc-b 80->20002"],
        ),
    ] {
        assert_eq!(texts(&planned(&wishes(&[("a", a), ("b", b)]), &live)), want, "{what}");
    }
    // One of a Gateway that is not accepted now.
    let alone = wishes(&[("b", wish("b", &[80]))]);
    assert_eq!(texts(&planned(&alone, &live)), ["Service infra/svc-b 80->20001"]);
    for strange in [9000, 30000] {
        let live = Live::of(&[service("a", &[(80, strange)])], &[], &[]);
        let planned = planned(&wishes(&[("a", wish("a", &[80]))]), &live);
        assert_eq!(texts(&planned), ["Service infra/svc-a 80->20000"], "{strange}");
    }
    let live = Live::of(&[service("a", &[(80, 20000), (443, 20000)])], &[], &[]);
    let planned = planned(&wishes(&[("a", wish("a", &[80, 443]))]), &live);
    assert_eq!(texts(&planned), ["Service infra/svc-a 80->20000 443->20001"], "one for two");
}

#[test]
fn a_range_has_an_end() {
    let ports: Vec<u16> = (1..=8).collect();
    let all = wishes(&[("a", wish("a", &ports)), ("b", wish("b", &[80, 81, 82])), ("c", wish("c", &[80]))]);
    let planned = planned(&all, &Live::of(&[], &[], &[]));
    assert_eq!(planned.acts.len(), 1, "{:?}", texts(&planned));
    let hindered: Vec<_> = planned.hindrances.iter().map(|(key, why)| (&*key.name, &**why)).collect();
    let why = "no port is left of 20000-20009 (--dedicated-ports)";
    assert_eq!(hindered, [("b", why), ("c", why)]);
}

#[test]
fn slices_are_those_of_our_own_service_at_the_ports_of_the_gateway() {
    let known = wishes(&[("a", bound(wish("a", &[80, 443]), &[(80, 20000), (443, 20001)]))]);
    let services = [service("a", &[(80, 20000), (443, 20001)])];
    let mut more = own("IPv4", &["10.0.0.2"]);
    more["metadata"]["name"] = "portcullis-more".into();
    let ours = [own("IPv4", &["10.0.0.2", "10.0.0.1"]), more, own("IPv6", &["fd00::1"])];
    let planned = planned(&known, &Live::of(&services, &[], &ours));
    assert_eq!(
        texts(&planned),
        [
            "EndpointSlice infra/svc-a-ipv4 port-80->20000 port-443->20001 10.0.0.1 10.0.0.2",
            "EndpointSlice infra/svc-a-ipv6 port-80->20000 port-443->20001 fd00::1",
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
fn a_slice_begins_with_a_port() {
    let live = Live::of(&[service("a", &[(80, 20000)])], &[], &[own("IPv4", &["10.0.0.1"])]);
    assert!(planned(&wishes(&[("a", wish("a", &[80]))]), &live).acts.is_empty());
}

#[test]
fn slices_follow_and_that_is_urgent() {
    let known = wishes(&[("a", bound(wish("a", &[80]), &[(80, 20000)]))]);
    let services = [service("a", &[(80, 20000)])];
    let first = [own("IPv4", &["10.0.0.1"]), own("IPv6", &["fd00::1"])];
    let made = planned(&known, &Live::of(&services, &[], &first));
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
    for (what, wishes, own, want) in [
        ("nothing new", known.clone(), first.to_vec(), vec![]),
        (
            "another pod, and one family less",
            known.clone(),
            vec![own("IPv4", &["10.0.0.2"])],
            vec![
                "EndpointSlice infra/svc-a-ipv4 port-80->20000 10.0.0.2 urgent",
                "delete EndpointSlice infra/svc-a-ipv6 of-svc-a-ipv6",
            ],
        ),
        (
            "no pod is left",
            known.clone(),
            vec![own("IPv4", &[]), first[1].clone()],
            vec!["EndpointSlice infra/svc-a-ipv4 port-80->20000 urgent"],
        ),
        ("our Service is gone", known.clone(), vec![], vec![]),
        (
            "another label",
            self::wishes(&[(
                "a",
                Wish {
                    labels: BTreeMap::from([("team".into(), "red".into())]),
                    ..bound(wish("a", &[80]), &[(80, 20000)])
                },
            )]),
            first.to_vec(),
            vec![
                "Service infra/svc-a 80->20000",
                "EndpointSlice infra/svc-a-ipv4 port-80->20000 10.0.0.1",
                "EndpointSlice infra/svc-a-ipv6 port-80->20000 fd00::1",
            ],
        ),
        (
            "no port is its own any more",
            self::wishes(&[("a", wish("a", &[80]))]),
            first.to_vec(),
            vec![
                "EndpointSlice infra/svc-a-ipv4 10.0.0.1 urgent",
                "EndpointSlice infra/svc-a-ipv6 fd00::1 urgent",
            ],
        ),
    ] {
        assert_eq!(texts(&planned(&wishes, &Live::of(&services, &slices, &own))), want, "{what}");
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
        let wish = Wish {
            parameters: ServiceParameters { kind, ..parameters.clone() },
            labels: BTreeMap::from([
                ("team".into(), "red".into()),
                ("gateway.networking.k8s.io/gateway-name".into(), "another".into()),
                ("portcullis.dev/addressing".into(), "no".into()),
            ]),
            annotations: BTreeMap::from([("b".into(), "gateway".into())]),
            address: Some("203.0.113.7".into()),
            ..wish("a", &[80])
        };
        let planned = planned(&wishes(&[("a", wish)]), &Live::of(&[], &[], &[]));
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
            "annotations": {"a": "parameters", "b": "gateway"},
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
    let mut slice = manifests::slice(&gateway("left"), &wish("left", &[]), "IPv4", &[]);
    slice["metadata"]["uid"] = "of-slice".into();
    let mut unowned = service("unowned", &[(80, 20004)]);
    unowned["metadata"]["ownerReferences"] =
        json!([{"kind": "Gateway", "apiVersion": "v1", "uid": "uid-left"}]);
    let services = [service("left", &[(80, 20000)]), service("unknown", &[(80, 20001)]), going, unowned];
    let live = Live::of(&services, &[slice], &[own("IPv4", &["10.0.0.1"])]);
    let left = ["uid-left", "uid-going"].map(Into::into);
    let wishes = Wishes { wishes: BTreeMap::new(), left: left.into() };
    assert_eq!(
        texts(&planned(&wishes, &live)),
        ["delete Service infra/svc-left of-svc-left", "delete EndpointSlice infra/svc-left-ipv4 of-slice"]
    );
}

#[test]
fn what_is_another_gateways_is_left_alone() {
    let mut before = service("a", &[(80, 20000)]);
    before["metadata"]["ownerReferences"][0]["uid"] = "uid-of-one-before".into();
    let live = Live::of(&[before], &[], &[own("IPv4", &["10.0.0.1"])]);
    assert!(planned(&wishes(&[("a", wish("a", &[80]))]), &live).acts.is_empty());
}

#[test]
fn without_a_service_of_our_own_there_are_no_endpoints_and_that_is_said() {
    let known = wishes(&[("a", bound(wish("a", &[80]), &[(80, 20000)]))]);
    let live = Live::of(&[service("a", &[(80, 20000)])], &[], &[]);
    let planned = plan(&known, &live, range(), &mut Assigned::new(), false);
    assert!(planned.acts.is_empty());
    assert!(planned.hindrances[&gateway("a")].contains("--service"));
}
