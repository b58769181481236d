//! Which object a document would be that cannot be parsed: told by its first lines, as people write them.

use crate::{
    ir::ObjectKey,
    objects::{Identity, identify, key as object_key},
};

/// The key, where `apiVersion`, `kind` and `metadata.name` stand in lines of their own.
pub(super) fn key(text: &str) -> Option<ObjectKey> {
    let Identity::Served(kind) = identify(top_level(text, "apiVersion")?, top_level(text, "kind")?) else {
        return None;
    };
    Some(object_key(kind, metadata(text, "name")?, metadata(text, "namespace")))
}

fn top_level<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| field(line, name))
}

/// A field of `metadata`, at the indent of its first one.
fn metadata<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().skip_while(|line| line.trim_end() != "metadata:").skip(1);
    let is_inside = |line: &&str| line.starts_with([' ', '\t']) || line.trim().is_empty();
    let block: Vec<_> = lines.by_ref().take_while(is_inside).filter(|line| !line.trim().is_empty()).collect();
    let indent = block.first().map(|first| first.len() - first.trim_start().len())?;
    block.iter().find_map(|line| field(line.get(indent..)?, name))
}

/// The value of `name: value`.
fn field<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    if !value.starts_with([' ', '\t']) {
        return None;
    }
    let value = value.split(" #").next()?.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then_some(value)
}
