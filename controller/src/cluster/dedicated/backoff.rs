//! What may be written now, and what has to wait: a write that has not been seen yet is not repeated, one that failed,
//! changed nothing or was undone by somebody waits longer each time, and whoever does not lead waits for the leader first.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    plan::{Act, Deed, Turn},
    target::Target,
};

/// How long a write may take to be seen.
const UNSEEN: Duration = Duration::from_secs(2);
/// After a failure, growing.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the leader has for endpoints before another writes them.
const STEP_IN: Duration = Duration::from_secs(3);

/// What stands between differences and writes.
#[derive(Debug)]
pub(super) struct WriteBackoff {
    standing: BTreeMap<Target, Standing>,
    /// How much later than others this replica steps in.
    later: Duration,
}

/// A difference that stands, or stood a short time ago.
#[derive(Debug)]
struct Standing {
    /// What is to be written.
    content: u64,
    since: Instant,
    /// Not before.
    until: Option<Instant>,
    /// Writes of that so far.
    tries: u32,
    trouble: Option<String>,
    /// Whether there is no difference any more.
    is_settled: bool,
    /// Whether it is the leader's alone to write.
    waits_for_leader: bool,
}

impl WriteBackoff {
    pub(super) fn new(identity: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        Self { standing: BTreeMap::new(), later: Duration::from_millis(hasher.finish() % 2000) }
    }

    /// Begins anew, as when another one leads.
    pub(super) fn clear(&mut self) {
        self.standing.clear();
    }

    /// What differs no longer is forgotten after a while: somebody may undo it again and again.
    pub(super) fn settle_all_but<'t>(&mut self, targets: impl Iterator<Item = &'t Target>, now: Instant) {
        let targets: BTreeSet<_> = targets.collect();
        self.standing.retain(|target, standing| {
            standing.is_settled = !targets.contains(target);
            let is_recent = standing.until.is_some_and(|until| now < until + LONGEST_PAUSE);
            !standing.is_settled || standing.tries > 0 && is_recent
        });
    }

    /// Whether it may be written now.
    pub(super) fn lets_go(&mut self, act: &Act, leads: bool, now: Instant) -> bool {
        let content = content(act);
        let fresh = |trouble| Standing {
            content,
            since: now,
            until: None,
            tries: 0,
            trouble,
            is_settled: false,
            waits_for_leader: false,
        };
        let standing = self.standing.entry(act.target.clone()).or_insert_with(|| fresh(None));
        // What is wanted by now has not been tried.
        if standing.content != content {
            *standing = fresh(standing.trouble.take());
        }
        standing.waits_for_leader = match act.turn {
            Turn::Leader => !leads,
            // Of others than the leader, once for one difference: two that are not of one mind must not go on for ever.
            Turn::LeaderFirst => !leads && standing.tries > 0,
            Turn::Everyone => false,
        };
        if standing.waits_for_leader {
            return false;
        }
        if !leads && act.turn == Turn::LeaderFirst {
            standing.until = Some(standing.since + STEP_IN + self.later);
        }
        standing.until.is_none_or(|until| now >= until)
    }

    /// Takes up what became of a write.
    pub(super) fn done(&mut self, target: Target, outcome: Result<(), String>, now: Instant) {
        let Some(standing) = self.standing.get_mut(&target) else { return };
        let first = if outcome.is_ok() { UNSEEN } else { FIRST_PAUSE };
        let pause = first.saturating_mul(1 << standing.tries.min(10)).min(LONGEST_PAUSE);
        standing.tries = standing.tries.saturating_add(1);
        standing.until = Some(now + pause);
        standing.trouble = outcome.err();
    }

    /// What stands in the way.
    pub(super) fn trouble(&self, target: &Target) -> Option<&str> {
        self.standing.get(target)?.trouble.as_deref()
    }

    /// Whether that is not known yet.
    pub(super) fn is_news(&self, target: &Target, trouble: &str) -> bool {
        self.trouble(target) != Some(trouble)
    }

    /// When something that waits may go on.
    pub(super) fn wake(&self) -> Option<Instant> {
        let waiting = self.standing.values();
        let waiting = waiting.filter(|standing| !standing.is_settled && !standing.waits_for_leader);
        waiting.filter_map(|standing| standing.until).min()
    }
}

