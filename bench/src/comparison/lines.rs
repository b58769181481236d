//! What every proxy is asked to do.

use clap::ValueEnum as _;

use crate::{
    load::Mode,
    origin::{LARGE, LARGE_PATH, SMALL, SMALL_PATH},
};

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// As the table calls it.
    pub name: &'static str,
    pub mode: Mode,
    pub path: &'static str,
    pub connections: usize,
    pub streams: usize,
}

/// The backend speaks HTTP/1.1 in all of them.
pub const LINES: [Line; 9] = [
    Line { name: "small GET", mode: Mode::H1, path: SMALL_PATH, connections: 64, streams: 1 },
    Line {
        name: "small GET, names spelt",
        mode: Mode::H1Spelt,
        path: SMALL_PATH,
        connections: 64,
        streams: 1,
    },
    Line { name: "small GET, browser", mode: Mode::H1Browser, path: SMALL_PATH, connections: 64, streams: 1 },
    Line { name: "small GET, TLS", mode: Mode::H1Tls, path: SMALL_PATH, connections: 64, streams: 1 },
    Line {
        name: "full handshake and a GET",
        mode: Mode::Handshake,
        path: SMALL_PATH,
        connections: 16,
        streams: 1,
    },
    Line { name: "small GET, h2 (TLS) to h1", mode: Mode::H2, path: SMALL_PATH, connections: 4, streams: 16 },
    Line { name: "100 KiB", mode: Mode::H1, path: LARGE_PATH, connections: 16, streams: 1 },
    Line { name: "100 KiB, TLS", mode: Mode::H1Tls, path: LARGE_PATH, connections: 16, streams: 1 },
    Line { name: "100 KiB, h2 (TLS) to h1", mode: Mode::H2, path: LARGE_PATH, connections: 4, streams: 4 },
];

impl Line {
    pub fn over_tls(&self) -> bool {
        !matches!(self.mode, Mode::H1 | Mode::H1Spelt | Mode::H1Browser)
    }

    /// What the generator is told.
    pub fn arguments(&self) -> Vec<String> {
        let mode = self.mode.to_possible_value().expect("no mode is hidden");
        let body = if self.path == LARGE_PATH { LARGE } else { SMALL };
        [
            ("--mode", mode.get_name().to_owned()),
            ("--path", self.path.to_owned()),
            ("--body", body.to_string()),
            ("--connections", self.connections.to_string()),
            ("--streams", self.streams.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}
