//! All files of a folder: who has a key, what changed, what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    FileName, Limits,
    documents::{Documents, Orphan, Placed, duplicate},
    file_problem,
    objects::Objects,
    scan::{Directory, Listing, Signature},
};
use crate::{
    ir::{Kind, Object, ObjectKey},
    objects::{self, AnnotationsPrefix},
    problem::Problem,
    snapshot::Change,
    source::{Delta, Extent},
};

/// The most problems that are told: they are for people to read.
const MAX_PROBLEMS: usize = 10_000;

/// Everything that was read of a folder.
#[derive(Debug)]
pub(super) struct State {
    root: PathBuf,
    limits: Limits,
    annotations_prefix: AnnotationsPrefix,
    files: BTreeMap<FileName, File>,
    objects: Objects,
    /// How many objects are in a namespace.
    namespaces: HashMap<Box<str>, usize>,
    problems: Arc<[Problem]>,
    complete: bool,
}

/// A file as it was read.
#[derive(Debug, Default)]
struct File {
    /// `None` where it has to be read again.
    signature: Option<Signature>,
    text: u64,
    documents: Documents,
    /// Why it cannot be read now.
    problem: Option<Problem>,
    /// Whether it was found without a word where there were objects: an editor may be about to write it.
    emptied: bool,
}

/// What a watch knows of single files.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Read these, whatever their times say.
    pub(super) touched: HashSet<PathBuf>,
    /// Somebody is writing these: not now.
    pub(super) busy: HashSet<PathBuf>,
}

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) delta: Delta,
    /// To be watched.
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    /// Whether something was left for later.
    pub(super) again: bool,
}

impl State {
    pub(super) fn new(root: PathBuf, limits: Limits, annotations_prefix: AnnotationsPrefix) -> Self {
        Self {
            root,
            limits,
            annotations_prefix,
            files: BTreeMap::new(),
            objects: Objects::default(),
            namespaces: HashMap::new(),
            problems: Arc::default(),
            complete: false,
        }
    }

    /// Reads what is another than before.
    pub(super) fn scan(&mut self, hints: &Hints) -> Scan {
        let listing = Listing::of(&self.root, &self.limits);
        let mut again = false;
        let mut keys = self.drop_missing(&listing);
        let mut orphans = Vec::new();
        for (path, signature) in &listing.files {
            if hints.busy.contains(path) {
                again = true;
            } else if !self.is_known(path, signature, hints) {
                again |= self.read(path, *signature, &mut keys, &mut orphans);
            }
        }
        self.adopt(orphans, &mut keys);
        let changes = self.settle(keys);
        let problems = self.collect_problems(&listing);
        let problems = (*problems != *self.problems).then(|| {
            self.problems = problems.into();
            Arc::clone(&self.problems)
        });
        let extent = match std::mem::replace(&mut self.complete, true) {
            false => Extent::Complete,
            true => Extent::Partial,
        };
        Scan {
            delta: Delta { changes, problems, extent, ..Delta::default() },
            directories: listing.directories,
            again,
        }
    }

    /// Forgets the files that are gone, and says which objects they had.
    fn drop_missing(&mut self, listing: &Listing) -> BTreeSet<ObjectKey> {
        let mut keys = BTreeSet::new();
        let objects = &mut self.objects;
        self.files.retain(|path, file| {
            let stays = listing.files.contains_key(&**path) || listing.is_unreadable(path);
            if !stays {
                unclaim(objects, path, &file.documents, &mut keys);
            }
            stays
        });
        keys
    }

    fn is_known(&self, path: &Path, signature: &Signature, hints: &Hints) -> bool {
        let known = self.files.get(path).is_some_and(|file| file.signature.as_ref() == Some(signature));
        known && !hints.touched.contains(path)
    }

    /// Reads a file; says whether to look at it again soon.
    fn read(
        &mut self,
        path: &Path,
        signature: Signature,
        keys: &mut BTreeSet<ObjectKey>,
        orphans: &mut Vec<(FileName, Orphan)>,
    ) -> bool {
        let name =
            self.files.get_key_value(path).map_or_else(|| FileName::from(path), |(name, _)| name.clone());
        let file = self.files.entry(name.clone()).or_default();
        let text = match read_text(path, self.limits.file_bytes) {
            Ok(text) => text,
            Err(problem) => {
                file.signature = None;
                file.problem = Some(problem);
                return false;
            }
        };
        // A file that was written a moment ago could be written again without a trace in its times.
        file.signature = (!signature.is_fresh(now())).then_some(signature);
        file.problem = None;
        if text.trim().is_empty() && !file.documents.is_empty() && !std::mem::replace(&mut file.emptied, true)
        {
            file.signature = None;
            return true;
        }
        file.emptied = false;
        let hash = hash(&text);
        if std::mem::replace(&mut file.text, hash) == hash {
            return false;
        }
        let prefix = &self.annotations_prefix;
        let mut read = Documents::read(&text, &path.to_string_lossy(), prefix, &file.documents);
        let of_file = std::mem::take(&mut read.orphans).into_iter();
        orphans.extend(of_file.map(|orphan| (name.clone(), orphan)));
        let before = std::mem::replace(&mut file.documents, read);
        unclaim(&mut self.objects, &name, &before, keys);
        for key in file.documents.keys() {
            self.objects.claim(key, &name);
            keys.insert(key.clone());
        }
        false
    }

