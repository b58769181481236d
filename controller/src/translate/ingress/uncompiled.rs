//! Paths whose regular expressions are not compiled: they are refused, or beyond a budget.
//!
//! Which requests such a path matches is not known, and another path of the host may not protect what it protects. If all
//! paths of the host are of one namespace, all requests that start like the expression are closed. On a host that
//! namespaces share, this would close paths of other namespaces. There, the paths of the expression's own namespace are
//! closed instead, so that no path leads to the backends of the namespace.

use std::collections::BTreeMap;

use portcullis_routing::{
    BackendError, Location,
    pattern::{self, InvalidPattern},
};

use super::{
    compiler::Compiler,
    needs,
    paths::{Matched, Place},
};
use crate::{
    ir::ObjectKey,
    problem::Topic,
    status::{Cause, Message},
};

/// A path that is a regular expression, or why it is not compiled; `None` if it is not one.
pub(super) type Located = Option<Result<Location, NotCompiled>>;

/// Why a regular expression is not compiled.
#[derive(Debug)]
pub(super) enum NotCompiled {
    Invalid(InvalidPattern),
    /// There is no memory left for it.
    OverBudget(Box<str>),
}

/// Compiles the paths of a host that are regular expressions. On a host that namespaces share, closes the Ingresses of the
/// namespaces that have a path that is not compiled, and removes these paths.
pub(super) fn located(compilers: &mut [Compiler<'_>], places: &mut Vec<Place<'_>>) -> Vec<Located> {
    let is_shared = is_shared(compilers);
    let mut located = Vec::with_capacity(places.len());
    // For each namespace, the oldest Ingress with a path that is not compiled.
    let mut closers: BTreeMap<String, usize> = BTreeMap::new();
    places.retain(|place| {
        let compiler = &mut compilers[place.ingress];
        let path = compiler.located(place);
        if let Some(Err(why)) = &path {
            compiler.report(place, why, is_shared);
            if is_shared {
                let namespace = compiler.ingress.meta.namespace().to_owned();
                let first = closers.entry(namespace).or_insert(place.ingress);
                *first = place.ingress.min(*first);
                return false;
            }
        }
        located.push(path);
        true
    });
    for index in 0..compilers.len() {
        let Some(closer) = closers.get(compilers[index].ingress.meta.namespace()) else { continue };
        let closer = compilers[*closer].ingress.meta.key.clone();
        compilers[index].close_beside_other_namespaces(&closer);
    }
    located
}

/// Whether Ingresses of several namespaces have the host.
fn is_shared(compilers: &[Compiler<'_>]) -> bool {
    let mut namespaces = compilers.iter().map(|compiler| compiler.ingress.meta.namespace());
    namespaces.next().is_some_and(|first| namespaces.any(|other| other != first))
}

impl Compiler<'_> {
    fn located(&self, place: &Place<'_>) -> Located {
        matches!(place.matched, Matched::Regex(_)).then(|| self.location(&place.text))
    }

    /// Reports that a path is not compiled.
    fn report(&mut self, place: &Place<'_>, why: &NotCompiled, is_shared: bool) {
        let path = || format!("path {} of {}", place.text, self.host.host);
        let message = match (why, self.over_budget()) {
            // Once for all of its paths.
            (NotCompiled::OverBudget(_), Some(why)) => {
                let text = format!("its paths that are regular expressions are closed (503): {why}");
                Message::about(Topic::Closed, text).caused_by(Cause::Budget)
            }
            // What is closed is reported for the namespace.
            (NotCompiled::OverBudget(_), None) if is_shared => return,
            (NotCompiled::Invalid(why), _) if is_shared => {
                Message::refused(format!("{} is not served: {why}", path())).caused_by(Cause::Pattern)
            }
            (NotCompiled::OverBudget(_) | NotCompiled::Invalid(_), _) => {
                let start = pattern::literal_start(&place.text);
                let text = format!(
                    "{} is closed (503), with all paths that start with {start:?} and match no longer one: {why}",
                    path()
                );
                Message::about(Topic::Closed, text).caused_by(why.budget().unwrap_or(Cause::Pattern))
            }
        };
        self.tell(message);
    }

    /// Closes the Ingress, since one of its namespace has a path that is not compiled, on a host that it shares.
    fn close_beside_other_namespaces(&mut self, closer: &ObjectKey) {
        let text = format!(
            "its paths at host {} are closed (503): regular expressions of {closer} there are refused or beyond a budget, and \
             other namespaces have paths at this host, too",
            self.host.host
        );
        self.tell(Message::about(Topic::Closed, text));
        let why = format!("regular expressions of {closer} at the host are refused or beyond a budget");
        self.closed.get_or_insert(BackendError::Closed(why.into()));
    }
}

impl NotCompiled {
    /// Of an expression that was not counted: it is invalid, or the Ingress has no memory left for it.
    pub(super) fn uncounted<S>(source: Result<S, InvalidPattern>) -> Self {
        match source {
            Err(error) => Self::Invalid(error),
            Ok(_) => Self::OverBudget(
                format!(
                    "the regular expressions of the Ingress would need more than {} MiB of memory at the host (the limit for \
                     one object)",
                    needs::BUDGET >> 20
                )
                .into(),
            ),
        }
    }

    /// The cause, if there is no memory left.
    pub(super) fn budget(&self) -> Option<Cause> {
        matches!(self, Self::OverBudget(_)).then_some(Cause::Budget)
    }
}

impl From<InvalidPattern> for NotCompiled {
    fn from(error: InvalidPattern) -> Self {
        Self::Invalid(error)
    }
}

impl std::fmt::Display for NotCompiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::OverBudget(why) => f.write_str(why),
        }
    }
}
