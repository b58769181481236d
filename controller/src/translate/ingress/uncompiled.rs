//! Paths whose regular expressions are not compiled: they are refused, or beyond a budget.
//!
//! It is unknown which requests such a path would match, and the other paths of the host may lack its protection. If all
//! paths of the host belong to one namespace, all requests that start with the literal prefix of the expression are
//! rejected. On a host that several namespaces share, this would close paths of other namespaces. There, the expression is
//! left out, and the paths of its own namespace that are matched after it and may match its requests are closed. These
//! requests then reach no backend of the namespace without protection.

use std::{collections::BTreeMap, ops::Bound};

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

/// How a path is matched, and whether it is closed.
pub(super) enum Located {
    /// By the path. It is not a regular expression.
    AsPath,
    Open(Location),
    Closed(Location, BackendError),
}

/// Why a regular expression is not compiled.
#[derive(Debug)]
pub(super) enum NotCompiled {
    Invalid(InvalidPattern),
    /// There is no memory left for it.
    OverBudget(Box<str>),
}

/// The expressions of a namespace that are not compiled: the literal start of each in lower case, and its Ingress. None
/// starts with another one.
#[derive(Default)]
struct Starts(BTreeMap<String, ObjectKey>);

/// Compiles the paths of a host that are regular expressions. `places` are in the order of matching, if they are. On a host
/// that namespaces share, removes those that are not compiled.
pub(super) fn located(compilers: &mut [Compiler<'_>], places: &mut Vec<Place<'_>>) -> Vec<Located> {
    let is_shared = is_shared(compilers, places);
    let mut located = Vec::with_capacity(places.len());
    let mut uncompiled: BTreeMap<&str, Starts> = BTreeMap::new();
    places.retain(|place| {
        let compiler = &mut compilers[place.ingress];
        let ingress = compiler.ingress;
        let namespace = ingress.meta.namespace();
        let path = match compiler.location_of(place) {
            None => Located::AsPath,
            Some(Ok(location)) => {
                let before = uncompiled.get(namespace);
                match before.and_then(|before| before.overlapping(&pattern::literal_start(&place.text))) {
                    Some(of) => Located::Closed(location, compiler.closed_beside(place, of)),
                    None => Located::Open(location),
                }
            }
            Some(Err(why)) => {
                let start = pattern::literal_start(&place.text);
                compiler.report(place, &why, &start, is_shared);
                if is_shared {
                    uncompiled.entry(namespace).or_default().add(&start, &ingress.meta.key);
                    return false;
                }
                // A shorter path, perhaps of another Ingress, does not receive its requests.
                let location = Location { text: start.into(), pattern: None };
                Located::Closed(location, BackendError::Closed(why.to_string().into()))
            }
        };
        located.push(path);
        true
    });
    located
}

/// Whether several namespaces have paths at the host.
fn is_shared(compilers: &[Compiler<'_>], places: &[Place<'_>]) -> bool {
    let mut namespaces = places.iter().map(|place| compilers[place.ingress].ingress.meta.namespace());
    namespaces.next().is_some_and(|first| namespaces.any(|other| other != first))
}

impl Starts {
    fn add(&mut self, start: &str, of: &ObjectKey) {
        let start = start.to_ascii_lowercase();
        if self.first_of(&start).is_some() {
            return;
        }
        while let Some(longer) = self.first_with(&start).map(|(longer, _)| longer.to_owned()) {
            self.0.remove(&longer);
        }
        self.0.insert(start, of.clone());
    }

    /// The Ingress of an expression that may match requests of a path with this literal start.
    fn overlapping(&self, start: &str) -> Option<&ObjectKey> {
        let start = start.to_ascii_lowercase();
        self.first_of(&start).or_else(|| self.first_with(&start).map(|(_, of)| of))
    }

    /// The first one that starts with a text, and its Ingress.
    fn first_with(&self, text: &str) -> Option<(&str, &ObjectKey)> {
        let (known, of) = self.0.range::<str, _>((Bound::Included(text), Bound::Unbounded)).next()?;
        known.starts_with(text).then_some((known, of))
    }

    /// The Ingress of the expression whose literal start is a prefix of the text. In the order of the map, that is the last
    /// entry that is not greater than the text: any entry between the prefix and the text would start with the prefix, too.
    fn first_of(&self, text: &str) -> Option<&ObjectKey> {
        let (known, of) = self.0.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back()?;
        text.starts_with(&**known).then_some(of)
    }
}

impl Compiler<'_> {
    fn location_of(&self, place: &Place<'_>) -> Option<Result<Location, NotCompiled>> {
        matches!(place.matched, Matched::Regex(_)).then(|| self.location(&place.text))
    }

    /// Reports that a path with this literal start is not compiled.
    fn report(&mut self, place: &Place<'_>, why: &NotCompiled, start: &str, is_shared: bool) {
        let what = if is_shared { "not served" } else { "closed (503)" };
        let text = match (why, self.over_budget()) {
            // Once for all of its paths.
            (NotCompiled::OverBudget(_), Some(why)) => {
                format!("its paths that are regular expressions are {what}: {why}")
            }
            (NotCompiled::OverBudget(_) | NotCompiled::Invalid(_), _) => {
                let rest = match is_shared {
                    true => String::new(),
                    false => format!(
                        ", and so are all requests that start with {start:?}, except those that a longer path matches"
                    ),
                };
                let (path, host, advice) = (&place.text, &self.host.host, why.advice());
                format!("path {path} of {host} is {what}{rest}: {why}; {advice}")
            }
        };
        let message = if is_shared { Message::refused(text) } else { Message::about(Topic::Closed, text) };
        self.tell(message.caused_by(why.budget().unwrap_or(Cause::Pattern)));
    }

    /// Why a path is closed that may match requests of an expression of this Ingress. It is reported.
    fn closed_beside(&mut self, place: &Place<'_>, of: &ObjectKey) -> BackendError {
        let why = format!(
            "it may match requests that are meant for a regular expression of {of} that is refused or exceeds a limit"
        );
        let text = format!("{} is closed (503): {why}", self.named(place));
        self.tell(Message::about(Topic::Closed, text));
        BackendError::Closed(why.into())
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

    /// What the owner of the path can do.
    fn advice(&self) -> &'static str {
        match self {
            Self::Invalid(InvalidPattern::TooLong(_)) => "use several shorter paths",
            Self::Invalid(InvalidPattern::TooLarge(_)) => "use smaller repetitions and classes",
            Self::Invalid(why) if why.is_look_around() => {
                "rewrite the expression without look-around (see `portcullis migrate`)"
            }
            Self::Invalid(InvalidPattern::Syntax(_)) => "correct the expression; the syntax is that of RE2",
            Self::OverBudget(_) => "use fewer regular expressions, or smaller repetitions and classes",
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
