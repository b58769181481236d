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
