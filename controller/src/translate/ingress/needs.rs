//! The regular expressions that the Ingresses of a host need. What is compiled is what is counted here, within the budget
//! of an Ingress and that of its namespace ([`PatternQuotas`](crate::translate::PatternQuotas)).

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use portcullis_routing::{
    HostPattern, Location,
    pattern::{GroupSource, Source},
};

use super::{
    claims,
    paths::{self, Matched, Place},
    spread, steps,
};
use crate::{
    ir::{
        Ingress,
        ingress::{Canary, CanaryHeader},
    },
    translate::{
        Listeners, Reader,
        pattern_quotas::{HostNeeds, Need},
    },
};

/// The most memory that the regular expressions of an Ingress may take at a host, in bytes.
pub(super) const BUDGET: usize = 16 << 20;

/// The regular expressions of an Ingress at a host.
#[derive(Debug, Default)]
struct Needs {
    all: BTreeMap<(bool, Arc<str>), Need>,
    cost: usize,
}

/// The regular expressions that the Ingresses of a host need there, including those of closed paths.
pub fn ingress_patterns(
    reader: &Reader<'_>,
    listeners: &Listeners,
    served_as: &HostPattern,
) -> Vec<HostNeeds> {
    let Some(state) = listeners.at_host(reader, served_as) else { return Vec::new() };
    let host = state.same_as.as_ref().unwrap_or(served_as);
    let mut ingresses: Vec<_> = state.ingresses.iter().filter_map(|key| reader.ingress(key)).collect();
    ingresses.sort_by_cached_key(|ingress| ingress.age());
    let (canaries, mains) = claims::split(&ingresses);
    let mut found: Vec<_> = mains.iter().map(|ingress| (*ingress, Needs::default())).collect();
    if paths::are_regex(&mains, host) {
        for place in paths::all(&mains, host).places {
            let (ingress, needs) = &mut found[place.ingress];
            needs.add_path(ingress, &place);
        }
    }
    if let Some(asked) = &state.client_auth {
        for (ingress, needs) in &mut found {
            let subject = asked.of(ingress).and_then(|of| of.asked.subject.clone());
            needs.extend(subject.map(Need::Whole));
        }
    }
    let of_canaries = canaries.into_iter().map(|ingress| {
        let mut needs = Needs::default();
        needs.extend(
            searched_header(ingress).and_then(|(_, text)| spread::source_of(text).ok()).map(Need::Whole),
        );
        (ingress, needs)
    });
    let found = found.into_iter().chain(of_canaries).filter(|(_, needs)| !needs.all.is_empty());
    found
        .map(|(ingress, needs)| HostNeeds {
            created: ingress.meta.created,
            ingress: ingress.meta.key.clone(),
            needs: needs.all.into_values().collect(),
        })
        .collect()
}

/// The header of a canary that is searched by a regular expression, and the expression.
pub(super) fn searched_header(ingress: &Ingress) -> Option<(&HeaderName, &str)> {
    match ingress.annotations.canary.as_ref()? {
        Canary { header: Some((name, CanaryHeader::Pattern(text))), .. } => Some((name, text)),
        _ => None,
    }
}

impl Needs {
    /// Adds what a path needs on a host whose paths are regular expressions.
    fn add_path(&mut self, ingress: &Ingress, place: &Place<'_>) {
        let pattern = Location::pattern_of(&place.text).and_then(|text| Source::parse(&text).ok());
        self.extend(pattern.map(Need::Whole));
        if matches!(place.matched, Matched::Regex(_)) && steps::reads_groups(ingress, place) {
            self.extend(GroupSource::parse(&place.text).ok().map(Need::Groups));
        }
    }

    /// Adds a regular expression, unless the Ingress has no memory left for it.
    fn extend(&mut self, need: Option<Need>) {
        let Some(need) = need else { return };
        let (has_groups, text) = need.key();
        let key = (has_groups, Arc::clone(text));
        if self.all.contains_key(&key) {
            return;
        }
        if self.cost + need.cost() <= BUDGET {
            self.cost += need.cost();
            self.all.insert(key, need);
        }
    }
}

#[cfg(test)]
mod tests;
