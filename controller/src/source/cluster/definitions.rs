//! Which CRDs of the Gateway API there are, and of which release.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::translate::Bundle;

/// The CRDs as they were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Definitions {
    /// Whether all of them have been seen.
    pub(super) complete: bool,
    /// The release of each.
    found: BTreeMap<Box<str>, Box<str>>,
}

impl Definitions {
    /// Takes up a CRD, or that it is gone; says whether anything of ours is another.
    pub(super) fn take(&mut self, name: Box<str>, bundle: Option<Box<str>>) -> bool {
        if !name.ends_with(".gateway.networking.k8s.io") && !name.ends_with(".portcullis.dev") {
            return false;
        }
        match bundle {
            None => self.found.remove(&name).is_some(),
            Some(bundle) => self.found.insert(name, bundle.clone()) != Some(bundle),
        }
    }

    /// The release of a CRD, or that there is none; nothing where that is not known.
    pub(super) fn has(&self, name: &str) -> Option<Option<Box<str>>> {
        self.complete.then(|| self.found.get(name).cloned())
    }

    /// The releases that the CRDs of the Gateway API are of; `None` as long as that is not known, or without any.
    pub(super) fn bundle(&self) -> Option<Bundle> {
        let of_gateway_api =
            self.found.iter().filter(|(name, _)| name.ends_with("gateway.networking.k8s.io"));
        let versions: Bundle = of_gateway_api.map(|(_, version)| version.clone()).collect();
        Some(versions).filter(|versions| self.complete && !versions.is_empty())
    }
}

/// The release that a CRD says it is of.
pub(super) fn bundle(definition: &Value) -> Box<str> {
    let annotations = definition.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let version = annotations.and_then(|a| a.get("gateway.networking.k8s.io/bundle-version"));
    version.and_then(Value::as_str).unwrap_or("an unknown release").into()
}
