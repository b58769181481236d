//! Relays both directions of a stream. Each direction holds one piece of bytes at a time, and reads the next piece once
//! the other side has taken this one. So a side that does not read makes the other side wait, and no buffer grows. The
//! end of one direction is passed on; the other direction continues.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{io::Interest, net::TcpStream};

use super::{
    Side,
    record::Record,
    tally::{End, Moved},
};
use crate::{
    clock::{Ticks, Watch},
    http1::{Buffer, Size},
    io::{pipe::Pipe, read::try_read},
    proxy_protocol::Beginning,
};

/// A stream that is being relayed.
#[derive(Debug)]
pub(super) struct Relay {
    client: Side,
    backend: Side,
    up: Way,
    down: Way,
    idle: Ticks,
    watch: Watch,
}

/// Why the bytes of a direction are not passed on any more.
#[derive(Debug)]
enum Broken {
    /// The source broke off the stream. The bytes that it had sent before have been passed on.
    Unreadable,
    /// The client's bytes begin with a PROXY header, which this client may not send.
    ProxyHeader,
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Way {
    buffer: Buffer,
    /// The size of the next buffer.
    size: Size,
    /// Whether this direction moves many bytes at a time, so that it uses a pipe if one is available.
    bulk: bool,
    pipe: Option<Pipe>,
    state: State,
    moved: u64,
    /// What the first bytes are, if they must not be a PROXY header.
    beginning: Option<Beginning>,
    /// Whether the other side's socket still delays small writes.
    delays: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source has ended; the other side has not been told yet.
    Ending,
    Ended,
    /// The other side takes no more bytes. The bytes that it has sent are still passed on in the other direction.
    Broken,
}

/// A direction that moves fewer bytes than this at a time is not worth a pipe.
const LITTLE: usize = 16 << 10;

impl Relay {
    /// A stream. `early` holds the bytes that were already read from the client; they are forwarded first. `delays`: the
    /// socket to the backend delays small writes, and nothing has been written to it. The stream ends if no bytes move for
    /// `idle`. With `refuses_proxy_header`, it ends if the client begins with a PROXY header.
    pub(super) fn new(
        (client, backend, delays): (Side, Side, bool),
        early: Vec<u8>,
        (watch, idle): (Watch, Duration),
        refuses_proxy_header: bool,
    ) -> Self {
        let buffer = if early.is_empty() { Buffer::default() } else { Buffer::of(&early) };
        let beginning = refuses_proxy_header.then(Beginning::default);
        let up = Way { buffer, beginning, delays, ..Way::default() };
        let idle = Ticks::of(idle);
        watch.set(idle);
        Self { client, backend, up, down: Way::default(), idle, watch }
    }

    /// Relays the stream until it ends, and returns how it ended.
    pub(super) async fn run(&mut self, record: &mut Record<'_>) -> End {
        poll_fn(|cx| self.poll(cx, record)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, record: &mut Record<'_>) -> Poll<End> {
        let Self { client, backend, up, down, .. } = self;
        let results = (up.poll(cx, client, backend, down.state), down.poll(cx, backend, client, up.state));
        let moved = record.moved(Moved { received: up.moved, sent: down.moved });
        match results {
            (Err(broken), _) => {
                backend.reset();
                Poll::Ready(match broken {
                    Broken::Unreadable => End::ClientLeft,
                    Broken::ProxyHeader => End::ProxyHeader,
                })
            }
            (_, Err(_)) => {
                client.reset();
                Poll::Ready(End::BackendLeft)
            }
            (Ok(()), Ok(())) if up.is_over() && down.is_over() => Poll::Ready(match (up.state, down.state) {
                (_, State::Broken) => End::ClientLeft,
                (State::Broken, _) => End::BackendLeft,
                _ => End::Done,
            }),
            (Ok(()), Ok(())) if moved => {
                self.watch.begin(self.idle, cx.waker());
                Poll::Pending
            }
            (Ok(()), Ok(())) if self.watch.look(cx.waker()) => Poll::Ready(End::Idle),
            (Ok(()), Ok(())) => Poll::Pending,
        }
    }
}

impl Way {
    fn is_over(&self) -> bool {
        match self.state {
            State::Ended | State::Broken => true,
            State::Open | State::Ending => false,
        }
    }

    /// Moves the bytes that can be moved now. `back` is the state of the other direction.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
        back: State,
    ) -> Result<(), Broken> {
        while !self.is_over() && self.poll_step(cx, from, to, back)?.is_ready() {}
        Ok(())
    }

