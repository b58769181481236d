//! Which files are checked: as the folder's source reads them, and any that is named.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    problem::{Place, Problem, Severity, Topic},
    yaml::MAX_FILE,
};

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
const MAX_DEPTH: usize = 32;

/// The files, those of a folder in the order of their paths, each once; or why a path cannot be read.
pub(crate) fn find(paths: &[PathBuf]) -> Vec<Result<PathBuf, Problem>> {
    let mut found = Found::default();
    for path in paths {
        found.add(path, 0, true);
    }
    found.files
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| problem(path, format!("cannot be read: {e}")))?;
    if bytes.len() > MAX_FILE {
        return Err(problem(path, format!("is not read: it is larger than {MAX_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| problem(path, "is not UTF-8 text"))
}

#[derive(Default)]
struct Found {
    files: Vec<Result<PathBuf, Problem>>,
    seen: HashSet<(u64, u64)>,
}

impl Found {
    fn add(&mut self, path: &Path, depth: usize, is_named: bool) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // In a folder, a symlink to nothing is nothing.
            Err(_) if !is_named => return,
            Err(error) => return self.files.push(Err(problem(path, format!("cannot be read: {error}")))),
        };
        let is_new = |found: &mut Self| found.seen.insert((metadata.dev(), metadata.ino()));
        if metadata.is_dir() && is_new(self) {
            self.enter(path, depth);
        } else if metadata.is_file() && (is_named || is_manifest(path)) && is_new(self) {
            self.files.push(Ok(path.to_owned()));
        }
    }

    fn enter(&mut self, directory: &Path, depth: usize) {
        if depth > MAX_DEPTH {
            let message = format!("is not read: it is more than {MAX_DEPTH} directories deep");
            return self.files.push(Err(problem(directory, message)));
        }
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                return self.files.push(Err(problem(directory, format!("cannot be read: {error}"))));
            }
        };
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| !is_hidden(p)).collect();
        paths.sort();
        paths.iter().for_each(|path| self.add(path, depth + 1, false));
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn problem(path: &Path, message: impl Into<Box<str>>) -> Problem {
    Problem {
        severity: Severity::Error,
        topic: Topic::Invalid,
        object: "file".into(),
        field: "".into(),
        message: message.into(),
        place: Some(Place { file: path.to_string_lossy().into(), line: 1 }),
    }
}