fn content(act: &Act) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &act.deed {
        Deed::Apply(wanted) | Deed::Merge(wanted) | Deed::Create(wanted) => wanted.hash(&mut hasher),
        Deed::Delete { uid } => uid.hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::dedicated::target::TargetKind;

    fn act(turn: Turn, content: u32) -> Act {
        Act {
            gateways: Vec::new(),
            target: Target { kind: TargetKind::EndpointSlice, namespace: "infra".into(), name: "a".into() },
            deed: Deed::Apply(json!({ "content": content })),
            turn,
        }
    }

    fn backoff() -> WriteBackoff {
        WriteBackoff { standing: BTreeMap::new(), later: Duration::from_millis(500) }
    }

    #[test]
    fn the_leader_writes_at_once_and_waits_until_that_is_seen() {
        let (mut backoff, act, begin) = (backoff(), act(Turn::Leader, 1), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert!(backoff.lets_go(&act, true, at(0)));
        backoff.done(act.target.clone(), Ok(()), at(10));
        assert!(!backoff.lets_go(&act, true, at(2009)));
        assert_eq!(backoff.wake(), Some(at(2010)));
        assert!(backoff.lets_go(&act, true, at(2010)), "nobody saw it");
        backoff.done(act.target.clone(), Ok(()), at(2010));
        assert!(!backoff.lets_go(&act, true, at(6009)), "somebody undoes it");
        assert!(backoff.lets_go(&act, true, at(6010)));
        backoff.done(act.target.clone(), Ok(()), at(6020));
        assert!(
            backoff.lets_go(&self::act(Turn::Leader, 2), true, at(6021)),
            "something else is wanted meanwhile"
        );
    }

    #[test]
    fn failures_wait_longer_each_time_and_never_too_long() {
        let (mut backoff, act, mut now) = (backoff(), act(Turn::Leader, 1), Instant::now());
        for millis in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000] {
            assert!(backoff.lets_go(&act, true, now));
            assert!(backoff.is_news(&act.target, "full") == (millis == 200));
            backoff.done(act.target.clone(), Err("full".into()), now);
            assert_eq!(backoff.trouble(&act.target), Some("full"));
            let until = now + Duration::from_millis(millis);
            assert_eq!(backoff.wake(), Some(until));
            now = until;
        }
    }

    #[test]
    fn whoever_undoes_it_again_and_again_is_answered_ever_more_slowly() {
        let (mut backoff, act, mut now) = (backoff(), act(Turn::Leader, 1), Instant::now());
        for millis in [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert!(backoff.lets_go(&act, true, now));
            backoff.done(act.target.clone(), Ok(()), now);
            // It was seen, and then undone.
            backoff.settle_all_but([].into_iter(), now);
            assert_eq!(backoff.wake(), None);
            let until = now + Duration::from_millis(millis);
            assert!(!backoff.lets_go(&act, true, until - Duration::from_millis(1)));
            backoff.settle_all_but([&act.target].into_iter(), now);
            assert_eq!(backoff.wake(), Some(until));
            now = until;
        }
        assert!(backoff.lets_go(&act, true, now));
        backoff.done(act.target.clone(), Ok(()), now);
        now += 2 * LONGEST_PAUSE;
        backoff.settle_all_but([].into_iter(), now);
        assert!(backoff.standing.is_empty(), "peace");
    }

    #[test]
    fn others_step_in_for_endpoints_and_once() {
        let (mut backoff, begin) = (backoff(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        let calm = act(Turn::Leader, 1);
        assert!(!backoff.lets_go(&calm, false, at(0)));
        assert!(!backoff.lets_go(&calm, false, at(60_000)), "the leader's alone");
        assert_eq!(backoff.wake(), None);
        backoff.clear();
        let urgent = act(Turn::LeaderFirst, 1);
        assert!(!backoff.lets_go(&urgent, false, at(0)));
        assert_eq!(backoff.wake(), Some(at(3500)));
        assert!(backoff.lets_go(&urgent, false, at(3500)));
        backoff.done(urgent.target.clone(), Ok(()), at(3510));
        assert!(!backoff.lets_go(&urgent, false, at(60_000)), "it did");
        assert_eq!(backoff.wake(), None);
        assert!(
            !backoff.lets_go(&act(Turn::LeaderFirst, 2), false, at(60_000)),
            "the leader has its time again"
        );
        assert!(backoff.lets_go(&act(Turn::LeaderFirst, 2), false, at(63_500)), "other endpoints");
    }

    #[test]
    fn what_a_replica_says_of_itself_waits_for_nobody() {
        let (mut backoff, act, begin) = (backoff(), act(Turn::Everyone, 1), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert!(backoff.lets_go(&act, false, at(0)));
        backoff.done(act.target.clone(), Err("full".into()), at(0));
        assert!(!backoff.lets_go(&act, false, at(199)) && backoff.lets_go(&act, false, at(200)));
        backoff.done(act.target.clone(), Ok(()), at(200));
        assert!(backoff.lets_go(&act, false, at(60_000)), "somebody took it away");
    }
}
