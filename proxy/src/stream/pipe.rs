//! Pipes of the kernel, through which a direction that moves much goes from socket to socket without being copied here
//! (splice(2)). A thread lends them while there is something in them.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};
use tokio::net::TcpStream;

/// What a pipe takes, in bytes.
const ROOM: usize = 256 << 10;

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENT: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// A pipe that is lent.
#[derive(Debug)]
pub(super) struct Pipe {
    /// `None` when it is given back.
    ends: Option<Ends>,
    holds: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// How many pipes this thread has at most; each takes two file descriptors.
pub(crate) fn set_limit(most: usize) {
    MOST.set(most);
}

impl Pipe {
    /// An empty pipe; `None` where the thread has lent all of them, or the system gives no more.
    pub(super) fn take() -> Option<Self> {
        let free = FREE.with_borrow_mut(Vec::pop);
        if free.is_none() && LENT.get() >= MOST.get() {
            return None;
        }
        let Some(ends) = free.or_else(|| Ends::new().ok()) else {
            // The system's limit of memory for pipes. Asking at each read would cost more than a copy.
            MOST.set(LENT.get());
            return None;
        };
        LENT.set(LENT.get() + 1);
        Some(Self { ends: Some(ends), holds: 0 })
    }

    /// How many bytes are in it.
    pub(super) fn holds(&self) -> usize {
        self.holds
    }

    /// Takes what a socket has, as far as there is room. The pipe is empty; else it would not be clear which of the two has to be
    /// waited for. 0 bytes are the end of what comes.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let n = splice(from, None, &ends.write, None, ROOM, FLAGS)?;
        self.holds += n;
        Ok(n)
    }

    /// Gives a socket what it takes.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let n = splice(&ends.read, None, to, None, self.holds, FLAGS)?;
        self.holds -= n;
        Ok(n)
    }
}

const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_NONBLOCK.union(SpliceFFlags::SPLICE_F_MOVE);

impl Ends {
    fn new() -> nix::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        fcntl(&write, FcntlArg::F_SETPIPE_SZ(ROOM as i32))?;
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
