//! Kernel pipes. Many bytes of a stream's direction or of an answer's body go from socket to socket through a pipe, without
//! being copied to user space (splice(2)). A thread lends a pipe while there are bytes in it.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::net::TcpStream;

/// The capacity of a pipe in bytes.
const ROOM: usize = 256 << 10;

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENT: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// A pipe that is lent.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// `None` once the pipe has been given back.
    ends: Option<Ends>,
    holds: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// Sets the maximum number of pipes of this thread. Each pipe takes two file descriptors.
pub(crate) fn set_limit(most: usize) {
    MOST.set(most);
}

impl Pipe {
    /// Returns an empty pipe; `None` if the thread has lent all its pipes, or the system provides no more.
    pub(crate) fn take() -> Option<Self> {
        let free = FREE.with_borrow_mut(Vec::pop);
        if free.is_none() && LENT.get() >= MOST.get() {
            return None;
        }
        let Some(ends) = free.or_else(|| Ends::new().ok()) else {
            // The system's memory limit for pipes is reached. Another attempt at each read would cost more than a copy.
            MOST.set(LENT.get());
            return None;
        };
        LENT.set(LENT.get() + 1);
        Some(Self { ends: Some(ends), holds: 0 })
    }

    /// The number of bytes in the pipe.
    pub(crate) fn holds(&self) -> usize {
        self.holds
    }

    /// Moves at most `most` bytes from a socket into the pipe, up to the pipe's capacity. The pipe must be empty; otherwise
    /// `WouldBlock` would not say whether the socket or the pipe has to be waited for. Returns 0 at the end of the
    /// socket's bytes.
    pub(crate) fn fill(&mut self, from: &TcpStream, most: u64) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let most = usize::try_from(most).map_or(ROOM, |most| most.min(ROOM));
        let n = splice(from, None, &ends.write, None, most, FLAGS)?;
        self.holds += n;
        Ok(n)
    }

    /// Moves bytes from the pipe to a socket, as many as the socket takes.
    pub(crate) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let n = splice(&ends.read, None, to, None, self.holds, FLAGS)?;
        self.holds -= n;
        Ok(n)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Ends {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&write, ROOM)?;
        Ok(Self { read, write })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let _ = LENT.try_with(|lent| lent.set(lent.get() - 1));
        // The bytes of one stream must not get into another.
        if self.holds == 0 {
            let _ = FREE.try_with(|free| free.borrow_mut().push(ends));
        }
    }
}
