use serde_json::json;

use super::*;
use crate::{
    cluster::dedicated::{DesiredService, record::Read},
    ir::Kind,
    ir::parameters::ServiceParameters,
};

const NOW: u64 = 1_764_230_400;

fn range() -> PortRange {
    "20000-20004".parse().unwrap()
}

fn gateway(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Gateway, "infra", name)
}

/// Gateways of these names with these ports; their uids and Services are called after them.
fn desired(all: &[(&str, &[u16])]) -> DesiredServices {
    let spec = |name: &str, ports: &[u16]| DesiredService {
        uid: format!("uid-{name}").into(),
        class: "dedicated".into(),
        service: format!("svc-{name}").into(),
        parameters: ServiceParameters::default(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        address: None,
        cluster_address: None,
        ports: ports.iter().copied().map(PortKey::tcp).collect(),
    };
    let mut desired = DesiredServices::default();
    for (name, ports) in all {
        desired.services.insert(gateway(name), spec(name, ports));
        keep(&mut desired, name);
    }
    desired
}

/// A Gateway that is not accepted now, or whose parameters cannot be seen.
fn keep(desired: &mut DesiredServices, name: &str) {
    desired.kept.insert(format!("uid-{name}").into(), ("infra".into(), format!("svc-{name}").into()));
}

fn service(name: &str, created: &str, ports: &[(u16, u16)]) -> Value {
    let ports =
        ports.iter().map(|(port, target)| json!({"port": port, "targetPort": target, "protocol": "TCP"}));
    json!({
        "metadata": {
            "namespace": "infra", "name": format!("svc-{name}"), "creationTimestamp": created,
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": name,
                "uid": format!("uid-{name}"),
            }],
        },
        "spec": { "ports": ports.collect::<Vec<_>>() },
    })
}

fn nothing() -> Live {
    Live::of(&[], &[], &[])
}

fn record(ports: &str, released: &str) -> Record {
    let read = Record::read(&json!({"data": {"ports": ports, "released": released}}));
    assert_eq!(read.broken, [""; 0]);
    read.record.unwrap()
}

fn after(recorded: Option<&Record>, desired: &DesiredServices, live: &Live, now: u64) -> Next {
    next(recorded, &BTreeMap::new(), desired, live, range(), now)
}

/// `a 80 20000; b 80 20001 | 20002 for 5 s`.
fn text(record: &Record, now: u64) -> String {
    let ports: Vec<_> =
        record.allocation.iter().map(|(uid, port, ours)| format!("{} {port} {ours}", &uid[4..])).collect();
    let released: Vec<_> =
        record.released.iter().map(|(port, when)| format!("{port} for {} s", now - when)).collect();
    format!("{} | {}", ports.join("; "), released.join("; "))
}

#[test]
fn each_port_gets_one_that_nobody_had_and_keeps_it() {
    let first = after(None, &desired(&[("a", &[80, 443]), ("b", &[80])]), &nothing(), NOW);
    assert_eq!(text(&first.record, NOW), "a 80 20000; a 443 20001; b 80 20002 | ");
    let second = after(
        Some(&first.record),
        &desired(&[("0", &[80]), ("a", &[80, 443]), ("b", &[80])]),
        &nothing(),
        NOW,
    );
    assert_eq!(text(&second.record, NOW), "0 80 20003; a 80 20000; a 443 20001; b 80 20002 | ");
    assert!(second.without.is_empty());
}

#[test]
fn what_services_say_is_taken_once_and_only_of_our_own() {
    let two = desired(&[("a", &[80, 443]), ("b", &[80])]);
    let (old, young) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let mut foreign = service("b", old, &[(80, 20002)]);
    foreign["metadata"]["ownerReferences"][0]["uid"] = "uid-a".into();
    let mut unowned = service("b", old, &[(80, 20002)]);
    unowned["metadata"]["ownerReferences"] = json!([]);
    for (what, services, want) in [
        (
            "what there is",
            vec![service("a", young, &[(80, 20004), (443, 20001)]), service("b", young, &[(80, 20003)])],
            "a 80 20004; a 443 20001; b 80 20003 | ",
        ),
        (
            "the older one of two",
            vec![service("a", young, &[(80, 20004)]), service("b", old, &[(80, 20004)])],
            "a 80 20000; a 443 20001; b 80 20004 | ",
        ),
        (
            "one for two ports of a Gateway",
            vec![service("a", old, &[(80, 20004), (443, 20004)])],
            "a 80 20004; a 443 20000; b 80 20001 | ",
        ),
        (
            "none of the range",
            vec![service("a", old, &[(80, 9080), (443, 30000)])],
            "a 80 20000; a 443 20001; b 80 20002 | ",
        ),
        (
            "a Service of another name that says it is of a",
            vec![foreign],
            "a 80 20000; a 443 20001; b 80 20002 | ",
        ),
        ("a Service without an owner", vec![unowned], "a 80 20000; a 443 20001; b 80 20002 | "),
    ] {
        let live = Live::of(&services, &[], &[]);
        assert_eq!(text(&after(None, &two, &live, NOW).record, NOW), want, "{what}");
        // Once there is a record, Services are not read.
        let recorded = record("uid-a 80 20000\nuid-a 443 20001\nuid-b 80 20002\n", "");
        let later = after(Some(&recorded), &two, &live, NOW);
        assert_eq!(later.record, recorded, "{what}");
        let empty = record("", "");
        let later = after(Some(&empty), &two, &live, NOW);
        assert_eq!(text(&later.record, NOW), "a 80 20000; a 443 20001; b 80 20002 | ", "{what}");
    }
    // The same for a Gateway that is currently not accepted.
    let mut desired = desired(&[]);
    keep(&mut desired, "a");
    let live = Live::of(&[service("a", old, &[(80, 20003)])], &[], &[]);
    assert_eq!(text(&after(None, &desired, &live, NOW).record, NOW), "a 80 20003 | ");
}

