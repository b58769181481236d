//! A folder of manifests, read again as it changes.
//!
//! ```text
//! scan.rs       names, inodes and times: which files are others than before
//! documents.rs  a file's objects, each in its last good state
//! objects.rs    which file has an object, and what was told of it
//! state.rs      all files: who has a key, what changed, what is wrong
//! watch.rs      when to look: inotify, quiet for a moment, and every few seconds all the same
//! ```

mod documents;
mod objects;
mod scan;
mod state;
mod watch;

use std::{
    borrow::Borrow,
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::Delta;
use crate::{
    objects::AnnotationsPrefix,
    problem::{Problem, Severity, Topic},
    yaml,
};
use state::State;

/// Which folder, and how it is read.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// Every `.yaml`, `.yml` and `.json` in it and in its subfolders is read; hidden ones are not.
    pub path: PathBuf,
    /// How long nothing must happen before changed files are read.
    pub quiet: Duration,
    /// How long changes are waited for at most, however many there are.
    pub ceiling: Duration,
    /// How often the folder is looked at where nothing says that it changed: not every file system says so.
    pub poll: Duration,
    pub limits: Limits,
    /// A further prefix of the annotations of Ingresses.
    pub annotations_prefix: AnnotationsPrefix,
}

/// How much is read.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    pub files: usize,
    /// How many folders deep.
    pub depth: usize,
}

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("the thread that reads the folder cannot be started: {0}")]
    Thread(std::io::Error),
}

/// A folder of manifests.
pub struct Folder {
    state: State,
    options: FolderOptions,
}

impl Folder {
    /// A folder, of which nothing is read yet.
    ///
    /// # Errors
    /// Where there is no such folder, or it cannot be listed. A folder that vanishes later is a [`Problem`], and what
    /// was read of it stays.
    pub fn open(options: FolderOptions) -> Result<Self, FolderError> {
        let path = &options.path;
        let unreadable = |source| FolderError::Unreadable { path: path.clone(), source };
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Err(FolderError::NotAFolder(path.clone()));
        }
        std::fs::read_dir(path).map_err(unreadable)?;
        Ok(Self {
            state: State::new(path.clone(), options.limits.clone(), options.annotations_prefix.clone()),
            options,
        })
    }

    /// Reads what is another than at the last call, and says what that changes. Blocks on the file system.
    pub fn scan(&mut self) -> Delta {
        self.state.scan(&state::Hints::default()).delta
    }

    /// Watches the folder in a thread of its own and sends what changes, the first time everything. The thread ends
    /// when the receiver is dropped, within the time of one poll.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn watch(self, to: mpsc::Sender<Delta>) -> Result<(), FolderError> {
        let Self { state, options } = self;
        std::thread::Builder::new()
            .name("folder".into())
            .spawn(move || watch::run(state, &options, &to))
            .map(drop)
            .map_err(FolderError::Thread)
    }
}

impl FolderOptions {
    /// A folder with the times and limits that suit most.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            quiet: Duration::from_millis(20),
            ceiling: Duration::from_millis(200),
            poll: Duration::from_secs(2),
            limits: Limits::default(),
            annotations_prefix: AnnotationsPrefix::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: yaml::MAX_FILE as u64, files: 50_000, depth: 32 }
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A problem with a file or folder, not with what is in it.
fn file_problem(path: &Path, message: impl Into<Box<str>>) -> Problem {
    Problem {
        severity: Severity::Error,
        topic: Topic::Invalid,
        object: path.display().to_string().into(),
        field: "".into(),
        message: message.into(),
        place: None,
    }
}

/// A file, by its path; shared by everything that names it. A pointer alone, as thousands of objects have one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileName(Arc<Box<Path>>);

impl From<&Path> for FileName {
    fn from(path: &Path) -> Self {
        Self(Arc::new(path.into()))
    }
}

impl Deref for FileName {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Borrow<Path> for FileName {
    fn borrow(&self) -> &Path {
        self
    }
}
