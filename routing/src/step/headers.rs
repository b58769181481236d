//! RequestHeaderModifier and ResponseHeaderModifier.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use crate::HeadersMut;

/// Sets, adds and removes headers (HTTPHeaderFilter), in that order. A pointer, so that [`Step`](super::Step) is small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier(Arc<Changes>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Changes {
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    remove: Box<[HeaderName]>,
}

/// A change of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its values are replaced.
    Set,
    /// A value is added to the existing ones.
    Add,
    /// Its values are removed.
    Remove,
}

/// Why a modifier cannot change a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForbiddenHeader {
    /// The header frames the message, or applies to one connection only (RFC 9110, 7.6.1).
    #[error("{0} cannot be changed by a filter: it frames the message or belongs to one connection")]
    Connection(HeaderName),
    /// A request has exactly one Host.
    #[error("host can be set by a filter, but not added or removed: a request has exactly one")]
    Host,
}

impl Change {
    /// Whether a modifier can make this change to a header.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(self, name: &HeaderName) -> Result<(), ForbiddenHeader> {
        match *name {
            header::TRANSFER_ENCODING
            | header::CONTENT_LENGTH
            | header::CONNECTION
            | header::UPGRADE
            | header::TE
            | header::TRAILER => Err(ForbiddenHeader::Connection(name.clone())),
            header::HOST if self != Self::Set => Err(ForbiddenHeader::Host),
            _ if matches!(name.as_str(), "keep-alive" | "proxy-connection") => {
                Err(ForbiddenHeader::Connection(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl HeaderModifier {
    /// A modifier with all of these changes.
    ///
    /// # Errors
    /// The first header that cannot be changed.
    pub fn new(
        set: impl Into<Box<[(HeaderName, HeaderValue)]>>,
        add: impl Into<Box<[(HeaderName, HeaderValue)]>>,
        remove: impl Into<Box<[HeaderName]>>,
    ) -> Result<Self, ForbiddenHeader> {
        let changes = Changes { set: set.into(), add: add.into(), remove: remove.into() };
        changes.set.iter().try_for_each(|(name, _)| Change::Set.check(name))?;
        changes.add.iter().try_for_each(|(name, _)| Change::Add.check(name))?;
        changes.remove.iter().try_for_each(|name| Change::Remove.check(name))?;
        Ok(Self(Arc::new(changes)))
    }

    /// The headers with the values that replace all existing ones.
    pub fn set(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.set
    }

    /// The headers with the values that are added to the existing ones.
    pub fn add(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.add
    }

    /// The headers that are removed, with all of their values.
    pub fn remove(&self) -> &[HeaderName] {
        &self.0.remove
    }

    /// The same without a change of Host.
    pub(crate) fn without_host(self) -> Self {
        if self.0.set.iter().all(|(name, _)| name != header::HOST) {
            return self;
        }
        let Changes { set, add, remove } = Arc::unwrap_or_clone(self.0);
        let set = set.into_iter().filter(|(name, _)| name != header::HOST).collect();
        Self(Arc::new(Changes { set, add, remove }))
    }

    /// Applies the changes.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        let Changes { set, add, remove } = &*self.0;
        set.iter().for_each(|(name, value)| headers.set(name, value));
        add.iter().for_each(|(name, value)| headers.add(name, value));
        remove.iter().for_each(|name| headers.remove(name));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn headers_are_set_added_and_removed() {
        let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let modifier = HeaderModifier::new(
            [pair("set", "new"), pair("set-absent", "new")],
            [pair("add", "new"), pair("add-absent", "new")],
            ["remove", "remove-absent"].map(HeaderName::from_static),
        )
        .unwrap();
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

    #[test]
    fn what_frames_a_message_is_not_for_modifiers() {
        let all = [true; 3];
        for (name, [set, add, remove]) in [
            ("transfer-encoding", all),
            ("content-length", all),
            ("connection", all),
            ("upgrade", all),
            ("te", all),
            ("trailer", all),
            ("keep-alive", all),
            ("proxy-connection", all),
            ("host", [false, true, true]),
            ("content-type", [false; 3]),
            ("x-te", [false; 3]),
        ] {
            let name = HeaderName::from_static(name);
            let pair = || [(name.clone(), HeaderValue::from_static("1"))];
            let refused = [
                HeaderModifier::new(pair(), [], []),
                HeaderModifier::new([], pair(), []),
                HeaderModifier::new([], [], [name.clone()]),
            ];
            assert_eq!(refused.map(|result| result.is_err()), [set, add, remove], "{name}");
        }
    }
}
