//! Whether a request's body is received as a whole before its backend gets any of it.

/// The body of a request is held here until all of it has come (`proxy-request-buffering` of an Ingress). The backend then
/// gets it at once, with a Content-Length, and other attempts can send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spool {
    /// How many bytes of one body are held in memory; the rest goes to a file (`client-body-buffer-size`).
    pub memory: u32,
}

impl Default for Spool {
    fn default() -> Self {
        Self { memory: 256 << 10 }
    }
}
