//! What to write over a status that others write to as well.
//!
//! Entries and conditions of others stay as they are and where they are; if nothing of ours differs, nothing is written
//! (`status` of the Gateway API's kinds: read, change what is yours, write).

use serde_json::{Map, Value, json};

use crate::{
    kinds::StatusShape,
    status::{ConditionType, shortened},
};

/// The API's limit (`maxItems`). Entries and conditions of others stay; the last of ours are left out.
const CONDITIONS: usize = 8;

/// A list in which each controller has entries of its own.
struct EntryList {
    name: &'static str,
    /// What names the object that an entry is about.
    reference: &'static str,
    most: usize,
}

const PARENTS: EntryList = EntryList { name: "parents", reference: "parentRef", most: 32 };
const ANCESTORS: EntryList = EntryList { name: "ancestors", reference: "ancestorRef", most: 16 };

/// The status to write: `desired` put into `live`; `None` where that changes nothing, or where somebody who has seen
/// a later generation wrote before us. `controller` marks the entries that are ours, `now` is RFC 3339.
pub(super) fn merge(
    shape: StatusShape,
    live: &Value,
    desired: Option<&Value>,
    controller: &str,
    now: &str,
) -> Option<Value> {
    let merged = match shape {
        StatusShape::Parents => entries(&PARENTS, live, desired, controller, now)?,
        StatusShape::Ancestors => entries(&ANCESTORS, live, desired, controller, now)?,
        StatusShape::Listeners => listeners(live, desired?, now)?,
        StatusShape::Conditions => with_conditions(live, desired?.clone(), now)?,
        StatusShape::LoadBalancer => load_balancer(live, desired?)?,
    };
    (merged != *live).then_some(merged)
}

fn entries(
    list: &EntryList,
    live: &Value,
    desired: Option<&Value>,
    controller: &str,
    now: &str,
) -> Option<Value> {
    let EntryList { name, reference, most } = *list;
    let mut wanted = items(desired, name).to_vec();
    let mut entries = Vec::new();
    for entry in items(Some(live), name) {
        if entry["controllerName"].as_str() != Some(controller) {
            entries.push(entry.clone());
            continue;
        }
        let Some(found) = wanted.iter().position(|w| same_object(&w[reference], &entry[reference])) else {
            continue;
        };
        entries.push(with_conditions(entry, wanted.remove(found), now)?);
    }
    for entry in wanted {
        entries.push(with_conditions(&Value::Null, entry, now)?);
    }
    if entries.is_empty() && live.get(name).is_none() {
        return None;
    }
    leave_out(&mut entries, most, |entry| entry["controllerName"] == controller);
    Some(set(live, name, entries.into()))
}

/// Whether two references name the same object; the defaults of the API may be spelt out or not.
pub(in crate::cluster) fn same_object(one: &Value, other: &Value) -> bool {
    let part = |of: &Value, name: &str, default: &str| of[name].as_str().unwrap_or(default).to_owned();
    let text = |name, default| part(one, name, default) == part(other, name, default);
    text("group", "gateway.networking.k8s.io")
        && text("kind", "Gateway")
        && ["namespace", "name", "sectionName"].iter().all(|name| text(name, ""))
        && one["port"] == other["port"]
}

fn listeners(live: &Value, desired: &Value, now: &str) -> Option<Value> {
    let mut status = with_conditions(live, desired.clone(), now)?;
    // Only a Gateway with references of its own has this condition beside those of its listeners.
    let resolved = |condition: &Value| condition["type"] == ConditionType::ResolvedRefs.as_str();
    if !items(Some(desired), "conditions").iter().any(resolved)
        && let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut)
    {
        conditions.retain(|condition| !resolved(condition));
    }
    let listeners = items(Some(desired), "listeners").iter().map(|listener| {
        let before = items(Some(live), "listeners").iter().find(|l| l["name"] == listener["name"]);
        with_conditions(before.unwrap_or(&Value::Null), listener.clone(), now)
    });
    status = set(&status, "listeners", listeners.collect::<Option<Vec<_>>>()?.into());
    // While no address is known, the last ones stay: clients may still use them.
    // A Gateway that is not accepted has none.
    let is_accepted = |c: &Value| c["type"] == "Accepted" && c["status"] == "True";
    if !items(Some(desired), "conditions").iter().any(is_accepted)
        && let Some(fields) = status.as_object_mut()
    {
        fields.remove("addresses");
    }
    Some(status)
}

