//! The report of a check, for people ([`Display`](std::fmt::Display)) and for programs ([`Serialize`]).

use std::fmt;

use serde::Serialize;

use crate::{ir::ObjectKey, problem::Place};

/// What would become of manifests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every document, in the order of files and lines.
    pub objects: Vec<Checked>,
}

/// One document.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// `HTTPRoute shop/web`, as far as it is known.
    pub object: String,
    /// Absent where the document is of no kind that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Empty for a kind without.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub file: String,
    /// On which it begins, from 1.
    pub line: u32,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What would become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It would be served.
    Accepted,
    /// It is of a kind that has no meaning here.
    NotServed,
    /// It would be accepted, and part of it could not be served: a reference leads nowhere, a rule is invalid.
    Unresolved,
    /// It would not be served.
    Refused,
}

/// Something to know about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// The field (`spec.rules[0].name`), or the part of the status that would say it; empty is the whole object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// The reason of the condition that would say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    pub message: String,
    /// In the object's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is lost.
    Warning,
    /// Part of the object is lost.
    Unresolved,
    /// The object is refused.
    Error,
}

impl Report {
    /// Whether all of it would be served. Warnings, and kinds that mean nothing here, do not count.
    pub fn is_ok(&self) -> bool {
        self.count(Verdict::Refused) == 0 && self.count(Verdict::Unresolved) == 0
    }

    /// How many documents have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.objects.iter().filter(|o| o.verdict == verdict).count()
    }
}

impl Checked {
    pub(super) fn new(object: String, key: Option<&ObjectKey>, place: Place) -> Self {
        Self {
            object,
            kind: key.map(|key| key.kind.as_str()),
            namespace: key.map(|key| key.namespace.to_string()).unwrap_or_default(),
            name: key.map(|key| key.name.to_string()).unwrap_or_default(),
            file: place.file.into(),
            line: place.line,
            verdict: Verdict::Accepted,
            findings: Vec::new(),
        }
    }

    /// Takes up a finding; the worst one decides.
    pub(super) fn add(&mut self, finding: Finding) {
        self.verdict = self.verdict.max(match finding.level {
            Level::Warning => Verdict::Accepted,
            Level::Unresolved => Verdict::Unresolved,
            Level::Error => Verdict::Refused,
        });
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

impl Finding {
    pub(super) fn error(field: &str, message: impl Into<String>) -> Self {
        Self { level: Level::Error, field: field.into(), reason: None, message: message.into(), line: None }
    }

    pub(super) fn warning(field: &str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(field, message) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.iter().try_for_each(|object| write!(f, "{object}"))?;
        let warnings = self.objects.iter().flat_map(|o| &o.findings).filter(|f| f.level == Level::Warning);
        let counts = [
            (self.count(Verdict::Accepted), "accepted"),
            (self.count(Verdict::Unresolved), "served in part"),
            (self.count(Verdict::Refused), "refused"),
            (self.count(Verdict::NotServed), "not served"),
            (warnings.count(), "warnings"),
        ];
        let counts = counts.iter().enumerate().filter(|(i, (count, _))| *i == 0 || *count > 0);
        let counts: Vec<_> = counts.map(|(_, (count, what))| format!("{count} {what}")).collect();
        writeln!(f, "{}", counts.join(", "))
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, file, line, verdict, findings, .. } = self;
        let verdict = match verdict {
            Verdict::Accepted => "accepted",
            Verdict::NotServed => "not served",
            Verdict::Unresolved => "served in part",
            Verdict::Refused => "refused",
        };
        writeln!(f, "{file}:{line}: {object}: {verdict}")?;
        for Finding { level, field, reason, message, line } in findings {
            let level = match level {
                Level::Warning => "warning",
                Level::Unresolved => "lost",
                Level::Error => "error",
            };
            write!(f, "  {level}: ")?;
            if let Some(line) = line.filter(|line| *line != self.line) {
                write!(f, "line {line}: ")?;
            }
            if !field.is_empty() {
                write!(f, "{field}: ")?;
            }
            if let Some(reason) = reason {
                write!(f, "{reason}: ")?;
            }
            writeln!(f, "{message}")?;
        }
        Ok(())
    }
}
