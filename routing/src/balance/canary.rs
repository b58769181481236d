//! A canary of an Ingress: a second backend for some of the requests (`canary-*` of ingress-nginx).
//!
//! ```text
//! a session of one of the two  -> that one
//! header                       -> the canary, the main backend, or undecided
//! cookie                       -> the same
//! weight                       -> by chance
//! ```

use std::{borrow::Cow, fmt, ops::ControlFlow, sync::Arc};

use http::HeaderName;

use super::Balance;
use crate::{Headers, Pattern, WeightedBackend, template};

/// Which requests a canary gets.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The header that decides, and how.
    pub header: Option<(HeaderName, HeaderTest)>,
    /// The cookie that decides: `always` is the canary, `never` the main backend. Upper and lower case of its name are the
    /// same.
    pub cookie: Option<Box<str>>,
    /// Of so many requests that nothing else decides about ...
    pub total: u64,
    /// ... the canary gets so many.
    pub weight: u64,
    /// The name of the canary in metrics: its namespace, its Service and the port as the Ingress has it.
    pub label: Arc<str>,
}

/// How a header decides.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// `always` is the canary, `never` the main backend.
    Word,
    /// This value is the canary.
    Value(Box<str>),
    /// A value in which this is found is the canary. `None` is an expression that does not compile: requests with the
    /// header go to the main backend.
    Pattern(Option<Pattern>),
}

impl Canary {
    /// Whether the canary gets a request. The main backend gets all of them while the canary has no endpoint, and while it
    /// has none itself: then they are rejected. `random` is uniformly random over all of `u64`.
    pub(crate) fn takes(
        &self,
        [main, canary]: [&WeightedBackend; 2],
        headers: &dyn Headers,
        random: u64,
    ) -> bool {
        let has_endpoints = |backend: &WeightedBackend| {
            backend.backend.as_ref().is_ok_and(|backend| !backend.endpoints.is_empty())
        };
        has_endpoints(main)
            && has_endpoints(canary)
            && of_session(main, canary, headers)
                .or_else(|| self.by_header(headers))
                .or_else(|| self.by_cookie(headers))
                .unwrap_or_else(|| random % self.total.max(1) < self.weight)
    }

    fn by_header(&self, headers: &dyn Headers) -> Option<bool> {
        let (name, test) = self.header.as_ref()?;
        let value = whole(headers, name)?;
        match test {
            HeaderTest::Word => by_word(&value),
            HeaderTest::Value(wanted) => (value == wanted.as_bytes()).then_some(true),
            HeaderTest::Pattern(None) => Some(false),
            HeaderTest::Pattern(Some(pattern)) => {
                pattern.is_match(&String::from_utf8_lossy(&value)).then_some(true)
            }
        }
    }

    fn by_cookie(&self, headers: &dyn Headers) -> Option<bool> {
        by_word(template::cookie(headers, self.cookie.as_deref()?)?.as_bytes())
    }
}

/// Whether the client has a session of the canary; `None` if it has one of neither.
fn of_session(main: &WeightedBackend, canary: &WeightedBackend, headers: &dyn Headers) -> Option<bool> {
    let is_of = |backend: &WeightedBackend| match &backend.balance {
        Balance::Session(affinity) => affinity.is_of(affinity.sent(headers)),
        _ => false,
    };
    match (is_of(main), is_of(canary)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    }
}

fn by_word(value: &[u8]) -> Option<bool> {
    match value {
        b"always" => Some(true),
        b"never" => Some(false),
        _ => None,
    }
}

/// The value of a header; several lines are one list.
fn whole<'r>(headers: &'r dyn Headers, name: &HeaderName) -> Option<Cow<'r, [u8]>> {
    let mut found: Option<Cow<'r, [u8]>> = None;
    headers.each(name, &mut |line| {
        match &mut found {
            None => found = Some(Cow::Borrowed(line.trim_ascii())),
            Some(before) => {
                let before = before.to_mut();
                before.extend_from_slice(b", ");
                before.extend_from_slice(line.trim_ascii());
            }
        }
        ControlFlow::Continue(())
    });
    found
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canary")?;
        if let Some((name, test)) = &self.header {
            write!(f, " header {name}")?;
            match test {
                HeaderTest::Word => {}
                HeaderTest::Value(value) => write!(f, "={value}")?,
                HeaderTest::Pattern(Some(pattern)) => write!(f, "~{}", pattern.as_str())?,
                HeaderTest::Pattern(None) => f.write_str(" (never)")?,
            }
        }
        self.cookie.iter().try_for_each(|name| write!(f, " cookie {name}"))?;
        write!(f, " {}/{}", self.weight, self.total)
    }
}

#[cfg(test)]
mod tests;
