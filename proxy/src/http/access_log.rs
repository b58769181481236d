//! The access log, under the tracing target `access`: one line for each request, and one for each that was refused before
//! it was read, or whose handshake failed.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use portcullis_routing::{BackendKey, Carrier, Headers, Rejection, Rule, Step, step::MapKeys};
use tokio::time::Instant;
use tracing::Level;

use super::access_line::Formatted;
use crate::{
    conn::{ConnInfo, TlsInfo},
    refusal::Refused,
    shared::Shared,
};

/// What a line says of the request itself; kept only where somebody listens.
#[derive(Debug)]
pub(crate) struct Record {
    method: Method,
    host: Box<str>,
    path: Box<str>,
    client: IpAddr,
    began: Instant,
    /// The line, where it has a format of its own.
    formatted: Option<Box<Formatted>>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome<'o> {
    pub(crate) tls: Option<&'o TlsInfo>,
    pub(crate) carrier: Carrier,
    /// 0: it had no answer.
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) rule: Option<&'o Rule>,
    pub(crate) backend: Option<&'o BackendKey>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) attempts: u32,
    /// The endpoints that were asked before.
    pub(crate) tried: &'o [SocketAddr],
    pub(crate) rejection: Option<(Rejection, &'static str)>,
    /// Whether it was cut, by its deadline or with its connection.
    pub(crate) aborted: bool,
}

/// A request as its line describes it.
pub(crate) struct Sent<'r> {
    pub(crate) method: &'r Method,
    /// The target as the client sent it.
    pub(crate) target: &'r [u8],
    /// `HTTP/1.1` and so on.
    pub(crate) protocol: &'static str,
    /// The host in its one form.
    pub(crate) host: &'r str,
    /// The same as the client sent it.
    pub(crate) sent_host: &'r str,
    /// The path in its one form.
    pub(crate) path: &'r str,
    pub(crate) client: IpAddr,
    pub(crate) scheme: &'static str,
    pub(crate) port: u16,
    pub(crate) headers: &'r dyn Headers,
    /// The size of the head, in bytes.
    pub(crate) head_len: usize,
}

impl Record {
    /// Begins a line; `None` where nobody listens.
    pub(crate) fn begin<'r>(shared: &Shared, sent: impl FnOnce() -> Sent<'r>) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "access", Level::INFO) {
            return None;
        }
        let (live, sent) = (shared.live.load(), sent());
        let is_skipped = |skipped: &MapKeys| skipped.hold(&String::from_utf8_lossy(sent.target));
        if live.log.is_off || live.log.skipped.as_deref().is_some_and(is_skipped) {
            return None;
        }
        let formatted = live.log.format.as_ref().zip(shared.options.access_line);
        let formatted = formatted.map(|(format, write)| Box::new(Formatted::begin(format, &sent, write)));
        let Sent { method, host, path, client, .. } = sent;
        let began = Instant::now();
        Some(Box::new(Self {
            method: method.clone(),
            host: host.into(),
            path: path.into(),
            client,
            began,
            formatted,
        }))
    }

    /// Whether the line has the identifier of the request, and the client sent none.
    pub(crate) fn lacks_id(&self) -> bool {
        self.formatted.as_ref().is_some_and(|formatted| formatted.lacks_id())
    }

    /// Sets the identifier of the request.
    pub(crate) fn set_id(&mut self, id: &[u8]) {
        if let Some(formatted) = &mut self.formatted {
            formatted.id = String::from_utf8_lossy(id).into();
        }
    }

    /// Writes the line.
    pub(crate) fn emit(self, outcome: &Outcome<'_>) {
        if outcome.rule.is_some_and(|rule| rule.steps.iter().any(|step| matches!(step, Step::Unlogged))) {
            return;
        }
        if let Some(formatted) = self.formatted {
            return formatted.end(self.began, outcome);
        }
        let route = outcome.rule.map(|rule| rule.route.to_string());
        let backend = outcome.backend.map(ToString::to_string);
        let endpoint = outcome.endpoint.map(|address| address.to_string());
        tracing::info!(
            target: "access",
            method = %self.method,
            host = %self.host,
            path = %self.path,
            client = %self.client,
            tls = outcome.tls.map(|tls| tls.version),
            carrier = outcome.backend.map(|_| tracing::field::display(outcome.carrier)),
            status = outcome.status,
            bytes = outcome.bytes,
            duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            route,
            rule = outcome.rule.map(|rule| rule.index),
            backend,
            endpoint,
            attempts = outcome.attempts,
            rejection = outcome.rejection.map(|(rejection, _)| debug(rejection)),
            why = outcome.rejection.map(|(_, why)| why),
            aborted = outcome.aborted,
        );
    }
}

/// Writes the line of a request whose head was refused: of what it asked for nothing is known for sure.
pub(crate) fn refused(conn: &ConnInfo, refused: &Refused) {
    tracing::info!(
        target: "access",
        client = %conn.peer.ip().to_canonical(),
        tls = conn.tls.as_ref().map(|tls| tls.version),
        status = refused.status,
        rejection = debug(refused.rejection),
        why = refused.why,
    );
}

/// Writes the line of a connection whose handshake failed.
pub(crate) fn handshake_failed(client: IpAddr, port: u16, why: &str) {
    tracing::info!(target: "access", client = %client.to_canonical(), port, rejection = "Handshake", why);
}
