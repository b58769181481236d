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
    /// Idle connections to backends in each of pingora's pools.
    pub idle_backends: usize,
    /// Idle connections to HTTP/1 backends of our own carrier, of all workers together.
    pub idle_http1: usize,
    /// Streams and flows of datagrams. Each counts as a request in flight, too; a quarter of those is left to HTTP.
    pub streams: usize,
    /// Pipes of each worker for streams that transfer many bytes, and for large bodies of answers.
    pub pipes: usize,
}

/// The admin port's connections, watches, lookups of names, logs.
const RESERVED: usize = 64;
/// What the runtime of a worker takes.
const OF_WORKER: usize = 4;
/// The maximum number of idle connections in each of pingora's pools, and of our own carrier for each worker. More are of no
/// use.
const MOST_IDLE: usize = 1024;
const MOST_MIRRORS: usize = 1024;
const MOST_PIPES: usize = 64;
/// File descriptors of one pipe.
const OF_PIPE: usize = 2;

impl Capacity {
    /// The number of pingora's pools of each worker: for HTTP/1 and for HTTP/2, and the same for mirrors and checks.
    pub const POOLS: usize = 4;

    /// What so many descriptors are enough for.
    #[must_use]
    pub fn of(descriptors: usize, workers: usize) -> Self {
        let workers = workers.max(1);
        let rest = descriptors.saturating_sub((RESERVED + OF_WORKER * workers).min(descriptors / 2));
        let backends = rest / 3;
        let (idle, mirrors) = (backends / 4, backends / 8);
        // Most connections are those of our own carrier: an HTTP/2 connection has many requests.
        let of_pingora = idle / 3;
        let pipes = (backends / 16 / (OF_PIPE * workers)).min(MOST_PIPES);
        let requests = (backends - idle - mirrors - OF_PIPE * workers * pipes).max(1);
        Self {
            clients: rest - backends,
            requests,
            streams: (requests - requests / 4).max(1),
            mirrors: (mirrors / workers).min(MOST_MIRRORS),
            idle_backends: (of_pingora / (Self::POOLS * workers)).clamp(1, MOST_IDLE),
            idle_http1: (idle - of_pingora).clamp(workers, MOST_IDLE * workers),
            pipes,
        }
    }

    /// The same if pingora is the only carrier: its pools get what our own carrier would have had.
    #[must_use]
    pub fn of_pingora_alone(self, workers: usize) -> Self {
        let more = self.idle_http1 / (Self::POOLS * workers.max(1));
        Self { idle_backends: (self.idle_backends + more).min(MOST_IDLE), idle_http1: 0, ..self }
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
            for workers in [1, 2, 8, 64] {
                let of = Capacity::of(descriptors, workers);
                for of in [of, of.of_pingora_alone(workers)] {
                    let held = of.clients
                        + of.requests
                        + of.idle_http1
                        + workers * (of.mirrors + Capacity::POOLS * of.idle_backends + OF_PIPE * of.pipes);
                    let spare = descriptors - held.min(descriptors);
                    let wanted = (RESERVED + OF_WORKER * workers).min(descriptors / 2);
                    // Each pool has one connection at least.
                    let least = (Capacity::POOLS + 1) * workers;
                    assert!(spare + least >= wanted, "{descriptors} {workers} {of:?}");
                    assert!(of.clients > 0 && of.requests > 0, "{descriptors} {workers} {of:?}");
                }
            }
        }
    }

    #[test]
    fn idle_connections_are_enough_for_the_requests_of_many_workers() {
        for (descriptors, workers, least) in
            [(1024, 2, 50), (20_000, 1, 1000), (20_000, 64, 1000), (1 << 20, 16, 16_384)]
        {
            let of = Capacity::of(descriptors, workers);
            assert!(of.idle_http1 >= least, "{descriptors} {workers} {of:?}");
        }
    }
}
