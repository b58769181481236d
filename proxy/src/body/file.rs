//! Bodies in files that have no name, so that they are gone with the request, and with the process. Threads that may block
//! write and read them, a few at a time.

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
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{
    Full,
    budget::{Budget, Lease},
    receiving::Memory,
};

/// How many files are written or read at a time.
const AT_A_TIME: usize = 16;
/// How long a body waits to be written.
const TIME: Duration = Duration::from_secs(30);

/// The files of all bodies.
#[derive(Debug)]
pub(super) struct Files {
    directory: Arc<PathBuf>,
    budget: Arc<Budget>,
    turns: Arc<Semaphore>,
    /// How many more there may be.
    places: Arc<Semaphore>,
}

/// The file of a body, which is made when the body does not fit into memory.
#[derive(Debug)]
pub(super) struct BodyFile {
    directory: Arc<PathBuf>,
    turns: Arc<Semaphore>,
    shared: Arc<Shared>,
    /// How many bytes have been written.
    pub(super) len: u64,
}

/// What the thread that writes or reads needs too. The bytes are held until it has ended.
#[derive(Debug)]
struct Shared {
    file: Mutex<Option<Arc<File>>>,
    lease: Mutex<Lease>,
    places: Arc<Semaphore>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Files {
    /// At most so many files, of so many bytes together.
    pub(super) fn new(directory: &Path, limit: u64, most: usize) -> Self {
        Self {
            directory: Arc::new(directory.to_owned()),
            budget: Budget::new(limit),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            places: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// A file to the account of a namespace. It is made with the first bytes.
    pub(super) fn open(&self, namespace: &str) -> BodyFile {
        let shared = Shared {
            file: Mutex::default(),
            lease: Mutex::new(self.budget.lease(namespace)),
            places: Arc::clone(&self.places),
            place: Mutex::default(),
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

    /// Writes bytes behind the others, and returns their memory.
    ///
    /// # Errors
    /// If there is no room for them, or they cannot be written in time.
    pub(super) async fn write(&mut self, memory: Memory) -> Result<Memory, Full> {
        let (bytes, at) = (memory.bytes.len() as u64, self.len);
        self.shared.take_place()?;
        lock(&self.shared.lease).grow(bytes)?;
        let (shared, directory) = (Arc::clone(&self.shared), Arc::clone(&self.directory));
        let write = move || {
            let file = shared.file(&directory)?;
            file.write_all_at(&memory.bytes, at)?;
            Ok::<_, io::Error>(memory)
        };
        let written = timeout(TIME, async {
            let _turn = self.turns.acquire().await.map_err(|_| Full)?;
            spawn_blocking(write).await.map_err(|_| Full)?.map_err(|error| {
                tracing::warn!(%error, "the body of a request cannot be written to the spool directory");
                Full
            })
        });
        let memory = written.await.map_err(|_| Full)??;
        self.len += bytes;
        Ok(memory)
    }

    /// Begins to read so many bytes from this position on.
    pub(super) fn read(&self, at: u64, bytes: usize) -> JoinHandle<io::Result<Bytes>> {
        let (shared, directory, turns) =
            (Arc::clone(&self.shared), Arc::clone(&self.directory), Arc::clone(&self.turns));
        tokio::spawn(async move {
            let _turn = turns.acquire().await.map_err(io::Error::other)?;
            let read = move || {
                let mut read = vec![0; bytes];
                shared.file(&directory)?.read_exact_at(&mut read, at)?;
                Ok(Bytes::from(read))
            };
            spawn_blocking(read).await?
        })
    }
}

impl Shared {
    /// Takes the place of one file.
    fn take_place(&self) -> Result<(), Full> {
        let mut place = lock(&self.place);
        if place.is_none() {
            *place = Some(Arc::clone(&self.places).try_acquire_owned().map_err(|_| Full)?);
        }
        Ok(())
    }

    fn file(&self, directory: &Path) -> io::Result<Arc<File>> {
        let mut file = lock(&self.file);
        match &*file {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(Arc::clone(file.insert(Arc::new(tempfile::tempfile_in(directory)?)))),
        }
    }
}

impl Drop for Shared {
    /// To close a file without a name frees its blocks, which may take time: not on a worker.
    fn drop(&mut self) {
        let (file, place) = (lock(&self.file).take(), lock(&self.place).take());
        if let (Some(file), Ok(runtime)) = (file, Handle::try_current()) {
            runtime.spawn_blocking(move || drop((file, place)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
