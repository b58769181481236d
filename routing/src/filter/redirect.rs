//! RequestRedirect: the rule answers by itself with another place.

use std::sync::Arc;

use http::StatusCode;

use super::PathRewrite;
use crate::PathMatch;

/// Where to send the client (HTTPRequestRedirectFilter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; the request's own where there is none.
    pub scheme: Option<Arc<str>>,
    /// The host; the request's own where there is none.
    pub hostname: Option<Arc<str>>,
    /// The port; see [`Redirect::location`] where there is none.
    pub port: Option<u16>,
    /// The path; the request's own where there is none.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// The request that is redirected.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'r> {
    /// `http` or `https`, as the client sees it.
    pub scheme: &'r str,
    /// The host, without port.
    pub host: &'r str,
    /// The port of the listener, as the client reaches it.
    pub port: u16,
    /// What a standalone run adds to every listener's port.
    pub port_offset: u16,
    /// The canonical path.
    pub path: &'r str,
    /// The query, without `?`.
    pub query: Option<&'r str>,
}

impl Redirect {
    /// The `Location` for a request whose path was matched by `matched`.
    ///
    /// Where the filter names no port: a scheme that it names gives its well-known port, else the listener's
    /// port stays (HTTPRequestRedirectFilter `port`). The well-known port of the scheme is left out of the text.
    pub fn location(&self, origin: &Origin<'_>, matched: &PathMatch) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(origin.scheme);
        let host = self.hostname.as_deref().unwrap_or(origin.host);
        let well_known = if scheme == "https" { 443 } else { 80 };
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => port,
            (None, Some(_)) => well_known + origin.port_offset,
            (None, None) => origin.port,
        };
        let path = match &self.path {
            Some(rewrite) => rewrite.apply(origin.path, matched),
            None => origin.path.into(),
        };
        let port = if port == well_known { String::new() } else { format!(":{port}") };
        let query = origin.query.map(|q| format!("?{q}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}
