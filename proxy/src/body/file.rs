//! Bodies in unlinked files, which are removed when the request or the process ends. Blocking threads write and read them; the
//! number of concurrent operations is limited.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{
    Full,
    budget::{Budget, Lease, Share},
    receiving::Memory,
};

/// The maximum number of concurrent operations.
const AT_A_TIME: usize = 16;
/// The time limit for a write operation.
const TIME: Duration = Duration::from_secs(30);

/// The files of all bodies.
#[derive(Debug)]
pub(super) struct Files {
    directory: Arc<PathBuf>,
    budget: Arc<Budget>,
    turns: Arc<Semaphore>,
    /// Limits the number of files, with a share per namespace.
    slots: Arc<Budget>,
}

/// The file of a body. It is created with the first bytes.
#[derive(Debug)]
pub(super) struct BodyFile {
    directory: Arc<PathBuf>,
    turns: Arc<Semaphore>,
    shared: Arc<Shared>,
    /// How many bytes have been written.
    pub(super) len: u64,
}

/// The part that is shared with the thread of an operation. The lease is released after the operation has ended.
#[derive(Debug)]
struct Shared {
    file: Mutex<Option<Arc<File>>>,
    lease: Mutex<Lease>,
    slot: Mutex<Lease>,
}

impl Files {
    /// At most `most` files with `limit` bytes in total.
    pub(super) fn new(directory: &Path, limit: u64, most: usize) -> Self {
        Self {
            directory: Arc::new(directory.to_owned()),
            budget: Budget::new(limit),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            // A namespace can have half of them.
            slots: Budget::new(most.max(2) as u64),
        }
    }

    /// Prepares a file for a namespace.
    pub(super) fn open(&self, namespace: &str) -> BodyFile {
        let shared = Shared {
            file: Mutex::default(),
            lease: Mutex::new(self.budget.lease(namespace, None)),
            slot: Mutex::new(self.slots.lease(namespace, None)),
        };
        BodyFile {
            directory: Arc::clone(&self.directory),
            turns: Arc::clone(&self.turns),
            shared: Arc::new(shared),
            len: 0,
        }
    }

    pub(super) fn held(&self) -> u64 {
        self.budget.held()
    }
}

impl BodyFile {
    /// Whether anything was written.
    pub(super) fn is_begun(&self) -> bool {
        self.len > 0
    }

    /// Whether there is space for so many bytes more. Leases the space.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        lock(&self.shared.slot).grow_to(1, Share::All).is_ok()
            && lock(&self.shared.lease).grow_to(self.len.saturating_add(bytes), Share::All).is_ok()
    }

    /// Appends bytes and returns their memory.
    ///
    /// # Errors
    /// If there is no space, or the operation fails or takes too long.
    pub(super) async fn write(&mut self, memory: Memory) -> Result<Memory, Full> {
        let (bytes, at) = (memory.bytes.len() as u64, self.len);
        if !self.has_room(bytes) {
            return Err(Full);
        }
        let (shared, directory, turns) =
            (Arc::clone(&self.shared), Arc::clone(&self.directory), Arc::clone(&self.turns));
        let written = timeout(TIME, async {
            let turn = turns.acquire_owned().await.map_err(|_| Full)?;
            let write = move || {
                // An operation that is not waited for any more counts until it ends.
                let _turn = turn;
                let file = shared.file(&directory)?;
                file.write_all_at(&memory.bytes, at)?;
                Ok::<_, io::Error>(memory)
            };
            spawn_blocking(write).await.map_err(|_| Full)?.map_err(|error| {
                tracing::warn!(%error, "the body of a request cannot be written to the spool directory");
                Full
            })
        });
        let memory = written.await.map_err(|_| Full)??;
        self.len += bytes;
        Ok(memory)
    }

    /// Starts to read `bytes` bytes at this position.
    pub(super) fn read(&self, at: u64, bytes: usize) -> JoinHandle<io::Result<Bytes>> {
        let (shared, directory, turns) =
            (Arc::clone(&self.shared), Arc::clone(&self.directory), Arc::clone(&self.turns));
        tokio::spawn(async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let read = move || {
                let _turn = turn;
                let mut read = vec![0; bytes];
                shared.file(&directory)?.read_exact_at(&mut read, at)?;
                Ok(Bytes::from(read))
            };
            spawn_blocking(read).await?
        })
    }
}

impl Shared {
    fn file(&self, directory: &Path) -> io::Result<Arc<File>> {
        let mut file = lock(&self.file);
        match &*file {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(Arc::clone(file.insert(Arc::new(tempfile::tempfile_in(directory)?)))),
        }
    }
}

impl Drop for Shared {
    /// Closing an unlinked file releases its blocks, which can take time, so that a blocking thread does it.
    fn drop(&mut self) {
        let file = lock(&self.file).take();
        let mut slot = lock(&self.slot);
        let none = slot.none();
        let slot = std::mem::replace(&mut *slot, none);
        if let (Some(file), Ok(runtime)) = (file, Handle::try_current()) {
            runtime.spawn_blocking(move || drop((file, slot)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use tokio::time::advance;

    use super::*;

    /// Waits until so many operations can begin.
    async fn turns(files: &Files, count: usize) {
        let mut tries = 0;
        while files.turns.available_permits() != count {
            tries += 1;
            assert!(tries < 8000, "{} operations can begin", files.turns.available_permits());
            tokio::task::yield_now().await;
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_does_not_end_still_counts() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path(), 1 << 20, 100);
        let lease = || Budget::new(1 << 20).lease("a", None);
        let mut file = files.open("a");
        // The blocking threads wait for this lock as if for a slow disk.
        let (shared, (release, released)) = (Arc::clone(&file.shared), mpsc::channel::<()>());
        let (locking, locked) = mpsc::channel();
        let disk = thread::spawn(move || {
            let _file = lock(&shared.file);
            locking.send(()).unwrap();
            let _ = released.recv();
        });
        locked.recv().unwrap();
        let writing = tokio::spawn(async move {
            let memory = Memory { bytes: vec![0; 10], lease: lease() };
            (file.write(memory).await.map(drop), file)
        });
        turns(&files, AT_A_TIME - 1).await;
        advance(TIME + Duration::from_secs(1)).await;
        let (written, file) = writing.await.unwrap();
        assert_eq!(written, Err(Full));
        assert_eq!(files.turns.available_permits(), AT_A_TIME - 1);
        let reading = file.read(0, 1);
        turns(&files, AT_A_TIME - 2).await;
        reading.abort();
        assert!(reading.await.is_err());
        assert_eq!(files.turns.available_permits(), AT_A_TIME - 2);
        drop(release);
        disk.join().unwrap();
        turns(&files, AT_A_TIME).await;
    }
}
