//! A family: annotations that mean one thing together and are read together, once for each Ingress.
//!
//! A new family is a file beside this one with its names, its value, its parse and its tests; a line in
//! [`read`](super::read); and `served()` at its names in the list of known annotations.

use std::collections::BTreeMap;

use super::{
    super::annotation,
    NGINX,
    known::{self, Protects},
    values,
};
use crate::{
    objects::{checks::Checks, names::quoted},
    problem::Topic,
};

/// What the annotations of a family say. The default is what holds without any of them.
pub(super) trait Family: Default {
    /// Its annotations, without their prefix.
    const NAMES: &'static [&'static str];

    /// Parses them. A value without an effect is a warning.
    ///
    /// # Errors
    /// [`Denied`] where serving the Ingress without them would let something through that they keep out, or where
    /// ingress-nginx does not apply such an Ingress.
    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied>;
}

/// An annotation that cannot be served. If it protects something, that is closed; if not, the whole Ingress is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// The annotation, without its prefix.
    pub(super) name: &'static str,
    /// As in "it protects the paths and `is not served yet`".
    pub(super) why: String,
}

impl Denied {
    /// Whether it closes what the annotation protects.
    pub(super) fn closes(&self) -> bool {
        known::find(self.name).is_none_or(|known| known.protects != Protects::Nothing)
    }
}

/// The annotations of an Ingress as they are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Written<'a> {
    /// The value of an annotation of ingress-nginx.
    pub(super) fn value(self, name: &str) -> Option<&'a str> {
        self.0.get(&full_name(name)).map(String::as_str)
    }

    /// The value of one that is `true` or `false`.
    pub(super) fn switch(self, name: &str, checks: &mut Checks) -> Option<bool> {
        self.parse(name, checks, |value| values::boolean(value).ok_or("is neither true nor false"))
    }

    /// The same of one whose value has to be valid.
    pub(super) fn required_switch(self, name: &'static str) -> Result<Option<bool>, Denied> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let why = || format!("{} is neither true nor false", quoted(value));
        values::boolean(value).map(Some).ok_or_else(|| Denied { name, why: why() })
    }

    /// The value as `parse` reads it. One that it refuses has no effect; `parse` says why, as in "`is not a number`".
    pub(super) fn parse<T, W: std::fmt::Display>(
        self,
        name: &str,
        checks: &mut Checks,
        parse: impl FnOnce(&'a str) -> Result<T, W>,
    ) -> Option<T> {
        let value = self.value(name)?;
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                self.without_effect(name, &format!("{} {why}", quoted(value)), checks);
                None
            }
        }
    }

    /// Warns that the annotation has no effect.
    pub(super) fn without_effect(self, name: &str, why: &str, checks: &mut Checks) {
        let message = format!("{why}; it has no effect");
        checks.warning_of(Topic::InvalidAnnotation, &annotation(&full_name(name)), message);
    }
}

fn full_name(name: &str) -> String {
    format!("{NGINX}{name}")
}
