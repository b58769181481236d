//! Redirects of Ingresses, as in nginx.
//!
//! They differ from those of routes ([`Redirect`](super::Redirect)): the host is often the one that the client sent, and a
//! path becomes an absolute URL in the same way as in nginx. Source: the recorded behavior of ingress-nginx 1.15.1
//! (`tests/ingress-nginx/cases/redirect.yaml`).

use http::StatusCode;

use super::Origin;

/// A redirect of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressRedirect {
    /// `app-root`: redirects requests for `/` to this path of the same host, with 302.
    AppRoot(Box<str>),
    /// `permanent-redirect` and `temporal-redirect`: redirects every request to the same URL.
    Fixed {
        /// 300 to 308.
        status: StatusCode,
        /// A URL, or a path of the same host.
        to: Box<str>,
        /// How that path is written.
        own: OwnUrl,
    },
    /// `ssl-redirect` and `force-ssl-redirect`: redirects plain HTTP requests to HTTPS.
    Https {
        /// 308, unless set otherwise.
        status: StatusCode,
        /// Whether a slash at the end of path and query is preserved (`preserve-trailing-slash`).
        keep_slash: bool,
        /// The port in the URL.
        port: Option<u16>,
    },
    /// `from-to-www-redirect`: redirects every request to the same host with or without `www.`.
    OtherHost {
        /// 308, unless set otherwise.
        status: StatusCode,
        /// The host.
        host: Box<str>,
        /// The ports in the URL, for plain HTTP and for HTTPS.
        ports: (u16, u16),
    },
    /// Redirects a request for a prefix without its trailing slash to the prefix with it, with 301.
    AddSlash(OwnUrl),
}

/// How a redirect to a path of the same host is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnUrl {
    /// As the path only (`relative-redirects`).
    pub is_relative: bool,
    /// With the port that the client connected to, unless it is that of the scheme (`use-port-in-redirects`).
    pub with_port: bool,
}

impl IngressRedirect {
    /// Returns the status and the `Location` of the redirect; `None` if the request is not redirected.
    pub fn of(&self, origin: &Origin<'_>) -> Option<(StatusCode, String)> {
        match self {
            Self::AppRoot(root) => (origin.path == "/")
                .then(|| (StatusCode::FOUND, format!("{}://{}{root}", origin.scheme, origin.sent_host))),
            Self::Fixed { status, to, own } => Some((*status, own.absolute(to, origin))),
            Self::Https { status, keep_slash, port } => (origin.scheme == "http").then(|| {
                let port = port.map_or(String::new(), |port| format!(":{port}"));
                let host = without_port(origin.sent_host);
                (*status, format!("https://{host}{port}{}", path_and_query(origin, *keep_slash)))
            }),
            Self::OtherHost { status, host, ports } => {
                let port = if origin.scheme == "https" { ports.1 } else { ports.0 };
                let rest = path_and_query(origin, false);
                Some((*status, format!("{}://{host}:{port}{rest}", origin.scheme)))
            }
            Self::AddSlash(own) => {
                let query = origin.query.map_or(String::new(), |query| format!("?{query}"));
                let to = format!("{}/{query}", origin.path);
                Some((StatusCode::MOVED_PERMANENTLY, own.absolute(&to, origin)))
            }
        }
    }

    /// Returns whether every request is redirected.
    pub fn takes_all(&self) -> bool {
        matches!(self, Self::Fixed { .. } | Self::OtherHost { .. } | Self::AddSlash(_))
    }
}

impl OwnUrl {
    /// Returns the value of `Location`. Only a path is changed.
    pub(crate) fn absolute(self, to: &str, origin: &Origin<'_>) -> String {
        if !to.starts_with('/') || self.is_relative {
            return to.into();
        }
        let well_known = if origin.scheme == "https" { 443 } else { 80 };
        // If an offset is added to each port, clients cannot connect without it.
        let is_named = origin.port != well_known && (self.with_port || origin.port_offset != 0);
        let port = if is_named { format!(":{}", origin.port) } else { String::new() };
        format!("{}://{}{port}{to}", origin.scheme, origin.host)
    }
}

/// Path and query as the client sent them; without a trailing slash, unless it is preserved.
fn path_and_query(origin: &Origin<'_>, keep_slash: bool) -> String {
    let mut text = origin.sent.to_owned();
    if let Some(query) = origin.query {
        text.push('?');
        text.push_str(query);
    }
    if !keep_slash && text.ends_with('/') {
        text.pop();
    }
    text
}

