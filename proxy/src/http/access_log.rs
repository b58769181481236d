//! The access log: one line for each request, under the tracing target `access`.

use std::net::IpAddr;

use http::Method;
use tokio::time::Instant;
use tracing::Level;

use super::context::Context;

/// What a line says of the request itself; kept only where somebody listens.
#[derive(Debug)]
pub(crate) struct Record {
    method: Method,
    host: Box<str>,
    path: Box<str>,
    client: IpAddr,
    began: Instant,
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

    /// Writes the line. `aborted` says that the request was cut, by its deadline or with its connection.
    pub(crate) fn emit(&self, context: &Context, bytes: usize, aborted: bool) {
        let route = context.rule().map(|rule| rule.route.to_string());
        let backend = context.backend().map(|backend| backend.key.to_string());
        let endpoint = context.attempts.endpoint.as_ref().map(|guard| guard.endpoint().address.to_string());
        tracing::info!(
            target: "access",
            method = %self.method,
            host = %self.host,
            path = %self.path,
            client = %self.client,
            tls = context.conn.tls.as_ref().map(|tls| tls.version),
            status = context.status,
            bytes,
            duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            route,
            rule = context.rule().map(|rule| rule.index),
            backend,
            endpoint,
            attempts = context.attempts.begun,
            rejection = context.rejection.map(|(rejection, _)| tracing::field::debug(rejection)),
            why = context.rejection.map(|(_, why)| why),
            aborted,
        );
    }
}
