//! Maps each fact to the units that read it.
//!
//! Facts and units are numbered, and a unit's reads are kept as numbers, since there are thousands of routes and each
//! reads several facts.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Unit;
use crate::{facts::Fact, ir::ObjectKey};

/// What each unit of translation read when it was translated last.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    facts: Numbered<Fact>,
    units: Numbered<Unit>,
    /// By fact: the units that read it, in the order of their numbers.
    readers: Vec<Numbers>,
    /// By unit: the facts that it read, in the order of their numbers.
    reads: Vec<Box<[u32]>>,
    /// The objects that units read, of the kinds that are fetched on demand.
    on_demand: Arc<BTreeSet<ObjectKey>>,
    /// Empty between two calls, with the room that it had.
    entered: Vec<u32>,
}

impl Dependencies {
    /// Replaces what a unit read before by what it read now. A unit that read nothing is forgotten.
    pub(super) fn record(&mut self, unit: Unit, reads: impl ExactSizeIterator<Item = Fact>) {
        let known = self.units.find(&unit);
        let before = match known {
            Some(unit) => std::mem::take(&mut self.reads[unit as usize]),
            None if reads.len() == 0 => return,
            None => Box::default(),
        };
        let number = known.unwrap_or_else(|| self.units.enter_new(unit));
        let mut now = std::mem::take(&mut self.entered);
        now.extend(reads.map(|fact| self.enter(fact)));
        now.sort_unstable();
        now.dedup();
        for fact in now.iter().filter(|fact| before.binary_search(fact).is_err()) {
            self.readers[*fact as usize].insert(number);
        }
        for fact in before.iter().filter(|fact| now.binary_search(fact).is_err()) {
            self.readers[*fact as usize].remove(number);
            self.forget_unread(*fact);
        }
        if now.is_empty() {
            self.units.forget(number);
        } else {
            place(&mut self.reads, number, now.as_slice().into());
        }
        now.clear();
        self.entered = now;
    }

    /// Makes room for so many units and facts of their own.
    pub(super) fn reserve(&mut self, units: usize) {
        self.units.reserve(units);
        self.facts.reserve(units);
    }

    /// Returns whether a unit read a fact.
    pub(super) fn has_read(&self, unit: &Unit, fact: &Fact) -> bool {
        let (Some(unit), Some(fact)) = (self.units.find(unit), self.facts.find(fact)) else { return false };
        self.reads.get(unit as usize).is_some_and(|reads| reads.binary_search(&fact).is_ok())
    }

    /// The units that read a fact, or found it missing.
    pub(super) fn readers(&self, fact: &Fact) -> impl Iterator<Item = &Unit> {
        let readers = self.facts.find(fact).map(|fact| self.readers[fact as usize].all());
        readers.into_iter().flatten().filter_map(|unit| self.units.get(*unit))
    }

    /// The objects that units read or found missing, of the kinds that are fetched on demand. A new `Arc` if the set may
    /// have changed.
    pub(super) fn on_demand(&self) -> &Arc<BTreeSet<ObjectKey>> {
        &self.on_demand
    }

    fn enter(&mut self, fact: Fact) -> u32 {
        if let Some(number) = self.facts.find(&fact) {
            return number;
        }
        if let Some(key) = fact.on_demand() {
            Arc::make_mut(&mut self.on_demand).insert(key.clone());
        }
        let number = self.facts.enter_new(fact);
        place(&mut self.readers, number, Numbers::default());
        number
    }

    fn forget_unread(&mut self, fact: u32) {
        if !self.readers[fact as usize].all().is_empty() {
            return;
        }
        if let Some(key) = self.facts.get(fact).and_then(Fact::on_demand) {
            Arc::make_mut(&mut self.on_demand).remove(key);
        }
        self.facts.forget(fact);
    }
}

fn place<T: Default>(list: &mut Vec<T>, number: u32, item: T) {
    let index = number as usize;
    while list.len() <= index {
        push(list, T::default());
    }
    list[index] = item;
}

/// Adds an item at the end. A full list grows by a quarter and is not doubled, since there are tens of thousands of facts.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 4);
    }
    list.push(item);
}

