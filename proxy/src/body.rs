//! The body stage: what both carriers do with bodies beyond forwarding them.
//!
//! ```text
//! limit    the maximum size of a request body: Allowance, decremented where its bytes are read
//! spool    a request body is buffered before an endpoint is selected:
//!            Spools     budgets of memory and files for all bodies, with a share per namespace (budget)
//!            Receiving  stores the bytes as they arrive, in memory first, then in an unlinked file; limits how slowly they
//!                       may arrive (progress)
//!            Spooled    returns them, once per attempt
//! pace     the body of a response is sent at a limited rate: Pacer; while it waits, nothing is read from the backend
//! compress the body of a response is compressed as it is streamed: Coder; flushed whenever the backend pauses. The next part is
//!          compressed after the client has received the last one
//! ```
//!
//! The stage is called from:
//!
//! ```text
//! client     backend            carrier   spool                 limit            pace           compress
//! HTTP/1     HTTP/1             http1     http1/receive         http1/upload     http1/relay    http1/relay
//! HTTP/2     HTTP/1             http1     http1/streams/spool   http1/frames     http1/streams  http1/streams
//! any        HTTP/2             pingora   (streamed)            http/attempt     http/staged    http/staged
//! HTTP/1     HTTP/1, upgrade    pingora   http/staged           http/attempt     http/staged    http/staged
//! any        any, with `--carriers pingora`   http/staged       http/attempt     http/staged    http/staged
//! ```
//!
//! An external authorization service that needs the request body (`forwardBody`) causes it to be buffered in memory, within the
//! same budget, and the backend receives it from there (`Held`).
//!
//! The rule determines what is done (`Step::BodySize`, `Step::Spool`, `Step::Compress`, `Step::Pace`). Requests without a body
//! are not affected, nor is a body with a Content-Length that has arrived together with the head. Files are written and read by
//! blocking threads, never by a worker.

mod budget;
mod coder;
mod coders;
mod file;
mod pace;
mod progress;
mod receiving;
mod spooled;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use portcullis_routing::step::Spool;

use self::{budget::Budget, file::Files, progress::Progress};
pub(crate) use self::{
    budget::Usage,
    coder::{Coder, EncoderFailed},
    coders::{CoderRoom, Coders},
    pace::Pacer,
    receiving::Receiving,
    spooled::Spooled,
};
use crate::conn::ConnInfo;

/// The reason in a 503 if a body cannot be buffered.
pub(crate) const NO_ROOM: &str = "no space to buffer the request body";

/// The size of the chunks in which a body is written to a file, read from it, and sent to a backend.
const PIECE: usize = 64 << 10;

/// The number of bytes of a body that are still permitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    most: u64,
    left: u64,
}

/// A body exceeds the limit of its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// A body that was buffered for an external authorization service.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// Whether the request head has a Content-Length.
    pub(crate) has_length: bool,
}

/// The maximum size of such a body, regardless of the filter, because it is buffered in memory.
pub(crate) const MOST_HELD: u32 = 1 << 20;

/// There is no space for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The budgets for buffered request bodies.
#[derive(Debug)]
pub(crate) struct Spools {
    memory: Arc<Budget>,
    files: Option<Files>,
    /// The number of bodies that were rejected.
    refused: AtomicU64,
}

/// Checks that files can be created in the directory for bodies.
///
/// # Errors
/// If they cannot.
pub(crate) fn check_directory(directory: &Path) -> io::Result<()> {
    let named = |error: io::Error| {
        let text = format!("cannot create files in the spool directory {}: {error}", directory.display());
        io::Error::new(error.kind(), text)
    };
    tempfile::tempfile_in(directory).map(drop).map_err(named)
}

impl Allowance {
    /// Creates an allowance of `most` bytes; `None` is no limit.
    pub(crate) fn of(most: Option<u64>) -> Self {
        let most = most.unwrap_or(u64::MAX);
        Self { most, left: most }
    }

    /// The number of bytes that have arrived.
    pub(crate) fn taken(&self) -> u64 {
        self.most - self.left
    }

    /// Counts bytes that have arrived.
    ///
    /// # Errors
    /// If they exceed the allowance.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(bytes as u64).ok_or(TooLarge)?;
        Ok(())
    }
}

impl Spools {
    /// Creates the budgets: bytes in memory, and bytes and number of files in `directory`. Without a directory, bodies are
    /// buffered in memory only.
    pub(crate) fn new(memory: usize, directory: Option<&Path>, bytes: u64, files: usize) -> Self {
        let files = directory.map(|directory| Files::new(directory, bytes, files));
        Self { memory: Budget::new(memory as u64), files, refused: AtomicU64::new(0) }
    }

    /// Starts to buffer a body for a rule of this namespace. `length`: the Content-Length, if there is one.
    pub(crate) fn receive(
        &self,
        conn: &ConnInfo,
        namespace: &str,
        spool: Spool,
        length: Option<u64>,
    ) -> Receiving {
        Receiving::new(
            self.memory.lease(namespace, conn.buffered.as_ref()),
            Progress::begin(conn.limits.body),
            self.files.as_ref().map(|files| files.open(namespace)),
            spool.memory as usize,
            length,
        )
    }

    /// Starts to buffer a body in memory, for an external authorization service.
    pub(crate) fn hold(&self, conn: &ConnInfo, namespace: &str, length: Option<u64>) -> Receiving {
        let progress = Progress::begin(conn.limits.body);
        Receiving::new(
            self.memory.lease(namespace, conn.buffered.as_ref()),
            progress,
            None,
            usize::MAX,
            length,
        )
    }

    /// Counts a rejected body.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of bodies that were rejected because there was no space.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The size of all buffered bodies, in memory and in files.
    pub(crate) fn held(&self) -> [(&'static str, u64); 2] {
        [("memory", self.memory.held()), ("file", self.files.as_ref().map_or(0, Files::held))]
    }
}
