//! RequestHeaderModifier and ResponseHeaderModifier.

use http::{HeaderMap, HeaderName, HeaderValue};

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

/// Headers that a filter can change; a proxy's own types keep more beside the map.
pub trait HeadersMut {
    /// Replaces all values of a header.
    fn set(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Adds a value.
    fn add(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Removes all values of a header.
    fn remove(&mut self, name: &HeaderName);
}

impl HeaderModifier {
    /// Carries out the changes.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.set.iter().for_each(|(name, value)| headers.set(name, value));
        self.add.iter().for_each(|(name, value)| headers.add(name, value));
        self.remove.iter().for_each(|name| headers.remove(name));
    }
}

impl HeadersMut for HeaderMap {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.insert(name, value.clone());
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}

#[cfg(test)]
mod tests {
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
