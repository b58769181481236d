//! The regular expressions that the Ingresses of a host need. What is compiled is what is counted here, within the budget
//! of an Ingress and that of its namespace ([`PatternQuotas`](crate::translate::PatternQuotas)).

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use portcullis_routing::{
    HostPattern, Location, Pattern,
    pattern::{GroupPattern, GroupSource, Source},
};

use super::{
    claims,
    compiler::Host,
    paths::{self, Matched, Place},
    spread, steps,
    uncompiled::NotCompiled,
};
use crate::{
    ir::{
        Ingress, ObjectKey,
        ingress::{Canary, CanaryHeader},
    },
    translate::{
        Listeners, PatternPool, Reader,
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
    let host = state.special.same_as.as_ref().unwrap_or(served_as);
    let mut ingresses: Vec<_> = state.ingresses.iter().filter_map(|key| reader.ingress(key)).collect();
    ingresses.sort_by_cached_key(|ingress| ingress.age());
    let (canaries, mains) = claims::split(&ingresses);
    let all = mains.iter().chain(&canaries);
    let mut found: Vec<_> = all.map(|ingress| (*ingress, Needs::default())).collect();
    if paths::are_regex(&mains, host) {
        for place in paths::all(&mains, host).places {
            let (ingress, needs) = &mut found[place.ingress];
            needs.add_path(ingress, &place);
        }
    }
    // A subject counts for the Ingress that has the annotation, whichever Ingresses of the host it applies to.
    let subjects: BTreeMap<_, _> = match &state.special.client_auth {
        Some(asked) => mains.iter().filter_map(|ingress| asked.of(ingress)?.with_subject()).collect(),
        None => BTreeMap::new(),
    };
    for (of, subject) in subjects {
        let index = found.iter().position(|(ingress, _)| ingress.meta.key == *of).or_else(|| {
            found.push((reader.ingress(of)?, Needs::default()));
            Some(found.len() - 1)
        });
        let needs = index.and_then(|index| found.get_mut(index)).map(|(_, needs)| needs);
        needs.into_iter().for_each(|needs| needs.extend(Some(Need::Whole(subject.clone()))));
    }
    for (ingress, needs) in &mut found {
        let header = searched_header(ingress).and_then(|(_, text)| spread::source_of(text).ok());
        needs.extend(header.map(Need::Whole));
    }
    found.retain(|(_, needs)| !needs.all.is_empty());
    found
        .into_iter()
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

/// The regular expressions that were counted for an Ingress at a host.
pub(super) struct Counted<'a> {
    needs: &'a [Need],
    /// Why they are not compiled, if they are not.
    pub(super) over_budget: Option<Box<str>>,
}

impl<'a> Counted<'a> {
    pub(super) fn of(ingress: &ObjectKey, host: &Host<'a>) -> Self {
        let quotas = host.others.quotas;
        let needs = quotas.of_host(ingress, host.served_as);
        let over_budget = match needs {
            [] => None,
            _ => quotas.read(host.reader, ingress).err().map(Into::into),
        };
        Self { needs, over_budget }
    }

    /// A regular expression, compiled within the budgets.
    pub(super) fn pattern(&self, text: &str, pool: &PatternPool) -> Result<Pattern, NotCompiled> {
        match self.need(false, text)? {
            Some(Need::Whole(source)) => Ok(pool.pattern(source)?),
            _ => Err(NotCompiled::uncounted(Source::parse(text))),
        }
    }

    /// The same of one whose groups are read.
    pub(super) fn group_pattern(
        &self,
        text: &str,
        pool: &PatternPool,
    ) -> Result<Arc<GroupPattern>, NotCompiled> {
        match self.need(true, text)? {
            Some(Need::Groups(source)) => Ok(pool.group_pattern(source)?),
            _ => Err(NotCompiled::uncounted(GroupSource::parse(text))),
        }
    }

    fn need(&self, has_groups: bool, text: &str) -> Result<Option<&'a Need>, NotCompiled> {
        let by_key = |need: &Need| {
            let (groups, known) = need.key();
            (groups, &**known).cmp(&(has_groups, text))
        };
        let found = self.needs.binary_search_by(by_key).ok().and_then(|at| self.needs.get(at));
        match &self.over_budget {
            Some(why) if found.is_some() => Err(NotCompiled::OverBudget(why.clone())),
            _ => Ok(found),
        }
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
