//! Namespace.

use std::collections::BTreeMap;

use crate::ir::{Meta, Namespace};

/// A Namespace is its name and its labels.
pub(crate) fn read(meta: Meta, labels: &BTreeMap<String, String>) -> Namespace {
    let written = labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    // The API server sets it on every namespace.
    let of_server = ("kubernetes.io/metadata.name".into(), meta.name().into());
    Namespace { labels: written.chain([of_server]).collect(), meta }
}
