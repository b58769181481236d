//! Decides which route gets a listener's streams or datagrams. If several routes claim the same listener and hostname,
//! the oldest route gets them; of routes of the same age, the first by name.
//!
//! What a route claims does not depend on other routes, but what it gets does. So all claims are recorded before any
//! route is translated, and a route becomes stale when the claims of another route change what it gets.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
};

use foldhash::fast::RandomState;
use portcullis_routing::{HostPattern, ListenerId};

use crate::ir::{Meta, ObjectKey};

/// A listener, and a route's own hostname ([`HostPattern::Any`] if the route has none).
pub type StreamPlace = (Arc<ListenerId>, HostPattern);

/// The places that every route claims, and which route gets each place.
#[derive(Clone, Debug, Default)]
pub struct StreamClaims {
    places: HashMap<StreamPlace, BTreeSet<Arc<Claim>>, RandomState>,
    routes: HashMap<ObjectKey, Claimed, RandomState>,
    /// The places whose claims have changed since the last [`StreamClaims::settle`], each with what routes were told
    /// before.
    changed: HashMap<StreamPlace, Told, RandomState>,
}

/// A route that claims a place. The fields stand in the order of precedence.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    created: i64,
    /// `namespace/name`.
    title: Box<str>,
    key: ObjectKey,
}

#[derive(Clone, Debug)]
struct Claimed {
    claim: Arc<Claim>,
    places: Box<[StreamPlace]>,
}

/// What the routes that claim a place are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    first: Option<Arc<Claim>>,
    /// Whether the other routes are told the name of the first one.
    is_named: bool,
}

/// The maximum number of routes that claim a place and are told the name of the route that gets it. With the name, each
/// change of the first route changes the statuses of all others: deleting thousands of routes one after the other would
/// write thousands of statuses for each deleted route.
const NAMED: usize = 8;

/// Another route gets the place. Holds the key of that route if it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken<'c>(Option<&'c ObjectKey>);

impl StreamClaims {
    /// Sets the places that a route claims. Each place stands once in `places`.
    pub fn set(&mut self, meta: &Meta, places: Vec<StreamPlace>) {
        let before = self.routes.get(&meta.key);
        if before.is_some_and(|before| before.claim.created == meta.created && *before.places == *places) {
            return;
        }
        self.remove(&meta.key);
        if places.is_empty() {
            return;
        }
        let title = format!("{}/{}", meta.namespace(), meta.name()).into();
        let claim = Arc::new(Claim { created: meta.created, title, key: meta.key.clone() });
        for place in &places {
            self.note_change(place);
            self.places.entry(place.clone()).or_default().insert(Arc::clone(&claim));
        }
        self.routes.insert(meta.key.clone(), Claimed { claim, places: places.into() });
    }

    /// Removes the claims of a route.
    pub fn remove(&mut self, key: &ObjectKey) {
        // Without a look: most clusters have none.
        if self.routes.is_empty() {
            return;
        }
        let Some(Claimed { claim, places }) = self.routes.remove(key) else { return };
        for place in places {
            self.note_change(&place);
            if let Entry::Occupied(mut claims) = self.places.entry(place) {
                claims.get_mut().remove(&claim);
                if claims.get().is_empty() {
                    claims.remove();
                }
            }
        }
    }

    /// Returns the routes that get other places, or are told something else, than after the last call.
    pub fn settle(&mut self) -> BTreeSet<ObjectKey> {
        let mut affected = BTreeSet::new();
        for (place, before) in std::mem::take(&mut self.changed) {
            let now = self.told(&place);
            if before == now {
                continue;
            }
            if before.is_named || now.is_named {
                let all = self.places.get(&place).into_iter().flatten();
                affected.extend(all.map(|claim| claim.key.clone()));
            }
            affected.extend(before.first.into_iter().chain(now.first).map(|claim| claim.key.clone()));
        }
        affected
    }

    /// Returns whether a route gets a place that it claims.
    ///
    /// # Errors
    /// If another route gets the place.
    pub(crate) fn has(&self, route: &ObjectKey, place: &StreamPlace) -> Result<(), Taken<'_>> {
        let Some(claims) = self.places.get(place) else { return Ok(()) };
        match claims.first() {
            Some(first) if first.key != *route => Err(Taken((claims.len() <= NAMED).then_some(&first.key))),
            _ => Ok(()),
        }
    }

    fn told(&self, place: &StreamPlace) -> Told {
        let claims = self.places.get(place);
        let count = claims.map_or(0, BTreeSet::len);
        Told { first: claims.and_then(BTreeSet::first).cloned(), is_named: (2..=NAMED).contains(&count) }
    }

    fn note_change(&mut self, place: &StreamPlace) {
        if !self.changed.contains_key(place) {
            self.changed.insert(place.clone(), self.told(place));
        }
    }
}

/// `TCPRoute infra/old comes first`.
impl fmt::Display for Taken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(route) => write!(f, "{route} takes precedence"),
            None => f.write_str("another route takes precedence"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ir::Kind;

    fn meta(name: usize, created: i64) -> Meta {
        let key = ObjectKey::new(Kind::TcpRoute, "infra", &format!("r{name:02}"));
        Meta { key, uid: None, generation: 1, version: 0, created, warnings: Box::default() }
    }

    fn place(number: usize) -> StreamPlace {
        (Arc::new(ListenerId::gateway("infra", "public", &number.to_string())), HostPattern::Any)
    }

    /// Returns the text that each route is told about each of its places.
    fn told(claims: &StreamClaims) -> BTreeMap<ObjectKey, Vec<String>> {
        let of = |key: &ObjectKey, claimed: &Claimed| {
            let said = claimed.places.iter().map(|place| match claims.has(key, place) {
                Ok(()) => "has it".to_owned(),
                Err(taken) => taken.to_string(),
            });
            (key.clone(), said.collect())
        };
        claims.routes.iter().map(|(key, claimed)| of(key, claimed)).collect()
    }

    #[test]
    fn the_oldest_has_it_then_the_first_by_name() {
        let mut claims = StreamClaims::default();
        for (name, created) in [(2, 1), (1, 2), (0, 2), (3, 1)] {
            claims.set(&meta(name, created), vec![place(0)]);
        }
        let has = |claims: &StreamClaims| {
            (0..4).filter(|name| claims.has(&meta(*name, 0).key, &place(0)).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(has(&claims), [2]);
        for (gone, want) in [(2, 3), (3, 0), (0, 1)] {
            claims.remove(&meta(gone, 0).key);
            assert_eq!(has(&claims), [want], "{gone} is gone");
        }
    }

    proptest! {
        #[test]
        fn whoever_is_told_something_else_is_affected(
            edits in prop::collection::vec((0..14usize, 0..3i64, prop::collection::btree_set(0..3usize, 0..3)), 1..80),
            batch in 1..6usize,
        ) {
            let mut claims = StreamClaims::default();
            let mut before = told(&claims);
            for edits in edits.chunks(batch) {
                let mut set = BTreeSet::new();
                for (name, created, places) in edits {
                    let meta = meta(*name, *created);
                    set.insert(meta.key.clone());
                    claims.set(&meta, places.iter().map(|number| place(*number)).collect());
                }
                let affected = claims.settle();
                let now = told(&claims);
                for (key, said) in &now {
                    let is_same = before.get(key) == Some(said);
                    prop_assert!(is_same || set.contains(key) || affected.contains(key), "{}", key);
                }
                before = now;
            }
        }
    }
}
