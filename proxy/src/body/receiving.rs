//! A body that is being buffered.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Full, PIECE,
    budget::{Lease, Share},
    file::BodyFile,
    progress::Progress,
    spooled::{Content, Spooled},
};

/// The initial memory for a body of unknown length.
const FIRST: usize = 16 << 10;

/// The memory for a body that is written to a file because it gets none from the budget. It is not leased: the number of
/// requests limits it.
const SMALL: usize = 4 << 10;

/// A body that is being buffered.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// The bytes that are not in the file.
    memory: Memory,
    progress: Progress,
    /// The memory in bytes. All of it is leased, except for [`SMALL`].
    granted: usize,
    /// The maximum number of bytes in memory.
    most: usize,
    /// `None` if bodies are buffered in memory only.
    file: Option<BodyFile>,
    /// The length of the body, if it is known.
    length: Option<u64>,
}

/// Bytes of a body in memory, with their lease.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) lease: Lease,
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Receiving {
    pub(super) fn new(
        lease: Lease,
        progress: Progress,
        file: Option<BodyFile>,
        most: usize,
        length: Option<u64>,
    ) -> Self {
        let memory = Memory { bytes: Vec::new(), lease };
        // A file is written in chunks of at least this size.
        let most = if file.is_some() { most.max(PIECE) } else { usize::MAX };
        Self { memory, progress, granted: 0, most, file, length }
    }

    /// The time within which the client must send more bytes; `None` if it has passed.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.progress.time_left()
    }

    /// Stores bytes that have arrived.
    ///
    /// # Errors
    /// If there is no space.
    pub(crate) async fn store(&mut self, mut bytes: &[u8]) -> Result<(), Full> {
        self.progress.arrived(bytes.len());
        while !bytes.is_empty() {
            if !self.has_room() {
                self.make_room().await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.granted - self.memory.bytes.len()));
            self.memory.bytes.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Makes room for at least one byte: in memory first, then in the file. A body that can be written to a file leaves
    /// half of the memory of its namespace to bodies that begin later.
    async fn make_room(&mut self) -> Result<(), Full> {
        let may_grow = self.granted < self.most;
        let share = if self.file.is_some() { Share::Half } else { Share::All };
        if may_grow && self.grow(share).is_ok() {
            return Ok(());
        }
        let memory = self.memory.bytes.len().max(1) as u64;
        if !self.file.as_ref().is_some_and(|file| file.has_room(memory)) {
            return if may_grow { self.grow(Share::All) } else { Err(Full) };
        }
        if self.granted == 0 {
            self.memory.bytes.reserve_exact(SMALL);
            self.granted = SMALL;
            return Ok(());
        }
        self.flush().await?;
        self.memory.bytes.clear();
        if self.granted > PIECE {
            self.memory.bytes.shrink_to(PIECE);
            self.memory.lease.shrink(PIECE as u64);
            self.granted = PIECE;
        }
        self.most = self.granted.max(PIECE);
        Ok(())
    }

    /// Whether there is room.
    fn has_room(&self) -> bool {
        self.memory.bytes.len() < self.granted
    }

    /// Doubles the memory, or adds [`PIECE`] if there is a file, up to the length of the body.
    fn grow(&mut self, share: Share) -> Result<(), Full> {
        let len = self.memory.bytes.len();
        let left = self.length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let step = if self.file.is_some() { self.granted.min(PIECE) } else { self.granted };
        let wanted = self.granted.saturating_add(step).max(FIRST).min(self.most);
        // At least one byte more: a body that exceeds its announced length is rejected elsewhere.
        let wanted = left.map_or(wanted, |left| wanted.min(left)).max(len.saturating_add(1));
        self.memory.lease.grow_to(wanted as u64, share)?;
        self.memory.bytes.reserve_exact(wanted - len);
        self.granted = wanted;
        Ok(())
    }

    /// Moves the bytes in memory to the file.
    async fn flush(&mut self) -> Result<(), Full> {
        let file = self.file.as_mut().ok_or(Full)?;
        let nothing = Memory { bytes: Vec::new(), lease: self.memory.lease.none() };
        let memory = std::mem::replace(&mut self.memory, nothing);
        let begin = Instant::now();
        self.memory = file.write(memory).await?;
        self.progress.exclude(begin.elapsed());
        Ok(())
    }

    /// Completes the body.
    ///
    /// # Errors
    /// If there is no space for the last bytes.
    pub(crate) async fn finish(mut self) -> Result<Spooled, Full> {
        if !self.file.as_ref().is_some_and(BodyFile::is_begun) {
            return Ok(Spooled::new(Content::Memory(bytes::Bytes::from_owner(self.memory))));
        }
        if !self.memory.bytes.is_empty() {
            self.flush().await?;
        }
        let Self { memory: Memory { bytes, mut lease }, file, .. } = self;
        drop(bytes);
        // One chunk at a time is in memory while it is read.
        lease.shrink(PIECE as u64);
        let chunk = match lease.grow_to(PIECE as u64, Share::Half) {
            Ok(()) => PIECE,
            Err(Full) => SMALL,
        };
        let file = file.ok_or(Full)?;
        Ok(Spooled::new(Content::File { file, chunk, _lease: lease }))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use portcullis_routing::step::Spool;

    use super::*;
    use crate::{body::Spools, conn::tests::conn};

    async fn receive(spools: &Spools, namespace: &str, body: &[u8], known: bool) -> Result<Spooled, Full> {
        let length = known.then_some(body.len() as u64);
        let mut receiving = spools.receive(&conn(), namespace, Spool { memory: 100 << 10 }, length);
        for read in body.chunks(10_000) {
            receiving.store(read).await?;
        }
        receiving.finish().await
    }

    async fn content(spooled: &mut Spooled) -> Vec<u8> {
        let mut all = Vec::new();
        while poll_fn(|cx| spooled.poll_piece(cx)).await.unwrap() {
            let n = spooled.piece().len().min(7_000);
            all.extend_from_slice(&spooled.piece()[..n]);
            spooled.sent(n);
        }
        all
    }

    fn body(len: usize) -> Vec<u8> {
        (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_body_is_given_out_as_it_came_as_often_as_it_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        for directory in [None, Some(directory.path())] {
            let spools = Spools::new(4 << 20, directory, 4 << 20, 100);
            for len in [0, 1, FIRST, FIRST + 1, 100 << 10, (100 << 10) + 1, 500_000] {
                for known in [true, false] {
                    let body = body(len);
                    let mut spooled = receive(&spools, "a", &body, known).await.unwrap();
                    assert_eq!(spooled.len(), len as u64);
                    for _ in 0..2 {
                        assert!(content(&mut spooled).await == body, "{len}");
                        spooled.rewind();
                    }
                    let in_file = directory.is_some() && len > 100 << 10;
                    let [(_, memory), (_, file)] = spools.held();
                    assert_eq!(file, if in_file { len as u64 } else { 0 });
                    let most = if in_file { PIECE } else { (2 * len).max(FIRST) };
                    assert!(memory <= most as u64, "{memory} of {len}");
                    assert!(!known || in_file || memory == len as u64, "{memory} of {len}");
                    drop(spooled);
                    assert_eq!(spools.held(), [("memory", 0), ("file", 0)], "{len}");
                }
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files have no name");
    }

    #[tokio::test]
    async fn a_body_that_does_not_fit_is_refused_and_others_have_their_room() {
        let directory = tempfile::tempdir().unwrap();
        for (directory, files) in [(None, 0), (Some(directory.path()), 1 << 20)] {
            let spools = Spools::new(1 << 20, directory, files, 100);
            assert_eq!(receive(&spools, "a", &body(700_000), false).await.unwrap_err(), Full);
            assert_eq!(spools.held(), [("memory", 0), ("file", 0)]);
            let first = receive(&spools, "a", &body(500_000), true).await.unwrap();
            assert_eq!(receive(&spools, "a", &body(100_000), true).await.is_err(), directory.is_none());
            receive(&spools, "b", &body(200_000), true).await.unwrap();
            drop(first);
            receive(&spools, "a", &body(500_000), true).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_memory_is_relieved_by_files() {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(128 << 10, Some(directory.path()), 4 << 20, 100);
        let first = receive(&spools, "a", &body(30_000), true).await.unwrap();
        let mut second = receive(&spools, "b", &body(90_000), false).await.unwrap();
        assert_eq!(spools.held()[1], ("file", 90_000));
        assert!(content(&mut second).await == body(90_000));
        drop(first);
    }

    #[tokio::test]
    async fn a_body_without_memory_goes_to_its_file() {
        let directory = tempfile::tempdir().unwrap();
        for directory in [None, Some(directory.path())] {
            let spools = Spools::new(1 << 20, directory, 8 << 20, 100);
            let mut slow = Vec::new();
            for _ in 0..20 {
                let mut receiving = spools.receive(&conn(), "a", Spool { memory: 100 << 10 }, Some(90_000));
                let stored = receiving.store(&body(50_000)).await;
                assert!(stored.is_ok() || directory.is_none());
                slow.push(receiving);
            }
            let share = if directory.is_some() { 1 << 18 } else { 1 << 19 };
            let [(_, memory), _] = spools.held();
            assert!(memory <= share && memory > share / 2, "{memory}");
            let received = receive(&spools, "a", &body(300_000), false).await;
            assert_eq!(received.is_ok(), directory.is_some());
            if let Ok(mut received) = received {
                assert!(content(&mut received).await == body(300_000));
            }
            drop(slow);
            assert_eq!(spools.held(), [("memory", 0), ("file", 0)]);
        }
    }

    #[tokio::test]
    async fn a_body_that_gets_no_file_uses_the_other_half_of_the_memory() {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(128 << 10, Some(directory.path()), 20_000, 100);
        let mut received = receive(&spools, "a", &body(60_000), false).await.unwrap();
        assert!(content(&mut received).await == body(60_000));
        assert_eq!(spools.held()[1], ("file", 0));
    }

    #[tokio::test]
    async fn the_number_of_files_is_limited_with_a_share_per_namespace() {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(4 << 20, Some(directory.path()), 4 << 20, 5);
        let first = receive(&spools, "a", &body(200_000), true).await.unwrap();
        let _second = receive(&spools, "a", &body(200_000), true).await.unwrap();
        assert_eq!(receive(&spools, "a", &body(200_000), true).await.unwrap_err(), Full);
        receive(&spools, "a", &body(50_000), true).await.unwrap();
        let _other = receive(&spools, "b", &body(200_000), true).await.unwrap();
        drop(first);
        for _ in 0..4000 {
            // A blocking thread closes it.
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            if receive(&spools, "a", &body(200_000), true).await.is_ok() {
                return;
            }
        }
        panic!("the slot of the file is not released");
    }

    #[tokio::test]
    async fn a_directory_that_is_missing_refuses_what_does_not_fit_into_memory() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let spools = Spools::new(1 << 20, Some(&missing), 4 << 20, 100);
        receive(&spools, "a", &body(50_000), true).await.unwrap();
        assert_eq!(receive(&spools, "a", &body(150_000), true).await.unwrap_err(), Full);
        assert_eq!(spools.held(), [("memory", 0), ("file", 0)]);
    }
}
