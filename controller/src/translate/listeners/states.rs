//! A Gateway or a ListenerSet with the states of its listeners, and the order in which they take ports and hostnames.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use super::{Addressing, GatewayState, ListenerRefusal, ListenerSetState, ListenerState};
use crate::{
    ir::{Kind, Meta, ObjectKey, gateway::GatewayListener},
    translate::{PolicyUse, PolicyUser},
};

/// A Gateway of our classes, or a ListenerSet that names one. A clone shares the states until they are changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owner {
    Gateway(Arc<GatewayState>),
    Set(Arc<ListenerSetState>),
}

/// The order in which objects get ports and hostnames: the oldest first, and a Gateway before its ListenerSets
/// (ListenerSetSpec `listeners`). A ListenerSet counts as no older than its Gateway. Otherwise somebody could take a
/// hostname from an older Gateway by creating a Gateway under the name that an old ListenerSet refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Precedence {
    /// The time that counts as its age.
    since: i64,
    created: i64,
    pub(super) key: ObjectKey,
}

impl Owner {
    pub(super) fn as_gateway(&self) -> Option<&GatewayState> {
        match self {
            Self::Gateway(state) => Some(state),
            Self::Set(_) => None,
        }
    }

    pub(super) fn as_set(&self) -> Option<&ListenerSetState> {
        match self {
            Self::Gateway(_) => None,
            Self::Set(state) => Some(state),
        }
    }

    pub(super) fn meta(&self) -> &Meta {
        match self {
            Self::Gateway(state) => &state.gateway.meta,
            Self::Set(state) => &state.set.meta,
        }
    }

    /// Returns the Gateway itself, or that of the ListenerSet.
    pub(super) fn gateway(&self) -> &ObjectKey {
        match self {
            Self::Gateway(state) => &state.gateway.meta.key,
            Self::Set(state) => &state.gateway,
        }
    }

    pub(super) fn is_set(&self) -> bool {
        matches!(self, Self::Set(_))
    }

    /// Returns whether it is refused as a whole.
    pub(super) fn is_refused(&self) -> bool {
        match self {
            Self::Gateway(state) => state.refused.is_some(),
            Self::Set(state) => state.refused.is_some(),
        }
    }

    pub(super) fn addressing(&self) -> &Addressing {
        match self {
            Self::Gateway(state) => &state.addressing,
            Self::Set(state) => &state.addressing,
        }
    }

    pub(super) fn is_dedicated(&self) -> bool {
        matches!(self.addressing(), Addressing::Dedicated(_))
    }

    /// Returns the listeners as they are written, in the order of [`Owner::listeners`].
    pub(super) fn specs(&self) -> &[GatewayListener] {
        match self {
            Self::Gateway(state) => &state.gateway.listeners,
            Self::Set(state) => &state.set.listeners,
        }
    }

    pub(super) fn listeners(&self) -> &[ListenerState] {
        match self {
            Self::Gateway(state) => &state.listeners,
            Self::Set(state) => &state.listeners,
        }
    }

    /// Returns a listener, to be changed; copies states that are shared.
    pub(super) fn listener_mut(&mut self, index: usize) -> &mut ListenerState {
        match self {
            Self::Gateway(state) => &mut Arc::make_mut(state).listeners[index],
            Self::Set(state) => &mut Arc::make_mut(state).listeners[index],
        }
    }

    /// Returns the policies that concern the filters of its listeners, each once, with its Gateway.
    pub(super) fn policies(&self) -> Vec<PolicyUse> {
        let listeners = self.listeners().iter().filter(|listener| listener.point.served);
        let policies: BTreeSet<_> = listeners.flat_map(|listener| &listener.filters.policies).collect();
        let user = || PolicyUser::Gateway(self.gateway().clone());
        policies.into_iter().map(|policy| (policy.clone(), user())).collect()
    }

    pub(super) fn precedence(&self) -> Precedence {
        let meta = self.meta();
        let since = match self {
            Self::Gateway(_) => meta.created,
            Self::Set(state) => state.since,
        };
        Precedence { since, created: meta.created, key: meta.key.clone() }
    }
}

impl ListenerState {
    pub(super) fn refuse(&mut self, refusal: ListenerRefusal) {
        self.refused = Some(refusal);
        Arc::make_mut(&mut self.point).served = false;
    }
}

impl Precedence {
    /// One that comes before all others.
    pub(super) fn first() -> Self {
        static KEY: LazyLock<ObjectKey> = LazyLock::new(|| ObjectKey::new(Kind::Gateway, "", ""));
        Self { since: i64::MIN, created: i64::MIN, key: KEY.clone() }
    }
}

impl Ord for Precedence {
    fn cmp(&self, other: &Self) -> Ordering {
        let ages = |one: &Self| (one.since, one.key.kind == Kind::ListenerSet, one.created);
        ages(self).cmp(&ages(other)).then_with(|| by_title(&self.key, &other.key))
    }
}

impl PartialOrd for Precedence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares the texts `namespace/name`, whose order is the alphabetical one that the API asks for.
fn by_title(one: &ObjectKey, other: &ObjectKey) -> Ordering {
    let (these, those) = (one.namespace.as_bytes(), other.namespace.as_bytes());
    let common = these.len().min(those.len());
    these[..common].cmp(&those[..common]).then_with(|| match these.len() == those.len() {
        true => one.name.cmp(&other.name),
        // One of them goes on with the slash.
        false => these.get(common).unwrap_or(&b'/').cmp(those.get(common).unwrap_or(&b'/')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabetical_order_is_that_of_namespace_slash_name() {
        // A dash is before the slash, and letters are after it.
        let sorted = [("zoo-a", "twin"), ("zoo", "a"), ("zoo", "x"), ("zooa", "b")];
        let sorted = sorted.map(|(namespace, name)| ObjectKey::new(Kind::ListenerSet, namespace, name));
        for (index, one) in sorted.iter().enumerate() {
            for (other_index, other) in sorted.iter().enumerate() {
                assert_eq!(by_title(one, other), index.cmp(&other_index), "{one} and {other}");
            }
        }
    }
}