/// Things and their numbers. A number that has become free is used again.
#[derive(Debug)]
struct Numbered<T> {
    hasher: RandomState,
    numbers: HashTable<u32>,
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T: Hash + Eq> Numbered<T> {
    fn find(&self, thing: &T) -> Option<u32> {
        let is_it = |number: &u32| self.things[*number as usize].as_ref() == Some(thing);
        self.numbers.find(self.hasher.hash_one(thing), is_it).copied()
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.things.get(number as usize)?.as_ref()
    }

    /// Numbers a thing that has no number.
    fn enter_new(&mut self, thing: T) -> u32 {
        let hash = self.hasher.hash_one(&thing);
        let number = self.free.pop().unwrap_or_else(|| {
            push(&mut self.things, None);
            u32::try_from(self.things.len() - 1).expect("no process holds so many")
        });
        self.things[number as usize] = Some(thing);
        let Self { hasher, numbers, things, .. } = self;
        let hash_of =
            |number: &u32| things[*number as usize].as_ref().map_or(0, |thing| hasher.hash_one(thing));
        numbers.insert_unique(hash, number, hash_of);
        number
    }

    fn reserve(&mut self, more: usize) {
        let Self { hasher, numbers, things, .. } = self;
        let hash_of =
            |number: &u32| things[*number as usize].as_ref().map_or(0, |thing| hasher.hash_one(thing));
        numbers.reserve(more, hash_of);
        things.reserve(more);
    }

    fn forget(&mut self, number: u32) {
        let Some(thing) = self.things.get_mut(number as usize).and_then(Option::take) else { return };
        if let Ok(found) = self.numbers.find_entry(self.hasher.hash_one(&thing), |found| *found == number) {
            found.remove();
        }
        self.free.push(number);
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        let (things, free) = (Vec::new(), Vec::new());
        Self { hasher: RandomState::default(), numbers: HashTable::new(), things, free }
    }
}

/// Numbers in ascending order; nearly always there is only one. More are behind a further pointer, which makes it smaller.
#[derive(Debug, Default)]
enum Numbers {
    #[default]
    None,
    One(u32),
    #[allow(clippy::box_collection)] // a `Box<[u32]>` has no room for more
    Many(Box<Vec<u32>>),
}

impl Numbers {
    fn all(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(number) => std::slice::from_ref(number),
            Self::Many(numbers) => numbers,
        }
    }

    fn insert(&mut self, number: u32) {
        match self {
            Self::None => *self = Self::One(number),
            Self::One(one) if *one == number => {}
            Self::One(one) => *self = Self::Many(Box::new(vec![number.min(*one), number.max(*one)])),
            // At start-up, the numbers arrive in ascending order.
            Self::Many(numbers) if numbers.last().is_some_and(|last| *last < number) => numbers.push(number),
            Self::Many(numbers) => {
                if let Err(place) = numbers.binary_search(&number) {
                    numbers.insert(place, number);
                }
            }
        }
    }

