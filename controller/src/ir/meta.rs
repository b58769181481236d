//! What every object has.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{BuildHasher as _, DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::{Arc, LazyLock},
};

use foldhash::fast::RandomState;

use crate::{
    kinds::Kind,
    problem::{Problem, Severity, Topic},
};

/// Which object; read as the [`KeyParts`] that it consists of. Many keep the keys of others, so that a clone shares
/// them.
#[derive(Clone, Debug)]
pub struct ObjectKey(Arc<KeyParts>);

/// What names an object.
#[derive(Debug)]
pub struct KeyParts {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a kind without.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The hash of the three, since keys are looked up more often than they are made.
    hash: u64,
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
        let hash = Self::hash_of(kind, namespace, name);
        Self(Arc::new(KeyParts { kind, namespace: namespace.into(), name: name.into(), hash }))
    }

    /// The hash of the key of this object. It differs from process to process.
    pub(crate) fn hash_of(kind: Kind, namespace: &str, name: &str) -> u64 {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        HASHER.hash_one((kind, namespace, name))
    }

    /// The key's hash, as [`ObjectKey::hash_of`] computes it.
    pub(crate) fn stored_hash(&self) -> u64 {
        self.0.hash
    }

    fn parts(&self) -> (Kind, &str, &str) {
        (self.kind, &self.namespace, &self.name)
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.parts() == other.parts())
    }
}

impl Eq for ObjectKey {}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.parts().cmp(&other.parts()) }
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
