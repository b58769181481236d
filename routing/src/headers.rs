//! Headers as decisions read them and as steps change them. A carrier keeps its own types and implements these.

use std::ops::ControlFlow;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that can be read.
pub trait Headers {
    /// The first value of a header.
    fn first(&self, name: &HeaderName) -> Option<&[u8]>;

    /// Hands over the values of a header, in their order, until it is told to stop.
    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>);
}

/// Headers that can be changed; a proxy's own types keep more beside the map.
pub trait HeadersMut {
    /// Replaces all values of a header.
    fn set(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Adds a value.
    fn add(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Removes all values of a header.
    fn remove(&mut self, name: &HeaderName);
}

impl Headers for HeaderMap {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>) {
        let _ = self.get_all(name).iter().try_for_each(|value| visit(value.as_bytes()));
    }
}

impl HeadersMut for HeaderMap {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.insert(copied_name(name), copied(value));
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(copied_name(name), copied(value));
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}

/// Copies a value into memory of its own. A clone would change a reference count that the requests of all threads
/// share.
fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

fn copied_name(name: &HeaderName) -> HeaderName {
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}
