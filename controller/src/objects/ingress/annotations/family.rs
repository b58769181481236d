//! A family: annotations of one feature, which are parsed together, once for each Ingress.
//!
//! A new family requires a file in this folder with its names, its value, its parser and its tests; a line in
//! [`read`](super::read); and `served()` for its names in the list of known annotations.

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

/// The value of the annotations of a family. The default applies if none of them is set.
pub(super) trait Family: Default {
    /// Its annotations, without their prefix.
    const NAMES: &'static [&'static str];

    /// Parses them. An ignored value is a warning.
    ///
    /// # Errors
    /// [`Denied`] if they protect the Ingress and it must not be served without them, or if ingress-nginx does not apply
    /// such an Ingress.
    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied>;
}

/// An annotation that cannot be served. If it protects something, this is closed; if not, the whole Ingress is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// The annotation, without its prefix.
    pub(super) name: &'static str,
    /// As in "it protects the paths and `is not supported`".
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

    /// The value of a boolean annotation.
    pub(super) fn switch(self, name: &str, checks: &mut Checks) -> Option<bool> {
        self.parse(name, checks, |value| values::boolean(value).ok_or("is neither true nor false"))
    }

    /// The same, for an annotation that must have a valid value.
    pub(super) fn required_switch(self, name: &'static str) -> Result<Option<bool>, Denied> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let why = || format!("{} is neither true nor false", quoted(value));
        values::boolean(value).map(Some).ok_or_else(|| Denied { name, why: why() })
    }

    /// The value, parsed by `parse`. An invalid value has no effect; `parse` returns the reason, as in "`is not a number`".
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
