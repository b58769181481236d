//! Many requests in one: what is compared is said by their mode.

use std::collections::{BTreeMap, BTreeSet};

use super::Difference;
use crate::{
    case::{Mode, Seen, Send},
    player::Played,
};

/// The index of the variation, the status (or the failure), and who answered.
type One = (usize, String, String);

pub(super) fn compare(mode: Mode, send: &Send, seen: &Seen, played: &[Played]) -> Option<Difference> {
    let got: Vec<_> = played.iter().map(one).collect();
    let wanted = recorded(seen);
    match mode {
        Mode::Counts => within(send.tol, &counts(&wanted, true), &counts(&got, true)),
        Mode::Statuses => within(send.tol, &counts(&wanted, false), &counts(&got, false)),
        Mode::Distinct => Difference::unless_equal("distinct", &distinct(&wanted), &distinct(&got)),
        Mode::Stable => Difference::unless_equal("stable", &stable(&wanted), &stable(&got)),
        Mode::Order => Difference::unless_equal("order", &wanted, &got),
    }
}

fn one((index, answer): &Played) -> One {
    match answer {
        Ok(answer) => (*index, answer.status.to_string(), answer.backend().unwrap_or("-").to_owned()),
        Err(failure) => (*index, format!("{failure:?}"), "-".to_owned()),
    }
}

fn recorded(seen: &Seen) -> Vec<One> {
    let in_order =
        seen.seq.iter().map(|(index, status, backend)| (*index, status.to_string(), backend.clone()));
    let counted = seen.counts.iter().flat_map(|(what, count)| {
        let (status, backend) = what.split_once(' ').unwrap_or((what, "-"));
        std::iter::repeat_n((0, status.to_owned(), backend.to_owned()), *count as usize)
    });
    in_order.chain(counted).collect()
}

fn counts(all: &[One], by_backend: bool) -> BTreeMap<String, u32> {
    let mut out = BTreeMap::new();
    for (_, status, backend) in all {
        let what = if by_backend { format!("{status} {backend}") } else { status.clone() };
        *out.entry(what).or_default() += 1;
    }
    out
}

fn within(tolerance: u32, wanted: &BTreeMap<String, u32>, got: &BTreeMap<String, u32>) -> Option<Difference> {
    let of = |counts: &BTreeMap<String, u32>, what: &str| counts.get(what).copied().unwrap_or(0);
    let differ =
        wanted.keys().chain(got.keys()).any(|what| of(wanted, what).abs_diff(of(got, what)) > tolerance);
    differ.then(|| Difference::new("counts", format!("{wanted:?} ± {tolerance}"), format!("{got:?}")))
}

/// Which statuses came, and how many backends answered.
fn distinct(all: &[One]) -> (BTreeSet<&str>, usize) {
    (all.iter().map(|(_, status, _)| status.as_str()).collect(), backends(all))
}

/// Whether each input always went to one backend, and whether there were several in all.
fn stable(all: &[One]) -> (bool, bool) {
    let mut by_input: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for (index, _, backend) in all {
        by_input.entry(*index).or_default().insert(backend);
    }
    (by_input.values().all(|backends| backends.len() == 1), backends(all) > 1)
}

fn backends(all: &[One]) -> usize {
    all.iter().map(|(_, _, backend)| backend).filter(|backend| *backend != "-").collect::<BTreeSet<_>>().len()
}
