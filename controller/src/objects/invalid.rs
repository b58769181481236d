//! What is said of a part of an object that cannot be served: the rest of the object is.

use super::checks::{Checks, Path};
use crate::{ir::route::InvalidRule, problem::Topic};

/// What the API server accepts and cannot be served.
pub(crate) fn invalid(at: &Path<'_>, message: impl Into<Box<str>>) -> InvalidRule {
    InvalidRule { field: at.to_string().into(), message: message.into() }
}

/// The same, with a warning beside it: a route's condition will say it too.
pub(crate) fn not_served<T>(
    at: &Path<'_>,
    message: impl Into<Box<str>>,
    checks: &mut Checks,
) -> Result<T, InvalidRule> {
    let rule = invalid(at, message);
    checks.warning_of(Topic::Condition, at, rule.message.clone());
    Err(rule)
}

/// A value that is not known here: a later release of the API may permit it.
pub(crate) fn unknown_here<T>(
    at: &Path<'_>,
    message: impl Into<Box<str>>,
    checks: &mut Checks,
) -> Result<T, InvalidRule> {
    if checks.tolerates_unknown_values() {
        return not_served(at, message, checks);
    }
    let rule = invalid(at, message);
    checks.error(at, rule.message.clone());
    Err(rule)
}
