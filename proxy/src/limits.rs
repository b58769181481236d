//! Limits of a client's connection.

use std::time::Duration;

use crate::Options;

/// Limits of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time from the first byte of a request's head to its last.
    pub(crate) head_time: Duration,
    /// Size of a request's head, in bytes.
    pub(crate) head_bytes: usize,
    /// Time without progress while bytes wait to be sent, or while the head of the answer is missing.
    pub(crate) idle: Duration,
    /// Time without progress of an HTTP/2 answer that has begun.
    pub(crate) stream_idle: Duration,
    /// Time without a request.
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
