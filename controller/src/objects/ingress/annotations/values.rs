//! Values, parsed as in ingress-nginx.

use portcullis_routing::Networks;

use crate::{
    ir::{Kind, ObjectKey},
    objects::live_settings::parse_network,
};

/// A boolean, parsed as by Go's `strconv.ParseBool`; surrounding space is not trimmed.
pub(in crate::objects) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number, parsed as by Go's `strconv.Atoi`.
pub(super) fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The error for a size that [`size`] cannot parse.
pub(in crate::objects) const NO_SIZE: &str = "is not a number of bytes, optionally with the unit k, m or g";

/// A number of bytes, parsed as in nginx (`ngx_parse_offset`); surrounding space is trimmed.
pub(in crate::objects) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok())??;
    number.checked_mul(1 << shift)
}

/// A number of KiB, parsed as in ingress-nginx: a negative one becomes 0.
///
/// # Errors
/// If it is not a whole number.
pub(in crate::objects) fn kibibytes(text: &str) -> Result<u32, &'static str> {
    let number = integer(text).ok_or("is not a whole number")?;
    Ok(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

/// The values `on` and `off`.
///
/// # Errors
/// If it is another value.
pub(in crate::objects) fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("is neither on nor off"),
    }
}

/// A whole number of 0 or more.
pub(in crate::objects) fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether a text has only characters that ingress-nginx allows in a URL (`URLIsValidRegex` in its
/// `annotations/parser/validators.go`): none of a query, and no variables.
pub(super) fn is_plain_url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte))
}

/// Whether a text has only characters that ingress-nginx allows in a path with groups (`RegexPathWithCapture`).
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
/// The first invalid entry, with the reason.
pub(super) fn networks(text: &str) -> Result<Networks, String> {
    text.split(',').map(|entry| parse_network(entry.trim())).collect()
}
