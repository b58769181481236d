//! References of requests to their rules. All threads share a rule's own reference count, so a request that changed it
//! would wait for another core's cache line. Therefore each thread that serves requests counts its own references.

use std::{cell::RefCell, ops::Deref, sync::Arc};

use crate::Rule;

/// A rule that requests of one thread hold. All of them share one of the rule's own references.
#[derive(Debug)]
pub(super) struct Held(Arc<Rule>);

/// The maximum number of rules that a thread holds for its requests. Each rule has one place; if two rules have the
/// same place, the thread holds the one that was used last.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 10;

thread_local! {
    /// The rules that this thread holds, by place. Empty in threads that have never called [`renew_rules`].
    static HELD: RefCell<Vec<Option<Arc<Held>>>> = const { RefCell::new(Vec::new()) };
}

/// Releases the rules that this thread holds for its requests. The thread then holds each rule that its requests use,
/// until the next call. A thread that serves requests calls this when it begins and then about once a second, because
/// rules that are no longer in the table stay in memory until the next call. A thread that never calls this holds a
/// rule only as long as its requests do.
pub fn renew_rules() {
    // The old rules are dropped after the borrow has ended.
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

/// Returns the place of a rule, computed from the rule's address.
fn place(rule: &Arc<Rule>) -> usize {
    let address = Arc::as_ptr(rule).addr() as u64;
    // A multiplication by the golden ratio spreads the differences between addresses over the upper bits; one alone would
    // map rules that lie at some equal distances to few places.
    let spread = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let once = spread(address);
    (spread(once ^ (once >> 32)) >> (u64::BITS - PLACE_BITS)) as usize
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
        assert_eq!(references(), 1, "no request uses it");
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