#[test]
fn a_port_goes_after_gateway_and_service_are_gone() {
    let recorded = record("uid-a 80 20000\nuid-a 443 20001\n", "");
    let both = service("a", "", &[(80, 20000), (443, 20001)]);
    let one = service("a", "", &[(80, 20000)]);
    let mut unseen = desired(&[]);
    keep(&mut unseen, "a");
    for (what, desired, services, want) in [
        ("both are there", desired(&[("a", &[80, 443])]), vec![both.clone()], "a 80 20000; a 443 20001 | "),
        ("a Service is to be made", desired(&[("a", &[80, 443])]), vec![], "a 80 20000; a 443 20001 | "),
        ("the Gateway is not accepted", unseen, vec![], "a 80 20000; a 443 20001 | "),
        ("the Gateway is gone", desired(&[]), vec![both.clone()], "a 80 20000; a 443 20001 | "),
        (
            "one port less, and the Service has it",
            desired(&[("a", &[80])]),
            vec![both],
            "a 80 20000; a 443 20001 | ",
        ),
        ("one port less", desired(&[("a", &[80])]), vec![one], "a 80 20000 | 20001 for 0 s"),
        ("both are gone", desired(&[]), vec![], " | 20000 for 0 s; 20001 for 0 s"),
    ] {
        let live = Live::of(&services, &[], &[]);
        assert_eq!(text(&after(Some(&recorded), &desired, &live, NOW).record, NOW), want, "{what}");
    }
}

#[test]
fn a_port_is_used_again_after_ten_minutes_the_oldest_first() {
    let ago = |seconds: u64| NOW - seconds;
    let released = |ages: [u64; 4]| {
        let lines: Vec<_> = (20001..).zip(ages).map(|(port, age)| format!("{port} {}\n", ago(age))).collect();
        record("uid-a 80 20000\n", &lines.concat())
    };
    let two = desired(&[("a", &[80]), ("b", &[80])]);
    for (what, ages, want) in [
        ("not yet", [599, 0, 1, 598], None),
        ("just now", [600, 0, 1, 599], Some(20001)),
        ("the oldest", [601, 900, 700, 900], Some(20002)),
    ] {
        let next = after(Some(&released(ages)), &two, &nothing(), NOW);
        assert_eq!(next.record.allocation.of("uid-b", PortKey::tcp(80)), want, "{what}");
        assert_eq!(next.record.released.len(), if want.is_some() { 3 } else { 4 }, "{what}");
        let why = next.without.get(&gateway("b")).map(|without| without.why.to_string());
        let none = "no port is available in 20000-20004 (--dedicated-ports); 4 released ports can be used again after 10 minutes";
        assert_eq!(why.as_deref(), if want.is_some() { None } else { Some(none) }, "{what}");
    }
    // Ports that were never used come first.
    let next = after(Some(&record("", "20000 0\n20001 0\n20002 0\n20003 0\n")), &two, &nothing(), NOW);
    assert_eq!(
        text(&next.record, NOW),
        format!("a 80 20004; b 80 20000 | 20001 for {NOW} s; 20002 for {NOW} s; 20003 for {NOW} s")
    );
    // A clock was wrong.
    let next = after(Some(&record("", &format!("20000 {}\n", NOW + 5000))), &desired(&[]), &nothing(), NOW);
    assert_eq!(text(&next.record, NOW), " | 20000 for 0 s");
}

