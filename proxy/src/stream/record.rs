//! Notes what becomes of a stream, for the counts and for its line of the access log.

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::Backend;
use tokio::time::Instant;

use super::{
    Client, Route,
    tally::{End, Moved, Spoken},
};
use crate::load::Load;

/// What is counted and logged of a stream. Dropping this counts and logs the stream as ended.
#[derive(Debug)]
pub(crate) struct Record<'w> {
    load: &'w Load,
    spoken: Spoken,
    client: Client,
    server_name: Option<Box<str>>,
    tls: Option<&'static str>,
    pub(super) route: Route,
    began: Instant,
    pub(crate) backend: Option<Arc<Backend>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) attempts: u32,
    moved: Moved,
    end: End,
}

impl<'w> Record<'w> {
    pub(crate) fn begin(
        load: &'w Load,
        spoken: Spoken,
        client: Client,
        server_name: Option<Box<str>>,
        tls: Option<&'static str>,
        route: Route,
    ) -> Self {
        let (began, moved, end) = (Instant::now(), Moved::default(), End::Cut);
        let (backend, endpoint, attempts) = (None, None, 0);
        Self { load, spoken, client, server_name, tls, route, began, backend, endpoint, attempts, moved, end }
    }

    /// Notes the number of bytes that have been moved so far. Returns whether there are more than before.
    pub(crate) fn moved(&mut self, now: Moved) -> bool {
        let before = std::mem::replace(&mut self.moved, now);
        self.load.streams.moved(self.spoken, before, now);
        before != now
    }

    /// Ends the record of a stream that was not cut.
    pub(crate) fn end(mut self, end: End) {
        self.end = end;
    }

    fn log(&self) {
        let (route, rejection) = (&self.route, self.end.rejection());
        let rule = route.rule.as_deref();
        tracing::info!(
            target: "access",
            protocol = self.spoken.name(),
            client = %self.client.peer.ip().to_canonical(),
            port = self.client.port,
            server_name = self.server_name.as_deref(),
            tls = self.tls,
            listener = route.listener.as_ref().map(tracing::field::display),
            route = rule.map(|rule| tracing::field::display(&rule.route)),
            rule = rule.map(|rule| rule.index),
            backend = self.backend.as_ref().map(|backend| tracing::field::display(&backend.key)),
            endpoint = self.endpoint.map(tracing::field::display),
            attempts = self.attempts,
            received = self.moved.received,
            sent = self.moved.sent,
            duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            end = self.end.name(),
            rejection = rejection.map(|(rejection, _)| tracing::field::debug(rejection)),
            why = rejection.map(|(_, why)| why),
        );
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.load.streams.ended(self.spoken, self.end);
        // Even if the access log was off when the stream began: it may have been turned on since.
        self.log();
    }
}
