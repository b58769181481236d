//! Values as ingress-nginx reads them.

use crate::ir::{Kind, ObjectKey};

/// A boolean as Go's `strconv.ParseBool` reads it; nothing around it is trimmed.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number as Go's `strconv.Atoi` reads it.
pub(super) fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Whether a text has only characters that ingress-nginx lets stand in a URL (`URLIsValidRegex` in its
/// `annotations/parser/validators.go`): none of a query, and no variables.
pub(super) fn is_plain_url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte))
}

/// Whether a text has only characters that ingress-nginx lets stand in a path with groups (`RegexPathWithCapture`).
pub(super) fn is_path_with_groups(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:$".contains(&byte))
}

/// A Secret as `namespace/name`.
pub(super) fn namespaced_name(text: &str) -> Option<ObjectKey> {
    let (namespace, name) = text.split_once('/')?;
    let is_name = |name: &str| !name.is_empty() && !name.contains('/');
    (is_name(namespace) && is_name(name)).then(|| ObjectKey::new(Kind::Secret, namespace, name))
}
