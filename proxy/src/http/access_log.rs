//! The access log, under the tracing target `access`: one line for each request, and one for each that was refused before
//! it was read, or whose handshake failed.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use portcullis_routing::{BackendKey, Carrier, Rejection, Rule};
use tokio::time::Instant;
use tracing::Level;

use crate::{
    conn::{ConnInfo, TlsInfo},
    refusal::Refused,
};

/// What a line says of the request itself; kept only where somebody listens.
#[derive(Debug)]
pub(crate) struct Record {
    method: Method,
    host: Box<str>,
    path: Box<str>,
    client: IpAddr,
    began: Instant,
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
    pub(crate) rejection: Option<(Rejection, &'static str)>,
    /// Whether it was cut, by its deadline or with its connection.
    pub(crate) aborted: bool,
}

impl Record {
    /// Begins a line; `None` where nobody listens.
    pub(crate) fn begin(method: &Method, host: &str, path: &str, client: IpAddr) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "access", Level::INFO) {
            return None;
        }
        let began = Instant::now();
        Some(Box::new(Self { method: method.clone(), host: host.into(), path: path.into(), client, began }))
    }

    /// Writes the line.
    pub(crate) fn emit(&self, outcome: &Outcome<'_>) {
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
