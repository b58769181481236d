//! Which changes of a status are worth an event.

use serde_json::Value;

use crate::{
    cluster::statuses::same_object,
    kinds::StatusShape,
    objects::parse_parent_ref,
    status::{ConditionType, EventLevel, Level, Meaning, Message, sentences},
};

/// A change of an object's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    /// What it is about: the condition's type.
    pub(crate) action: &'static str,
    pub(crate) reason: String,
    pub(crate) note: String,
    pub(crate) level: EventLevel,
    /// Whether it is a state that lasts, which is reported once however often it is found, and not a single occurrence.
    pub(crate) is_lasting: bool,
}

/// What changed between two statuses of an object, both as JSON; `controller` marks the entries that are ours.
///
/// A condition that is good is reported only if it was bad before.
pub(crate) fn transitions(
    shape: StatusShape,
    before: &Value,
    after: &Value,
    controller: &str,
) -> Vec<Transition> {
    match shape {
        StatusShape::Parents => entries(before, after, controller, "parents", "parentRef"),
        StatusShape::Ancestors => entries(before, after, controller, "ancestors", "ancestorRef"),
        StatusShape::Listeners => {
            let listeners = after["listeners"].as_array().into_iter().flatten().flat_map(|listener| {
                let known = before["listeners"].as_array().into_iter().flatten();
                let known = known.into_iter().find(|l| l["name"] == listener["name"]);
                let name = listener["name"].as_str().unwrap_or_default();
                conditions(known.unwrap_or(&Value::Null), listener, &format!("listener {name}: "))
            });
            conditions(before, after, "").into_iter().chain(listeners).collect()
        }
        StatusShape::Conditions => conditions(before, after, ""),
        StatusShape::LoadBalancer => Vec::new(),
    }
}

/// The transitions of our entries in a list that controllers share; `reference` is the field that names the object.
fn entries(before: &Value, after: &Value, controller: &str, list: &str, reference: &str) -> Vec<Transition> {
    let ours = |status: &Value| -> Vec<Value> {
        let entries = status[list].as_array().cloned().unwrap_or_default();
        entries.into_iter().filter(|entry| entry["controllerName"] == controller).collect()
    };
    let before = ours(before);
    let told = ours(after).into_iter().flat_map(|entry| {
        let known = before.iter().find(|b| same_object(&b[reference], &entry[reference]));
        let prefix = parse_parent_ref(&entry[reference]).map(|to| format!("{to}: ")).unwrap_or_default();
        conditions(known.unwrap_or(&Value::Null), &entry, &prefix)
    });
    told.collect()
}

