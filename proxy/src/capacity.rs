//! Divides the file descriptors of the process, so that the admin port, the watches of objects, and the connections to backends
//! of requests in flight never lack one.

use crate::ConnectionLimits;

/// What a process can hold at a time, given its number of file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections of clients, and sockets that listen.
    pub clients: usize,
    /// Requests in flight, each of which may have a connection of its own to a backend.
    pub requests: usize,
    /// Mirrored requests in flight of each worker.
    pub mirrors: usize,
    /// Idle connections in each pool to backends.
    pub idle_backends: usize,
    /// Streams and flows of datagrams. Each counts as a request in flight, too; a quarter of those is left to HTTP.
    pub streams: usize,
    /// Pipes of each worker for streams that transfer many bytes.
    pub pipes: usize,
}

/// The admin port's connections, watches, lookups of names, logs.
const RESERVED: usize = 64;
/// What the runtime of a worker takes.
const OF_WORKER: usize = 4;
/// Pools of a worker: of HTTP/1 and of HTTP/2, of its mirrors as well.
const POOLS: usize = 4;
/// More are of no use.
const MOST_IDLE: usize = 1024;
const MOST_MIRRORS: usize = 1024;
const MOST_PIPES: usize = 64;
/// File descriptors of one pipe.
const OF_PIPE: usize = 2;

impl Capacity {
    /// What so many descriptors are enough for.
    #[must_use]
    pub fn of(descriptors: usize, workers: usize) -> Self {
        let workers = workers.max(1);
        let rest = descriptors.saturating_sub((RESERVED + OF_WORKER * workers).min(descriptors / 2));
        let backends = rest / 3;
        let (idle, mirrors) = (backends / 4, backends / 8);
        let pipes = (backends / 16 / (OF_PIPE * workers)).min(MOST_PIPES);
        let requests = (backends - idle - mirrors - OF_PIPE * workers * pipes).max(1);
        Self {
            clients: rest - backends,
            requests,
            streams: (requests - requests / 4).max(1),
            mirrors: (mirrors / workers).min(MOST_MIRRORS),
            idle_backends: (idle / (POOLS * workers)).clamp(1, MOST_IDLE),
            pipes,
        }
    }

    /// The limits of connections that follow from it: a port leaves a quarter to the others, and a client has no limit.
    #[must_use]
    pub fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            process: self.clients,
            port: (self.clients - self.clients / 4).max(1),
            client: None,
            descriptors: self.clients,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_held_fits_into_the_descriptors() {
        for descriptors in [128, 256, 1024, 20_000, 1 << 20] {
            for workers in [1, 2, 8] {
                let of = Capacity::of(descriptors, workers);
                let held = of.clients
                    + of.requests
                    + workers * (of.mirrors + POOLS * of.idle_backends + OF_PIPE * of.pipes);
                let spare = descriptors - held.min(descriptors);
                let wanted = (RESERVED + OF_WORKER * workers).min(descriptors / 2);
                assert!(spare + POOLS * workers >= wanted, "{descriptors} {workers} {of:?}");
                assert!(of.clients > 0 && of.requests > 0, "{descriptors} {workers} {of:?}");
            }
        }
    }
}
