//! A part of a document -> a typed value; a wrong type names its field, an unknown field is a warning.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_ignored::Path as Ignored;
use serde_json::Value;
use serde_path_to_error::{Path as ErrorPath, Segment};

use super::checks::{Checks, Path};

/// Reads the field `name` of a document; `None` where it does not fit its type, and says so.
pub(crate) fn field<T: DeserializeOwned>(document: &Value, name: &str, checks: &mut Checks) -> Option<T> {
    match document.get(name) {
        Some(value) => read(value, name, checks),
        None => {
            checks.error(&Path::Root.field(name), "is required");
            None
        }
    }
}

/// Reads a whole document; `None` where it does not fit its type, and says so.
pub(crate) fn whole<T: DeserializeOwned>(document: &Value, checks: &mut Checks) -> Option<T> {
    read(document, "", checks)
}

fn read<T: DeserializeOwned>(value: &Value, root: &str, checks: &mut Checks) -> Option<T> {
    let mut unknown = Vec::new();
    let mut note = |path: Ignored<'_>| unknown.push(ignored(&path, root));
    let result = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut note));
    for field in unknown {
        checks.warning(&Path::Root.field(&field), "is not a field of this kind and has no effect");
    }
    result
        .map_err(|e| {
            let field = failed(e.path(), root);
            checks.error(&Path::Root.field(&field), plain(&e.into_inner().to_string()));
        })
        .ok()
}

fn ignored(path: &Ignored<'_>, root: &str) -> String {
    match path {
        Ignored::Root => root.to_owned(),
        Ignored::Seq { parent, index } => format!("{}[{index}]", ignored(parent, root)),
        Ignored::Map { parent, key } => join(ignored(parent, root), key),
        Ignored::Some { parent } | Ignored::NewtypeStruct { parent } | Ignored::NewtypeVariant { parent } => {
            ignored(parent, root)
        }
    }
}

fn failed(path: &ErrorPath, root: &str) -> String {
    path.iter().fold(root.to_owned(), |mut text, segment| match segment {
        Segment::Seq { index } => {
            let _ = write!(text, "[{index}]");
            text
        }
        Segment::Map { key } => join(text, key),
        Segment::Enum { .. } | Segment::Unknown => text,
    })
}

fn join(mut parent: String, key: &str) -> String {
    if !parent.is_empty() {
        parent.push('.');
    }
    parent.push_str(key);
    parent
}

/// The decoder's message in words that a manifest's author knows.
fn plain(message: &str) -> String {
    let message =
        message.replace("invalid type: ", "has the wrong type: ").replace("missing field", "lacks the field");
    match message.rsplit_once("expected ") {
        Some((before, "i32" | "i64" | "u16" | "u32" | "u64")) => format!("{before}expected a whole number"),
        Some((before, "a sequence")) => format!("{before}expected a list"),
        _ => message,
    }
}
