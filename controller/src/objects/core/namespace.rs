//! Namespace.

use crate::ir::{Meta, Namespace};

/// A Namespace is its name and its labels.
pub(crate) fn read(meta: Meta) -> Namespace {
    Namespace { meta }
}
