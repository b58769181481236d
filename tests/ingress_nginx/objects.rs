//! The objects that are served: the fixtures, copies of them, and those of cases.

use serde_json::{Value, json};

use crate::{
    case::{Case, Recorded, yaml},
    net::Net,
};

/// A host that every proxy serves beside its cases, by a Service of its own.
pub const CONTROL: &str = "control.portcullis.test";

/// The objects that every case may use, with recorded addresses.
#[derive(Debug)]
pub struct Fixtures(Vec<Value>);

impl Fixtures {
    pub fn load() -> Self {
        let Value::Object(mut file) = yaml("fixtures.yaml") else { panic!("fixtures.yaml is not a mapping") };
        let Some(Value::Array(objects)) = file.remove("objects") else {
            panic!("fixtures.yaml has no objects")
        };
        Self(objects)
    }

    /// They, what makes the control host, and the settings under the name that the controller is told.
    pub fn shared(&self, net: &Net, settings: &Value) -> Vec<Value> {
        let mut out = self.0.clone();
        out.extend(self.copies("demo/control", "echo"));
        let backend = json!({"service": {"name": "control", "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        out.push(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "control", "namespace": "demo", "creationTimestamp": "2026-06-01T00:00:00Z"},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": CONTROL, "http": {"paths": paths}}]},
        }));
        out.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "ingress-nginx-controller", "namespace": "ingress-nginx"},
            "data": settings,
        }));
        out.iter_mut().for_each(|object| net.map(object));
        out
    }

    /// The objects of a case, and its copies of fixtures.
    pub fn of(&self, case: &Case, net: &Net) -> Vec<Value> {
        let copies = case.services.iter().flat_map(|(copy, of)| self.copies(copy, of));
        let mut copies: Vec<_> = copies.collect();
        copies.iter_mut().for_each(|object| net.map(object));
        copies.extend(case.objects.iter().cloned());
        copies
    }

    /// Whether a case asks a Service of the fixtures, or a DNS name: what it asks then is asked by others, too.
    pub fn are_asked_by(&self, recorded: &Recorded, names: &[(String, String)]) -> bool {
        let case = &recorded.case;
        let text = Value::from(case.objects.clone()).to_string();
        let services = self.0.iter().filter(|object| object["kind"] == "Service");
        let asked = services.filter_map(|service| service["metadata"]["name"].as_str()).any(|name| {
            text.contains(&format!("\"service\":{{\"name\":\"{name}\""))
                || text.contains(&format!("default-backend\":\"{name}\""))
        });
        let external = case.services.values().any(|of| of == "outside");
        asked || external || names.iter().any(|(name, _)| text.contains(name.as_str()))
    }

    /// A Service under another name, and its EndpointSlices.
    fn copies(&self, copy: &str, of: &str) -> Vec<Value> {
        let (namespace, name) = copy.split_once('/').unwrap_or_else(|| panic!("{copy} has no namespace"));
        let is_of = |object: &&Value| {
            let meta = &object["metadata"];
            meta["namespace"] == namespace
                && (object["kind"] == "Service" && meta["name"] == of
                    || meta["labels"]["kubernetes.io/service-name"] == of)
        };
        let renamed = |object: &Value| {
            let mut object = object.clone();
            let meta = &mut object["metadata"];
            if let Some(label) = meta.pointer_mut("/labels/kubernetes.io~1service-name") {
                *label = name.into();
                meta["name"] = format!("{name}-1").into();
            } else {
                meta["name"] = name.into();
            }
            object
        };
        let copies: Vec<_> = self.0.iter().filter(is_of).map(renamed).collect();
        assert!(!copies.is_empty(), "there is no {of} in {namespace} to copy as {copy}");
        copies
    }
}
