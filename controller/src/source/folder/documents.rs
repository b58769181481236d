//! The objects of one file. As an API server that refuses an edit keeps the object as it was, a document that cannot be
//! read leaves its object in its last good state; where there is none, an object says why it is refused.

use std::collections::HashSet;

use crate::{
    ir::{Object, ObjectKey},
    objects::{AnnotationsPrefix, decode_document, is_refused},
    problem::{Place, Problem, Severity},
    yaml,
};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// One for each key, in the order of keys.
    objects: Vec<Placed>,
    /// What is wrong with its documents.
    pub(super) problems: Vec<Problem>,
    /// Documents that cannot be read and that this file had no good state of: another file may have had it.
    pub(super) orphans: Vec<Orphan>,
}

/// A document that cannot be read, without a last good state in its file.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) key: ObjectKey,
    pub(super) position: Position,
    /// What says that it is refused, for its kind.
    pub(super) refused: Option<Object>,
}

/// An object and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) object: Object,
    pub(super) position: Position,
}

/// Where a document stands in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// From 0.
    index: u32,
    pub(super) line: u32,
}

/// A document that cannot be read and does not tell which object it is.
struct Nameless(Position);

impl Documents {
    /// Reads a file's text. What cannot be read keeps the state that it had in `before`.
    pub(super) fn read(text: &str, file: &str, prefix: &AnnotationsPrefix, before: &Self) -> Self {
        let mut read = Self::default();
        let mut nameless = Vec::new();
        for (index, mut document) in yaml::documents(text, file).enumerate() {
            document.content.iter_mut().for_each(|object| prefix.apply(object));
            let position =
                Position { index: u32::try_from(index).unwrap_or(u32::MAX), line: document.place.line };
            let decoded = decode_document(document);
            let broken = decoded.object.is_none()
                && decoded.problems.iter().any(|problem| problem.severity == Severity::Error);
            match (decoded.object, decoded.key) {
                (Some(object), _) => {
                    read.objects.push(Placed { object: before.same_or_compact(object), position })
                }
                (None, Some(key)) if broken => match before.get(&key) {
                    Some(Placed { object, .. }) if !is_refused(object) => {
                        read.objects.push(Placed { object: object.clone(), position });
                    }
                    _ => read.orphans.push(Orphan { key, position, refused: decoded.refused }),
                },
                (None, None) if broken => nameless.push(Nameless(position)),
                (None, _) => {}
            }
            read.problems.extend(decoded.problems);
        }
        read.sort(file);
        read.keep_nameless(&nameless, before);
        read
    }

    /// The object of a key.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Placed> {
        self.find(key).ok().map(|index| &self.objects[index])
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Placed> {
        self.find(key).ok().map(|index| &mut self.objects[index])
    }

    /// Takes up an object that another file had.
    pub(super) fn adopt(&mut self, placed: Placed) {
        if let Err(index) = self.find(&placed.object.meta().key) {
            self.objects.insert(index, placed);
        }
    }

    /// The keys of all objects.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.iter().map(|placed| &placed.object.meta().key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn find(&self, key: &ObjectKey) -> Result<usize, usize> {
        self.objects.binary_search_by(|placed| placed.object.meta().key.cmp(key))
    }

    /// Brings the objects into the order of keys. The first one of a key is served; the others are reported.
    fn sort(&mut self, file: &str) {
        self.objects.sort_by(|a, b| a.object.meta().key.cmp(&b.object.meta().key)); // stable: the first stays first
        let Self { objects, problems, .. } = self;
        objects.dedup_by(|later, first| {
            let same = later.object.meta().key == first.object.meta().key;
            if same {
                problems.extend(duplicate(later, file, first, file));
            }
            same
        });
        objects.shrink_to_fit();
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.line));
    }

    /// A document that does not even tell its name is one of the objects that are missing: where as many are missing
    /// as there are such documents, they are those in their order; else the one that stood in its place.
    fn keep_nameless(&mut self, nameless: &[Nameless], before: &Self) {
        if nameless.is_empty() {
            return;
        }
        let claimed: HashSet<_> =
            self.keys().chain(self.orphans.iter().map(|orphan| &orphan.key)).cloned().collect();
        let mut missing: Vec<_> =
            before.objects.iter().filter(|placed| !claimed.contains(&placed.object.meta().key)).collect();
        missing.sort_by_key(|placed| placed.position.index);
        let pairs: Vec<_> = if missing.len() == nameless.len() {
            missing.into_iter().zip(nameless).collect()
        } else {
            let at = |n: &Nameless| missing.iter().copied().find(|placed| placed.position.index == n.0.index);
            nameless.iter().filter_map(|n| at(n).map(|placed| (placed, n))).collect()
        };
        for (placed, nameless) in pairs {
            self.adopt(Placed { object: placed.object.clone(), position: nameless.0 });
        }
    }

    /// The object that was read before, if it has not changed; else the new one, without spare capacity.
    fn same_or_compact(&self, object: Object) -> Object {
        let meta = object.meta();
        let known = self.get(&meta.key).filter(|before| before.object.meta().version == meta.version);
        known.map_or_else(|| object.compact(), |known| known.object.clone())
    }
}

/// What is said of an object that stands in a second place. Nothing where it says there what it says in the first, as
/// applying both to a cluster would do no harm.
pub(super) fn duplicate(later: &Placed, file: &str, first: &Placed, first_file: &str) -> Option<Problem> {
    let (meta, first_meta) = (later.object.meta(), first.object.meta());
    (meta.version != first_meta.version).then(|| {
        let line = first.position.line;
        let message =
            format!("is in {first_file}:{line} as well, which takes precedence; this one is not served");
        let place = Some(Place { file: file.into(), line: later.position.line });
        Problem { place, ..Problem::error(&meta.key, "", message) }
    })
}
