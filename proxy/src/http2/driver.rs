//! Drives a connection: polls h2 and the streams that are being carried.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{Reason, server};
use tokio::task::coop::has_budget_remaining;

use super::{
    Connection, Stream,
    carried::Carried,
    wakes::{Place, Wakes},
};
use crate::{accept::Port, http::host::LastAuthority, in_place, io::DownIo};

/// The number of streams that are accepted, and routed, before the worker's other connections are served.
const AT_ONCE: u32 = 16;

/// How often the streams and h2 are polled before the worker's other connections are served. A stream is polled in the same turn in
/// which it was accepted. One that wakes itself, because it has done enough for one turn, is polled no more than this.
const ROUNDS: u32 = 2;

type H2Connection = server::Connection<Box<DownIo>, Bytes>;

/// Drives a connection.
pub(super) struct Driver<'c> {
    connection: &'c Connection<'c>,
    port: &'c Port,
    wakes: Arc<Wakes>,
    h2_waker: Waker,
    carried: Carried<'c>,
    /// The streams that are to be polled.
    woken: Vec<Place>,
    /// Whether the last turn ended because the task had used up its budget, which is when h2 can neither read nor write.
    is_spent: bool,
    /// Whether the client has been told to open no more streams.
    is_draining: bool,
    /// The streams that were accepted. Wraps around.
    begun: u32,
    last: LastAuthority,
}

impl<'c> Driver<'c> {
    pub(super) fn new(connection: &'c Connection<'c>, port: &'c Port) -> Self {
        let wakes = Wakes::new();
        Self {
            connection,
            port,
            h2_waker: wakes.h2_waker(),
            carried: Carried::new(&wakes),
            wakes,
            woken: Vec::new(),
            is_spent: false,
            is_draining: false,
            begun: 0,
            last: LastAuthority::default(),
        }
    }

    /// Accepts streams and carries them. Ready when the connection has ended.
    pub(super) fn poll(&mut self, h2: &mut H2Connection, cx: &mut Context<'_>) -> Poll<()> {
        self.wakes.begin_turn(cx, &mut self.woken);
        // The task is also woken when the port is drained, and when the connection is to be closed.
        if self.must_tell() {
            self.wakes.set_h2_woken(true);
        }
        let mut room = AT_ONCE;
        if mem::take(&mut self.is_spent) && self.poll_h2(h2, &mut room).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..ROUNDS {
            // Streams are first, so that h2 sends what all of them have for the client.
            self.poll_streams();
            if room > 0 && self.poll_h2(h2, &mut room).is_ready() {
                return Poll::Ready(());
            }
            if self.woken.is_empty() && self.wakes.end_turn(&mut self.woken) {
                return Poll::Pending;
            }
            self.is_spent = !has_budget_remaining();
            if self.is_spent || (room == 0 && self.woken.is_empty()) {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries the streams of a connection that has ended. Ready when none is left.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wakes.begin_turn(cx, &mut self.woken);
        for _ in 0..ROUNDS {
            self.poll_streams();
            if self.carried.is_empty() {
                return Poll::Ready(());
            }
            self.wakes.set_h2_woken(false);
            if self.wakes.end_turn(&mut self.woken) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_streams(&mut self) {
        for place in self.woken.drain(..) {
            self.carried.poll(place);
        }
    }

    /// Whether the client is to be told something of the connection as a whole.
    fn must_tell(&self) -> bool {
        self.drains() || self.connection.streams.is_closing()
    }

    /// Whether the client is to be told to open no more streams: the port is being drained, or the connection has had as many
    /// requests as it may have.
    fn drains(&self) -> bool {
        !self.is_draining && (self.port.draining() || self.connection.conn.is_spent())
    }

    /// Polls h2 if it was woken, and accepts the streams that have come, as far as there is room in this turn. Ready when the
    /// connection has ended.
    fn poll_h2(&mut self, h2: &mut H2Connection, room: &mut u32) -> Poll<()> {
        if !self.wakes.is_h2_woken() {
            return Poll::Pending;
        }
        // It is woken again for what happens from here on.
        self.wakes.set_h2_woken(false);
        let (connection, streams) = (self.connection, &self.connection.streams);
        let mut is_polled = false;
        while *room > 0 {
            let drains = self.drains();
            if drains {
                // New streams are still accepted until the client has seen the GOAWAY.
                self.is_draining = true;
                h2.graceful_shutdown();
            }
            // Before h2 gave out the last stream, it did all that could be done, and has arranged to be woken.
            if is_polled && !drains && streams.are_all(self.begun) && !streams.is_closing() {
                return Poll::Pending;
            }
            let cx = &mut Context::from_waker(&self.h2_waker);
            let mut accepted = poll_stream(h2, cx);
            if accepted.is_pending() && streams.is_closing() {
                // This is the last poll. The GOAWAY tells the client which of its requests it may send again.
                h2.abrupt_shutdown(Reason::NO_ERROR);
                accepted = poll_stream(h2, cx);
            }
            let Some(stream) = ready!(accepted) else { return Poll::Ready(()) };
            (self.begun, *room, is_polled) = (self.begun.wrapping_add(1), *room - 1, true);
            // Counted from here on: a connection with a new stream is no longer idle, and is not closed to make room.
            connection.conn.begin_request();
            self.woken.push(connection.begin(stream, &mut self.last, &mut self.carried));
        }
        if !streams.are_all(self.begun) {
            self.wakes.set_h2_woken(true);
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
