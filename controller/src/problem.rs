//! What is wrong with an object, said to its owner.

use std::fmt;

use crate::ir::ObjectKey;

/// Something wrong with an object, or with a document that is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Whether the object is refused for it.
    pub severity: Severity,
    /// What it is about.
    pub topic: Topic,
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

/// What a problem is about: a closed list, which labels of metrics are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Something of the object cannot be read, or is at odds with something else.
    Invalid,
    /// A field of the API that is not served.
    NotServed,
    /// A field that the API does not have.
    UnknownField,
    /// What a condition of the object says, too.
    Condition,
    /// An annotation that protects and is not served, by its name without the prefix.
    Protection(&'static str),
    /// An annotation that is not served, or has no effect anywhere.
    Annotation(&'static str),
    /// An annotation with our prefix, or that of ingress-nginx, that is on no list.
    UnknownAnnotation,
    /// The value of an annotation that is served.
    InvalidAnnotation,
    /// Paths or hosts are closed because a protection is not served, or a regular expression is not compiled.
    Closed,
    /// The Service of `--default-backend-service` cannot be used.
    DefaultBackend,
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
            topic: Topic::Invalid,
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

    /// The field and what is wrong with it.
    pub(crate) fn text(&self) -> String {
        match &*self.field {
            "" => self.message.to_string(),
            field => format!("{field}: {}", self.message),
        }
    }
}

impl Topic {
    /// Its name, and that of the annotation where it is one that is on a list.
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Invalid => ("Invalid", ""),
            Self::NotServed => ("NotServed", ""),
            Self::UnknownField => ("UnknownField", ""),
            Self::Condition => ("Condition", ""),
            Self::Protection(name) => ("ProtectionNotServed", name),
            Self::Annotation(name) => ("AnnotationNotServed", name),
            Self::UnknownAnnotation => ("UnknownAnnotation", ""),
            Self::InvalidAnnotation => ("InvalidAnnotation", ""),
            Self::Closed => ("Closed", ""),
            Self::DefaultBackend => ("DefaultBackend", ""),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line }) = &self.place {
            write!(f, "{file}:{line}: ")?;
        }
        write!(f, "{}: {}", self.object, self.text())
    }
}
