//! Small writes put together: a response's head and a short body leave in one system call (and one TLS record).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

/// What is held back at most; more goes straight through, together with what was held.
const CAPACITY: usize = 4096;
/// Slices of one vectored write.
pub(super) const SLICES: usize = 8;

/// Bytes that have not been given to the transport yet.
#[derive(Debug, Default)]
pub(crate) struct Out {
    held: Vec<u8>,
    sent: usize,
}

impl Out {
    /// Drops what is held and holds this instead.
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        self.sent = 0;
        self.held.clear();
        self.held.extend_from_slice(bytes);
    }

    /// Holds the bytes where they fit, and else gives what is held and as many of them as it takes to `to`.
    pub(crate) fn poll_write(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|b| b.len()).sum::<usize>();
        if self.held.len() + len <= CAPACITY {
            // Grows to what this connection's answers take and stays so; thousands of idle ones need no more.
            bufs.iter().for_each(|b| self.held.extend_from_slice(b));
            return Poll::Ready(Ok(len));
        }
        loop {
            let held = &self.held[self.sent..];
            if held.is_empty() {
                return Pin::new(to).poll_write_vectored(cx, bufs);
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            slices[0] = IoSlice::new(held);
            let more = bufs.len().min(SLICES - 1);
            slices[1..=more].copy_from_slice(&bufs[..more]);
            let n = ready!(Pin::new(&mut *to).poll_write_vectored(cx, &slices[..=more]))?;
            let beyond = self.taken(n)?;
            if beyond > 0 {
                return Poll::Ready(Ok(beyond));
            }
        }
    }

    /// Gives all that is held to `to`.
    pub(crate) fn poll_flush(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.sent..]))?;
            self.taken(n)?;
        }
        Poll::Ready(Ok(()))
    }

    /// How many of `n` bytes were not held ones.
    fn taken(&mut self, n: usize) -> io::Result<usize> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let held = self.held.len() - self.sent;
        if n < held {
            self.sent += n;
            return Ok(0);
        }
        self.held.clear();
        self.sent = 0;
        Ok(n - held)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes `step` bytes at a time and counts the calls.
    struct Sink {
        step: usize,
        got: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.step);
            self.got.extend_from_slice(&buf[..n]);
            self.calls += 1;
            Poll::Ready(Ok(n))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        for step in [1, 3, 1000, 4096, 5000, 1_000_000] {
            for sizes in [&[1][..], &[100, 100], &[4000, 97, 5], &[300, 9_000, 1], &[4096, 4096]] {
                let mut sink = Sink { step, got: Vec::new(), calls: 0 };
                let (mut out, mut want) = (Out::default(), Vec::new());
                let mut cx = Context::from_waker(Waker::noop());
                for (i, size) in sizes.iter().enumerate() {
                    let data: Vec<u8> = (0..*size).map(|j| (i * 31 + j) as u8).collect();
                    want.extend_from_slice(&data);
                    let mut rest = &data[..];
                    while !rest.is_empty() {
                        let Poll::Ready(n) = out.poll_write(&mut sink, &mut cx, &[IoSlice::new(rest)]) else {
                            panic!("a sink that is always ready");
                        };
                        rest = &rest[n.unwrap()..];
                    }
                }
                assert!(out.poll_flush(&mut sink, &mut cx).is_ready());
                assert!(out.held.is_empty());
                assert!(sink.got == want, "{sizes:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_head_and_a_body_are_one_write() {
        for body in [10, 4000, 60_000] {
            let mut sink = Sink { step: usize::MAX, got: Vec::new(), calls: 0 };
            let mut out = Out::default();
            let mut cx = Context::from_waker(Waker::noop());
            for data in [vec![b'h'; 90], vec![b'b'; body]] {
                assert!(out.poll_write(&mut sink, &mut cx, &[IoSlice::new(&data)]).is_ready());
            }
            assert!(out.poll_flush(&mut sink, &mut cx).is_ready());
            assert_eq!((sink.calls, sink.got.len()), (1, 90 + body));
        }
    }
}
