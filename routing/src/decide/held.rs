//! Rules as requests hold them. A rule's own reference count is shared by all threads, so a request that changed it would wait
//! for another core's cache line. Threads that serve requests count references of their own.

use std::{cell::RefCell, ops::Deref, sync::Arc};

use crate::Rule;

/// A rule that requests hold; one of the rule's references for all requests of a thread.
#[derive(Debug)]
pub(super) struct Held(Arc<Rule>);

/// How many rules a thread holds for its requests. Each has one place; of two with the same place, it holds the last one.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 10;

thread_local! {
    /// Empty in threads that have never called [`renew_rules`].
    static HELD: RefCell<Vec<Option<Arc<Held>>>> = const { RefCell::new(Vec::new()) };
}

/// Lets go of the rules that this thread holds for its requests; those that are used from now on are held until the next
/// call. A thread that serves requests calls this when it begins and then once a second or so, as rules that are no longer
/// in the table live until then. A thread that never does holds a rule only as long as its requests do.
pub fn renew_rules() {
    // Dropped after the borrow has ended.
    let _before = HELD.replace(vec![None; PLACES]);
}

impl Held {
    pub(super) fn new(rule: &Arc<Rule>) -> Arc<Self> {
        HELD.with_borrow_mut(|held| match held.get_mut(place(rule)) {
            Some(Some(known)) if Arc::ptr_eq(&known.0, rule) => Arc::clone(known),
            Some(place) => Arc::clone(place.insert(Arc::new(Self(Arc::clone(rule))))),
            None => Arc::new(Self(Arc::clone(rule))),
        })
    }
}

/// A place for a rule, by its address.
fn place(rule: &Arc<Rule>) -> usize {
    let address = Arc::as_ptr(rule).addr() as u64;
    // A multiplication by the golden ratio spreads what differs over the upper bits.
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACE_BITS)) as usize
}

impl Deref for Held {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::rule;

    #[test]
    fn requests_of_a_thread_share_one_reference_to_a_rule() {
        let rule = Arc::new(rule([], []));
        let references = || Arc::strong_count(&rule);
        let alone = [Held::new(&rule), Held::new(&rule)];
        assert_eq!(references(), 3, "the thread serves no requests");
        drop(alone);
        renew_rules();
        let requests = [Held::new(&rule), Held::new(&rule), Held::new(&rule)];
        assert_eq!(references(), 2);
        renew_rules();
        assert_eq!(references(), 2, "requests hold it");
        drop(requests);
        assert_eq!(references(), 1);
        drop(Held::new(&rule));
        assert_eq!(references(), 2);
        renew_rules();
        assert_eq!(references(), 1, "nobody uses it");
    }

    #[test]
    fn rules_that_share_a_place_take_turns() {
        renew_rules();
        let rules: Vec<_> = (0..4 * PLACES).map(|_| Arc::new(rule([], []))).collect();
        for _ in 0..2 {
            for rule in &rules {
                assert!(Arc::ptr_eq(&Held::new(rule).0, rule));
            }
        }
        let held = rules.iter().filter(|rule| Arc::strong_count(rule) > 1).count();
        assert!(held <= PLACES && held > PLACES / 2, "{held}");
    }
}
