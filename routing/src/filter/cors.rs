//! CORS: which pages of other origins may read an answer (Fetch standard, section 3.2).

use http::HeaderValue;

/// What other origins may do (HTTPCORSFilter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may read answers: `*`, `scheme://host[:port]`, or with `*` as the leftmost label of the host.
    pub allow_origins: Box<[Box<str>]>,
    /// Whether requests with credentials are allowed.
    pub allow_credentials: bool,
    /// Methods, or `*`.
    pub allow_methods: Box<[Box<str>]>,
    /// Headers, or `*`.
    pub allow_headers: Box<[Box<str>]>,
    /// Headers of the answer that the page may read, or `*`.
    pub expose_headers: Box<[Box<str>]>,
    /// How many seconds a browser may keep the answer to a preflight.
    pub max_age: HeaderValue,
}
