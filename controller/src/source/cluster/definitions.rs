//! Which CRDs of the Gateway API there are, and of which release.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::translate::Bundle;

/// The CRDs as they were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Definitions {
    /// Whether all of them have been seen.
    pub(super) complete: bool,
    found: BTreeMap<Box<str>, Release>,
}

/// What a CRD says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) version: Box<str>,
    /// Whether it is of the experimental channel.
    experimental: bool,
}

impl Definitions {
    /// Takes up a CRD, or that it is gone; says whether anything of ours is another.
    pub(super) fn take(&mut self, name: Box<str>, release: Option<Release>) -> bool {
        const GROUPS: [&str; 3] =
            [".gateway.networking.k8s.io", ".gateway.networking.x-k8s.io", ".portcullis.dev"];
        if !GROUPS.iter().any(|group| name.ends_with(group)) {
            return false;
        }
        match release {
            None => self.found.remove(&name).is_some(),
            Some(release) => self.found.insert(name, release.clone()) != Some(release),
        }
    }

    /// The release of a CRD, or that there is none; nothing where that is not known.
    pub(super) fn has(&self, name: &str) -> Option<Option<Release>> {
        self.complete.then(|| self.found.get(name).cloned())
    }

    /// What the CRDs of the Gateway API say about themselves; `None` as long as that is not known, or without any.
    pub(super) fn bundle(&self) -> Option<Bundle> {
        let mut bundle = Bundle::default();
        for (name, release) in &self.found {
            if name.ends_with("gateway.networking.k8s.io") {
                bundle.releases.insert(release.version.clone());
                if release.experimental {
                    bundle.experimental.insert(name.clone());
                }
            }
        }
        Some(bundle).filter(|bundle| self.complete && !bundle.releases.is_empty())
    }
}

/// The release and the channel that a CRD says it is of.
pub(super) fn release(definition: &Value) -> Release {
    let annotation = |name| {
        let annotations = definition.get("metadata")?.get("annotations")?;
        annotations.get(format!("gateway.networking.k8s.io/{name}"))?.as_str()
    };
    Release {
        version: annotation("bundle-version").unwrap_or("an unknown release").into(),
        experimental: annotation("channel") == Some("experimental"),
    }
}
