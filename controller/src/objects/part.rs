//! Parts of an object that are read by themselves: a value of a later release of the API costs the part that has it,
//! and not the whole object ([`typed::part`]).

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    typed,
};
use crate::{ir::route::InvalidRule, problem::Topic};

/// A part as it is written.
#[derive(Debug)]
pub(crate) struct Part<T>(Value, PhantomData<T>);

impl<'de, T> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(value, PhantomData))
    }
}

impl<T: DeserializeOwned> Part<T> {
    /// Reads it. A part that cannot be used is reported in a condition.
    pub(crate) fn read(&self, checks: &mut Checks, at: &Path<'_>) -> Result<T, InvalidRule> {
        self.read_unused(checks, at).inspect_err(|InvalidRule { field, message }| {
            checks.warning_of(Topic::Condition, &Path::Root.field(field), message.clone());
        })
    }

    /// The same for a part that has no effect whatever it says.
    pub(crate) fn read_unused(&self, checks: &mut Checks, at: &Path<'_>) -> Result<T, InvalidRule> {
        typed::part(&self.0, at, checks)
    }

    /// Reads those of its fields that another type has.
    pub(crate) fn read_as<U: DeserializeOwned>(&self) -> Option<U> {
        U::deserialize(&self.0).ok()
    }
}

/// Reads the entries of a list.
pub(crate) fn read_all<T: DeserializeOwned>(
    parts: &[Part<T>],
    checks: &mut Checks,
    at: &Path<'_>,
) -> Vec<Result<T, InvalidRule>> {
    parts.iter().enumerate().map(|(i, part)| part.read(checks, &at.index(i))).collect()
}

/// Says that a part of the API has no effect, where it is there.
pub(crate) fn not_served<T: DeserializeOwned>(part: Option<&Part<T>>, checks: &mut Checks, at: &Path<'_>) {
    if let Some(part) = part {
        // It has no effect whether it can be read or not.
        let _ = part.read_unused(checks, at);
        checks.warning(at, "is not served; it has no effect");
    }
}
