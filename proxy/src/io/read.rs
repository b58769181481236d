//! Reads from sockets, with fewer instructions than tokio's `poll_read`.

use std::{
    io,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream, task::coop::poll_proceed};

/// Reads into `room`; 0 bytes are the end of the peer's. Counts against the task's share of a turn, so that a peer that never
/// stops sending does not keep the thread from other connections.
pub(crate) fn poll_read(tcp: &TcpStream, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
    let share = ready!(poll_proceed(cx));
    loop {
        match try_read(tcp, || &mut *room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(tcp.poll_read_ready(cx))?,
            read => {
                share.made_progress();
                return Poll::Ready(read);
            }
        }
    }
}

/// Reads if the runtime knows that the socket is readable; otherwise returns `WouldBlock`, without calling `room`.
///
/// A task that does nothing but this would never yield, since it does not count against the task's share of a turn.
pub(crate) fn try_read<'r>(tcp: &TcpStream, room: impl FnOnce() -> &'r mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    let result = tcp.try_io(Interest::READABLE, || {
        let room = room();
        (_, read) = recv(tcp, &mut *room, RecvFlags::empty())?;
        // The socket has no more bytes. The error tells tokio so, which saves a system call that would fail.
        if (1..room.len()).contains(&read) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if read > 0 { Ok(read) } else { result.map(|()| 0) }
}
