//! The EndpointSlices of a Gateway, and which pods are in them.

use super::*;

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
