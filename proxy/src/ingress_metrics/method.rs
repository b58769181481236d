//! The methods that are labels.

use http::Method;

use super::OTHER_METHOD;

/// A method on the list, or any other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MethodLabel(u8);

/// The methods of RFC 9110 and RFC 5789, and those of WebDAV that nginx knows.
const METHODS: [&str; 16] = [
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LOCK",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "TRACE",
    "UNLOCK",
];

impl MethodLabel {
    pub(super) const OTHER: Self = Self(METHODS.len() as u8);

    pub(super) fn as_str(self) -> &'static str {
        METHODS.get(usize::from(self.0)).copied().unwrap_or(OTHER_METHOD)
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match METHODS.binary_search(&method.as_str()) {
            Ok(place) => Self(place as u8),
            Err(_) => Self::OTHER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_are_not_on_the_list_have_one_label() {
        assert!(METHODS.is_sorted());
        for method in METHODS {
            assert_eq!(MethodLabel::from(&method.parse().unwrap()).as_str(), method);
        }
        for method in ["get", "GETS", "PURGE", "_other"] {
            assert_eq!(MethodLabel::from(&method.parse().unwrap()).as_str(), OTHER_METHOD, "{method}");
        }
    }
}
