//! Cookies of answers, kept within a case.

use crate::wire::Header;

/// By name, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Jar(Vec<(String, String)>);

impl Jar {
    /// Keeps those that an answer sets.
    pub(super) fn keep(&mut self, headers: &[Header]) {
        for (_, value) in headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            let cookie = value.split(';').next().unwrap_or_default();
            let (name, value) = cookie.split_once('=').unwrap_or((cookie, ""));
            self.0.retain(|(known, _)| known != name);
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The header that sends them.
    pub(super) fn header(&self) -> Vec<Header> {
        let cookies: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { Vec::new() } else { vec![("Cookie".to_owned(), cookies.join("; "))] }
    }
}