#[test]
fn a_range_has_an_end_and_a_gateway_gets_what_is_left() {
    let all = desired(&[("a", &[80, 81, 82]), ("b", &[80, 81, 82, 83]), ("c", &[80])]);
    let next = after(None, &all, &nothing(), NOW);
    assert_eq!(text(&next.record, NOW), "a 80 20000; a 81 20001; a 82 20002; b 80 20003; b 81 20004 | ");
    let without: Vec<_> =
        next.without.iter().map(|(key, without)| (&*key.name, crate::status::list(&without.ports))).collect();
    assert_eq!(without, [("b", "82, 83".to_owned()), ("c", "80".to_owned())]);
    let why = next.without[&gateway("c")].why.to_string();
    assert_eq!(why, "no port is available in 20000-20004 (--dedicated-ports)");
}

#[test]
fn a_narrower_range_gives_others() {
    let next = after(
        Some(&record("uid-a 80 19999\nuid-a 443 20001\n", "30000 5\n")),
        &desired(&[("a", &[80, 443])]),
        &nothing(),
        NOW,
    );
    assert_eq!(text(&next.record, NOW), "a 80 20000; a 443 20001 | ");
}

#[test]
fn a_record_that_somebody_edited_costs_what_is_broken() {
    let read = Record::read(&json!({"data": {
        "ports": "uid-a 80 20000\nuid-a 443\nuid-b 80 20000\nnot a line at all\nuid-b 81 20001\n",
        "released": "20000 7\n20002 seven\n20003 7\n99999 7\n",
        "more": "\u{0}",
    }}));
    assert_eq!(
        read.broken,
        ["uid-a 443", "uid-b 80 20000", "not a line at all", "20000 7", "20002 seven", "99999 7"]
    );
    let two = desired(&[("a", &[80, 443]), ("b", &[80, 81])]);
    let next = after(read.record.as_ref(), &two, &nothing(), NOW);
    assert_eq!(
        text(&next.record, NOW),
        format!("a 80 20000; a 443 20002; b 80 20004; b 81 20001 | 20003 for {} s", NOW - 7)
    );
    for broken in
        [json!(null), json!({}), json!({"data": null}), json!({"data": {"ports": 7}}), json!({"data": []})]
    {
        assert_eq!(Record::read(&broken), Read::default(), "{broken}");
    }
}

#[test]
fn ports_that_were_taken_out_by_hand_wait_as_others_do() {
    let before = record("uid-a 80 20000\nuid-b 80 20001\nuid-c 80 20002\n", "");
    let now = record("uid-b 80 20001\n", "20002 5\n");
    assert_eq!(now.lost_since(&before).collect::<Vec<_>>(), [20000]);
    let lost = BTreeMap::from([(20000, NOW - 10), (20001, NOW)]);
    let two = desired(&[("a", &[80]), ("b", &[80])]);
    let next = next(Some(&now), &lost, &two, &nothing(), range(), NOW);
    assert_eq!(
        text(&next.record, NOW),
        format!("a 80 20003; b 80 20001 | 20000 for 10 s; 20002 for {} s", NOW - 5)
    );
}

#[test]
fn a_record_has_room_for_ten_thousand_ports_and_never_more_than_a_config_map() {
    let uid = |i: usize| format!("6f0e2c5a-6d7c-4c0e-9a43-{i:012}");
    let desired = |count: usize| {
        let mut all = desired(&[]);
        for i in 0..count {
            let name = format!("g{i}");
            let mut one = self::desired(&[(&name, &[80])]);
            one.services.values_mut().for_each(|spec| spec.uid = uid(i).into());
            all.services.extend(one.services);
        }
        all
    };
    let size = |record: &Record| {
        record.data().as_object().unwrap().values().map(|v| v.as_str().unwrap().len()).sum::<usize>()
    };
    let live = nothing();
    let plenty = next(None, &BTreeMap::new(), &desired(10_000), &live, "20000-29999".parse().unwrap(), NOW);
    assert!(plenty.without.is_empty() && size(&plenty.record) < MOST_BYTES, "{}", size(&plenty.record));
    let full = next(None, &BTreeMap::new(), &desired(30_000), &live, "1-65535".parse().unwrap(), NOW);
    assert!((MOST_BYTES / 10 * 9..=MOST_BYTES).contains(&size(&full.record)), "{}", size(&full.record));
    assert!(full.without.values().all(|without| without.why == Why::Full) && full.without.len() > 5000);
    // What is given up needs no more room.
    let given_up = next(
        Some(&full.record),
        &BTreeMap::new(),
        &self::desired(&[]),
        &live,
        "1-65535".parse().unwrap(),
        NOW,
    );
    assert!(size(&given_up.record) < MOST_BYTES);
}

#[test]
fn a_uid_that_would_be_two_words_is_not_recorded() {
    let mut one = desired(&[("a", &[80])]);
    one.services.values_mut().for_each(|spec| spec.uid = "u 80 20000\nv".into());
    let next = after(None, &one, &nothing(), NOW);
    assert_eq!((text(&next.record, NOW).as_str(), next.without[&gateway("a")].why), (" | ", Why::Uid));
}
