//! Headers of responses to requests that no rule takes (`add-headers` of ingress-nginx's ConfigMap).

use std::fmt;

use super::{HeaderModifier, HeaderTemplates, Step, StepEdits};
use crate::template::Values;

/// Headers of responses of the proxy itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddedHeaders {
    /// The headers that have the same value in all responses.
    pub fixed: Option<HeaderModifier>,
    /// Those with values of the request.
    pub varying: Option<HeaderTemplates>,
}

impl AddedHeaders {
    /// The steps of a rule that do the same.
    pub fn into_steps(self) -> impl Iterator<Item = Step> {
        let Self { fixed, varying } = self;
        fixed.map(Step::AnswerHeaders).into_iter().chain(varying.map(Step::AnswerTemplates))
    }

    /// The header changes of the response to a request.
    pub(crate) fn filled(&self, values: &Values<'_>) -> Option<StepEdits> {
        StepEdits::filled(&self.clone().into_steps().collect::<Vec<_>>(), values)
    }
}

impl fmt::Display for AddedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = self.clone().into_steps();
        steps.try_for_each(|step| write!(f, " {step}"))
    }
}
