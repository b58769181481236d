//! Values as ingress-nginx reads them.

use portcullis_routing::Networks;

use crate::{
    ir::{Kind, ObjectKey},
    objects::live_settings::parse_network,
};

/// A boolean as Go's `strconv.ParseBool` reads it; nothing around it is trimmed.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
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

/// Networks and addresses, separated by commas.
///
/// # Errors
/// What is wrong with the first that is none.
pub(super) fn networks(text: &str) -> Result<Networks, String> {
    text.split(',').map(|entry| parse_network(entry.trim())).collect()
}
