//! What is wrong with an object, said to its owner.

use std::fmt;

use crate::ir::ObjectKey;

/// Something wrong with an object, or with a document that is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Whether the object is refused for it.
    pub severity: Severity,
    /// The object as far as it is known: `HTTPRoute shop/web`.
    pub object: Box<str>,
    /// The field, from the object's root (`spec.rules[0].backendRefs[1].port`); empty is the whole object.
    pub field: Box<str>,
    /// One sentence for the object's owner.
    pub message: Box<str>,
    /// Where it stands.
    pub place: Option<Place>,
}

/// Whether an object is refused for a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The object is served all the same.
    Warning,
    /// The object is refused.
    Error,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub file: Box<str>,
    /// From 1.
    pub line: u32,
}

impl Problem {
    /// A problem for which an object is refused.
    pub fn error(object: &ObjectKey, field: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self {
            severity: Severity::Error,
            object: object.to_string().into(),
            field: field.into(),
            message: message.into(),
            place: None,
        }
    }

    /// A problem with which an object is served all the same.
    pub fn warning(object: &ObjectKey, field: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, field, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line }) = &self.place {
            write!(f, "{file}:{line}: ")?;
        }
        match &*self.field {
            "" => write!(f, "{}: {}", self.object, self.message),
            field => write!(f, "{}: {field}: {}", self.object, self.message),
        }
    }
}
