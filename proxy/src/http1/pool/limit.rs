//! The limit of idle connections to HTTP/1 backends, which all worker threads share.
//!
//! One half of the limit is divided among the workers. A worker that needs more takes portions of the other half, and
//! returns what it has not used for a while. So a worker can keep as many connections as it had requests in flight, and a
//! request changes nothing that other threads read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The limit of idle connections of all workers together.
#[derive(Debug)]
pub(crate) struct IdleLimit {
    /// The number of connections that each worker may keep at any time.
    guaranteed: usize,
    /// The number of connections that no worker has taken.
    free: AtomicUsize,
    /// How often a worker needed more while none were free.
    denied: AtomicUsize,
}

/// The part of the limit that one worker has.
#[derive(Debug, Default)]
pub(super) struct Part {
    of: Option<Arc<IdleLimit>>,
    size: usize,
    /// The maximum number of connections since the last call of [`Self::release`].
    peak: usize,
    /// The value of [`IdleLimit::denied`] at the last call of [`Self::is_wanted`], plus the denials of this worker since.
    denied: usize,
}

/// How much a worker takes at a time.
const PORTION: usize = 16;

impl IdleLimit {
    /// A limit of `most` connections; at least one for each worker.
    pub(crate) fn new(most: usize, workers: usize) -> Arc<Self> {
        let workers = workers.max(1);
        let guaranteed = (most / workers / 2).max(1);
        let free = AtomicUsize::new(most.saturating_sub(guaranteed * workers));
        Arc::new(Self { guaranteed, free, denied: AtomicUsize::new(0) })
    }

    /// Takes a portion, or what is left of one.
    fn take(&self) -> usize {
        let left = |free: usize| free.checked_sub(PORTION.min(free));
        let before = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).unwrap_or(0);
        if before == 0 {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        PORTION.min(before)
    }

    fn give_back(&self, count: usize) {
        if count > 0 {
            self.free.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Part {
    /// The part that a worker has at first.
    pub(super) fn new(of: &Arc<IdleLimit>) -> Self {
        Self { of: Some(Arc::clone(of)), size: of.guaranteed, ..Self::default() }
    }

    /// Returns whether the worker may keep `count` connections. Takes another portion if necessary.
    pub(super) fn permits(&mut self, count: usize) -> bool {
        if count > self.size
            && let Some(limit) = &self.of
        {
            let taken = limit.take();
            self.size += taken;
            // What this worker is denied does not tell it to give something back.
            self.denied = self.denied.wrapping_add(usize::from(taken == 0));
        }
        count <= self.size
    }

    /// Notes how many connections the worker keeps.
    pub(super) fn note(&mut self, count: usize) {
        self.peak = self.peak.max(count);
    }

    /// Gives back what the worker has not needed since the last call. `count`: how many connections it keeps now.
    pub(super) fn release(&mut self, count: usize) {
        let Some(limit) = &self.of else { return };
        let needed = std::mem::replace(&mut self.peak, count).max(limit.guaranteed).min(self.size);
        limit.give_back(self.size - needed);
        self.size = needed;
    }

    /// Returns whether another worker has needed more than there was since the last call, and this one has something to
    /// give back.
    pub(super) fn is_wanted(&mut self) -> bool {
        let Some(limit) = &self.of else { return false };
        let denied = limit.denied.load(Ordering::Relaxed);
        std::mem::replace(&mut self.denied, denied) != denied && self.size > limit.guaranteed
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(limit) = &self.of {
            limit.give_back(self.size.saturating_sub(limit.guaranteed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds connections one by one to `count`, up to `most`; returns how many the worker keeps then.
    fn fill(part: &mut Part, mut count: usize, most: usize) -> usize {
        while count < most && part.permits(count + 1) {
            count += 1;
            part.note(count);
        }
        count
    }

    #[test]
    fn a_worker_takes_what_others_do_not_need() {
        for (most, workers, want) in
            [(1000, 1, 1000), (1000, 4, 500 + 125), (1128, 64, 616 + 8), (64, 64, 1), (3, 64, 1)]
        {
            let limit = IdleLimit::new(most, workers);
            let mut parts: Vec<_> = (0..workers).map(|_| Part::new(&limit)).collect();
            assert_eq!(fill(&mut parts[0], 0, usize::MAX), want, "{most} of {workers}");
            let others: usize = parts[1..].iter_mut().map(|part| fill(part, 0, usize::MAX)).sum();
            assert!(want + others <= most.max(workers), "{most} of {workers}: {others}");
            assert!(others >= workers - 1, "{most} of {workers}");
        }
    }

    #[test]
    fn what_was_not_needed_is_for_others() {
        let limit = IdleLimit::new(200, 2);
        let [mut one, mut other] = [Part::new(&limit), Part::new(&limit)];
        assert_eq!((fill(&mut one, 0, 1000), fill(&mut other, 0, 1000)), (150, 50));
        // It has 60 now, and has needed 150 since the last time.
        one.release(60);
        assert_eq!(fill(&mut other, 50, 1000), 50);
        one.release(60);
        assert_eq!(fill(&mut other, 50, 1000), 140);
        // A worker never has less than its own half.
        one.release(0);
        one.release(0);
        assert_eq!(fill(&mut one, 0, 1000), 60);
        drop(one);
        assert_eq!(fill(&mut other, 140, 1000), 150);
    }

    #[test]
    fn a_worker_learns_that_another_one_needs_more() {
        let limit = IdleLimit::new(4, 2);
        let [mut one, mut other] = [Part::new(&limit), Part::new(&limit)];
        assert_eq!(fill(&mut one, 0, 3), 3);
        assert!(!one.is_wanted());
        assert_eq!(fill(&mut other, 0, 2), 1);
        assert_eq!([one.is_wanted(), one.is_wanted()], [true, false]);
        assert!(!other.is_wanted(), "it is the one that needs more");
        assert_eq!(fill(&mut one, 3, 4), 3);
        assert!(!one.is_wanted(), "it is the one that needs more");
        assert!(!other.is_wanted(), "it has nothing to give back");
    }
}
