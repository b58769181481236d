//! Cookies and headers that keep a client at one endpoint: affinity of Ingresses, session persistence of the Gateway API.
//!
//! ```text
//! INGRESSCOOKIE=9f86d081884c7d65|2cf24dba5fb0a30e26e83b2ac5b9e29e; Path=/; HttpOnly
//!               session          which backend: a Service's port, or its canary
//! X-Session: 0b1c2d3e4f5061720b1c2d3e4f506172.6a2b3c4d|2cf24dba5fb0a30e26e83b2ac5b9e29e
//!            session                          when it ends
//! ```
//!
//! A session is a random text whose hash chooses the endpoint, or, where sessions are persistent, a hash that names the
//! endpoint. Hashes have a key that clients do not know, so that a session tells nothing of an endpoint's address, and
//! nobody can make one up that leads to an endpoint of his choice. Whatever it says, it leads to endpoints of its own
//! backend alone. The end of a session of limited lifetime is part of what is hashed, so that no client can postpone it.

use std::{fmt, net::SocketAddr};

use http::{HeaderName, HeaderValue, header};

use super::cookies;
use crate::{
    Headers,
    backend::{keyed_digits, keyed_hash, stable_hash},
};

/// Which cookie or header keeps the clients of a backend at their endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Where clients send their session.
    pub token: SessionToken,
    /// How long a persistent session lasts, in seconds; `None` is without end.
    pub lifetime: Option<u64>,
    /// Whether a session stays at its endpoint when others come. If not, they take over their share of the sessions.
    pub is_persistent: bool,
    /// Whether a session moves when its endpoint does not answer.
    pub changes_on_failure: bool,
    /// What a session says of the backend.
    pub backend: Box<str>,
    /// The key of the hashes.
    pub key: [u64; 2],
}

/// Where clients send their session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionToken {
    /// In a cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// The cookie that is set; `None` if it is only read.
        set: Option<SessionCookie>,
    },
    /// In a header, which the answer that begins the session has, too.
    Header(HeaderName),
}

/// The attributes of a cookie (RFC 6265, 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCookie {
    /// In how many seconds `Expires` is.
    pub expires: Option<i64>,
    /// `Max-Age`.
    pub max_age: Option<i64>,
    /// `Domain`.
    pub domain: Option<Box<str>>,
    /// `Path`.
    pub path: Box<str>,
    /// `Secure` over plain HTTP, too.
    pub is_secure: bool,
    /// `SameSite`.
    pub same_site: Option<SameSite>,
    /// Whether `SameSite=None` is left out for browsers that reject it.
    pub is_same_site_conditional: bool,
}

/// A value of `SameSite` (RFC 6265bis, 4.1.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `None`.
    None,
    /// `Lax`.
    Lax,
    /// `Strict`.
    Strict,
}

/// What a client's cookie or header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent<'r> {
    pub(crate) session: Option<&'r str>,
    /// The backend that it is of.
    backend: Option<&'r str>,
}

impl Affinity {
    /// Returns what a session is to say of a backend of this name.
    pub fn backend_of(name: &str) -> Box<str> {
        keyed_digits(name.as_bytes(), [0, 0]).into()
    }

    /// Derives the key of a backend from its own secret.
    pub fn key_of(secret: &str) -> [u64; 2] {
        let half = |side: u8| stable_hash(&[&[side], secret.as_bytes()].concat());
        [half(0), half(1)]
    }

