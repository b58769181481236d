//! Which files there are, and which are others than before. Reads names and inodes, no contents.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Limits, file_problem};
use crate::Problem;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    pub(super) size: u64,
}

/// What tells one directory from another that took its name.
pub(super) type Directory = (u64, u64);

/// The files below a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: BTreeMap<PathBuf, Signature>,
    /// Those that have to be watched.
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    /// Files and directories of which nothing can be said: whatever was read below them before still holds.
    pub(super) unreadable: Vec<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        }
    }

    /// Whether the file was written so shortly before `now` (seconds since 1970, nanoseconds) that another write
    /// could leave the same times: the clock of a file system ticks in milliseconds.
    pub(super) fn is_fresh(&self, now: (i64, i64)) -> bool {
        const TICKS: i64 = 100_000_000;
        let since = (now.0 - self.changed.0).saturating_mul(1_000_000_000) + now.1 - self.changed.1;
        since < TICKS
    }
}

impl Listing {
    /// Lists what is below `root`.
    pub(super) fn of(root: &Path, limits: &Limits) -> Self {
        let mut listing = Self::default();
        let mut seen = HashSet::new();
        match fs::metadata(root) {
            Ok(metadata) => listing.enter(root, &metadata, 0, limits, &mut seen),
            Err(error) => listing.fail(root, &error),
        }
        listing
    }

    /// Whether nothing can be said of a path.
    pub(super) fn is_unreadable(&self, path: &Path) -> bool {
        self.unreadable.iter().any(|u| path.starts_with(u))
    }

    fn enter(
        &mut self,
        directory: &Path,
        metadata: &Metadata,
        depth: usize,
        limits: &Limits,
        seen: &mut HashSet<Directory>,
    ) {
        let identity = (metadata.dev(), metadata.ino());
        // A directory that two symlinks lead to is read once, and a loop of symlinks ends.
        if !seen.insert(identity) {
            return;
        }
        if depth > limits.depth {
            let message = format!("is not read: it is more than {} directories deep", limits.depth);
            return self.problems.push(file_problem(directory, message));
        }
        let names = match names(directory) {
            Ok(names) => names,
            Err(error) => return self.fail(directory, &error),
        };
        self.directories.insert(directory.to_owned(), identity);
        for name in names {
            self.add(directory.join(name), depth, limits, seen);
        }
    }

    fn add(&mut self, path: PathBuf, depth: usize, limits: &Limits, seen: &mut HashSet<Directory>) {
        // Follows symlinks: a mounted ConfigMap is `app.yaml -> ..data/app.yaml`, `..data -> ..2026_07_01`.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.enter(&path, &metadata, depth + 1, limits, seen),
            Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                self.add_file(path, &metadata, limits)
            }
            Ok(_) => {}
            // Gone since it was listed, or a symlink to nothing: there is no such file.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.fail(&path, &error),
        }
    }

    fn add_file(&mut self, path: PathBuf, metadata: &Metadata, limits: &Limits) {
        let problem = if metadata.size() > limits.file_bytes {
            format!("is not read: it is larger than {} bytes", limits.file_bytes)
        } else if self.files.len() >= limits.files {
            format!("is not read: there are more than {} files", limits.files)
        } else {
            self.files.insert(path, Signature::of(metadata));
            return;
        };
        self.problems.push(file_problem(&path, problem));
        self.unreadable.push(path);
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.problems.push(file_problem(path, format!("cannot be read: {error}")));
        self.unreadable.push(path.to_owned());
    }
}

/// The names in a directory in their order, without hidden ones (`..data` of a mounted ConfigMap among them).
fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(directory)?
        .map(|entry| entry.map(|e| e.file_name()))
        .filter(|name| !name.as_ref().is_ok_and(|n| n.as_encoded_bytes().starts_with(b".")))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Whether a file of this name is read.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}
