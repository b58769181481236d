//! For the tests: objects as YAML.

use crate::{
    kinds::Kind,
    objects,
    snapshot::{Change, Snapshot},
    yaml,
};

/// A snapshot of these documents, all of which are accepted. Those without an apiVersion get that of their kind, and
/// those without a namespace `shop`.
pub(crate) fn snapshot(text: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    apply(&mut snapshot, text);
    snapshot
}

/// The same, over what is there.
pub(crate) fn apply(snapshot: &mut Snapshot, text: &str) {
    for document in text.split("\n---\n").filter(|document| !document.trim().is_empty()) {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).expect("a kind");
        let kind = Kind::ALL.iter().find(|known| known.as_str() == kind).expect("a kind that is read");
        let text = format!("apiVersion: {}\n{document}", kind.resource().api_version);
        for document in yaml::documents(&text, "in.yaml") {
            let decoded = objects::decode_document(document);
            let object = decoded.object.unwrap_or_else(|| panic!("{text}\n{:#?}", decoded.problems));
            snapshot.apply(Change::Apply(object));
        }
    }
}

pub(crate) const CLASS: &str = "
kind: GatewayClass
metadata: { name: portcullis }
spec: { controllerName: portcullis.dev/gateway-controller }
---
";