    /// Returns what the client's cookie or header says.
    pub(crate) fn sent<'r>(&self, headers: &'r dyn Headers) -> Sent<'r> {
        let value = match &self.token {
            SessionToken::Cookie { name, .. } => cookies::last(headers, name),
            SessionToken::Header(name) => headers.first(name),
        };
        let value = value.and_then(|value| std::str::from_utf8(value).ok());
        let mut parts = value.unwrap_or_default().split('|').filter(|part| !part.is_empty());
        Sent { session: parts.next(), backend: parts.next() }
    }

    /// Whether a session is of this backend.
    pub(crate) fn is_of(&self, sent: Sent<'_>) -> bool {
        sent.backend == Some(&*self.backend)
    }

    /// Returns the hash of a session.
    pub(crate) fn hash(&self, session: &str) -> u64 {
        keyed_hash(session.as_bytes(), self.key)
    }

    /// Returns the persistent session of an endpoint that begins at this time, in seconds since 1970.
    pub(crate) fn begin(&self, address: SocketAddr, now: u64) -> Box<str> {
        self.name_of(address, self.lifetime.map(|lifetime| now.saturating_add(lifetime)))
    }

    /// Returns when a persistent session ends; `Err` if it has ended or is malformed, or if its end is beyond the lifetime.
    pub(crate) fn end_of(&self, session: &str, now: u64) -> Result<Option<u64>, Over> {
        let Some(lifetime) = self.lifetime else { return Ok(None) };
        let end =
            session.split_once('.').and_then(|(_, end)| u64::from_str_radix(end, 16).ok()).ok_or(Over)?;
        // The lifetime may have been longer when it began.
        let lasts = end > now && end <= now.saturating_add(lifetime);
        if lasts { Ok(Some(end)) } else { Err(Over) }
    }

    /// Returns the persistent session of an endpoint, and its end if it has one.
    pub(crate) fn name_of(&self, address: SocketAddr, end: Option<u64>) -> Box<str> {
        let Self { backend, key, .. } = self;
        let digits = |text: String| keyed_digits(text.as_bytes(), *key);
        match end {
            None => digits(format!("{backend}|{address}")).into(),
            Some(end) => format!("{}.{end:x}", digits(format!("{backend}|{address}|{end:x}"))).into(),
        }
    }

    /// Returns the header with which a session begins.
    pub(crate) fn begun(
        &self,
        session: &str,
        client: Client,
        expires: impl FnOnce(i64) -> String,
    ) -> Option<HeaderValue> {
        match &self.token {
            SessionToken::Header(_) => HeaderValue::try_from(format!("{session}|{}", self.backend)).ok(),
            SessionToken::Cookie { name, set } => {
                let cookie = set.as_ref()?;
                let text = cookie.text(format!("{name}={session}|{}", self.backend), client, expires);
                HeaderValue::try_from(text).ok()
            }
        }
    }

    /// Returns the name of the header with which a session begins.
    pub(crate) fn begun_in(&self) -> &HeaderName {
        static SET_COOKIE: HeaderName = header::SET_COOKIE;
        match &self.token {
            SessionToken::Header(name) => name,
            SessionToken::Cookie { .. } => &SET_COOKIE,
        }
    }
}

/// A session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over;

impl SessionCookie {
    /// Writes the attributes behind a cookie's name and value. `expires` writes the date that is in so many seconds.
    fn text(
        &self,
        mut text: String,
        Client { is_tls, rejects_none }: Client,
        expires: impl FnOnce(i64) -> String,
    ) -> String {
        let mut add = |name: &str, value: &dyn fmt::Display| text.push_str(&format!("; {name}={value}"));
        if let Some(seconds) = self.expires {
            add("Expires", &expires(seconds));
        }
        if let Some(seconds) = self.max_age {
            add("Max-Age", &seconds);
        }
        if let Some(domain) = &self.domain {
            add("Domain", domain);
        }
        add("Path", &self.path);
        if self.is_secure || is_tls {
            text.push_str("; Secure");
        }
        text.push_str("; HttpOnly");
        let is_left_out = self.is_same_site_conditional && rejects_none;
        match self.same_site {
            None => {}
            Some(SameSite::None) if is_left_out => {}
            Some(SameSite::None) => text.push_str("; SameSite=None"),
            Some(SameSite::Lax) => text.push_str("; SameSite=Lax"),
            Some(SameSite::Strict) => text.push_str("; SameSite=Strict"),
        }
        text
    }
}

/// What a cookie depends on beside its backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Whether its TLS ends here.
    pub(crate) is_tls: bool,
    /// Whether it is a browser that rejects cookies with `SameSite=None`.
    pub(crate) rejects_none: bool,
}

