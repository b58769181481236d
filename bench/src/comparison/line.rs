//! One kind of work, and the proxies that are measured with it.

use clap::ValueEnum as _;

use super::{Name, ports::Port};
use crate::{
    load::Mode,
    origin::{BULK, BULK_PATH, DATAGRAM, GRPC_MESSAGE, LARGE, LARGE_PATH, MESSAGE, SMALL, SMALL_PATH},
    scene::HOST,
};

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// As the table calls it.
    pub name: &'static str,
    pub group: Group,
    pub mode: Mode,
    /// The port of the proxy.
    pub port: Port,
    pub host: &'static str,
    pub path: &'static str,
    pub connections: usize,
    pub streams: usize,
    /// A header that a good answer has: it shows that the route did its work.
    pub header: Option<&'static str>,
    /// The proxies that are measured.
    pub proxies: &'static [Name],
    /// The line that the figure is compared with.
    pub beside: Option<Beside>,
    /// The unit in which streams are reported in addition.
    pub unit: Option<Unit>,
    /// Whether it is measured with [`MANY_WORKERS`] instead of one.
    pub many_workers: bool,
}

/// Lines with a table of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Routes of the Gateway API for HTTP.
    Http,
    /// Ingresses with annotations, and nginx with the directives that ingress-nginx generates for them.
    Ingress,
    /// Connections and datagrams.
    Stream,
}

/// The plain line of a line.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    pub line: &'static str,
    /// How many requests of the plain line are compared with one request.
    pub requests: f64,
    /// The aim for the ratio, if there is one.
    pub aim: Option<&'static str>,
}

/// A unit that is derived from the CPU time per request.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// CPU time to transfer 1 GiB, if each request transfers so many bytes.
    Gib(usize),
    /// How many of these fit into a second of CPU time, if each request needs so many.
    EachCpuSecond(&'static str, f64),
}

/// Workers of a line with many. They share the core of the proxies.
pub const MANY_WORKERS: usize = 64;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

impl Line {
    /// A line of HTTP that every proxy is measured with.
    pub(super) const fn http(name: &'static str, mode: Mode, path: &'static str, connections: usize) -> Self {
        Self {
            name,
            group: Group::Http,
            mode,
            port: if mode.over_tls() { Port::Https } else { Port::Http },
            host: HOST,
            path,
            connections,
            streams: 1,
            header: None,
            proxies: &Name::ALL,
            beside: None,
            unit: None,
            many_workers: false,
        }
    }

    /// The same with so many streams at a time on each connection.
    pub(super) const fn streams(self, streams: usize) -> Self {
        Self { streams, ..self }
    }

    /// Requests of the line `plain` for an Ingress with this host.
    pub(super) const fn ingress(name: &'static str, host: &'static str, path: &'static str) -> Self {
        let line = Self::http(name, Mode::H1, path, 64);
        Self {
            group: Group::Ingress,
            host,
            proxies: &[Name::Portcullis, Name::Baseline, Name::Nginx],
            ..line
        }
    }

    /// Connections or datagrams at this port, by all proxies but bare pingora.
    pub(super) const fn stream(name: &'static str, mode: Mode, port: Port, unit: Unit) -> Self {
        let line = Self::http(name, mode, SMALL_PATH, 64);
        Self { group: Group::Stream, port, proxies: Name::ALL_BUT_BARE, unit: Some(unit), ..line }
    }

    /// Compared with one request of this line.
    pub(super) const fn beside(self, line: &'static str, aim: Option<&'static str>) -> Self {
        Self { beside: Some(Beside { line, requests: 1.0, aim }), ..self }
    }

    /// Whether this proxy is measured.
    pub fn is_for(&self, name: Name) -> bool {
        self.proxies.contains(&name)
    }

    /// Bytes that a good answer has.
    pub(super) fn body(&self) -> usize {
        match (self.mode, self.path) {
            (Mode::WebSocket, _) => MESSAGE,
            (Mode::Grpc, _) => GRPC_MESSAGE,
            (Mode::Datagram, _) => DATAGRAM,
            (_, LARGE_PATH) => LARGE,
            (_, BULK_PATH) => BULK,
            _ => SMALL,
        }
    }

    /// The arguments of the generator.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mode = self.mode.to_possible_value().expect("no mode is hidden");
        let mut arguments = vec![
            ("--mode", mode.get_name().to_owned()),
            ("--host", self.host.to_owned()),
            ("--path", self.path.to_owned()),
            ("--body", self.body().to_string()),
            ("--connections", self.connections.to_string()),
            ("--streams", self.streams.to_string()),
        ];
        arguments.extend(self.header.map(|header| ("--header", header.to_owned())));
        arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

impl Group {
    pub const ALL: [Self; 3] = [Self::Http, Self::Ingress, Self::Stream];

    pub fn title(self) -> &'static str {
        match self {
            Self::Http => "HTTP: routes of the Gateway API",
            Self::Ingress => "Ingresses, beside nginx with the directives that ingress-nginx generates",
            Self::Stream => "Streams: TCP, TLS that is passed through, UDP",
        }
    }
}

impl Unit {
    /// What the figure is.
    pub fn title(self) -> String {
        match self {
            Self::Gib(_) => "CPU ms for 1 GiB".to_owned(),
            Self::EachCpuSecond(what, _) => format!("{what} per CPU second"),
        }
    }

    /// The figure for this CPU time per request, in µs.
    pub fn of(self, cpu: f64) -> f64 {
        match self {
            Self::Gib(bytes) => cpu / 1e3 * GIB / bytes as f64,
            Self::EachCpuSecond(_, count) => count * 1e6 / cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_from_the_time_for_each_request() {
        // 2 ms for 16 MiB
        assert!((Unit::Gib(16 * 1024 * 1024).of(2000.0) - 128.0).abs() < 1e-9);
        // 50 µs for a connection, 10 µs for two datagrams
        assert!((Unit::EachCpuSecond("connections", 1.0).of(50.0) - 20_000.0).abs() < 1e-9);
        assert!((Unit::EachCpuSecond("datagrams", 2.0).of(10.0) - 200_000.0).abs() < 1e-9);
    }
}
