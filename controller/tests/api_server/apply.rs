//! Server-side apply: each manager owns the fields that it named last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The object after it; an error names the field that another manager has another value for.
pub(super) fn apply(
    live: &Value,
    owners: &mut BTreeMap<String, Value>,
    manager: &str,
    force: bool,
    applied: &Value,
) -> Result<Value, String> {
    let ours = leaves(applied);
    let others = owners.iter().filter(|(name, _)| *name != manager);
    let theirs: BTreeMap<_, _> = others.flat_map(|(_, object)| leaves(object)).collect();
    let now = leaves(live);
    let conflict = ours.iter().find(|(path, value)| {
        !path.starts_with("metadata")
            && theirs.contains_key(*path)
            && now.get(*path).is_some_and(|n| n != *value)
    });
    if let (Some((path, _)), false) = (conflict, force) {
        return Err(format!("Apply failed with 1 conflict: conflict with another manager: .{path}"));
    }
    let before = owners.insert(manager.to_owned(), applied.clone()).map(|object| leaves(&object));
    let given_up: BTreeSet<_> = before.into_iter().flatten().map(|(path, _)| path).collect();
    let given_up = given_up.into_iter().filter(|path| !ours.contains_key(path) && !theirs.contains_key(path));
    let mut merged = live.clone();
    for path in given_up {
        remove(&mut merged, &path.split('.').collect::<Vec<_>>());
    }
    merge(&mut merged, applied);
    Ok(merged)
}

/// The lists that are merged by the keys of their items.
const BY_KEY: &str = "ports";

/// What a port is known by in a list of them.
fn port_key(item: &Value) -> String {
    let protocol = item["protocol"].as_str().unwrap_or("TCP");
    format!("{BY_KEY}:{}/{protocol}", item["port"])
}

/// Each value by its path; a port of a Service is under its key.
fn leaves(of: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: String, found: &mut BTreeMap<String, Value>) {
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(value, join(name), found)),
            Value::Array(items) if path == "spec.ports" => {
                let parent = path.trim_end_matches(BY_KEY);
                items.iter().for_each(|item| walk(item, format!("{parent}{}", port_key(item)), found));
            }
            value => drop(found.insert(path, value.clone())),
        }
    }
    let mut found = BTreeMap::new();
    walk(of, String::new(), &mut found);
    found
}

fn remove(from: &mut Value, path: &[&str]) {
    match path {
        [last] => drop(from.as_object_mut().map(|fields| fields.remove(*last))),
        [first, ..] if first.starts_with("ports:") => {
            if let Some(ports) = from[BY_KEY].as_array_mut() {
                ports.retain(|item| port_key(item) != *first);
            }
        }
        [first, rest @ ..] => from.get_mut(*first).into_iter().for_each(|next| remove(next, rest)),
        [] => {}
    }
}

fn merge(into: &mut Value, from: &Value) {
    let (Value::Object(fields), Value::Object(more)) = (&mut *into, from) else {
        *into = from.clone();
        return;
    };
    for (name, value) in more {
        match (fields.get_mut(name), value) {
            (Some(Value::Array(items)), Value::Array(more)) if name == BY_KEY => merge_ports(items, more),
            (Some(before), value) => merge(before, value),
            (None, value) => drop(fields.insert(name.clone(), value.clone())),
        }
    }
}

fn merge_ports(items: &mut Vec<Value>, more: &[Value]) {
    for port in more {
        match items.iter_mut().find(|item| port_key(item) == port_key(port)) {
            Some(item) => merge(item, port),
            None => {
                let mut item = Value::Object(Map::new());
                item["protocol"] = json!("TCP");
                merge(&mut item, port);
                items.push(item);
            }
        }
    }
}
