//! Writes to sockets, with fewer instructions than tokio's `poll_write`.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use rustix::{
    io::writev,
    net::{SendFlags, send},
};
use tokio::{io::Interest, net::TcpStream, task::coop::poll_proceed};

/// The maximum number of slices in a call of writev(2) (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// Writes as much of `bufs` as the socket accepts, and returns the number of bytes. Counts against the task's budget, so that a
/// peer that reads fast does not keep the thread from serving other connections.
pub(crate) fn poll_write(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let share = ready!(poll_proceed(cx));
    loop {
        match try_write(tcp, bufs) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(tcp.poll_write_ready(cx))?,
            written => {
                share.made_progress();
                return Poll::Ready(written);
            }
        }
    }
}

/// Writes if the runtime knows that the socket is writable; otherwise returns `WouldBlock`.
fn try_write(tcp: &TcpStream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut written = 0;
    let result = tcp.try_io(Interest::WRITABLE, || {
        let len = match only(bufs) {
            Some(one) => {
                written = send(tcp, one, SendFlags::NOSIGNAL)?;
                one.len()
            }
            None => {
                let several = &bufs[..bufs.len().min(MAX_SLICES)];
                written = writev(tcp, several)?;
                several.iter().map(|buf| buf.len()).sum()
            }
        };
        // The socket's buffer is full. The error tells tokio so, which saves a system call that would fail.
        if (1..len).contains(&written) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if written > 0 { Ok(written) } else { result.map(|()| 0) }
}

/// The slice that is not empty, if there is exactly one. To send it takes the kernel less than a call of writev(2) with the same
/// bytes.
fn only<'a>(bufs: &'a [IoSlice<'_>]) -> Option<&'a [u8]> {
    let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
    let one = filled.next()?;
    filled.next().is_none().then_some(one)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::io::pair::pair;

    /// A peer that reads only at times gets every byte, in order, however the socket's buffer divides them.
    #[tokio::test]
    async fn bytes_arrive_whole_though_the_socket_is_full_in_between() {
        const LEN: usize = 8 << 20;
        let (tcp, mut peer) = pair().await;
        let sent: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        let write = async {
            let (mut at, mut waits) = (0, 0);
            while at < LEN {
                let (first, second) = sent[at..].split_at((LEN - at).min(100_000));
                let bufs = [IoSlice::new(first), IoSlice::new(second)];
                let bufs = if second.is_empty() { &bufs[..1] } else { &bufs };
                at += poll_fn(|cx| {
                    let written = poll_write(&tcp, cx, bufs);
                    waits += usize::from(written.is_pending());
                    written
                })
                .await
                .unwrap();
            }
            waits
        };
        let read = async {
            let mut got = vec![0; LEN];
            tokio::task::yield_now().await;
            peer.read_exact(&mut got).await.unwrap();
            got
        };
        let (waits, got) = tokio::join!(write, read);
        assert!(waits > 0, "the socket was never full");
        assert!(got == sent);
    }

    /// A write that is cut to the maximum number of slices leaves the socket writable.
    #[tokio::test]
    async fn any_number_of_slices_is_written() {
        let (tcp, mut peer) = pair().await;
        let bufs = [IoSlice::new(b"ab"); 3 * MAX_SLICES];
        let mut rest = &bufs[..];
        while !rest.is_empty() {
            let written = poll_fn(|cx| poll_write(&tcp, cx, rest)).await.unwrap();
            assert_eq!(written % 2, 0);
            rest = &rest[written / 2..];
        }
        let mut got = vec![0; 6 * MAX_SLICES];
        peer.read_exact(&mut got).await.unwrap();
        assert!(got == b"ab".repeat(3 * MAX_SLICES));
    }

    #[tokio::test]
    async fn empty_slices_are_left_out() {
        let (tcp, mut peer) = pair().await;
        for (bufs, want) in [
            ([b"", b"ab", b""], &b"ab"[..]),
            ([b"ab", b"", b"cd"], b"abcd"),
            ([b"", b"", b"ab"], b"ab"),
            ([b"", b"", b""], b""),
        ] as [([&[u8]; 3], _); _]
        {
            let written = poll_fn(|cx| poll_write(&tcp, cx, &bufs.map(IoSlice::new))).await.unwrap();
            assert_eq!(written, want.len(), "{bufs:?}");
            let mut got = vec![0; written];
            peer.read_exact(&mut got).await.unwrap();
            assert_eq!(got, want, "{bufs:?}");
        }
    }

    #[tokio::test]
    async fn a_write_to_a_peer_that_has_gone_is_an_error() {
        let (tcp, peer) = pair().await;
        peer.set_zero_linger().unwrap();
        drop(peer);
        tcp.readable().await.unwrap();
        for bufs in [&[IoSlice::new(b"a")][..], &[IoSlice::new(b"a"), IoSlice::new(b"b")]] {
            let error = poll_fn(|cx| poll_write(&tcp, cx, bufs)).await.unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
                "{error}"
            );
        }
    }
}