/// Addresses are not cleared: while none is known, nothing is written.
fn load_balancer(live: &Value, desired: &Value) -> Option<Value> {
    let addresses = items(desired.get("loadBalancer"), "ingress");
    if addresses.is_empty() {
        return None;
    }
    let known = items(live.get("loadBalancer"), "ingress");
    let address = |of: &Value| (of["ip"].clone(), of["hostname"].clone());
    let is_same =
        addresses.len() == known.len() && addresses.iter().zip(known).all(|(a, b)| address(a) == address(b));
    if is_same {
        return None;
    }
    Some(set(live, "loadBalancer", json!({ "ingress": addresses })))
}

/// `desired` with the times of transition, and with the conditions in `live` that are not ours; other fields of `live`
/// stay too. `None` where a condition of ours is of a later generation than `desired`.
fn with_conditions(live: &Value, desired: Value, now: &str) -> Option<Value> {
    let before = items(Some(live), "conditions");
    let mut wanted = items(Some(&desired), "conditions").to_vec();
    let mut conditions = Vec::new();
    for condition in before {
        let kind = condition["type"].as_str().unwrap_or_default();
        let Some(found) = wanted.iter().position(|w| w["type"] == condition["type"]) else {
            // A passing condition of ours that is not desired is removed.
            if ConditionType::named(kind).is_none_or(|kind| !kind.meaning().passing) {
                conditions.push(condition.clone());
            }
            continue;
        };
        let mut ours = wanted.remove(found);
        let generation = |of: &Value| of["observedGeneration"].as_i64().unwrap_or_default();
        if generation(condition) > generation(&ours) {
            return None;
        }
        let is_same = ours["status"] == condition["status"] && condition["lastTransitionTime"].is_string();
        ours["lastTransitionTime"] =
            if is_same { condition["lastTransitionTime"].clone() } else { now.into() };
        conditions.push(ours);
    }
    for mut ours in wanted {
        ours["lastTransitionTime"] = now.into();
        conditions.push(ours);
    }
    let is_ours = |kind: &Value| items(Some(&desired), "conditions").iter().any(|ours| ours["type"] == *kind);
    let is_passing = |kind: &Value| {
        kind.as_str().and_then(ConditionType::named).is_some_and(|kind| kind.meaning().passing)
    };
    // Passing ones are left out first.
    leave_out(&mut conditions, CONDITIONS, |condition| is_passing(&condition["type"]));
    leave_out(&mut conditions, CONDITIONS, |condition| is_ours(&condition["type"]));
    let mut merged = live.as_object().cloned().unwrap_or_default();
    merged.extend(desired.as_object().cloned().unwrap_or_default());
    merged.insert("conditions".into(), conditions.into());
    Some(Value::Object(merged))
}

/// Leaves out the last ones that are ours, until there are as many as there may be.
fn leave_out(entries: &mut Vec<Value>, most: usize, is_ours: impl Fn(&Value) -> bool) {
    while entries.len() > most
        && let Some(last) = entries.iter().rposition(&is_ours)
    {
        entries.remove(last);
    }
}