fn conditions(before: &Value, after: &Value, prefix: &str) -> Vec<Transition> {
    let find = |of: &Value, kind: &str| -> Option<Value> {
        of["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
    };
    let told = ConditionType::ALL.into_iter().filter_map(|kind| {
        let Meaning { name, good, event, .. } = kind.meaning();
        let (level, good) = ((*event)?, good.as_str());
        let now = find(after, name).filter(|c| c["status"] != "Unknown")?;
        let is_good = now["status"] == good;
        let was_good = find(before, name).filter(|c| c["status"] != "Unknown").map(|c| c["status"] == good);
        // Without an earlier status it counts as having been good.
        (is_good != was_good.unwrap_or(true)).then(|| Transition {
            action: name,
            reason: now["reason"].as_str().unwrap_or_default().to_owned(),
            note: format!("{prefix}{}", now["message"].as_str().unwrap_or_default()),
            level: if is_good { EventLevel::Normal } else { level },
            is_lasting: false,
        })
    });
    told.collect()
}

/// The event for remarks about an accepted object; with no `remarks` it says that there are none any more.
pub(crate) fn remarked(remarks: &[Message]) -> Transition {
    let reason = match remarks.iter().map(|remark| remark.level).min() {
        Some(Level::Refused) => "NotServed",
        Some(_) => "NoEffect",
        None => "Accepted",
    };
    let (note, level) = match remarks {
        [] => ("all of it is served".to_owned(), EventLevel::Normal),
        remarks => (sentences(remarks.iter().map(|remark| &remark.text)), EventLevel::Warning),
    };
    Transition { action: "Accepted", reason: reason.to_owned(), note, level, is_lasting: !remarks.is_empty() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changes_is_told() {
        let status = |accepted: &str| json!({"conditions": [{"type": "Accepted", "status": accepted, "reason": "R", "message": "m"}], "listeners": []});
        let none = json!(null);
        let (warning, normal) = (EventLevel::Warning, EventLevel::Normal);
        for (what, before, after, want) in [
            ("good from the beginning", &none, status("True"), vec![]),
            ("bad from the beginning", &none, status("False"), vec![warning]),
            ("good after pending", &status("Unknown"), status("True"), vec![]),
            ("bad after pending", &status("Unknown"), status("False"), vec![warning]),
            ("no longer known", &status("True"), status("Unknown"), vec![]),
            ("still bad", &status("False"), status("False"), vec![]),
            ("still good", &status("True"), status("True"), vec![]),
            ("turned bad", &status("True"), status("False"), vec![warning]),
            ("turned good", &status("False"), status("True"), vec![normal]),
        ] {
            let told = transitions(StatusShape::Listeners, before, &after, "c");
            assert_eq!(told.iter().map(|told| told.level).collect::<Vec<_>>(), want, "{what}");
        }
    }

    #[test]
    fn entries_of_others_are_theirs_to_tell() {
        let parent = |controller: &str, status: &str| {
            json!({"controllerName": controller, "parentRef": {"name": "public"},
                "conditions": [{"type": "ResolvedRefs", "status": status, "reason": "BackendNotFound", "message": "Service a/b not found"}]})
        };
        let before = json!({"parents": [parent("ours", "True"), parent("theirs", "True")]});
        let after = json!({"parents": [parent("ours", "False"), parent("theirs", "False")]});
        let want = Transition {
            action: "ResolvedRefs",
            reason: "BackendNotFound".to_owned(),
            note: "Gateway public: Service a/b not found".to_owned(),
            level: EventLevel::Warning,
            is_lasting: false,
        };
        assert_eq!(transitions(StatusShape::Parents, &before, &after, "ours"), [want]);
    }

    #[test]
    fn a_note_names_the_parent_as_fully_as_the_object_does() {
        for (parent, want) in [
            (json!({"name": "public"}), "Gateway public: why"),
            (
                json!({"kind": "Gateway", "namespace": "infra", "name": "public", "sectionName": "http", "port": 80}),
                "Gateway infra/public listener http port 80: why",
            ),
            (json!({"group": "", "kind": "Service", "name": "web"}), "Service web: why"),
        ] {
            let conditions =
                json!([{"type": "Accepted", "status": "False", "reason": "R", "message": "why"}]);
            let entry = json!({"controllerName": "ours", "parentRef": parent, "conditions": conditions});
            let told = transitions(StatusShape::Parents, &json!(null), &json!({"parents": [entry]}), "ours");
            assert_eq!(told.iter().map(|told| &*told.note).collect::<Vec<_>>(), [want]);
        }
    }

    #[test]
    fn an_entry_is_the_same_with_and_without_its_defaults() {
        let status = |parent: Value| {
            let conditions =
                json!([{"type": "Accepted", "status": "False", "reason": "R", "message": "why"}]);
            json!({"parents": [{"controllerName": "ours", "parentRef": parent, "conditions": conditions}]})
        };
        let before = status(json!({"name": "public"}));
        let spelt = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"});
        for (parent, count) in [(spelt, 0), (json!({"name": "public", "port": 80}), 1)] {
            let told = transitions(StatusShape::Parents, &before, &status(parent.clone()), "ours");
            assert_eq!(told.len(), count, "{parent}");
        }
    }
}
