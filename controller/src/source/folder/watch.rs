//! When to look at a folder: soon after inotify says that something happened, and every few seconds all the same.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, DataChange, ModifyKind},
};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    FolderOptions,
    scan::{Directory, is_manifest},
    state::{Hints, Scan, State},
};
use crate::source::Delta;

/// More single files than this are not noted: the whole folder is looked at all the same.
const MAX_NOTED: usize = 4096;

/// Reads the folder, first at once and then as it changes, until nobody listens.
pub(super) fn run(mut state: State, options: &FolderOptions, to: &mpsc::Sender<Delta>) {
    let noticed = Arc::new(Noticed::default());
    let mut watched = Watched::new(Arc::clone(&noticed));
    let mut hints = Hints::default();
    loop {
        let again = look(&mut state, &mut watched, &hints, to);
        let Some(again) = again else { return };
        let patience = if again { options.ceiling } else { options.poll };
        hints = noticed.wait(patience, options.quiet, options.ceiling);
        watched.forget(noticed.take_moved());
    }
}

/// Looks at the folder until every directory that was found is watched, so that nothing is missed in between.
/// `None` where nobody listens any more; else whether to look again soon.
fn look(state: &mut State, watched: &mut Watched, hints: &Hints, to: &mpsc::Sender<Delta>) -> Option<bool> {
    loop {
        let Scan { delta, directories, again } = state.scan(hints);
        let more = watched.follow(directories);
        // The first delta is whole: the directories that are new then may hold more.
        if !delta.is_empty() && to.blocking_send(delta).is_err() || to.is_closed() {
            return None;
        }
        if !more {
            return Some(again);
        }
    }
}

/// The directories that inotify watches.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeMap<PathBuf, Directory>,
}

impl Watched {
    fn new(noticed: Arc<Noticed>) -> Self {
        let watcher = notify::recommended_watcher(move |event| noticed.note(event));
        if let Err(error) = &watcher {
            warn!(%error, "the folder cannot be watched; changes are detected with a delay");
        }
        Self { watcher: watcher.ok(), directories: BTreeMap::new() }
    }

    /// Watches these directories and no others; says whether there are new ones.
    fn follow(&mut self, directories: BTreeMap<PathBuf, Directory>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let before = std::mem::replace(&mut self.directories, directories);
        for (path, identity) in &before {
            if self.directories.get(path) != Some(identity) {
                // Fails where the directory is gone, and its watch with it.
                let _ = watcher.unwatch(path);
            }
        }
        let mut more = false;
        for (path, identity) in &self.directories {
            if before.get(path) == Some(identity) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => more = true,
                Err(error) => {
                    warn!(path = %path.display(), %error, "the folder cannot be watched; changes are detected with a delay");
                }
            }
        }
        more
    }

    /// A directory that was moved has lost its watch.
    fn forget(&mut self, moved: HashSet<PathBuf>) {
        self.directories.retain(|path, _| !moved.iter().any(|m| path.starts_with(m)));
    }
}

/// What inotify said since the last look.
#[derive(Default)]
struct Noticed {
    now: Mutex<Notes>,
    more: Condvar,
}

#[derive(Default)]
struct Notes {
    last: Option<Instant>,
    touched: HashSet<PathBuf>,
    /// Written to and not closed yet.
    open: HashSet<PathBuf>,
    /// Renamed or removed; the empty path stands for all.
    moved: HashSet<PathBuf>,
}

impl Noticed {
    fn note(&self, event: notify::Result<Event>) {
        let mut notes = self.lock();
        // Where an error says that something was lost, everything is looked at.
        let is_change = event.map_or(true, |event| notes.add(event));
        if is_change {
            notes.last = Some(Instant::now());
            self.more.notify_all();
        }
    }

    /// Waits for something to happen, then for it to come to rest.
    fn wait(&self, patience: Duration, quiet: Duration, ceiling: Duration) -> Hints {
        let mut notes = self.lock();
        if notes.last.is_none() {
            notes = self.sleep(notes, patience, |notes| notes.last.is_none());
        }
        if notes.last.is_none() {
            // Somebody holds a file open for long: it is read as it is.
            notes.open.clear();
        }
        let begun = Instant::now();
        while let Some(last) = notes.last {
            let rest = if notes.open.is_empty() { quiet.saturating_sub(last.elapsed()) } else { ceiling };
            let left = rest.min(ceiling.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                break;
            }
            notes = self.sleep(notes, left, |notes| notes.last == Some(last));
        }
        notes.last = None;
        let busy = notes.open.clone();
        let (later, touched) =
            std::mem::take(&mut notes.touched).into_iter().partition(|path| busy.contains(path));
        notes.touched = later;
        Hints { touched, busy }
    }

    fn take_moved(&self) -> HashSet<PathBuf> {
        std::mem::take(&mut self.lock().moved)
    }

    fn sleep<'n>(
        &self,
        notes: MutexGuard<'n, Notes>,
        time: Duration,
        asleep: impl Fn(&Notes) -> bool,
    ) -> MutexGuard<'n, Notes> {
        let woken = self.more.wait_timeout_while(notes, time, |notes| asleep(notes));
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// Takes up an event; says whether it tells of a change.
    fn add(&mut self, event: Event) -> bool {
        let is_written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        match event.kind {
            // Our own reading is among these.
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => return false,
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                let all = [PathBuf::new()];
                let known = if self.moved.len() < MAX_NOTED { &event.paths[..] } else { &all };
                self.moved.extend(known.iter().cloned());
            }
            // The kernel's queue ran over: whatever happened was not told.
            EventKind::Other => self.moved.extend([PathBuf::new()]),
            _ => {}
        }
        for path in event.paths.into_iter().filter(|path| is_manifest(path)) {
            self.open.remove(&path);
            if is_written && self.open.len() < MAX_NOTED {
                self.open.insert(path.clone());
            }
            if self.touched.len() < MAX_NOTED {
                self.touched.insert(path);
            }
        }
        true
    }
}
