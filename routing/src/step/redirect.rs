//! RequestRedirect: the response is a redirect to another URL.

use std::sync::Arc;

use http::StatusCode;

use super::PathRewrite;
use crate::PathMatch;

/// The target of a redirect (HTTPRequestRedirectFilter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; the default is that of the request.
    pub scheme: Option<Arc<str>>,
    /// The host; the default is that of the request.
    pub hostname: Option<Arc<str>>,
    /// The port; see [`Redirect::location`] for the default.
    pub port: Option<u16>,
    /// The path; the default is that of the request.
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
    /// The host as the client sent it, with the port.
    pub sent_host: &'r str,
    /// The port of the listener, as the client reaches it.
    pub port: u16,
    /// The offset of the ports that clients connect to from the ports of listeners ([`Port::offset`](crate::Port::offset)).
    pub port_offset: u16,
    /// The path in the form that was matched, which a filter rewrites.
    pub path: &'r str,
    /// The path as the client sent it, which is preserved if no filter rewrites it
    /// ([`RequestPath::location`](crate::path::RequestPath::location)).
    pub sent: &'r str,
    /// The query, without `?`.
    pub query: Option<&'r str>,
}

impl Redirect {
    /// The `Location` for a request with a path that `matched` has matched.
    ///
    /// If the filter has no port, the port is the well-known port of the filter's scheme, or else the listener's port
    /// (HTTPRequestRedirectFilter `port`). The well-known port of the scheme is omitted from the text. The query is
    /// preserved.
    pub fn location(&self, origin: &Origin<'_>, matched: &PathMatch) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(origin.scheme);
        let host = self.hostname.as_deref().unwrap_or(origin.host);
        let well_known: u16 = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => port,
            // There are no ports above 65535.
            (None, Some(_)) => well_known.checked_add(origin.port_offset).unwrap_or(well_known),
            (None, None) => origin.port,
        };
        let path = match &self.path {
            Some(rewrite) => rewrite.apply(origin.path, matched),
            None => origin.sent.into(),
        };
        let mut location = String::with_capacity(
            scheme.len() + host.len() + path.len() + origin.query.map_or(0, str::len) + "://[]:65535?".len(),
        );
        location.extend([scheme, "://"]);
        // An IPv6 address is written in brackets (RFC 3986, 3.2.2), whether or not the request has them.
        match host.contains(':') && !host.starts_with('[') {
            true => location.extend(["[", host, "]"]),
            false => location.push_str(host),
        }
        if port != well_known {
            location.extend([":", &port.to_string()]);
        }
        location.push_str(&path);
        if let Some(query) = origin.query {
            location.extend(["?", query]);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_the_filter_then_its_scheme_then_the_listener() {
        let http = Origin { scheme: "http", port: 80, ..ORIGIN };
        let https = Origin { scheme: "https", port: 443, ..ORIGIN };
        let http_8080 = Origin { port: 8080, ..http };
        for (origin, scheme, port, want) in [
            (http, None, None, "http://a.example/p"),
            (http, Some("http"), None, "http://a.example/p"),
            (http, Some("https"), None, "https://a.example/p"),
            (http, None, Some(80), "http://a.example/p"),
            (http, None, Some(8080), "http://a.example:8080/p"),
            (http, Some("https"), Some(443), "https://a.example/p"),
            (http, Some("https"), Some(8443), "https://a.example:8443/p"),
            (http, None, Some(443), "http://a.example:443/p"),
            (https, None, None, "https://a.example/p"),
            (https, Some("http"), None, "http://a.example/p"),
            (https, Some("http"), Some(443), "http://a.example:443/p"),
            (http_8080, None, None, "http://a.example:8080/p"),
            (http_8080, Some("http"), None, "http://a.example/p"),
            (http_8080, Some("https"), None, "https://a.example/p"),
            (http_8080, None, Some(80), "http://a.example/p"),
            (Origin { port: 8080, port_offset: 8000, ..http }, None, None, "http://a.example:8080/p"),
            (Origin { port_offset: 8000, ..http }, Some("https"), None, "https://a.example:8443/p"),
            (Origin { port_offset: 65_500, ..http }, Some("https"), None, "https://a.example/p"),
        ] {
            let redirect = Redirect { scheme: scheme.map(Into::into), port, ..same() };
            assert_eq!(redirect.location(&origin, &root()), want, "{origin:?} {scheme:?} {port:?}");
        }
    }

    #[test]
    fn host_path_and_query_stay_unless_replaced() {
        let prefix = PathMatch::Prefix("/old".into());
        for (host, path, query, filter, want) in [
            ("a.example", "/p", Some("q=1"), same(), "http://a.example/p?q=1"),
            ("a.example", "/p", Some(""), same(), "http://a.example/p?"),
            ("::1", "/p", None, same(), "http://[::1]/p"),
            ("[::1]", "/p", None, same(), "http://[::1]/p"),
            (
                "a.example",
                "/p",
                None,
                Redirect { hostname: Some("b.example".into()), ..same() },
                "http://b.example/p",
            ),
            (
                "a.example",
                "/old/p",
                Some("q"),
                Redirect { path: Some(PathRewrite::Prefix("/new".into())), ..same() },
                "http://a.example/new/p?q",
            ),
            (
                "a.example",
                "/old",
                None,
                Redirect { path: Some(PathRewrite::Prefix("".into())), ..same() },
                "http://a.example/",
            ),
            (
                "a.example",
                "/old/p",
                Some("q"),
                Redirect { path: Some(PathRewrite::Full("/all".into())), ..same() },
                "http://a.example/all?q",
            ),
        ] {
            let origin = Origin { host, path, sent: path, query, ..ORIGIN };
            assert_eq!(filter.location(&origin, &prefix), want, "{origin:?}");
        }
    }

    const ORIGIN: Origin<'static> = Origin {
        scheme: "http",
        host: "a.example",
        sent_host: "a.example",
        port: 80,
        port_offset: 0,
        path: "/p",
        sent: "/p",
        query: None,
    };

    fn same() -> Redirect {
        Redirect { scheme: None, hostname: None, port: None, path: None, status: StatusCode::FOUND }
    }

    fn root() -> PathMatch {
        PathMatch::Prefix("".into())
    }
}
