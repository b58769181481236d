//! Why something that an Ingress asks for cannot be served.

use portcullis_routing::BackendError;

use crate::status::{Cause, Message};

/// A sentence for the owner of the Ingress, and the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) text: String,
    cause: Option<Cause>,
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>, cause: Option<Cause>) -> Self {
        Self { text: text.into(), cause }
    }

    /// Of an object that an annotation or a field refers to. `is_missing`: it does not exist.
    pub(crate) fn of_reference(text: impl Into<String>, is_missing: bool) -> Self {
        Self::new(text, is_missing.then_some(Cause::Missing))
    }

    /// Names the annotation or field before the sentence.
    pub(crate) fn within(self, name: &str) -> Self {
        Self { text: format!("{name}: {}", self.text), ..self }
    }

    /// The same with the consequence after it.
    pub(crate) fn with(self, consequence: &str) -> Self {
        Self { text: format!("{}; {consequence}", self.text), ..self }
    }

    /// The message that something is not served. `text` has the sentence.
    pub(crate) fn message(&self, text: impl Into<String>) -> Message {
        Message::refused(text).caused_by(self.cause)
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::new(text, None)
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Self::new(text, None)
    }
}

impl From<&BackendError> for Fault {
    fn from(error: &BackendError) -> Self {
        Self::of_reference(error.to_string(), error.is_missing())
    }
}
