//! Whether what there is differs from what is to be.
//!
//! Others write in our objects too: the API server its defaults, load balancers their annotations. So all that we want
//! has to be there, and of what we once wanted (the server keeps that in `managedFields`) nothing that we want no more.

use serde_json::Value;

/// Whether an object has to be written by this field manager for it to be as `wanted`.
pub(super) fn differs(live: &Value, wanted: &Value, field_manager: &str) -> bool {
    !holds(live, wanted) || owns_more(live, wanted, field_manager)
}

/// Whether the fields of these names differ.
pub(super) fn differs_in(live: &Value, wanted: &Value, fields: &[&str]) -> bool {
    fields.iter().any(|field| !holds(&live[*field], &wanted[*field]))
}

/// Whether all of `wanted` is there.
fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| match name.as_str() {
                // An item of an API server's list does not say what it is.
                "apiVersion" | "kind" if !live.contains_key(name) => true,
                // Lists with keys: there may be others' entries too.
                "ports" | "ownerReferences" if live.get(name).is_some_and(has_keys) => {
                    let found = live.get(name).and_then(Value::as_array);
                    let mut wanted = wanted.as_array().into_iter().flatten();
                    wanted.all(|wanted| found.into_iter().flatten().any(|found| holds(found, wanted)))
                }
                name => live.get(name).is_some_and(|live| holds(live, wanted)),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

/// Ports of a Service and owners have keys; those of an EndpointSlice are one value.
fn has_keys(list: &Value) -> bool {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().any(|item| item.get("targetPort").is_some() || item.get("uid").is_some())
}

/// Whether we once wrote what we do not want any more.
fn owns_more(live: &Value, wanted: &Value, field_manager: &str) -> bool {
    let fields = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let ours = fields.filter(|entry| entry["manager"] == field_manager && entry["operation"] == "Apply");
    ours.filter(|entry| entry.get("subresource").is_none_or(|of| of == "")).any(|entry| {
        let owned = &entry["fieldsV1"];
        let (metadata, of_metadata) = (&owned["f:metadata"], &wanted["metadata"]);
        more_names(&metadata["f:labels"], &of_metadata["labels"])
            || more_names(&metadata["f:annotations"], &of_metadata["annotations"])
            || more_names(&owned["f:spec"], &wanted["spec"])
            || more_ports(&owned["f:spec"]["f:ports"], &wanted["spec"]["ports"])
    })
}

fn more_names(owned: &Value, wanted: &Value) -> bool {
    let names = owned.as_object().into_iter().flat_map(|fields| fields.keys());
    let mut names = names.filter_map(|name| name.strip_prefix("f:"));
    names.any(|name| wanted.get(name).is_none())
}

/// Their keys are written as `k:{"port":80,"protocol":"TCP"}`, and so is what a port has of its own.
fn more_ports(owned: &Value, wanted: &Value) -> bool {
    let entries = owned.as_object().into_iter().flatten();
    let mut keys = entries.filter_map(|(key, fields)| {
        Some((serde_json::from_str::<Value>(key.strip_prefix("k:")?).ok()?, fields))
    });
    keys.any(|(key, fields)| {
        let wanted = wanted.as_array().into_iter().flatten().find(|port| port["port"] == key["port"]);
        wanted.is_none_or(|wanted| more_names(fields, wanted))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "labels": {"ours": "1"}, "ownerReferences": [{"kind": "Gateway", "uid": "u"}]},
            "spec": {"type": "LoadBalancer", "ports": [
                {"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 20000}]},
        })
    }

    /// As the API server gives it back: with defaults, and with what others wrote.
    fn live() -> Value {
        json!({
            "metadata": {
                "name": "a", "resourceVersion": "7", "labels": {"ours": "1", "theirs": "2"},
                "annotations": {"theirs": "2"},
                "ownerReferences": [{"kind": "Other", "uid": "o"}, {"kind": "Gateway", "uid": "u"}],
                "managedFields": [
                    {"manager": "portcullis", "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:ours": {}}, "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}},
                        "f:spec": {"f:type": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {
                            ".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}}}}},
                    {"manager": "cloud", "operation": "Update", "fieldsV1": {
                        "f:metadata": {"f:annotations": {"f:theirs": {}}}, "f:spec": {"f:healthCheckNodePort": {}}}},
                ],
            },
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [
                {"name": "theirs", "port": 9, "protocol": "TCP", "targetPort": 9},
                {"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 20000, "nodePort": 30000}]},
        })
    }

    #[test]
    fn what_others_write_is_no_difference() {
        assert!(!differs(&live(), &wanted(), "portcullis"));
    }

    #[test]
    fn what_lacks_or_is_no_longer_wanted_is_one() {
        type Change = fn(&mut Value, &mut Value);
        let changes: [(&str, Change); 9] = [
            ("another label", |_, wanted| wanted["metadata"]["labels"]["more"] = "1".into()),
            ("another value", |live, _| live["metadata"]["labels"]["ours"] = "2".into()),
            ("another target", |_, wanted| wanted["spec"]["ports"][0]["targetPort"] = 20001.into()),
            ("another port", |_, wanted| {
                wanted["spec"]["ports"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"port": 443, "targetPort": 20001}));
            }),
            ("a port less", |_, wanted| wanted["spec"]["ports"] = json!([])),
            ("another type", |live, _| live["spec"]["type"] = "NodePort".into()),
            ("a label less", |_, wanted| wanted["metadata"]["labels"] = json!({})),
            ("a field less", |live, _| {
                live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:loadBalancerIP"] = json!({});
            }),
            ("a node port less", |live, _| {
                live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:ports"]["k:{\"port\":80,\"protocol\":\"TCP\"}"]
                    ["f:nodePort"] = json!({});
            }),
        ];
        for (what, change) in changes {
            let (mut live, mut wanted) = (live(), wanted());
            change(&mut live, &mut wanted);
            assert!(differs(&live, &wanted, "portcullis"), "{what}");
        }
    }

    #[test]
    fn endpoints_are_one_value() {
        let slice = |addresses: &[&str], port: u16| {
            let endpoints: Vec<_> = addresses.iter().map(|a| json!({"addresses": [a]})).collect();
            json!({"endpoints": endpoints, "ports": [{"name": "port-80", "port": port}]})
        };
        let live = slice(&["10.0.0.1", "10.0.0.2"], 20000);
        for (wanted, want) in [
            (slice(&["10.0.0.1", "10.0.0.2"], 20000), false),
            (slice(&["10.0.0.1"], 20000), true),
            (slice(&["10.0.0.2", "10.0.0.1"], 20000), true),
            (slice(&["10.0.0.1", "10.0.0.2"], 20001), true),
        ] {
            assert_eq!(differs_in(&live, &wanted, &["endpoints", "ports"]), want, "{wanted}");
        }
    }
}