    /// Where a document that cannot be read has come from another file, its last good state comes with it. One that has
    /// none, and that no other file has, says that it is refused.
    fn adopt(&mut self, orphans: Vec<(FileName, Orphan)>, keys: &mut BTreeSet<ObjectKey>) {
        for (file, Orphan { key, position, refused }) in orphans {
            if self.objects.is_claimed(&key) {
                continue;
            }
            let good = self.objects.left_over(&key).filter(|told| !objects::is_refused(told)).cloned();
            let (Some(object), Some(read)) = (good.or(refused), self.files.get_mut(&file)) else { continue };
            self.objects.claim(&key, &file);
            read.documents.adopt(Placed { object, position });
            keys.insert(key);
        }
    }

    /// Says what has become of these keys.
    fn settle(&mut self, keys: BTreeSet<ObjectKey>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut namespaces = BTreeSet::new();
        for key in keys {
            if key.kind == Kind::Namespace {
                namespaces.insert(key.name.clone());
            } else {
                namespaces.insert(key.namespace.clone());
                self.settle_key(key, &mut changes);
            }
        }
        // Namespaces last: which of them are implied depends on the others.
        for name in namespaces.into_iter().filter(|name| !name.is_empty()) {
            self.settle_key(objects::key(Kind::Namespace, &name, None), &mut changes);
        }
        changes
    }

    fn settle_key(&mut self, key: ObjectKey, changes: &mut Vec<Change>) {
        let known = self.objects.get_or_insert(&key);
        let served = match &known.file {
            Some(file) => {
                self.files.get_mut(file).and_then(|f| f.documents.get_mut(&key)).map(|p| &mut p.object)
            }
            None => None,
        };
        let implied = || key.kind == Kind::Namespace && self.namespaces.contains_key(&key.name);
        match (served, &known.told) {
            (Some(now), Some(told)) if now.meta().version == told.meta().version => *now = told.clone(),
            (Some(now), told) => {
                now.meta_mut().generation = told.as_ref().map_or(1, |told| told.meta().generation + 1);
                if known.told.replace(now.clone()).is_none() && !key.namespace.is_empty() {
                    *self.namespaces.entry(key.namespace.clone()).or_default() += 1;
                }
                changes.push(Change::Apply(now.clone()));
            }
            (None, told) if implied() => {
                let Some(now) = implied_namespace(&key) else { return };
                if told.as_ref().is_none_or(|told| told.meta().version != now.meta().version) {
                    known.told = Some(now.clone());
                    changes.push(Change::Apply(now));
                }
            }
            (None, told) => {
                if told.is_some() {
                    leave(&mut self.namespaces, &key.namespace);
                    changes.push(Change::Delete(key.clone()));
                }
                self.objects.remove(&key);
            }
        }
    }

    fn collect_problems(&self, listing: &Listing) -> Vec<Problem> {
        let files = self.files.values().flat_map(|file| file.problem.iter().chain(&file.documents.problems));
        let duplicates = self.objects.duplicates().flat_map(|key| self.duplicates_of(key));
        listing.problems.iter().chain(files).cloned().chain(duplicates).take(MAX_PROBLEMS).collect()
    }

    fn duplicates_of(&self, key: &ObjectKey) -> Vec<Problem> {
        let mut places = self.objects.files(key).filter_map(|file| {
            let placed = self.files.get(file)?.documents.get(key)?;
            Some((file.to_string_lossy(), placed))
        });
        let Some((first_file, first)) = places.next() else { return Vec::new() };
        places.filter_map(|(file, placed)| duplicate(placed, &file, first, &first_file)).collect()
    }
}

fn unclaim(objects: &mut Objects, file: &Path, documents: &Documents, keys: &mut BTreeSet<ObjectKey>) {
    for key in documents.keys() {
        objects.unclaim(key, file);
        keys.insert(key.clone());
    }
}

fn leave(namespaces: &mut HashMap<Box<str>, usize>, namespace: &str) {
    if let Some(count) = namespaces.get_mut(namespace) {
        *count -= 1;
        if *count == 0 {
            namespaces.remove(namespace);
        }
    }
}

/// A Namespace exists where something is in it.
fn implied_namespace(key: &ObjectKey) -> Option<Object> {
    let manifest =
        serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": &*key.name } });
    objects::decode(manifest, None).object
}

fn read_text(path: &Path, limit: u64) -> Result<String, Problem> {
    let cannot = |error: std::io::Error| {
        file_problem(path, format!("cannot be read; the previous content stays in effect: {error}"))
    };
    let mut bytes = Vec::new();
    // It may have grown since it was listed.
    std::fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > limit {
        return Err(file_problem(path, format!("is not read: it is larger than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| {
        file_problem(path, "is not read; the previous content stays in effect: it is not valid UTF-8")
    })
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn now() -> (i64, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), i64::from(now.subsec_nanos()))
}
