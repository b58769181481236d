//! A part of a document -> a typed value; a wrong type names its field, an unknown field is a warning.

use std::fmt::{Display, Write as _};

use serde::de::DeserializeOwned;
use serde_ignored::Path as Ignored;
use serde_json::Value;
use serde_path_to_error::{Path as ErrorPath, Segment, Track};

use super::{
    checks::{Checks, Path},
    names::quoted,
};
use crate::{ir::route::InvalidRule, problem::Topic};

/// What is said of a field that the kind does not have.
pub(crate) const UNKNOWN_FIELD: &str = "is not a field of this kind and has no effect";

/// Reads the field `name` of a document; `None` where it does not fit its type, and says so.
pub(crate) fn field<T: DeserializeOwned>(document: &Value, name: &str, checks: &mut Checks) -> Option<T> {
    match document.get(name) {
        Some(value) => read(value, &name, plain, checks),
        None => {
            checks.error(&Path::Root.field(name), "is required");
            None
        }
    }
}

/// Reads a part of a document by itself. `Err` is a part that cannot be used. Where it has a value that may be one of a
/// later release of the API, that is all; any other fault refuses the object.
pub(crate) fn part<T: DeserializeOwned>(
    value: &Value,
    at: &Path<'_>,
    checks: &mut Checks,
) -> Result<T, InvalidRule> {
    let Mistyped { field, message } = match deserialize(value, at, checks) {
        Ok(read) => return Ok(read),
        Err(mistyped) => mistyped,
    };
    let message = match unknown_value(&message).filter(|_| checks.tolerates_unknown_values()) {
        Some(message) => message,
        None => {
            let message = plain(&message);
            checks.error(&Path::Root.field(&field), message.clone());
            message
        }
    };
    Err(InvalidRule { field: field.into(), message: message.into() })
}

/// What to say of a value that an enum does not have; `None` where that is not what a message of the decoder says.
fn unknown_value(message: &str) -> Option<String> {
    let (value, expected) = message.strip_prefix("unknown variant `")?.split_once("`, expected ")?;
    let expected = expected.replace('`', "");
    Some(format!("{} is not supported; expected {expected}", quoted(value)))
}

/// Reads a whole document, its `metadata` left out: that has been read. `None` where it does not fit its type, and
/// says so.
pub(crate) fn whole<T: DeserializeOwned>(document: &Value, checks: &mut Checks) -> Option<T> {
    without_metadata(document, plain, checks)
}

/// The same for a document whose values have no place in a message.
pub(crate) fn secretly<T: DeserializeOwned>(document: &Value, checks: &mut Checks) -> Option<T> {
    let say = |message: &str| match message.rsplit_once(", expected ") {
        Some((_, expected)) => plain(&format!("has the wrong type, expected {expected}")),
        None if message.starts_with("missing field") => plain(message),
        None => "is not valid base64".to_owned(),
    };
    without_metadata(document, say, checks)
}

fn without_metadata<T: DeserializeOwned>(
    document: &Value,
    say: fn(&str) -> String,
    checks: &mut Checks,
) -> Option<T> {
    let mut fields = document.as_object()?.clone();
    fields.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
    read(&Value::Object(fields), &"", say, checks)
}

fn read<T: DeserializeOwned>(
    value: &Value,
    root: &dyn Display,
    say: fn(&str) -> String,
    checks: &mut Checks,
) -> Option<T> {
    let mistyped = deserialize(value, root, checks);
    mistyped
        .map_err(|Mistyped { field, message }| checks.error(&Path::Root.field(&field), say(&message)))
        .ok()
}

/// A field that does not fit its type, and the decoder's message.
struct Mistyped {
    field: String,
    message: String,
}

/// Warns of fields that the type does not have.
fn deserialize<T: DeserializeOwned>(
    value: &Value,
    root: &dyn Display,
    checks: &mut Checks,
) -> Result<T, Mistyped> {
    let (mut unknown, mut track) = (Vec::new(), Track::new());
    let mut note = |path: Ignored<'_>| unknown.push(ignored(&path, root));
    let noted = serde_ignored::Deserializer::new(value, &mut note);
    let tracked = serde_path_to_error::Deserializer::new(noted, &mut track);
    // Erased: the code of the two wrappers is in the program once, and not for each of the hundreds of types of the API.
    let result = erased_serde::deserialize(&mut <dyn erased_serde::Deserializer<'_>>::erase(tracked));
    for field in unknown {
        checks.warning_of(Topic::UnknownField, &Path::Root.field(&field), UNKNOWN_FIELD);
    }
    result.map_err(|error| Mistyped { field: failed(&track.path(), root), message: error.to_string() })
}

fn ignored(path: &Ignored<'_>, root: &dyn Display) -> String {
    match path {
        Ignored::Root => root.to_string(),
        Ignored::Seq { parent, index } => format!("{}[{index}]", ignored(parent, root)),
        Ignored::Map { parent, key } => join(ignored(parent, root), key),
        Ignored::Some { parent } | Ignored::NewtypeStruct { parent } | Ignored::NewtypeVariant { parent } => {
            ignored(parent, root)
        }
    }
}

fn failed(path: &ErrorPath, root: &dyn Display) -> String {
    path.iter().fold(root.to_string(), |mut text, segment| match segment {
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
        // YAML takes `on`, `n` or `1` for something else.
        Some((_, "a string")) => format!("{message} (put it in quotes)"),
        _ => message,
    }
}