    fn remove(&mut self, number: u32) {
        match self {
            Self::None => {}
            Self::One(one) if *one == number => *self = Self::None,
            Self::One(_) => {}
            Self::Many(numbers) => {
                if let Ok(place) = numbers.binary_search(&number) {
                    numbers.remove(place);
                }
                if let [one] = ***numbers {
                    *self = Self::One(one);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Kind, ObjectKey};

    fn route(number: usize) -> Unit {
        Unit::Route(ObjectKey::new(Kind::HttpRoute, "shop", &format!("route-{number}")))
    }

    fn service(number: usize) -> Fact {
        Fact::Object(ObjectKey::new(Kind::Service, "shop", &format!("service-{number}")))
    }

    fn readers(dependencies: &Dependencies, fact: &Fact) -> Vec<Unit> {
        dependencies.readers(fact).cloned().collect()
    }

    #[test]
    fn a_fact_has_the_readers_that_read_it_last() {
        let mut dependencies = Dependencies::default();
        dependencies.record(route(0), [service(0), Fact::Settings, service(0)].into_iter());
        dependencies.record(route(1), [service(0), service(1)].into_iter());
        dependencies.record(route(2), [service(0)].into_iter());
        assert_eq!(readers(&dependencies, &service(0)), [route(0), route(1), route(2)]);
        dependencies.record(route(0), [service(1)].into_iter());
        dependencies.record(route(1), [].into_iter());
        assert_eq!(readers(&dependencies, &service(0)), [route(2)]);
        assert_eq!(readers(&dependencies, &service(1)), [route(0)]);
        assert_eq!(readers(&dependencies, &Fact::Settings), []);
        // The numbers of the forgotten unit and of the fact that nobody reads any more are used again.
        dependencies.record(route(3), [service(3), service(0)].into_iter());
        assert_eq!(readers(&dependencies, &service(0)), [route(3), route(2)]);
        assert_eq!(readers(&dependencies, &service(3)), [route(3)]);
        for number in 0..4 {
            dependencies.record(route(number), [].into_iter());
        }
        assert!(dependencies.facts.numbers.is_empty() && dependencies.units.numbers.is_empty());
        assert!(readers(&dependencies, &service(0)).is_empty());
    }

    #[test]
    fn what_is_on_demand_has_a_reader() {
        let secret = |name: &str| ObjectKey::new(Kind::Secret, "shop", name);
        let reads = |names: &[&str]| names.iter().map(|name| Fact::Object(secret(name))).collect::<Vec<_>>();
        let mut dependencies = Dependencies::default();
        for (route_number, names, want) in [
            (0, &["a", "b"][..], &["a", "b"][..]),
            (1, &["b", "c"], &["a", "b", "c"]),
            (0, &["a"], &["a", "b", "c"]),
            (1, &["c"], &["a", "c"]),
            (0, &[], &["c"]),
            (0, &["b"], &["b", "c"]),
            (1, &[], &["b"]),
        ] {
            let others = [service(0), Fact::Existence(secret("d"))];
            dependencies.record(route(route_number), [reads(names), others.into()].concat().into_iter());
            let on_demand: Vec<_> = dependencies.on_demand().iter().map(|key| &*key.name).collect();
            assert_eq!(on_demand, want, "after route {route_number} read {names:?}");
        }
        let before = Arc::clone(dependencies.on_demand());
        dependencies.record(route(2), [reads(&["b"]), vec![service(1)]].concat().into_iter());
        assert!(Arc::ptr_eq(&before, dependencies.on_demand()), "a second reader changes nothing");
    }

    #[test]
    fn the_reads_of_5000_routes_take_no_more_than_1100_kb() {
        let mut dependencies = Dependencies::default();
        let gateway = ObjectKey::new(Kind::Gateway, "infra", "public");
        for number in 0..5_000 {
            let shared = [Fact::Settings, Fact::ListenersOf(gateway.clone()), Fact::GrantsIn("media".into())];
            let own = [service(number), service(number + 5_000)];
            dependencies.record(route(number), shared.into_iter().chain(own).collect::<Vec<_>>().into_iter());
        }
        // Keys are shared with the objects that they name.
        let bytes = dependencies.bytes();
        assert!(bytes <= 1_100_000, "{bytes} bytes");
    }

    impl Dependencies {
        /// What is allocated for it, without what facts and units refer to.
        fn bytes(&self) -> usize {
            let many = self.readers.iter().map(|readers| match readers {
                Numbers::None | Numbers::One(_) => 0,
                Numbers::Many(numbers) => size_of::<Vec<u32>>() + numbers.capacity() * size_of::<u32>(),
            });
            let reads = self.reads.iter().map(|reads| size_of_val(&**reads));
            self.facts.bytes()
                + self.units.bytes()
                + self.readers.capacity() * size_of::<Numbers>()
                + self.reads.capacity() * size_of::<Box<[u32]>>()
                + many.chain(reads).sum::<usize>()
        }
    }

    impl<T> Numbered<T> {
        fn bytes(&self) -> usize {
            self.numbers.allocation_size()
                + self.things.capacity() * size_of::<Option<T>>()
                + self.free.capacity() * size_of::<u32>()
        }
    }
}
