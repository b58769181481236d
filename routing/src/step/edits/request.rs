//! The changes to a request.

use http::{HeaderValue, header};

use super::{StepEdits, headers::Chain};
use crate::{HeadersMut, step::BackendConnection};

/// The changes that the steps of a request make to its headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestEdits<'r> {
    chain: Chain<'r>,
    host: Option<&'r [u8]>,
    connection: Option<BackendConnection>,
}

impl<'r> RequestEdits<'r> {
    /// Chains the changes of checks, of a rule, and of the selected backend. `host` is the value to which a rewrite sets
    /// Host.
    pub(crate) fn of(links: [Option<&'r StepEdits>; 3], host: Option<&'r str>) -> Self {
        if let [None, None, None] = links {
            return Self { host: host.map(str::as_bytes), ..Self::default() };
        }
        let chain = Chain(links.map(|link| link.map(|edits| &edits.request)));
        let set = || chain.links().filter_map(|edits| edits.host.as_ref()).last();
        let host = host.map(str::as_bytes).or_else(|| set().map(HeaderValue::as_bytes));
        let connection = links.into_iter().flatten().find_map(StepEdits::connection);
        Self { chain, host, connection }
    }

    /// Returns whether there are changes of headers other than Host. If not, no header is replaced.
    #[inline]
    pub fn change_headers(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Returns whether the request's headers of this name, in upper or lower case, are not forwarded. Host is not
    /// covered here; see [`Self::host`].
    #[inline]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.chain.replaces(name)
    }

    /// Returns the value that replaces the request's Host.
    pub fn host(&self) -> Option<&'r [u8]> {
        self.host
    }

    /// Returns whether the connection to the backend can be reused for other requests, if the rule defines this.
    pub fn connection(&self) -> Option<BackendConnection> {
        self.connection
    }

    /// Writes the added headers, except Host, as lines of HTTP/1.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(|_| false, out);
    }

    /// Applies the changes, including that of Host.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.chain.apply(headers);
        if let Some(host) = self.host.and_then(|host| HeaderValue::from_bytes(host).ok()) {
            headers.set(&header::HOST, &host);
        }
    }
}