/// Shortens the messages of a status that the API server has refused.
pub(super) fn shorten(status: &mut Value) {
    const MESSAGE: usize = 200;
    match status {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "message" && text.len() > MESSAGE => {
                        *text = shortened(text, MESSAGE);
                    }
                    value => shorten(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn items<'v>(of: Option<&'v Value>, name: &str) -> &'v [Value] {
    of.and_then(|of| of.get(name)).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn set(of: &Value, name: &str, value: Value) -> Value {
    let mut fields: Map<_, _> = of.as_object().cloned().unwrap_or_default();
    fields.insert(name.to_owned(), value);
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-02T00:00:00Z";
    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const OURS: &str = "portcullis.dev/gateway-controller";

    fn condition(kind: &str, status: &str, generation: i64, time: Option<&str>) -> Value {
        let mut condition = json!({"type": kind, "status": status, "reason": kind, "message": "", "observedGeneration": generation});
        if let Some(time) = time {
            condition["lastTransitionTime"] = time.into();
        }
        condition
    }

    fn entry(controller: &str, parent: &str, conditions: Value) -> Value {
        json!({"controllerName": controller, "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": parent}, "conditions": conditions})
    }

    fn parents(entries: Value) -> Value {
        json!({ "parents": entries })
    }

    #[test]
    fn a_route_keeps_the_entries_of_others_and_loses_stale_ones_of_ours() {
        let foreign =
            entry("other.dev/controller", "a", json!([condition("Accepted", "False", 9, Some(BEFORE))]));
        let desired = |parent| entry(OURS, parent, json!([condition("Accepted", "True", 2, None)]));
        let written =
            |parent, time| entry(OURS, parent, json!([condition("Accepted", "True", 2, Some(time))]));
        for (what, live, desired, want) in [
            ("first of all", json!({}), Some(json!([desired("a")])), Some(json!([written("a", NOW)]))),
            ("the same", parents(json!([written("a", BEFORE)])), Some(json!([desired("a")])), None),
            (
                "beside a foreign entry for the same parent",
                parents(json!([foreign])),
                Some(json!([desired("a")])),
                Some(json!([foreign, written("a", NOW)])),
            ),
            (
                "before a foreign entry, and nothing new",
                parents(json!([written("a", BEFORE), foreign])),
                Some(json!([desired("a")])),
                None,
            ),
            (
                "another parent",
                parents(json!([written("a", BEFORE), foreign])),
                Some(json!([desired("b")])),
                Some(json!([foreign, written("b", NOW)])),
            ),
            ("no longer ours", parents(json!([written("a", BEFORE), foreign])), None, Some(json!([foreign]))),
            ("never ours", parents(json!([foreign])), None, None),
            ("nothing at all", json!({}), None, None),
            (
                "a later generation was seen by another replica",
                parents(json!([entry(OURS, "a", json!([condition("Accepted", "True", 3, Some(BEFORE))]))])),
                Some(json!([desired("a")])),
                None,
            ),
        ] {
            let desired = desired.map(parents);
            let got = merge(StatusShape::Parents, &live, desired.as_ref(), OURS, NOW);
            assert_eq!(got, want.map(parents), "{what}");
        }
    }

    #[test]
    fn the_time_of_transition_is_that_of_the_status() {
        for (what, before, want) in [
            (
                "other reason, same status",
                json!({"type": "Accepted", "status": "True", "reason": "Old", "observedGeneration": 1, "lastTransitionTime": BEFORE}),
                BEFORE,
            ),
            ("other status", condition("Accepted", "False", 1, Some(BEFORE)), NOW),
            ("no time", condition("Accepted", "True", 1, None), NOW),
        ] {
            let live = json!({"conditions": [before, condition("Theirs", "True", 1, Some(BEFORE)), condition("PartiallyInvalid", "True", 1, Some(BEFORE))]});
            let desired = json!({"conditions": [condition("Accepted", "True", 2, None)]});
            let got = merge(StatusShape::Conditions, &live, Some(&desired), OURS, NOW).unwrap();
            let want = json!([
                condition("Accepted", "True", 2, Some(want)),
                condition("Theirs", "True", 1, Some(BEFORE))
            ]);
            assert_eq!(got["conditions"], want, "{what}");
        }
    }

    #[test]
    fn no_list_is_longer_than_the_api_takes_and_others_keep_theirs() {
        let foreign: Vec<_> = (0..30)
            .map(|n| {
                entry(&format!("other.dev/{n}"), "a", json!([condition("Accepted", "True", 1, Some(BEFORE))]))
            })
            .collect();
        let ours: Vec<_> = ["a", "b", "c", "d"]
            .map(|parent| entry(OURS, parent, json!([condition("Accepted", "True", 1, None)])))
            .into();
        let live = parents(json!(foreign));
        let got = merge(StatusShape::Parents, &live, Some(&parents(json!(ours))), OURS, NOW).unwrap();
        let got = got["parents"].as_array().unwrap();
        assert_eq!((got.len(), &got[..30]), (32, &foreign[..]));
        let names: Vec<_> = got[30..].iter().map(|entry| &entry["parentRef"]["name"]).collect();
        assert_eq!(names, ["a", "b"]);
        // Written once, there is nothing to write again.
        let live = parents(json!(got));
        assert_eq!(merge(StatusShape::Parents, &live, Some(&parents(json!(ours))), OURS, NOW), None);

        let theirs: Vec<_> =
            (0..6).map(|n| condition(&format!("Theirs{n}"), "True", 1, Some(BEFORE))).collect();
        let desired = ["Accepted", "PartiallyInvalid", "ResolvedRefs", "Other"]
            .map(|kind| condition(kind, "True", 1, None));
        let got = merge(
            StatusShape::Conditions,
            &json!({"conditions": theirs}),
            Some(&json!({"conditions": desired})),
            OURS,
            NOW,
        )
        .unwrap();
        let kinds: Vec<_> =
            got["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            ["Theirs0", "Theirs1", "Theirs2", "Theirs3", "Theirs4", "Theirs5", "Accepted", "ResolvedRefs"]
        );
    }

    #[test]
    fn a_policy_keeps_the_ancestors_of_others_and_has_as_many_as_the_api_takes() {
        let ancestor = |controller: &str, name: &str, time| {
            let conditions = json!([condition("Accepted", "True", 1, time)]);
            json!({"controllerName": controller, "ancestorRef": {"name": name}, "conditions": conditions})
        };
        let foreign = |count| (0..count).map(|n| ancestor("other.dev/x", &n.to_string(), Some(BEFORE)));
        for (of_others, wanted, written) in [
            (0, &["a", "b"][..], &["a", "b"][..]),
            (2, &["b"], &["b"]),
            (2, &[], &[]),
            (15, &["a", "b"], &["a"]),
            (16, &["a"], &[]),
        ] {
            // One that was ours and no longer is goes.
            let live: Vec<_> = foreign(of_others).chain([ancestor(OURS, "gone", Some(BEFORE))]).collect();
            let desired: Vec<_> = wanted.iter().map(|name| ancestor(OURS, name, None)).collect();
            let (live, desired) = (json!({"ancestors": live}), json!({"ancestors": desired}));
            let got = merge(StatusShape::Ancestors, &live, Some(&desired), OURS, NOW).unwrap();
            let ours = written.iter().map(|name| ancestor(OURS, name, Some(NOW)));
            let want: Vec<_> = foreign(of_others).chain(ours).collect();
            assert_eq!(got, json!({"ancestors": want}), "{of_others} of others, {wanted:?}");
            assert_eq!(merge(StatusShape::Ancestors, &got, Some(&desired), OURS, NOW), None, "written once");
        }
    }

    #[test]
    fn messages_alone_are_shortened() {
        let long = "m".repeat(300);
        let mut status = json!({"conditions": [{"message": long, "reason": long}], "listeners": [{"conditions": [{"message": "short"}]}]});
        shorten(&mut status);
        let short = "m".repeat(200) + " ... (100 more bytes)";
        let want = json!({"conditions": [{"message": short, "reason": long}], "listeners": [{"conditions": [{"message": "short"}]}]});
        assert_eq!(status, want);
    }

    #[test]
    fn addresses_are_never_cleared() {
        let accepted = |status| json!([condition("Accepted", status, 1, None)]);
        let address = json!([{"type": "IPAddress", "value": "192.0.2.1"}]);
        let live = json!({"addresses": address, "conditions": [], "listeners": []});
        for (what, status, want) in
            [("unknown for now", "True", Some(&address)), ("not accepted", "False", None)]
        {
            let desired = json!({"conditions": accepted(status), "listeners": []});
            let got = merge(StatusShape::Listeners, &live, Some(&desired), OURS, NOW).unwrap();
            assert_eq!(got.get("addresses"), want, "{what}");
        }
        let balancer = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let none = json!({"loadBalancer": {}});
        let other = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}});
        let seen = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}});
        for (what, live, desired, want) in [
            ("unknown for now", &balancer, &none, None),
            ("the same, as the server completes it", &seen, &balancer, None),
            ("another", &balancer, &other, Some(&other)),
            ("the first", &none, &balancer, Some(&balancer)),
        ] {
            assert_eq!(
                merge(StatusShape::LoadBalancer, live, Some(desired), OURS, NOW).as_ref(),
                want,
                "{what}"
            );
        }
    }

    #[test]
    fn a_gateway_without_references_of_its_own_says_nothing_of_them() {
        let status = |conditions: Value| json!({"conditions": conditions, "listeners": []});
        let both = json!([
            condition("Accepted", "True", 1, Some(BEFORE)),
            condition("ResolvedRefs", "False", 1, Some(BEFORE))
        ]);
        let desired = status(json!([condition("Accepted", "True", 2, None)]));
        let got = merge(StatusShape::Listeners, &status(both.clone()), Some(&desired), OURS, NOW).unwrap();
        assert_eq!(got["conditions"], json!([condition("Accepted", "True", 2, Some(BEFORE))]));
        let desired = status(json!([
            condition("Accepted", "True", 1, None),
            condition("ResolvedRefs", "False", 1, None)
        ]));
        assert_eq!(merge(StatusShape::Listeners, &status(both), Some(&desired), OURS, NOW), None);
    }

    #[test]
    fn listeners_are_those_of_the_gateway_and_keep_their_times() {
        let listener = |name: &str, time: Option<&str>| json!({"name": name, "attachedRoutes": 1, "supportedKinds": [], "conditions": [condition("Accepted", "True", 1, time)]});
        let live = json!({"conditions": [], "listeners": [listener("gone", Some(BEFORE)), listener("kept", Some(BEFORE))]});
        let desired = json!({"conditions": [], "listeners": [listener("kept", None), listener("new", None)]});
        let got = merge(StatusShape::Listeners, &live, Some(&desired), OURS, NOW).unwrap();
        assert_eq!(got["listeners"], json!([listener("kept", Some(BEFORE)), listener("new", Some(NOW))]));
    }
}
