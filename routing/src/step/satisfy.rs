//! Whether a client has to pass every access check of a rule, or one of them (`satisfy`).

use http::StatusCode;

use crate::Answer;

/// How an access check of a rule stands to the others: lists of addresses, passwords, services that are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Satisfy {
    /// The client has to pass it.
    #[default]
    All,
    /// The client has to pass this one or another one of the rule.
    Any,
}

/// How far a request has come with checks of which one is enough, as nginx does (`ngx_http_core_access_phase`).
#[derive(Debug, Default)]
pub(crate) struct AnyOf {
    /// The answer if no check is passed.
    refused: Option<Box<Answer>>,
    is_satisfied: bool,
}

impl AnyOf {
    /// A check was passed: the others are not asked.
    pub(crate) fn satisfy(&mut self) {
        *self = Self { refused: None, is_satisfied: true };
    }

    /// A check was not passed. Returns the answer if that is no refusal but an error, which ends the request.
    pub(crate) fn refuse(&mut self, answer: Answer) -> Result<(), Answer> {
        let Some(rank) = rank(answer.status) else { return Err(answer) };
        // The first of the most helpful: whoever can sign in is told so.
        let before = self.refused.as_ref().and_then(|before| self::rank(before.status));
        if before.is_none_or(|before| before < rank) {
            self.refused = Some(Box::new(answer));
        }
        Ok(())
    }

    pub(crate) fn is_satisfied(&self) -> bool {
        self.is_satisfied
    }

    /// The answer, after the last check, if the request may not go on.
    pub(crate) fn refusal(&mut self) -> Option<Answer> {
        self.refused.take().map(|answer| *answer)
    }
}

/// How helpful a refusal is; `None` if the status is none. A service sends clients to where they sign in by 302.
fn rank(status: StatusCode) -> Option<u8> {
    match status {
        StatusCode::FORBIDDEN => Some(0),
        StatusCode::UNAUTHORIZED => Some(1),
        StatusCode::FOUND => Some(2),
        _ => None,
    }
}
