//! The body stage: what both carriers do with bodies, beyond passing them on.
//!
//! ```text
//! limit    the largest body of a request: Allowance, counted down where its bytes are read
//! spool    a request's body is received as a whole before a backend is asked:
//!            Spools     what all bodies may hold in memory and in files, and the share of a namespace (budget)
//!            Receiving  takes the bytes that come, in memory at first, then in a file
//!            Spooled    gives them out, as often as there are attempts
//! pacing   the body of an answer is sent at a limited rate: Pacer; while it waits, nothing is read from the backend
//! ```
//!
//! Where the stage is called:
//!
//! ```text
//! client     backend            carrier   spool, prefix         limit            pacing
//! HTTP/1     HTTP/1             http1     http1/receive         http1/upload     http1/relay
//! HTTP/2     HTTP/1             http1     http1/streams/spool   http1/frames     http1/streams
//! any        HTTP/2, upgrade    pingora   (streamed)            http/attempt     http/staged
//! any        any, with `--carriers pingora`   http/staged       http/attempt     http/staged
//! ```
//!
//! A check that needs the body of a request (`forwardBody` of an ExternalAuth filter) has it received in memory, within the same
//! budget; the backend gets it from there (`Held`).
//!
//! A rule says by its steps what is to be done (`Step::BodySize`, `Step::Spool`, `Step::Pace`). A request without a body, and a
//! body whose length is known and that has come with its head, are not spooled: there is nothing to wait for. Files are written
//! and read by threads that may block, never by a worker.

mod budget;
mod file;
mod pace;
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

use self::{budget::Budget, file::Files};
pub(crate) use self::{pace::Pacer, receiving::Receiving, spooled::Spooled};

/// Why a request gets a 503 instead of being spooled.
pub(crate) const NO_ROOM: &str = "there is no room for more bodies of requests";

/// Pieces in which a body is written to a file and read from it, and in which backends get it.
const PIECE: usize = 64 << 10;

/// How many bytes of a body may still come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance(u64);

/// A body is larger than its rule permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// A body that was received for a check; the backend gets it after that.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// Whether the head says how long it is.
    pub(crate) has_length: bool,
}

/// The largest body that is held for a check, whatever a filter permits: it is in memory as a whole.
pub(crate) const MOST_HELD: u32 = 1 << 20;

/// There is no room for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What the bodies of requests may hold, in memory and in files.
#[derive(Debug)]
pub(crate) struct Spools {
    memory: Arc<Budget>,
    files: Option<Files>,
    /// How many bodies were refused.
    refused: AtomicU64,
}

/// Checks that files can be made in a directory for bodies.
///
/// # Errors
/// If they cannot.
pub(crate) fn check_directory(directory: &Path) -> io::Result<()> {
    let named = |error: io::Error| {
        let text =
            format!("no file can be made in {} for the bodies of requests: {error}", directory.display());
        io::Error::new(error.kind(), text)
    };
    tempfile::tempfile_in(directory).map(drop).map_err(named)
}

impl Allowance {
    /// Of a body that may have so many bytes; `None` is no limit.
    pub(crate) fn of(most: Option<u64>) -> Self {
        Self(most.unwrap_or(u64::MAX))
    }

    /// Counts bytes that have come.
    ///
    /// # Errors
    /// If they are too many.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.0 = self.0.checked_sub(bytes as u64).ok_or(TooLarge)?;
        Ok(())
    }
}

impl Spools {
    /// Of so many bytes in memory, and so many in so many files of this directory; without one, in memory alone.
    pub(crate) fn new(memory: usize, directory: Option<&Path>, bytes: u64, files: usize) -> Self {
        let files = directory.map(|directory| Files::new(directory, bytes, files));
        Self { memory: Budget::new(memory as u64), files, refused: AtomicU64::new(0) }
    }

    /// Begins to receive a body for the rules of this namespace. `length`: how long it is, if that is known.
    pub(crate) fn receive(&self, namespace: &str, spool: Spool, length: Option<u64>) -> Receiving {
        Receiving::new(
            self.memory.lease(namespace),
            self.files.as_ref().map(|files| files.open(namespace)),
            spool.memory as usize,
            length,
        )
    }

    /// Begins to receive a body in memory, for a check of a request of this namespace.
    pub(crate) fn hold(&self, namespace: &str, length: Option<u64>) -> Receiving {
        Receiving::new(self.memory.lease(namespace), None, usize::MAX, length)
    }

    /// Counts a body that was refused.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many bodies were refused since there was no room for them.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many bytes the bodies of requests hold, in memory and in files.
    pub(crate) fn held(&self) -> [(&'static str, u64); 2] {
        [("memory", self.memory.held()), ("file", self.files.as_ref().map_or(0, Files::held))]
    }
}
