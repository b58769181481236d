//! What the specification demands of statuses, said by the objects as they are written.

use std::collections::BTreeSet;

use portcullis_controller::{
    ir::{Kind, ObjectKey},
    status::{Report, Statuses},
};
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use serde_json::{Value, json};

use crate::{pool::OURS, schema::SCHEMAS, world::World};

type Outcome = Result<(), TestCaseError>;

/// Each object of ours has its conditions, and others have none.
pub(crate) fn hold(world: &World, statuses: &Statuses) -> Outcome {
    for (key, report) in statuses.iter() {
        prop_assert!(world.objects.contains_key(key), "{key} is not there and has a status");
        is_valid(key, report)?;
    }
    for (key, document) in &world.documents {
        let report = statuses.get(key);
        match key.kind {
            Kind::GatewayClass => {
                let is_ours = document["spec"]["controllerName"] == OURS;
                prop_assert_eq!(report.is_some(), is_ours, "{} has a status", key);
                has_conditions(key, report, &["Accepted"])?;
            }
            Kind::Gateway => {
                prop_assert_eq!(report.is_some(), world.is_ours(key), "{} has a status", key);
                of_listeners(world, key, report)?;
            }
            Kind::ListenerSet => {
                prop_assert_eq!(report.is_some(), world.is_set_of_ours(key), "{} has a status", key);
                of_listeners(world, key, report)?;
            }
            Kind::BackendTlsPolicy => of_ancestors(key, report, &["Accepted", "ResolvedRefs"])?,
            Kind::XBackend => of_ancestors(key, report, &["Accepted"])?,
            kind if kind.resource().route.is_some() && kind != Kind::Ingress => {
                of_parents(world, key, report)?
            }
            _ => prop_assert!(report.is_none(), "{key} has a status"),
        }
    }
    policies_of_routes(world, statuses)
}

/// The status is one that the API server takes, whichever channel its CRDs are of.
fn is_valid(key: &ObjectKey, report: &Report) -> Outcome {
    let mut status = serde_json::to_value(&report.status).unwrap();
    with_times(&mut status);
    for schema in SCHEMAS.iter().filter(|schema| schema.kind == key.kind) {
        let of_status = &schema.root.properties["status"];
        let faults = of_status.faults(&of_status.defaulted(&status));
        prop_assert!(faults.is_empty(), "status of {key} ({:?}): {faults:#?}\n{status:#}", schema.channels);
    }
    Ok(())
}

/// What the writer adds.
fn with_times(status: &mut Value) {
    match status {
        Value::Object(fields) => {
            if let Some(Value::Array(conditions)) = fields.get_mut("conditions") {
                for condition in conditions {
                    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z".into();
                }
            }
            fields.values_mut().for_each(with_times);
        }
        Value::Array(items) => items.iter_mut().for_each(with_times),
        _ => {}
    }
}

fn status_of(report: Option<&Report>) -> Value {
    report.map_or(Value::Null, |report| serde_json::to_value(&report.status).unwrap())
}

fn list<'v>(of: &'v Value, name: &str) -> &'v [Value] {
    of[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn types(of: &Value) -> BTreeSet<&str> {
    list(of, "conditions").iter().map(|condition| condition["type"].as_str().unwrap()).collect()
}

/// Of an object without a report there is nothing to look at.
fn has_conditions(key: &ObjectKey, report: Option<&Report>, wanted: &[&str]) -> Outcome {
    let status = status_of(report);
    let missing = wanted.iter().find(|wanted| !types(&status).contains(*wanted));
    prop_assert!(report.is_none() || missing.is_none(), "{key} lacks {missing:?}: {status:#}");
    Ok(())
}

fn of_listeners(world: &World, key: &ObjectKey, report: Option<&Report>) -> Outcome {
    if report.is_none() {
        return Ok(());
    }
    has_conditions(key, report, &["Accepted", "Programmed"])?;
    let status = status_of(report);
    for listener in list(&status, "listeners") {
        for wanted in ["Accepted", "Programmed", "ResolvedRefs", "Conflicted"] {
            prop_assert!(types(listener).contains(wanted), "{key} lacks {wanted}: {listener:#}");
        }
        prop_assert!(listener["attachedRoutes"].is_u64(), "{key}: {listener:#}");
    }
    if !world.is_refused(key) {
        let names = |of: &Value| list(of, "listeners").iter().map(|l| l["name"].clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&status), names(&world.documents[key]["spec"]), "{}", key);
    }
    Ok(())
}

fn of_parents(world: &World, key: &ObjectKey, report: Option<&Report>) -> Outcome {
    let status = status_of(report);
    for parent_ref in list(&world.documents[key]["spec"], "parentRefs") {
        let has_same =
            |entry: &&Value| part_of_reference(&entry["parentRef"]) == part_of_reference(parent_ref);
        let entry = list(&status, "parents").iter().find(has_same);
        let is_ours = world.is_parent_of_ours(key, parent_ref);
        prop_assert_eq!(entry.is_some(), is_ours, "{} at {}: {:#}", key, parent_ref, status);
        for wanted in ["Accepted", "ResolvedRefs"] {
            prop_assert!(
                entry.is_none_or(|entry| types(entry).contains(wanted)),
                "{key} lacks {wanted} at {parent_ref}: {status:#}"
            );
        }
    }
    let written = list(&world.documents[key]["spec"], "parentRefs").len();
    prop_assert!(
        list(&status, "parents").len() <= written,
        "{key} has parents that it does not name: {status:#}"
    );
    Ok(())
}

