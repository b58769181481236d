//! What reading an object collects: its problems, each with the path of its field.

use std::fmt;

use super::patterns::Patterns;
use crate::problem::{Problem, Severity, Topic};

/// Where an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A document that no API server has checked: it is held to the API as it is served here.
    Document,
    /// An API server, which has admitted it: a value that is not known here is one of a later release of the API.
    ApiServer,
}

/// Problems of one object.
#[derive(Debug)]
pub(crate) struct Checks {
    object: Box<str>,
    origin: Origin,
    problems: Vec<Problem>,
    /// The regular expressions that were read.
    pub(crate) patterns: Patterns,
}

/// The path of a field from its object's root; made on the stack, spelled out only where there is a problem.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

/// Limits on a list or a text.
pub(crate) type Limits = std::ops::RangeInclusive<usize>;

impl Checks {
    pub(crate) fn of(object: impl Into<Box<str>>, origin: Origin) -> Self {
        Self { object: object.into(), origin, problems: Vec::new(), patterns: Patterns::default() }
    }

    /// Whether a value that is not known here costs the part of the object that has it, and not the object.
    pub(crate) fn tolerates_unknown_values(&self) -> bool {
        self.origin == Origin::ApiServer
    }

    pub(crate) fn error(&mut self, at: &Path<'_>, message: impl Into<Box<str>>) {
        self.push(Severity::Error, Topic::Invalid, at, message.into());
    }

    pub(crate) fn warning(&mut self, at: &Path<'_>, message: impl Into<Box<str>>) {
        self.warning_of(Topic::NotServed, at, message);
    }

    pub(crate) fn warning_of(&mut self, topic: Topic, at: &Path<'_>, message: impl Into<Box<str>>) {
        self.push(Severity::Warning, topic, at, message.into());
    }

    /// A value that cannot be used: an error, or a warning where an API server has taken it, as one of a later release of
    /// the API perhaps. Whatever has the value must then not be used.
    pub(crate) fn unknown_value(&mut self, at: &Path<'_>, message: impl Into<Box<str>>) {
        match self.origin {
            Origin::Document => self.error(at, message),
            Origin::ApiServer => self.warning(at, message),
        }
    }

    /// An error unless `holds`.
    pub(crate) fn require(&mut self, holds: bool, at: &Path<'_>, message: &str) {
        if !holds {
            self.error(at, message);
        }
    }

    /// An error unless a list has that many entries.
    pub(crate) fn entries(&mut self, len: usize, limits: Limits, at: &Path<'_>) {
        if len < *limits.start() {
            self.error(at, format!("must have at least {}, has {len}", entries(*limits.start())));
        }
        if len > *limits.end() {
            self.error(at, format!("must have at most {}, has {len}", entries(*limits.end())));
        }
    }

    /// An error unless a text has that many characters.
    pub(crate) fn length(&mut self, text: &str, limits: Limits, at: &Path<'_>) {
        // The API server counts code points.
        let len = if text.len() <= *limits.end() { text.len() } else { text.chars().count() };
        if len < *limits.start() {
            self.error(at, "must not be empty");
        }
        if len > *limits.end() {
            self.error(at, format!("must have at most {} characters, has {len}", limits.end()));
        }
    }

    /// An error unless a number lies between these.
    pub(crate) fn range(&mut self, number: i64, min: i64, max: i64, at: &Path<'_>) {
        if !(min..=max).contains(&number) {
            self.error(at, format!("must be between {min} and {max}, is {number}"));
        }
    }

    /// A port, 1 to 65535.
    pub(crate) fn port(&mut self, number: i32, at: &Path<'_>) -> u16 {
        self.range(number.into(), 1, 65535, at);
        u16::try_from(number).unwrap_or_default()
    }

    /// An error for each entry whose key stood in the list before (list-type map and set of the API server).
    pub(crate) fn unique<K: Ord>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
        at: &Path<'_>,
        message: impl Fn(&K) -> String,
    ) {
        let mut seen = std::collections::BTreeSet::new();
        for (i, key) in keys.into_iter().enumerate() {
            if seen.contains(&key) {
                self.error(&at.index(i), message(&key));
            } else {
                seen.insert(key);
            }
        }
    }

    /// Whether the object is refused.
    pub(crate) fn refused(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }

    /// The first error, as `field: message`.
    pub(crate) fn first_error(&self) -> Option<String> {
        self.errors().next()
    }

    /// All errors, each as `field: message`.
    pub(crate) fn errors(&self) -> impl Iterator<Item = String> {
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|Problem { field, message, .. }| match &**field {
            "" => message.to_string(),
            field => format!("{field}: {message}"),
        })
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn push(&mut self, severity: Severity, topic: Topic, at: &Path<'_>, message: Box<str>) {
        // One object must not fill the memory with its problems. An error among too many warnings refuses it all the same.
        let is_first_error = severity == Severity::Error && !self.refused();
        if self.problems.len() < 100 || is_first_error {
            let field = at.to_string().into();
            self.problems.push(Problem {
                severity,
                topic,
                object: self.object.clone(),
                field,
                message,
                place: None,
            });
        }
    }
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

impl<'p> Path<'p> {
    pub(crate) fn field(&'p self, name: &'p str) -> Path<'p> {
        Path::Field(self, name)
    }

    pub(crate) fn index(&'p self, index: usize) -> Path<'p> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