/// A host without its port; brackets of an IPv6 address are preserved.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'static> = Origin {
        scheme: "http",
        host: "a.test",
        sent_host: "A.test:8080",
        port: 80,
        port_offset: 0,
        path: "/a",
        sent: "/a",
        query: None,
    };

    fn sent<'r>(sent: &'r str, query: Option<&'r str>) -> Origin<'r> {
        Origin { path: sent, sent, query, ..ORIGIN }
    }

    fn location(redirect: &IngressRedirect, origin: &Origin<'_>) -> Option<String> {
        redirect.of(origin).map(|(_, location)| location)
    }

    #[test]
    fn https_keeps_the_host_as_sent_and_drops_one_slash() {
        let https = |keep_slash, port| IngressRedirect::Https {
            status: StatusCode::PERMANENT_REDIRECT,
            keep_slash,
            port,
        };
        for (origin, keep_slash, port, want) in [
            (sent("/", None), false, None, "https://A.test"),
            (sent("/a/", None), false, None, "https://A.test/a"),
            (sent("/a//", None), false, None, "https://A.test/a/"),
            (sent("/a/", Some("x=/")), false, None, "https://A.test/a/?x="),
            (sent("/", Some("")), false, None, "https://A.test/?"),
            (sent("/a/", None), true, None, "https://A.test/a/"),
            (sent("/a", None), false, Some(443), "https://A.test:443/a"),
            (Origin { sent_host: "[::1]:80", ..ORIGIN }, false, None, "https://[::1]/a"),
            (Origin { sent_host: "[::1]", ..ORIGIN }, false, None, "https://[::1]/a"),
        ] {
            assert_eq!(location(&https(keep_slash, port), &origin).as_deref(), Some(want), "{origin:?}");
        }
        assert_eq!(https(false, None).of(&Origin { scheme: "https", ..ORIGIN }), None);
    }

    #[test]
    fn the_root_of_an_application_is_for_the_root_alone() {
        let root = IngressRedirect::AppRoot("/app".into());
        assert_eq!(
            root.of(&sent("/", Some("q"))),
            Some((StatusCode::FOUND, "http://A.test:8080/app".into()))
        );
        assert_eq!(root.of(&sent("/a", None)), None);
    }

    #[test]
    fn a_path_of_our_own_is_written_as_nginx_does() {
        let relative = OwnUrl { is_relative: true, ..OwnUrl::default() };
        let with_port = OwnUrl { with_port: true, ..OwnUrl::default() };
        let at = |scheme, port, port_offset| Origin { scheme, port, port_offset, ..ORIGIN };
        for (own, origin, want) in [
            (OwnUrl::default(), ORIGIN, "http://a.test/a/"),
            (OwnUrl::default(), at("http", 8080, 0), "http://a.test/a/"),
            (OwnUrl::default(), at("http", 8080, 8000), "http://a.test:8080/a/"),
            (OwnUrl::default(), Origin { query: Some("b"), ..ORIGIN }, "http://a.test/a/?b"),
            (with_port, at("http", 8080, 0), "http://a.test:8080/a/"),
            (with_port, at("https", 443, 0), "https://a.test/a/"),
            (relative, ORIGIN, "/a/"),
        ] {
            let want = Some((StatusCode::MOVED_PERMANENTLY, want.to_owned()));
            assert_eq!(IngressRedirect::AddSlash(own).of(&origin), want, "{own:?} {origin:?}");
        }
        let fixed = |to: &str| IngressRedirect::Fixed {
            status: StatusCode::FOUND,
            to: to.into(),
            own: OwnUrl::default(),
        };
        assert_eq!(location(&fixed("https://b.test/x"), &ORIGIN).as_deref(), Some("https://b.test/x"));
        assert_eq!(location(&fixed("/x"), &ORIGIN).as_deref(), Some("http://a.test/x"));
    }

    #[test]
    fn the_other_name_of_a_host_has_its_port_in_the_url() {
        let www = IngressRedirect::OtherHost {
            status: StatusCode::PERMANENT_REDIRECT,
            host: "www.a.test".into(),
            ports: (80, 443),
        };
        assert_eq!(location(&www, &sent("/a/", None)).as_deref(), Some("http://www.a.test:80/a"));
        let https = Origin { scheme: "https", port: 443, ..sent("/", Some("x=1")) };
        assert_eq!(location(&www, &https).as_deref(), Some("https://www.a.test:443/?x=1"));
    }
}
