//! Rules as requests hold them. A rule's own reference count is shared by all threads, so a request that changed it would wait
//! for another core's cache line. Threads that serve requests count references of their own.

use std::{cell::RefCell, ops::Deref, sync::Arc};

use foldhash::HashMap;

use crate::Rule;

/// A rule that requests hold; one of the rule's references for all requests of a thread.
#[derive(Debug)]
pub(super) struct Held(Arc<Rule>);

/// By the address of the rule, which is in use as long as the rule is held.
type All = HashMap<*const Rule, Arc<Held>>;

thread_local! {
    /// `None` in threads that have never called [`renew_rules`].
    static HELD: RefCell<Option<All>> = const { RefCell::new(None) };
}

/// Lets go of the rules that this thread holds for its requests; those that are used from now on are held until the next
/// call. A thread that serves requests calls this when it begins and then once a second or so, as rules that are no longer
/// in the table live until then. A thread that never does holds a rule only as long as its requests do.
pub fn renew_rules() {
    // Dropped after the borrow has ended.
    let _before = HELD.replace(Some(All::default()));
}

impl Held {
    pub(super) fn new(rule: &Arc<Rule>) -> Arc<Self> {
        let new = || Arc::new(Self(Arc::clone(rule)));
        HELD.with_borrow_mut(|held| match held {
            Some(held) => Arc::clone(held.entry(Arc::as_ptr(rule)).or_insert_with(new)),
            None => new(),
        })
    }
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
}
