//! Which ports Gateways get, and the record of them.

use super::*;
use crate::cluster::dedicated::written::ports_of_service;

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
    let why = "no port is available in 20000-20009 (--dedicated-ports)";
    assert_eq!(failed, [("b", &*format!("port 81, 82: {why}")), ("c", &*format!("port 80: {why}"))]);
}
