//! What every proxy is asked to do.

use clap::ValueEnum as _;

use super::Name;
use crate::{
    load::Mode,
    origin::{GRPC_MESSAGE, GRPC_PATH, LARGE, LARGE_PATH, MESSAGE, SMALL, SMALL_PATH, SOCKET_PATH},
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
    /// A header that a good answer has: it shows that the route did its work.
    pub header: Option<&'static str>,
    /// If only Portcullis does it: the line that the figure is compared with.
    pub beside: Option<&'static str>,
}

/// Headers as a browser sends them; the plain line of [`EDITED`].
const BROWSER: &str = "small GET, browser";

/// Of the rule with filters in `peers/portcullis.yaml`.
const EDITED: Line = Line {
    header: Some("access-control-allow-origin"),
    beside: Some(BROWSER),
    ..line("ten header edits, rewrite, CORS", Mode::H1Browser, "/edited/small", 64, 1)
};

/// The backend speaks HTTP/1.1 in all of them but gRPC.
pub const LINES: [Line; 14] = [
    line("small GET", Mode::H1, SMALL_PATH, 64, 1),
    line("small GET, names spelt", Mode::H1Spelt, SMALL_PATH, 64, 1),
    line(BROWSER, Mode::H1Browser, SMALL_PATH, 64, 1),
    EDITED,
    line("small GET, TLS", Mode::H1Tls, SMALL_PATH, 64, 1),
    line("full handshake and a GET", Mode::Handshake, SMALL_PATH, 16, 1),
    line("small GET, h2 (TLS) to h1", Mode::H2, SMALL_PATH, 4, 16),
    line("100 KiB", Mode::H1, LARGE_PATH, 16, 1),
    line("100 KiB, TLS", Mode::H1Tls, LARGE_PATH, 16, 1),
    line("100 KiB, h2 (TLS) to h1", Mode::H2, LARGE_PATH, 4, 4),
    line("POST 1 MiB", Mode::Post, SMALL_PATH, 16, 1),
    line("POST 64 KiB, chunked", Mode::PostChunked, SMALL_PATH, 16, 1),
    line("WebSocket message of 64 B", Mode::WebSocket, SOCKET_PATH, 64, 1),
    line("gRPC, h2 (TLS) to h2c", Mode::Grpc, GRPC_PATH, 4, 16),
];

const fn line(
    name: &'static str,
    mode: Mode,
    path: &'static str,
    connections: usize,
    streams: usize,
) -> Line {
    Line { name, mode, path, connections, streams, header: None, beside: None }
}

impl Line {
    /// Whether this proxy is asked for it.
    pub fn is_for(&self, name: Name) -> bool {
        self.beside.is_none() || matches!(name, Name::Portcullis | Name::Baseline)
    }

    /// Bytes that a good answer has.
    fn body(&self) -> usize {
        match self.mode {
            Mode::WebSocket => MESSAGE,
            Mode::Grpc => GRPC_MESSAGE,
            _ if self.path == LARGE_PATH => LARGE,
            _ => SMALL,
        }
    }

    /// What the generator is told.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mode = self.mode.to_possible_value().expect("no mode is hidden");
        let mut arguments = vec![
            ("--mode", mode.get_name().to_owned()),
            ("--path", self.path.to_owned()),
            ("--body", self.body().to_string()),
            ("--connections", self.connections.to_string()),
            ("--streams", self.streams.to_string()),
        ];
        arguments.extend(self.header.map(|header| ("--header", header.to_owned())));
        arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::EDITED_PREFIX;

    #[test]
    fn a_line_that_is_ours_stands_beside_one_of_the_same_requests() {
        assert!(EDITED.path.starts_with(EDITED_PREFIX));
        for line in LINES {
            let Some(beside) = line.beside else { continue };
            let plain = LINES.into_iter().find(|plain| plain.name == beside).expect("a line");
            let requests = |of: &Line| (of.mode, of.connections, of.streams, of.body());
            assert_eq!(requests(&line), requests(&plain), "{}", line.name);
        }
    }
}
