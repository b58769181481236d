//! A body that has been buffered.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{PIECE, budget::Lease, file::BodyFile};

/// A buffered body, and the position of the current attempt in it.
pub(crate) struct Spooled {
    content: Content,
    /// The start of the next chunk.
    at: u64,
    /// The chunk that is being sent.
    piece: Bytes,
    /// The pending read of the next chunk.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// The position up to which mirrors have received it.
    mirrored: u64,
}

/// The storage of a body.
#[derive(Debug)]
pub(super) enum Content {
    Memory(Bytes),
    /// In a file, from which it is read in chunks of this size. The lease is for one chunk in memory.
    File {
        file: BodyFile,
        chunk: usize,
        _lease: Lease,
    },
}

impl Spooled {
    pub(super) fn new(content: Content) -> Self {
        Self { content, at: 0, piece: Bytes::new(), reading: None, mirrored: 0 }
    }

    /// Creates a body from bytes.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self::new(Content::Memory(bytes))
    }

    /// Returns the bytes if they are in memory.
    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes.clone()),
            Content::File { .. } => None,
        }
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File { file, .. } => file.len,
        }
    }

    /// Whether the current attempt has sent all of it.
    pub(crate) fn has_ended(&self) -> bool {
        self.piece.is_empty() && self.at == self.len()
    }

    /// Starts another attempt.
    pub(crate) fn rewind(&mut self) {
        (self.at, self.piece, self.reading) = (0, Bytes::new(), None);
    }

    /// Ready with `true` when [`Self::piece`] has bytes, and with `false` when all of the body was sent.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let left = self.len() - self.at;
        if !self.piece.is_empty() || left == 0 {
            return Poll::Ready(Ok(!self.piece.is_empty()));
        }
        let chunk = match &self.content {
            Content::Memory(_) => PIECE,
            Content::File { chunk, .. } => *chunk,
        };
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(chunk);
        self.piece = match &self.content {
            Content::Memory(bytes) => {
                let begin = bytes.len() - usize::try_from(left).unwrap_or(bytes.len());
                bytes.slice(begin..begin + n)
            }
            Content::File { file, .. } => {
                let reading = self.reading.get_or_insert_with(|| file.read(self.at, n));
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                read??
            }
        };
        self.at += n as u64;
        Poll::Ready(Ok(true))
    }

    /// The chunk to send.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Notes that `n` bytes of it were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        let n = n.min(self.piece.len());
        drop(self.piece.split_to(n));
    }

    /// Takes the current chunk.
    pub(crate) fn take_piece(&mut self) -> Bytes {
        std::mem::take(&mut self.piece)
    }

    /// Returns the current chunk if mirrors have not received it yet.
    pub(crate) fn for_mirrors(&mut self) -> Option<Bytes> {
        let is_new = self.mirrored < self.at;
        self.mirrored = self.mirrored.max(self.at);
        (is_new && !self.piece.is_empty()).then(|| self.piece.clone())
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
    }
}

impl fmt::Debug for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spooled").field("len", &self.len()).field("at", &self.at).finish_non_exhaustive()
    }
}
