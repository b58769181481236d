//! A decision that waits for a check, and what becomes of it with the outcome.

use std::sync::Arc;

use http::StatusCode;

use super::{Answer, Reply};
use crate::{
    Listener, PathMatch, Rejection, Rule, Step,
    path::Reading,
    step::{AnyOf, AuthAnswer, Check, RequestEdits, Satisfy, StepEdits, ingress_auth::AuthQuestion},
};

/// The outcome of a check.
#[derive(Debug)]
pub enum Outcome {
    /// The request goes on, and these steps are done for it before those of its rule. Only steps that change headers
    /// have an effect.
    Pass(Vec<Step>),
    /// It does not; the text says so to the client.
    Deny(Rejection, &'static str),
    /// It does not, since the client has sent too many; the answer has this status.
    Limited(StatusCode, &'static str),
    /// It does not, and the client gets this answer.
    Reply(Reply),
    /// The service of an [`IngressAuth`](crate::step::IngressAuth) gave this answer; the decision knows what it means.
    Answered(Arc<AuthAnswer>),
}

/// A decision that waits for a check. It keeps what it needs of the table that it was made from, so that a carrier can
/// wait while the table is replaced.
#[derive(Debug)]
pub struct Cursor {
    pub(super) stage: Stage,
    pub(super) random: u64,
    /// Path and query for whoever checks, if they differ from the client's.
    pub(super) target: Option<Box<str>>,
    /// What the service of an Ingress is asked.
    pub(super) question: Option<Box<AuthQuestion>>,
    pub(super) passed: Passed,
}

/// Whose check a decision waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// The listener's, at this place among its filters. No rule has been chosen yet.
    Listener { listener: Arc<Listener>, place: usize },
    /// The rule's, at this place among its steps.
    Rule { rule: Arc<Rule>, place: usize, path: PathMatch, reading: Reading, behind_gateway: bool },
}

/// What the checks of a request have brought so far.
#[derive(Debug, Default)]
pub(super) struct Passed {
    steps: Vec<Step>,
    edits: Option<Arc<StepEdits>>,
    /// Of checks of which one is enough.
    pub(super) any: AnyOf,
}

impl Outcome {
    /// What is done for a request that goes on.
    ///
    /// # Errors
    /// The answer to one that does not.
    fn steps(self) -> Result<Vec<Step>, Answer> {
        match self {
            Self::Pass(steps) => Ok(steps),
            Self::Deny(rejection, why) => Err(Answer::reject(rejection, why)),
            Self::Limited(status, why) => Err(Answer { status, ..Answer::reject(Rejection::Limited, why) }),
            Self::Reply(reply) => Err(Answer::reply(reply)),
            Self::Answered(_) => Err(Answer::reject(Rejection::CheckFailed, "nobody has asked for this")),
        }
    }
}

impl Cursor {
    /// Returns the check that the decision waits for.
    pub fn check(&self) -> Option<&Check> {
        match &self.stage {
            Stage::Listener { listener, place } => listener.filters().get(*place),
            Stage::Rule { rule, place, .. } => match rule.steps.get(*place) {
                Some(Step::Check(check)) => Some(check),
                _ => None,
            },
        }
    }

    /// Returns the largest body that the check may be sent, in bytes; `None` if it needs none.
    pub fn body(&self) -> Option<u32> {
        match self.check()? {
            Check::ExternalAuth(auth) => Some(auth.body).filter(|most| *most > 0),
            _ => None,
        }
    }

    /// Returns the rule that takes the request; `None` if none has been chosen, because a listener's filters come before
    /// that.
    pub fn rule(&self) -> Option<&Rule> {
        match &self.stage {
            Stage::Listener { .. } => None,
            Stage::Rule { rule, .. } => Some(rule),
        }
    }

    /// Returns path and query for whoever checks, in the form that the backend gets without a rewrite; `None` if they are
    /// those of the client.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// Returns what the service of an [`IngressAuth`](crate::step::IngressAuth) is asked.
    pub fn question(&self) -> Option<&AuthQuestion> {
        self.question.as_deref()
    }

    /// Returns what the checks before this one have changed of the request's headers; whoever checks gets it so. `None` if
    /// that is nothing.
    pub fn request_edits(&self) -> Option<RequestEdits<'_>> {
        self.passed.edits().map(|edits| edits.of_request())
    }
}

impl Passed {
    /// Adds the outcome of a rule's check.
    ///
    /// # Errors
    /// The answer, if the request does not go on.
    pub(super) fn after(mut self, satisfy: Satisfy, outcome: Outcome) -> Result<Self, Answer> {
        match (outcome.steps(), satisfy) {
            (Ok(steps), _) => {
                self.add(steps);
                if satisfy == Satisfy::Any {
                    self.any.satisfy();
                }
                Ok(self)
            }
            (Err(answer), _) => self.refused(satisfy, answer),
        }
    }

    /// Adds the refusal of a check.
    ///
    /// # Errors
    /// The answer, unless another check may be enough.
    pub(super) fn refused(mut self, satisfy: Satisfy, answer: Answer) -> Result<Self, Answer> {
        match satisfy {
            Satisfy::All => Err(answer),
            Satisfy::Any => self.any.refuse(answer).map(|()| self),
        }
    }

    /// Adds the outcome of a listener's filter, without a change of Host: such a filter must not lead to another listener.
    ///
    /// # Errors
    /// The answer, if the request does not go on.
    pub(super) fn after_filter(self, outcome: Outcome) -> Result<Self, Answer> {
        let keep_host = |step| match step {
            Step::RequestHeaders(modifier) => Step::RequestHeaders(modifier.without_host()),
            step => step,
        };
        self.after(
            Satisfy::All,
            match outcome {
                Outcome::Pass(steps) => Outcome::Pass(steps.into_iter().map(keep_host).collect()),
                outcome => outcome,
            },
        )
    }

    /// Adds a step that a rule itself has brought.
    pub(super) fn add(&mut self, step: impl IntoIterator<Item = Step>) {
        self.steps.extend(step);
        self.edits = StepEdits::of(&self.steps).map(Arc::new);
    }

    /// Returns the same with another step; the checks of which one is enough have had their say.
    pub(super) fn with(&self, step: Option<Step>) -> Self {
        let mut with = Self { steps: self.steps.clone(), edits: self.edits.clone(), any: AnyOf::default() };
        with.add(step);
        with
    }

    /// Returns the header changes.
    pub(super) fn edits(&self) -> Option<&Arc<StepEdits>> {
        self.edits.as_ref()
    }
}

/// Whether a check can be carried out.
///
/// # Errors
/// What the client is told if it cannot, and no request passes.
pub(super) fn usable(check: &Check) -> Result<(), &'static str> {
    match check {
        Check::ExternalAuth(auth) if auth.backend.is_err() => {
            Err("closed: the authorization service cannot be used")
        }
        Check::Limits(_) | Check::Basic(_) | Check::ExternalAuth(_) | Check::IngressAuth(_) => Ok(()),
        Check::Closed(_) => Err("closed: a filter is not supported"),
    }
}
