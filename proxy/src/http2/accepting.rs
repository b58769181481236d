//! Accepts the streams of a connection.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, server};

use super::{Connection, Stream, carried::Carried};
use crate::{accept::Port, http::host::LastAuthority, in_place, io::DownIo};

/// The number of streams that are accepted, and routed, before the worker's other connections are served.
const AT_ONCE: u32 = 16;

type H2Connection = server::Connection<Box<DownIo>, Bytes>;

/// Accepts the streams of a connection.
pub(super) struct Accepting<'c> {
    connection: &'c Connection<'c>,
    port: &'c Port,
    /// Whether the client has been told to open no more streams.
    is_draining: bool,
    /// The streams that were accepted. Wraps around.
    begun: u32,
    last: LastAuthority,
}

impl<'c> Accepting<'c> {
    pub(super) fn new(connection: &'c Connection<'c>, port: &'c Port) -> Self {
        Self { connection, port, is_draining: false, begun: 0, last: LastAuthority::default() }
    }

    /// Whether the client must be told that the connection is going to end. Only the task was woken for that, so h2 must be, too.
    pub(super) fn must_tell(&self) -> bool {
        self.drains() || self.connection.streams.is_closing()
    }

    /// Whether the client is to be told to open no more streams: the port is being drained, or the connection has had as many
    /// requests as it may have.
    fn drains(&self) -> bool {
        !self.is_draining && (self.port.draining() || self.connection.conn.is_spent())
    }

    /// Polls h2, and accepts the streams that have come. Ready when the connection has ended.
    pub(super) fn poll(
        &mut self,
        h2: &mut H2Connection,
        cx: &mut Context<'_>,
        carried: &mut Carried<'c>,
    ) -> Poll<()> {
        let (connection, streams) = (self.connection, &self.connection.streams);
        for number in 0..AT_ONCE {
            let drains = self.drains();
            if drains {
                // New streams are still accepted until the client has seen the GOAWAY.
                self.is_draining = true;
                h2.graceful_shutdown();
            }
            // Before h2 returned the last stream, it did all the work that there was, and arranged to be woken.
            if number > 0 && !drains && streams.are_all(self.begun) && !streams.is_closing() {
                return Poll::Pending;
            }
            let mut accepted = poll_stream(h2, cx);
            if accepted.is_pending() && streams.is_closing() {
                // This is the last poll. The GOAWAY tells the client which of its requests it may send again.
                h2.abrupt_shutdown(Reason::NO_ERROR);
                accepted = poll_stream(h2, cx);
            }
            let Some(stream) = ready!(accepted) else { return Poll::Ready(()) };
            // Counted from here on: a connection with a new stream is no longer idle, and is not closed to make room.
            self.begun = self.begun.wrapping_add(1);
            connection.conn.begin_request();
            connection.begin(stream, &mut self.last, carried);
        }
        if self.must_tell() || !streams.are_all(self.begun) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Accepts a stream. Returns `None` if the connection has ended or failed. The stream is boxed at once, because the values that h2
/// returns are large and would be copied several times.
fn poll_stream(h2: &mut H2Connection, cx: &mut Context<'_>) -> Poll<Option<Box<Stream>>> {
    h2.poll_accept(cx).map(|accepted| {
        let (request, respond) = accepted?.ok()?;
        Some(in_place::boxed(|| Stream::new(request, respond)))
    })
}
