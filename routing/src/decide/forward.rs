//! A request that goes to a backend: by which rule, with which steps, and what happens to the answer.

use std::{fmt, sync::Arc};

use super::held::Held;
use crate::{
    Backend, BackendProtocol, Headers, HeadersMut, Rule, Step, WeightedBackend,
    step::{HostRewrite, Mirror, UrlRewrite},
};

/// A request that goes to a backend.
#[derive(Debug)]
pub struct Forward {
    /// The rule that takes it, and the backend that was chosen.
    pub route: Route,
    /// Path and query for the backend, if they differ from the client's.
    pub target: Option<Box<str>>,
    /// What carries it.
    pub carrier: Carrier,
}

/// What carries requests to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The proxy's own, for backends that speak HTTP/1.
    Http1,
    /// pingora, for backends that speak HTTP/2 and for connections that become another protocol's.
    Pingora,
}

impl Carrier {
    /// What carries a request to such a backend.
    pub fn of(protocol: BackendProtocol, upgrade: bool) -> Self {
        match protocol {
            BackendProtocol::Http1 if !upgrade => Self::Http1,
            BackendProtocol::Http1 | BackendProtocol::Http2 => Self::Pingora,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "http1",
            Self::Pingora => "pingora",
        })
    }
}

/// The rule that takes a request, and which of its backends.
#[derive(Debug)]
pub struct Route {
    rule: Arc<Held>,
    /// The index of the backend in the rule; the number of backends if none was chosen.
    choice: usize,
}

/// What was tried before an answer came.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// Attempts that followed the first one.
    pub retries: u32,
    /// Whether another one is possible: nothing was answered, the body is still there, and time is left.
    pub repeatable: bool,
}

/// What happens to a backend's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAnswer {
    /// It goes to the client, changed by [`Route::edit_answer`].
    Pass,
    /// It is dropped for another attempt.
    Retry,
}

impl Route {
    /// A rule that takes a request, and the place of one of its backends where one was chosen.
    pub(crate) fn new(rule: &Arc<Rule>, choice: Option<usize>) -> Self {
        Self { rule: Held::new(rule), choice: choice.unwrap_or(usize::MAX) }
    }

    /// What happens to an answer with this status (HTTPRouteRetry `codes` and `attempts`).
    pub fn on_answer(&self, status: u16, attempts: Attempts) -> OnAnswer {
        match &self.rule.retry {
            Some(retry)
                if attempts.repeatable
                    && attempts.retries < retry.attempts
                    && retry.codes.contains(&status) =>
            {
                OnAnswer::Retry
            }
            _ => OnAnswer::Pass,
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The backend that was chosen, usable or not.
    pub fn choice(&self) -> Option<&WeightedBackend> {
        self.rule.backends.all().get(self.choice)
    }

    /// The backend that was chosen, where it can be used.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.choice()?.backend.as_ref().ok()
    }

    /// The steps of the rule and then those of the backend, so that the more specific one has the last word.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.rule.steps.iter().chain(self.choice().into_iter().flat_map(|choice| choice.steps.iter()))
    }

    /// Changes the headers of the request.
    pub fn edit_request(&self, headers: &mut impl HeadersMut) {
        for step in self.steps() {
            if let Step::RequestHeaders(modifier) = step {
                modifier.apply(headers);
            }
        }
    }

    /// Changes the headers of an answer; `request` is what the client sent.
    pub fn edit_answer(&self, request: &dyn Headers, answer: &mut impl HeadersMut) {
        for step in self.steps() {
            if let Step::ResponseHeaders(modifier) = step {
                modifier.apply(answer);
            }
        }
        self.allow_origins(request, answer);
    }

    /// Adds the CORS headers to an answer: a backend's, or one of our own.
    pub fn allow_origins(&self, request: &dyn Headers, answer: &mut impl HeadersMut) {
        for step in self.steps() {
            if let Step::Cors(cors) = step {
                cors.response(request, answer);
            }
        }
    }

    /// The Host that the backend sees, if it differs from the client's.
    pub fn host(&self) -> Option<&HostRewrite> {
        self.rewritten(|rewrite| rewrite.hostname.as_ref())
    }

    /// The mirrors that may get a copy of the request ([`Mirror::takes`]).
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.steps().filter_map(|step| match step {
            Step::Mirror(mirror) => Some(mirror),
            _ => None,
        })
    }

    /// A part of what is rewritten; the backend's rewrite overrides the rule's.
    pub(super) fn rewritten<'r, T>(
        &'r self,
        part: impl Fn(&'r UrlRewrite) -> Option<&'r T>,
    ) -> Option<&'r T> {
        let of = |step: &'r Step| match step {
            Step::Rewrite(rewrite) => part(rewrite),
            _ => None,
        };
        self.steps().filter_map(of).last()
    }
}
