//! The Services of Gateways, and whose they are.

use super::*;

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
fn a_service_has_the_address_inside_the_cluster_that_is_asked_for() {
    for (kind, cluster_address, want) in [
        (ServiceType::ClusterIp, None, json!({"type": "ClusterIP"})),
        (ServiceType::ClusterIp, Some("10.96.0.8"), json!({"type": "ClusterIP", "clusterIP": "10.96.0.8"})),
        (
            ServiceType::LoadBalancer,
            Some("10.96.0.8"),
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.8", "loadBalancerIP": "203.0.113.7"}),
        ),
    ] {
        let spec = DesiredService {
            parameters: ServiceParameters { kind: Some(kind), ..ServiceParameters::default() },
            address: Some("203.0.113.7".into()),
            cluster_address: cluster_address.map(Into::into),
            ..spec("a", &[80])
        };
        let live = Live::of(&[], &[], &[]).recorded(&recorded(&["a 80 20000"]));
        let planned = planned(&desired(&[("a", spec)]), &live);
        let Deed::Apply(mut manifest) = planned.acts[0].deed.clone() else { panic!("{planned:?}") };
        manifest["spec"].as_object_mut().unwrap().remove("ports");
        assert_eq!(manifest["spec"], want, "{kind:?} {cluster_address:?}");
    }
}

#[test]
fn an_address_that_a_service_has_cannot_be_changed_but_the_rest_can() {
    for (asked, want) in [
        ("10.96.0.1", json!({"type": "ClusterIP", "clusterIP": "10.96.0.1"})),
        ("10.96.0.8", json!({"type": "ClusterIP"})),
    ] {
        let parameters =
            ServiceParameters { kind: Some(ServiceType::ClusterIp), ..ServiceParameters::default() };
        let spec = DesiredService { parameters, cluster_address: Some(asked.into()), ..spec("a", &[80]) };
        // It is a LoadBalancer.
        let live = Live::of(&[service("a", &[(80, 20000)])], &[], &[]).recorded(&recorded(&["a 80 20000"]));
        let planned = planned(&desired(&[("a", spec)]), &live);
        let Deed::Apply(mut manifest) = planned.acts[0].deed.clone() else { panic!("{planned:?}") };
        manifest["spec"].as_object_mut().unwrap().remove("ports");
        assert_eq!(manifest["spec"], want, "{asked}");
    }
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
