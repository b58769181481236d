//! Pod.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
};

use serde_json::Value;

use crate::{
    ir::{Meta, Pod},
    objects::checks::{Checks, Path},
};

/// Reads what makes a Pod an endpoint, as Kubernetes' controller of EndpointSlices reads it.
pub(crate) fn read(
    document: &Value,
    meta: Meta,
    labels: &BTreeMap<String, String>,
    checks: &mut Checks,
) -> Pod {
    let text = status(document, "podIP").and_then(Value::as_str).filter(|text| !text.is_empty());
    let address = text.and_then(|text| text.parse::<IpAddr>().ok());
    if text.is_some() && address.is_none() {
        checks.error(&Path::Root.field("status").field("podIP"), "is not an IP address");
    }
    let is_over = matches!(status(document, "phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    Pod {
        labels: labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
        address: address.filter(|_| !is_over),
        is_ready: is_ready(document),
        is_terminating: deletion(document).is_some(),
        meta,
    }
}

/// The hash of what is read of a Pod: the rest changes often, and means nothing here.
pub(crate) fn version_of(document: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    let labels = document.get("metadata").and_then(|metadata| metadata.get("labels"));
    let status = ["podIP", "phase"].map(|name| status(document, name));
    (labels, status, is_ready(document), deletion(document).is_some()).hash(&mut hasher);
    hasher.finish()
}

fn status<'d>(document: &'d Value, name: &str) -> Option<&'d Value> {
    document.get("status").and_then(|status| status.get(name))
}

fn deletion(document: &Value) -> Option<&Value> {
    document.get("metadata").and_then(|metadata| metadata.get("deletionTimestamp"))
}

fn is_ready(document: &Value) -> bool {
    let conditions = status(document, "conditions").and_then(Value::as_array);
    let is = |condition: &Value, name: &str, value: &str| {
        condition.get(name).and_then(Value::as_str) == Some(value)
    };
    conditions.into_iter().flatten().any(|one| is(one, "type", "Ready") && is(one, "status", "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ir::Object, objects::testing::object};

    fn pod(metadata: &str, status: &str) -> Pod {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{app: web}}{metadata}}}\nspec: {{containers: []}}\n\
             status: {{{status}}}\n"
        );
        let Object::Pod(pod) = object(&text) else { panic!("no Pod") };
        (*pod).clone()
    }

    #[test]
    fn a_pod_is_an_endpoint_as_kubernetes_has_it() {
        const READY: &str = "conditions: [{type: Ready, status: 'True'}]";
        let deleted = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
        for (metadata, status, want) in [
            ("", format!("podIP: 10.0.0.1, {READY}"), (true, true, false)),
            (
                "",
                "podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]".into(),
                (true, false, false),
            ),
            ("", "podIP: 10.0.0.1".into(), (true, false, false)),
            (deleted, format!("podIP: 10.0.0.1, {READY}"), (true, true, true)),
            ("", format!("podIP: 10.0.0.1, phase: Failed, {READY}"), (false, true, false)),
            ("", format!("podIP: '', {READY}"), (false, true, false)),
            ("", String::new(), (false, false, false)),
        ] {
            let pod = pod(metadata, &status);
            let got = (pod.address.is_some(), pod.is_ready, pod.is_terminating);
            assert_eq!(got, want, "{metadata} {status}");
        }
    }

    #[test]
    fn what_is_not_read_is_no_change() {
        let version = |status: &str| pod("", status).meta.version;
        let one = version("podIP: 10.0.0.1");
        assert_eq!(one, version("podIP: 10.0.0.1, startTime: '2026-01-01T00:00:00Z'"));
        assert_ne!(one, version("podIP: 10.0.0.2"));
        assert_ne!(one, version("podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]"));
    }
}
