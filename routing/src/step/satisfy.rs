//! Whether a client must pass every access check of a rule, or one of them (`satisfy`).

use http::StatusCode;

use crate::Answer;

/// How the access checks of a rule are combined: source ranges, passwords, authorization services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Satisfy {
    /// The client must pass it.
    #[default]
    All,
    /// The client must pass this check or another one of the rule.
    Any,
}

/// The state of checks of which one is sufficient, as in nginx (`ngx_http_core_access_phase`).
#[derive(Debug, Default)]
pub(crate) struct AnyOf {
    /// The response if no check is passed.
    refused: Option<Box<Answer>>,
    is_satisfied: bool,
}

impl AnyOf {
    /// A check was passed: the others are skipped.
    pub(crate) fn satisfy(&mut self) {
        *self = Self { refused: None, is_satisfied: true };
    }

    /// A check was not passed. Returns the response if it is an error and not a denial, which ends the request.
    pub(crate) fn refuse(&mut self, answer: Answer) -> Result<(), Answer> {
        let Some(rank) = rank(answer.status) else { return Err(answer) };
        // The first of the most helpful responses, so that clients that can sign in are challenged.
        let before = self.refused.as_ref().and_then(|before| self::rank(before.status));
        if before.is_none_or(|before| before < rank) {
            self.refused = Some(Box::new(answer));
        }
        Ok(())
    }

    pub(crate) fn is_satisfied(&self) -> bool {
        self.is_satisfied
    }

    /// The response after the last check, if the request is rejected.
    pub(crate) fn refusal(&mut self) -> Option<Answer> {
        self.refused.take().map(|answer| *answer)
    }
}

/// How helpful a denial is; `None` if the status is not a denial. A service redirects clients to a sign-in page with 302.
fn rank(status: StatusCode) -> Option<u8> {
    match status {
        StatusCode::FORBIDDEN => Some(0),
        StatusCode::UNAUTHORIZED => Some(1),
        StatusCode::FOUND => Some(2),
        _ => None,
    }
}
