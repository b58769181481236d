//! Limits of a client's connection: known to whoever reads from it, and to whoever answers its requests.

use std::time::Duration;

use crate::Options;

/// Limits of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From a head's first byte to its last.
    pub(crate) head_time: Duration,
    /// Bytes of a head.
    pub(crate) head_bytes: usize,
    /// While bytes wait that nobody takes, or for the head of an answer.
    pub(crate) idle: Duration,
    /// Of an answer of HTTP/2 that has begun and goes on with nothing.
    pub(crate) stream_idle: Duration,
    /// Without a request.
    pub(crate) keepalive: Duration,
}

impl Limits {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            head_time: options.header_timeout,
            head_bytes: options.max_header_bytes,
            idle: options.idle_timeout,
            stream_idle: options.stream_idle_timeout,
            keepalive: options.keepalive_timeout,
        }
    }
}