fn of_ancestors(key: &ObjectKey, report: Option<&Report>, wanted: &[&str]) -> Outcome {
    let status = status_of(report);
    for ancestor in list(&status, "ancestors") {
        for wanted in wanted {
            prop_assert!(types(ancestor).contains(wanted), "{key} lacks {wanted}: {ancestor:#}");
        }
    }
    Ok(())
}

/// A policy for a Service that an accepted HTTPRoute of its namespace leads to, at a port that there is, has an ancestor.
fn policies_of_routes(world: &World, statuses: &Statuses) -> Outcome {
    for (route, document) in world.documents.iter().filter(|(key, _)| key.kind == Kind::HttpRoute) {
        let status = status_of(statuses.get(route));
        let is_served = |entry: &Value| {
            let conditions = list(entry, "conditions");
            conditions.iter().any(|c| c["type"] == "Accepted" && c["status"] == "True")
                && conditions.iter().all(|c| c["type"] != "PartiallyInvalid")
        };
        if !list(&status, "parents").iter().any(is_served) {
            continue;
        }
        let backends = list(&document["spec"], "rules").iter().flat_map(|rule| list(rule, "backendRefs"));
        for backend in backends.filter(|of| of["group"] == "" && of["kind"] == "Service") {
            let namespace = backend["namespace"].as_str().unwrap_or(&route.namespace);
            let target = json!({ "group": "", "kind": "Service", "name": backend["name"] });
            let is_for = |(key, policy): &(&ObjectKey, &Value)| {
                let mut targets = list(&policy["spec"], "targetRefs").iter();
                key.kind == Kind::BackendTlsPolicy
                    && *key.namespace == *namespace
                    && targets.any(|of| ["group", "kind", "name"].iter().all(|part| of[part] == target[part]))
            };
            if namespace != &*route.namespace || !world.has_port(namespace, backend) {
                continue;
            }
            for (policy, _) in world.documents.iter().filter(is_for) {
                let status = status_of(statuses.get(policy));
                prop_assert!(!list(&status, "ancestors").is_empty(), "{policy} has no ancestor by {route}");
            }
        }
    }
    Ok(())
}

/// What names a parent, with the defaults of the API.
fn part_of_reference(of: &Value) -> [Value; 6] {
    let text = |name: &str, default: &str| of.get(name).cloned().unwrap_or_else(|| default.into());
    let optional = |name: &str| of.get(name).cloned().unwrap_or_default();
    [
        text("group", "gateway.networking.k8s.io"),
        text("kind", "Gateway"),
        optional("namespace"),
        optional("name"),
        optional("sectionName"),
        optional("port"),
    ]
}

impl World {
    /// Whether a Gateway is of a class of ours.
    fn is_ours(&self, gateway: &ObjectKey) -> bool {
        let class = self.documents.get(gateway).and_then(|of| of["spec"]["gatewayClassName"].as_str());
        let class =
            class.and_then(|class| self.documents.get(&ObjectKey::new(Kind::GatewayClass, "", class)));
        class.is_some_and(|class| class["spec"]["controllerName"] == OURS)
    }

    /// Whether a ListenerSet names such a Gateway.
    fn is_set_of_ours(&self, set: &ObjectKey) -> bool {
        let parent = self.documents.get(set).map(|of| &of["spec"]["parentRef"]);
        parent.and_then(|parent| of_reference(&set.namespace, parent)).is_some_and(|key| self.is_ours(&key))
    }

    fn is_parent_of_ours(&self, route: &ObjectKey, parent_ref: &Value) -> bool {
        match of_reference(&route.namespace, parent_ref) {
            Some(key) if key.kind == Kind::Gateway => self.is_ours(&key),
            Some(key) => self.is_set_of_ours(&key),
            None => false,
        }
    }

    /// Whether the Service that a backend names has its port.
    fn has_port(&self, namespace: &str, backend: &Value) -> bool {
        let service = ObjectKey::new(Kind::Service, namespace, backend["name"].as_str().unwrap_or_default());
        let service = self.documents.get(&service);
        service
            .is_some_and(|of| list(&of["spec"], "ports").iter().any(|port| port["port"] == backend["port"]))
    }

    fn is_refused(&self, key: &ObjectKey) -> bool {
        self.problems[key].iter().any(|problem| problem.severity == portcullis_controller::Severity::Error)
    }
}

/// The Gateway or ListenerSet of a reference.
fn of_reference(namespace: &str, reference: &Value) -> Option<ObjectKey> {
    let [group, kind, of_reference, name, ..] = part_of_reference(reference);
    let kind = [Kind::Gateway, Kind::ListenerSet].into_iter().find(|of| kind == of.as_str())?;
    (group == "gateway.networking.k8s.io").then(|| {
        ObjectKey::new(kind, of_reference.as_str().unwrap_or(namespace), name.as_str().unwrap_or_default())
    })
}
