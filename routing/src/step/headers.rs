//! RequestHeaderModifier and ResponseHeaderModifier.

use http::{HeaderName, HeaderValue};

use crate::HeadersMut;

/// Sets, adds and removes headers (HTTPHeaderFilter), in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    /// Replaces all values of a header.
    pub set: Box<[(HeaderName, HeaderValue)]>,
    /// Adds a value beside those that are there.
    pub add: Box<[(HeaderName, HeaderValue)]>,
    /// Removes all values of a header.
    pub remove: Box<[HeaderName]>,
}

impl HeaderModifier {
    /// Carries out the changes.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.set.iter().for_each(|(name, value)| headers.set(name, value));
        self.add.iter().for_each(|(name, value)| headers.add(name, value));
        self.remove.iter().for_each(|name| headers.remove(name));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn headers_are_set_added_and_removed() {
        let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let modifier = HeaderModifier {
            set: [pair("set", "new"), pair("set-absent", "new")].into(),
            add: [pair("add", "new"), pair("add-absent", "new")].into(),
            remove: [HeaderName::from_static("remove"), HeaderName::from_static("remove-absent")].into(),
        };
        let mut headers: HeaderMap = [
            pair("set", "1"),
            pair("set", "2"),
            pair("add", "1"),
            pair("remove", "1"),
            pair("remove", "2"),
            pair("other", "1"),
        ]
        .into_iter()
        .collect();
        modifier.apply(&mut headers);
        for (name, want) in [
            ("set", &["new"][..]),
            ("set-absent", &["new"]),
            ("add", &["1", "new"]),
            ("add-absent", &["new"]),
            ("remove", &[]),
            ("other", &["1"]),
        ] {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(values, want, "{name}");
        }
    }
}