impl Client {
    pub(crate) fn of(headers: &dyn Headers, is_tls: bool) -> Self {
        let agent = headers.first(&header::USER_AGENT).unwrap_or_default();
        Self { is_tls, rejects_none: rejects_none(&String::from_utf8_lossy(agent)) }
    }
}

/// Whether a browser rejects `SameSite=None`, as ingress-nginx tells them.
///
/// <https://www.chromium.org/updates/same-site/incompatible-clients>
fn rejects_none(agent: &str) -> bool {
    let has = |text| agent.contains(text);
    has("Chrome/4")
        || has("Chrome/5")
        || has("Chrome/6")
        || has("CPU iPhone OS 12")
        || has("iPad; CPU OS 12")
        || (has("Macintosh") && has("Intel Mac OS X 10_14") && has("Safari") && !has("Chrome"))
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.is_persistent { "persistent " } else { "" };
        match &self.token {
            SessionToken::Header(name) => write!(f, " by {mode}header {name}")?,
            SessionToken::Cookie { name, set: Some(cookie) } => {
                write!(f, " by {mode}cookie {name} at {}", cookie.path)?;
                cookie.max_age.iter().try_for_each(|seconds| write!(f, ", Max-Age {seconds}"))?;
            }
            SessionToken::Cookie { name, set: None } => {
                write!(f, " by {mode}cookie {name}, which is not set here")?;
            }
        }
        self.lifetime.iter().try_for_each(|seconds| write!(f, ", ends after {seconds} s"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn affinity() -> Affinity {
        Affinity {
            token: token(Some(SessionCookie { path: "/a".into(), ..SessionCookie::default() })),
            lifetime: None,
            is_persistent: false,
            changes_on_failure: false,
            backend: Affinity::backend_of("n/s:80"),
            key: Affinity::key_of("secret"),
        }
    }

    fn token(set: Option<SessionCookie>) -> SessionToken {
        SessionToken::Cookie { name: "route".into(), set }
    }

    fn sent(cookies: &[&'static str]) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        cookies.iter().for_each(|line| {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        });
        let Sent { session, backend } = affinity().sent(&headers);
        (session.map(Into::into), backend.map(Into::into))
    }

    #[test]
    fn a_cookie_says_the_session_and_the_backend() {
        for (cookies, session, backend) in [
            (&[][..], None, None),
            (&["route=a|b"], Some("a"), Some("b")),
            (&["x=1; route=a|b ;y=2"], Some("a"), Some("b")),
            (&["x=1", "route=a"], Some("a"), None),
            (&["Route=a|b"], None, None),
            (&["xroute=a|b"], None, None),
            (&["route="], None, None),
            (&["route=|"], None, None),
            (&["route=|b"], Some("b"), None),
            (&["route=a|b|c"], Some("a"), Some("b")),
            (&["route=a; route=b"], Some("b"), None),
        ] {
            assert_eq!(sent(cookies), (session.map(Into::into), backend.map(Into::into)), "{cookies:?}");
        }
    }

    #[test]
    fn a_cookie_has_the_attributes_that_the_ingress_asks_for() {
        let plain = Client { is_tls: false, rejects_none: false };
        let tls = Client { is_tls: true, ..plain };
        let old = Client { rejects_none: true, ..plain };
        let all = SessionCookie {
            expires: Some(5),
            max_age: Some(-1),
            domain: Some("a.test".into()),
            path: "/".into(),
            is_secure: true,
            same_site: Some(SameSite::None),
            is_same_site_conditional: true,
        };
        let lax = SessionCookie { same_site: Some(SameSite::Lax), ..all.clone() };
        const ALL: &str = "; Expires=in 5; Max-Age=-1; Domain=a.test; Path=/; Secure; HttpOnly";
        for (cookie, client, want) in [
            (None, plain, "; Path=/a; HttpOnly".to_owned()),
            (None, tls, "; Path=/a; Secure; HttpOnly".to_owned()),
            (Some(&all), plain, format!("{ALL}; SameSite=None")),
            (Some(&all), old, ALL.to_owned()),
            (Some(&lax), old, format!("{ALL}; SameSite=Lax")),
        ] {
            let mut affinity = affinity();
            if let Some(cookie) = cookie {
                affinity.token = token(Some(cookie.clone()));
            }
            let header = affinity.begun("s", client, |seconds| format!("in {seconds}")).unwrap();
            let want = format!("route=s|{}{want}", affinity.backend);
            assert_eq!(header.to_str().unwrap(), want);
        }
        let read = Affinity { token: token(None), ..affinity() };
        assert_eq!(read.begun("s", plain, |_| String::new()), None);
    }

    #[test]
    fn old_browsers_are_told_by_their_names() {
        for (agent, want) in [
            ("", false),
            ("Mozilla/5.0 (X11; Linux x86_64) Chrome/139.0 Safari/537.36", false),
            ("Mozilla/5.0 (X11; Linux x86_64) Chrome/61.0.3163.100 Safari/537.36", true),
            ("Mozilla/5.0 (X11; Linux x86_64) Chrome/49.0.2623.112 Safari/537.36", true),
            ("Mozilla/5.0 (X11; Linux x86_64) Chrome/53.0.2785.143 Safari/537.36", true),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 12_4 like Mac OS X)", true),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) Version/12.1 Safari/605.1.15", true),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) Chrome/139.0 Safari/537.36", false),
        ] {
            assert_eq!(rejects_none(agent), want, "{agent}");
        }
    }

    #[test]
    fn a_persistent_session_depends_on_backend_address_and_key() {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let one = affinity();
        let other_key = Affinity { key: Affinity::key_of("other"), ..affinity() };
        let other_backend = Affinity { backend: Affinity::backend_of("n/other:80"), ..affinity() };
        let other_address = SocketAddr::from(([10, 0, 0, 2], 80));
        let names = [
            one.name_of(address, None),
            one.name_of(other_address, None),
            other_key.name_of(address, None),
            other_backend.name_of(address, None),
        ];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{names:?}");
        assert_eq!(one.name_of(address, None), affinity().name_of(address, None));
        assert_eq!(names[0].len(), 32);
    }

    #[test]
    fn a_session_in_a_header_says_the_same() {
        let affinity = Affinity { token: SessionToken::Header("x-session".parse().unwrap()), ..affinity() };
        let client = Client { is_tls: true, rejects_none: false };
        let begun = affinity.begun("s", client, |_| String::new()).unwrap();
        assert_eq!(begun.to_str().unwrap(), format!("s|{}", affinity.backend));
        assert_eq!(affinity.begun_in(), "x-session");
        let headers = HeaderMap::from_iter([(affinity.begun_in().clone(), begun)]);
        let sent = affinity.sent(&headers);
        assert!(sent.session == Some("s") && affinity.is_of(sent));
    }

    #[test]
    fn a_session_ends_when_its_lifetime_is_over() {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let limited = |lifetime| Affinity { lifetime: Some(lifetime), is_persistent: true, ..affinity() };
        let session = limited(60).begin(address, 1_000);
        for (lifetime, now, want) in [
            (60, 1_000, Ok(Some(1_060))),
            (60, 1_059, Ok(Some(1_060))),
            (60, 1_060, Err(Over)),
            (60, u64::MAX, Err(Over)),
            // Of a lifetime that is shorter now.
            (30, 1_010, Err(Over)),
            (30, 1_031, Ok(Some(1_060))),
        ] {
            assert_eq!(limited(lifetime).end_of(&session, now), want, "{lifetime} s at {now}");
        }
        for made_up in ["", "a", "a.", "a.xyz", "a.fffffffffffffffff", ".1"] {
            assert_eq!(limited(60).end_of(made_up, 1_000), Err(Over), "{made_up}");
        }
        assert_ne!(limited(60).name_of(address, Some(1_060)), limited(60).name_of(address, Some(1_061)));
        assert_eq!(affinity().end_of("a.1", 1_000), Ok(None), "without a lifetime");
    }
}