    /// Writes the bytes that have been read, or reads more.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
        back: State,
    ) -> Result<Poll<()>, Broken> {
        if !self.buffer.is_empty() {
            self.prepare_write(to);
            let written = to.poll_write(cx, self.buffer.bytes());
            return Ok(self.written(written));
        }
        if self.state == State::Ending {
            self.pipe = None;
            self.buffer.give_back();
            if back == State::Ended && to.plain().is_some() {
                // Both sides have sent all their bytes. Closing the socket, which follows, ends the connection as well.
                self.state = State::Ended;
                return Ok(Poll::Ready(()));
            }
            // An error does not matter: a peer that is gone need not be told of the end.
            return Ok(to.poll_shutdown(cx).map(|_| self.state = State::Ended));
        }
        if self.bulk || self.pipe.is_some() {
            self.prepare_write(to);
            if let (Some(from), Some(to)) = (from.plain(), to.plain())
                && let Some(step) = self.poll_pipe(cx, from, to)
            {
                return step;
            }
        }
        match self.poll_read(cx, from) {
            Poll::Ready(read) => self.read(read.map_err(|_| Broken::Unreadable)?)?,
            Poll::Pending => {
                self.buffer.give_back();
                return Ok(self.flushed(to.poll_flush(cx)));
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Reads into the buffer. Takes one only if there may be something to read.
    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Side) -> Poll<io::Result<usize>> {
        let Some(tcp) = from.plain() else {
            return from.poll_read(cx, self.room());
        };
        loop {
            match try_read(tcp, || self.room()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(tcp.poll_read_ready(cx))?,
                read => return Poll::Ready(read),
            }
        }
    }

    /// The free part of the buffer. A buffer is taken from the pool if there is none.
    fn room(&mut self) -> &mut [u8] {
        if !self.buffer.is_lent() {
            self.buffer = Buffer::take(self.size);
        }
        self.buffer.room()
    }

    /// Does what [`Self::poll_step`] does, through a pipe. Returns `None` if no pipe is used.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
    ) -> Option<Result<Poll<()>, Broken>> {
        if let Some(pipe) = &mut self.pipe
            && pipe.holds() > 0
        {
            if to.poll_write_ready(cx).is_pending() {
                return Some(Ok(Poll::Pending));
            }
            let drained = to.try_io(Interest::WRITABLE, || pipe.drain(to));
            return Some(Ok(match drained {
                // The next step asks for the socket's readiness again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(()),
                drained => self.written(Poll::Ready(drained)),
            }));
        }
        if !self.bulk {
            self.pipe = None;
            return None;
        }
        if from.poll_read_ready(cx).is_pending() {
            self.pipe = None;
            return Some(Ok(Poll::Pending));
        }
        if self.pipe.is_none() {
            self.pipe = Pipe::take();
        }
        let pipe = self.pipe.as_mut()?;
        Some(match from.try_io(Interest::READABLE, || pipe.fill(from, u64::MAX)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Poll::Ready(())),
            Err(_) => Err(Broken::Unreadable),
            Ok(n) => {
                self.bulk = n >= LITTLE;
                if n == 0 {
                    self.state = State::Ending;
                }
                Ok(Poll::Ready(()))
            }
        })
    }

    /// Ends the delay of small writes before the second write. The kernel never delays the first one, and many connections
    /// have no second one.
    fn prepare_write(&mut self, to: &Side) {
        if self.delays && self.moved > 0 {
            self.delays = false;
            to.send_at_once();
        }
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<()> {
        written.map(|written| match written {
            Ok(n) => {
                if !self.buffer.is_empty() {
                    self.buffer.used(n);
                }
                self.moved += n as u64;
            }
            Err(_) => self.state = State::Broken,
        })
    }

    fn flushed(&mut self, flushed: Poll<io::Result<()>>) -> Poll<()> {
        match flushed {
            Poll::Ready(Err(_)) => {
                self.state = State::Broken;
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn read(&mut self, n: usize) -> Result<(), Broken> {
        if n == 0 {
            self.state = State::Ending;
            return Ok(());
        }
        let is_full = n == self.buffer.room().len();
        self.buffer.filled(n);
        if let Some(beginning) = self.beginning {
            let beginning = beginning.with(self.buffer.bytes());
            if beginning == Beginning::Header {
                return Err(Broken::ProxyHeader);
            }
            self.beginning = Some(beginning).filter(|beginning| *beginning != Beginning::Other);
        }
        self.bulk = is_full && self.size != Size::Small;
        self.size = if is_full { self.size.next() } else { Size::of(n) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{
        io::pair::pair,
        load::Load,
        stream::{Client, Route, Spoken},
    };

    #[tokio::test]
    async fn small_writes_to_a_backend_are_not_delayed_from_the_second_on() {
        let ((mut client, ours), (backend, mut server)) = (pair().await, pair().await);
        let (load, route) = (Load::default(), Route { listener: None, rule: None });
        let from = Client { peer: client.local_addr().unwrap(), port: 90 };
        let mut record = Record::begin(&load, Spoken::Tcp, from, None, None, route);
        let sides = (Side::Tcp(ours), Side::Tcp(backend), true);
        let limit = (Watch::new(), Duration::from_secs(60));
        let mut relay = Relay::new(sides, Vec::new(), limit, false);
        for want in [false, true, true] {
            client.write_all(b"x").await.unwrap();
            tokio::select! {
                end = poll_fn(|cx| relay.poll(cx, &mut record)) => panic!("{end:?}"),
                read = server.read_u8() => assert_eq!(read.unwrap(), b'x'),
            }
            assert_eq!(relay.backend.plain().unwrap().nodelay().unwrap(), want);
        }
    }
}
