//! What every object has.

use std::{
    borrow::Cow,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use crate::{
    kinds::Kind,
    problem::{Problem, Severity, Topic},
};

/// Which object; read as the [`KeyParts`] that it consists of. Many keep the keys of others, so that a clone shares
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<KeyParts>);

/// What names an object.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyParts {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a kind without.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// What every object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Which object.
    pub key: ObjectKey,
    /// Its identity over time, where an API server or its manifest names it; [`Meta::uid`] is there in any case.
    pub uid: Option<Box<str>>,
    /// The generation that statuses name; from a folder, 1 and up with each edit of its content.
    pub generation: i64,
    /// Which version of it this is: a hash of its content, and of its generation and identity in an API server.
    pub version: u64,
    /// When it was made, in seconds since 1970; the first tie-break between routes.
    pub created: i64,
    /// What its owner should know of it, though it is accepted. Of the kinds that have a status.
    pub warnings: Box<[Warning]>,
}

/// Something that the owner of an accepted object should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub topic: Topic,
    /// `field: message`.
    pub text: Box<str>,
}

/// Warnings that are kept of an object: they are for its owner to read.
const KEPT: usize = 16;

impl Warning {
    /// The warnings among the problems of an object that is accepted; of many the first, and how many there are.
    pub(crate) fn of(problems: &[Problem]) -> Box<[Self]> {
        let told = |p: &&Problem| p.severity == Severity::Warning && p.topic != Topic::Condition;
        let mut warnings: Vec<_> = problems.iter().filter(told).take(KEPT).map(Self::from).collect();
        if let Some(more) = problems.iter().filter(told).count().checked_sub(KEPT).filter(|more| *more > 0) {
            warnings.push(Self { topic: Topic::Invalid, text: format!("and {more} more warnings").into() });
        }
        warnings.into()
    }
}

impl From<&Problem> for Warning {
    fn from(problem: &Problem) -> Self {
        let Problem { topic, field, message, .. } = problem;
        let text = if field.is_empty() { message.clone() } else { format!("{field}: {message}").into() };
        Self { topic: *topic, text }
    }
}

impl ObjectKey {
    /// The key of an object; the namespace is empty for a kind without.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self(Arc::new(KeyParts { kind, namespace: namespace.into(), name: name.into() }))
    }
}

impl Deref for ObjectKey {
    type Target = KeyParts;

    fn deref(&self) -> &KeyParts {
        &self.0
    }
}

impl Meta {
    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// The object's identity over time; where nothing names one, a hash of its key.
    pub fn uid(&self) -> Cow<'_, str> {
        match &self.uid {
            Some(uid) => Cow::Borrowed(uid),
            None => Cow::Owned(hash_of(&self.key)),
        }
    }
}

fn hash_of(key: &ObjectKey) -> String {
    // The standard library's hasher with its fixed keys: the same in every run of one build, and no secret.
    let mut hasher = DefaultHasher::new();
    (key.kind.as_str(), &*key.namespace, &*key.name).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}
