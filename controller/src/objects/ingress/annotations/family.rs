//! A family: annotations that mean one thing together and are read together, once for each Ingress.
//!
//! A new family is a file beside this one with its names, its value, its parse and its tests; a line in
//! [`read`](super::read); and `served()` at its names in the list of known annotations.

use std::collections::BTreeMap;

use super::{super::annotation, NGINX};
use crate::{
    objects::{checks::Checks, names::quoted},
    problem::Topic,
};

/// What the annotations of a family say. The default is what holds without any of them.
pub(super) trait Family: Default {
    /// Its annotations, without their prefix.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "compared with the list of known annotations in a test")
    )]
    const NAMES: &'static [&'static str];

    /// Parses them. A value without an effect is a warning.
    ///
    /// # Errors
    /// [`Denied`] where serving the Ingress without them would let something through that they keep out.
    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied>;
}

/// An annotation that protects something and cannot be served; what it protects is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// The annotation, without its prefix.
    pub(super) name: &'static str,
    /// As in "it protects the paths and `is not served yet`".
    pub(super) why: String,
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
        match self.value(name)? {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                let message = format!("{} is neither true nor false; it has no effect", quoted(other));
                checks.warning_of(Topic::InvalidAnnotation, &annotation(&full_name(name)), message);
                None
            }
        }
    }
}

fn full_name(name: &str) -> String {
    format!("{NGINX}{name}")
}
