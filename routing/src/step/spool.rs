//! Buffering of request bodies.

/// A request body is buffered before an endpoint is selected (`proxy-request-buffering` of an Ingress). The backend receives it
/// with a Content-Length, and further attempts can send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The maximum number of bytes in memory; larger bodies are written to a file (`client-body-buffer-size`).
    pub memory: u32,
}

impl Default for Spool {
    fn default() -> Self {
        Self { memory: 256 << 10 }
    }
}
