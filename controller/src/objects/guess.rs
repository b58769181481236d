//! Which object a document would be that cannot be parsed: told by its first lines, as people write them.

use super::head::{self, Identity, identify};
use crate::ir::ObjectKey;

/// The key, where `apiVersion`, `kind` and `metadata.name` stand in lines of their own.
pub(super) fn key(text: &str) -> Option<ObjectKey> {
    let Identity::Served(kind) = identify(top_level(text, "apiVersion")?, top_level(text, "kind")?) else {
        return None;
    };
    Some(head::key(kind, metadata(text, "name")?, metadata(text, "namespace")))
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

#[cfg(test)]
mod tests {
    use crate::{objects::decode_document, yaml::documents};

    #[test]
    fn the_name_of_what_is_broken_is_told_by_its_first_lines() {
        let broken = "spec: [";
        for (head, want) in [
            ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n", Some("Service default/a")),
            (
                "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: ns\n  name: a # the first\n",
                Some("Service ns/a"),
            ),
            (
                "kind: \"Service\"\napiVersion: 'v1'\nmetadata:\n    labels:\n      name: b\n    name: a\n",
                Some("Service default/a"),
            ),
            ("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n", Some("Namespace a")),
            ("apiVersion: v1\nkind: Service\nmetadata:\n  labels: {}\n", None),
            ("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n", None),
            ("kind: Service\nmetadata:\n  name: a\n", None),
            ("", None),
        ] {
            let text = format!("{head}{broken}");
            let decoded = decode_document(documents(&text, "in.yaml").next().unwrap());
            assert!(decoded.object.is_none());
            assert_eq!(decoded.key.map(|key| key.to_string()).as_deref(), want, "{text}");
            assert_eq!(&*decoded.problems[0].object, want.unwrap_or("document"), "{text}");
        }
    }
}
