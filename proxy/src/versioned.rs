//! Values that are replaced as a whole, and the version of several of them together: what was found out by reading them
//! holds as long as the version is the same.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::LocalKey,
};

use arc_swap::{ArcSwap, Cache, Guard};

/// A number that changes whenever one of its values is replaced. It is never 0, and no two versions of a process are ever equal.
#[derive(Clone, Debug)]
pub(crate) struct Version(Arc<AtomicU64>);

/// A value of a [`Version`]. It is replaced only by [`Self::store`], which changes the version.
pub(crate) struct Versioned<T> {
    now: Arc<ArcSwap<T>>,
    version: Version,
}

/// A thread's own reference to a [`Versioned`] value. Reading the value by it writes to no memory that other threads read.
pub(crate) struct Cached<T>(RefCell<Option<Reference<T>>>);

type Reference<T> = Cache<Arc<ArcSwap<T>>, Arc<T>>;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Version {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(next())))
    }

    /// The version now. Values that are read later are those of this version, or newer ones.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Called after a value was replaced.
    fn change(&self) {
        // Not a store: a reader of this version must also see the values of earlier versions.
        self.0.swap(next(), Ordering::AcqRel);
    }
}

impl<T: Default> Versioned<T> {
    pub(crate) fn new(version: &Version) -> Self {
        Self { now: Arc::default(), version: version.clone() }
    }
}

impl<T> Versioned<T> {
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.now.load()
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.now.load_full()
    }

    /// Replaces the value.
    pub(crate) fn store(&self, value: Arc<T>) {
        self.now.store(value);
        self.version.change();
    }

    /// Calls `read` with the value, which is read by the thread's own reference to it.
    pub(crate) fn with_cached<R>(
        &self,
        cached: &'static LocalKey<Cached<T>>,
        read: impl FnOnce(&T) -> R,
    ) -> R {
        cached.with(|Cached(cached)| {
            let mut cached = cached.borrow_mut();
            // A worker thread serves one proxy; a test's thread may read the values of several.
            let cache = match &mut *cached {
                Some(cache) if std::ptr::eq(cache.arc_swap(), &*self.now) => cache,
                cached => cached.insert(Cache::new(Arc::clone(&self.now))),
            };
            read(cache.load())
        })
    }
}

impl<T> Cached<T> {
    /// Refers to no value yet.
    pub(crate) const fn new() -> Self {
        Self(RefCell::new(None))
    }
}

impl<T> fmt::Debug for Versioned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_reads_the_value_of_now_of_several() {
        thread_local! {
            static NUMBER: Cached<u8> = const { Cached::new() };
        }
        let version = Version::new();
        let (one, other) = (Versioned::new(&version), Versioned::new(&version));
        let read = |of: &Versioned<u8>| of.with_cached(&NUMBER, |number| *number);
        assert_eq!((read(&one), read(&other)), (0, 0));
        one.store(Arc::new(1));
        assert_eq!((read(&other), read(&one)), (0, 1));
        one.store(Arc::new(2));
        assert_eq!((read(&one), read(&other)), (2, 0));
    }

    #[test]
    fn a_version_changes_with_each_of_its_values() {
        let (version, other) = (Version::new(), Version::new());
        let (number, text) = (Versioned::<u8>::new(&version), Versioned::<String>::new(&version));
        let mut seen = vec![version.now(), other.now()];
        number.store(Arc::new(1));
        seen.push(version.now());
        text.store(Arc::default());
        seen.push(version.now());
        number.store(Arc::new(1));
        seen.push(version.now());
        assert_eq!((*number.load_full(), other.now()), (1, seen[1]));
        seen.push(0);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6, "all differ, and none is 0");
    }
}
