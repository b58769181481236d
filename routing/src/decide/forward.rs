//! A request that goes to a backend: by which rule, with which steps, and what happens to the answer.

use std::{fmt, sync::Arc};

use super::held::Held;
use crate::{
    Backend, BackendProtocol, Headers, Rule, Step, WeightedBackend,
    step::{AnswerEdits, Cors, Mirror, RequestEdits, StepEdits, UrlRewrite},
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
    /// It goes to the client, changed by [`Route::answer_edits`].
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

    /// What the steps do to the headers of the request, Host included.
    pub fn request_edits(&self) -> RequestEdits<'_> {
        let (rule, backend) = self.edits();
        RequestEdits::of(rule, backend, self.host())
    }

    /// What the steps do to the headers of a backend's answer; `request` are those that the client sent.
    pub fn answer_edits<'r>(&'r self, request: &'r dyn Headers) -> AnswerEdits<'r> {
        match self.edits() {
            (None, None) => AnswerEdits::default(),
            (rule, backend) => AnswerEdits::of(rule, backend, self.cors(), request),
        }
    }

    /// What CORS adds to an answer of our own.
    pub fn cors_edits<'r>(&'r self, request: &'r dyn Headers) -> AnswerEdits<'r> {
        AnswerEdits::of_cors(self.cors(), request)
    }

    /// What the steps of the rule and those of the backend do to headers.
    fn edits(&self) -> (Option<&StepEdits>, Option<&StepEdits>) {
        (self.rule.steps.edits(), self.choice().and_then(|choice| choice.steps.edits()))
    }

    /// Whether answers depend on the request's origin.
    pub fn has_cors(&self) -> bool {
        self.cors().next().is_some()
    }

    fn cors(&self) -> impl Iterator<Item = &Cors> {
        self.steps().filter_map(|step| match step {
            Step::Cors(cors) => Some(&**cors),
            _ => None,
        })
    }

    /// The Host that a rewrite puts in place of the client's.
    fn host(&self) -> Option<&str> {
        self.rewritten(|rewrite| rewrite.hostname.as_ref()).map(|host| &**host)
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
