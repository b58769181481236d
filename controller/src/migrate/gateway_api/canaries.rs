//! Canaries -> weights, and matches of a header.

use serde_json::{Value, json};

use crate::ir::ingress::{CanaryHeader, IngressPath};

use super::Site;

/// Which requests of a path go to a canary.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// Matches of a header; `None` is the main backend.
    pub(super) by_header: Vec<(Value, Option<Value>)>,
    /// The canary, its weight, and the total weight.
    pub(super) weighted: Option<(Value, u64, u64)>,
}

/// The canary of a path: that of the oldest Ingress of the same namespace with the same path.
pub(super) fn of(site: &Site<'_>, path: &IngressPath, losses: &mut Vec<String>) -> Split {
    let same_namespace =
        site.canaries.iter().filter(|canary| canary.meta.namespace() == site.ingress.meta.namespace());
    let mut found = same_namespace.filter_map(|canary| {
        let mut paths = canary.rules.of_host(site.host).into_iter().flat_map(|(_, rule)| &rule.paths);
        let same = paths.find(|other| other.text == path.text && other.kind == path.kind)?;
        Some((canary.annotations.canary.as_ref()?, site.backend(&same.backend).ok()?))
    });
    let Some((canary, backend)) = found.next() else { return Split::default() };
    let mut split = Split::default();
    let header = |name: &http::HeaderName, value: &str| json!({ "type": "Exact", "name": name.as_str(), "value": value });
    match &canary.header {
        Some((name, CanaryHeader::Word)) => {
            split.by_header.push((header(name, "always"), Some(backend.clone())));
            split.by_header.push((header(name, "never"), None));
        }
        Some((name, CanaryHeader::Value(value))) => {
            split.by_header.push((header(name, value), Some(backend.clone())));
        }
        Some((_, CanaryHeader::Pattern(_))) => {
            losses.push("canary-by-header-pattern: no equivalent; closest: a RegularExpression match, which matches the whole value".into());
        }
        None => {}
    }
    let weight = canary.weight.min(canary.total);
    split.weighted = (weight > 0).then_some((backend, weight, canary.total));
    split
}
