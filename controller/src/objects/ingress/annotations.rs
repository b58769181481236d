//! Annotations of ingress-nginx, and ours, on an Ingress.
//!
//! ```text
//! known.rs    the closed list: what each name protects, and whether it is served
//! snippet.rs  whether a snippet does no more than set headers
//! ```
//!
//! What protects and is not served closes what it protects; `portcullis.dev/unsupported: ignore` on the object serves it
//! without. What does not protect, and names that are on no list, are warnings.

mod known;
mod snippet;

use std::collections::BTreeMap;

use super::annotation;
use crate::{
    ir::ingress::Unserved,
    objects::{checks::Checks, names::quoted},
    problem::Topic,
};
use known::{Known, Protects};

const NGINX: &str = "nginx.ingress.kubernetes.io/";
const OURS: &str = "portcullis.dev/";
/// The way out: with the value `ignore`, what is not served closes nothing.
const UNSUPPORTED: &str = "unsupported";

/// What the annotations of an Ingress say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) ssl_redirect: Option<bool>,
    pub(super) unserved: Unserved,
    pub(super) own_tls: Option<&'static str>,
    /// Whether ingress-nginx would read the paths of the host as regular expressions.
    pub(super) regex_paths: bool,
}

/// Reads the annotations of an Ingress, and warns of what has no effect.
pub(super) fn read(annotations: &BTreeMap<String, String>, checks: &mut Checks) -> Annotations {
    let mut read = Annotations::default();
    let is_ignored = is_ignored(annotations, checks);
    let (mut protections, mut unknown) = (Vec::new(), None);
    for (full_name, value) in annotations {
        let name = full_name.strip_prefix(NGINX);
        let Some(known) = name.and_then(known::find) else {
            let is_way_out = full_name.strip_prefix(OURS) == Some(UNSUPPORTED);
            if (name.is_some() || full_name.starts_with(OURS)) && !is_way_out {
                unknown.get_or_insert_with(|| full_name.as_str().into());
                let message = "is not an annotation that is known; it has no effect";
                checks.warning_of(Topic::UnknownAnnotation, &annotation(full_name), message);
            }
            continue;
        };
        read.regex_paths |= known.makes_regex(value);
        read.own_tls = read.own_tls.or(known.asks_for_own_tls(value).then_some(known.name));
        match known.protects {
            _ if known.is_served => {
                if known.name == "ssl-redirect" {
                    read.ssl_redirect = switch(full_name, value, checks);
                }
            }
            Protects::Paths | Protects::Host if !known.asks_for_nothing(value) => {
                warn_of_protection(full_name, known, is_ignored, checks);
                protections.push(known);
            }
            _ => {
                let message = match known.group {
                    known::WITHOUT_EFFECT => "has no effect, and has none in ingress-nginx 1.15 either",
                    _ => "is not served; it has no effect",
                };
                checks.warning_of(Topic::Annotation(known.name), &annotation(full_name), message);
            }
        }
    }
    if !is_ignored {
        let of_hosts = protections.iter().any(|known| known.protects == Protects::Host);
        read.unserved = Unserved {
            whole_hosts: of_hosts || read.regex_paths,
            protections: protections.into_iter().map(|known| known.name).collect(),
            unknown,
        };
    }
    read
}

fn is_ignored(annotations: &BTreeMap<String, String>, checks: &mut Checks) -> bool {
    let name = format!("{OURS}{UNSUPPORTED}");
    match annotations.get(&name).map(String::as_str) {
        None => false,
        Some("ignore") => true,
        Some(other) => {
            let message = format!("{} is not a value that is known; use ignore", quoted(other));
            checks.warning_of(Topic::InvalidAnnotation, &annotation(&name), message);
            false
        }
    }
}

fn warn_of_protection(full_name: &str, known: &'static Known, is_ignored: bool, checks: &mut Checks) {
    let (what, what_is) = match known.protects {
        Protects::Host => ("protects the whole host", "it is"),
        Protects::Paths | Protects::Nothing => ("protects the paths of this Ingress", "they are"),
    };
    let message = match is_ignored {
        false => format!("{what} and is not served yet, so that {what_is} closed"),
        true => format!("{what} and is not served yet; portcullis.dev/unsupported: ignore serves without it"),
    };
    checks.warning_of(Topic::Protection(known.name), &annotation(full_name), message);
}

fn switch(full_name: &str, value: &str, checks: &mut Checks) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        other => {
            let message = format!("{} is neither true nor false; it has no effect", quoted(other));
            checks.warning_of(Topic::InvalidAnnotation, &annotation(full_name), message);
            None
        }
    }
}

#[cfg(test)]
mod tests;
