//! Annotations of ingress-nginx, and ours, on an Ingress.
//!
//! ```text
//! known.rs     the closed list: what each name protects, and whether it is served
//! about.rs     data about each name: its tier, the differences, the alternative
//! family.rs    families: annotations that are served and parsed together
//! redirects.rs and so on: one family each
//! values.rs    values, parsed as in ingress-nginx
//! risk.rs      how risky ingress-nginx considers each name
//! snippet.rs   the directives of a snippet, and whether it only sets headers
//! ```
//!
//! An annotation that is moot has no effect and is not needed, since messages are streamed: a notice reports this.
//!
//! An annotation that protects and is not served closes what it protects; with `portcullis.dev/unsupported: ignore` the
//! object is served without it. Annotations that do not protect, and unknown names, are warnings.
//!
//! A value of an annotation that is served can be invalid in three ways, as in ingress-nginx: it closes what the annotation
//! protects, or the whole Ingress is refused ([`Denied`]), or it has no effect, with a warning.

pub(crate) mod about;
mod access;
mod affinity;
mod answers;
mod auth_tls;
mod backend;
mod balancing;
mod basic_auth;
mod body;
mod canary;
mod cors;
pub(in crate::objects) mod errors;
mod external_auth;
mod family;
mod hashing;
mod known;
mod limits;
mod logs;
mod mirror;
mod pacing;
mod redirects;
mod rewrite;
mod risk;
mod server_alias;
pub(crate) mod snippet;
mod ssl_ciphers;
mod ssl_passthrough;
pub(in crate::objects) mod upstream;
mod upstream_vhost;
pub(in crate::objects) mod values;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::{Arc, LazyLock},
};

use portcullis_routing::step::Demand;

use super::annotation;
use crate::{
    interned::Interned,
    ir::ingress::{Annotations, Unserved, UnservedProtection},
    objects::{checks::Checks, names::quoted},
    problem::Topic,
};
use family::{Denied, Family, Written};
use known::{Known, Protects};

const PASSTHROUGH: &str = "ssl-passthrough";
pub(crate) const NGINX: &str = "nginx.ingress.kubernetes.io/";
const OURS: &str = "portcullis.dev/";
/// With the value `ignore`, unsupported annotations do not close paths.
const UNSUPPORTED: &str = "unsupported";

/// The annotations of an Ingress.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) annotations: Annotations,
    /// Why the Ingress is refused as a whole: ingress-nginx would not apply it either.
    pub(super) refused: Option<Box<str>>,
}

/// Reads the annotations of an Ingress, and warns about those without effect.
pub(super) fn read(annotations: &BTreeMap<String, String>, checks: &mut Checks) -> Read {
    let is_ignored = is_ignored(annotations, checks);
    let mut families = Families { written: Written(annotations), checks, denied: Vec::new() };
    let mut read = Annotations {
        access: families.read(),
        redirects: families.read(),
        rewrite: families.read(),
        cors: families.read(),
        server_alias: families.read(),
        upstream_vhost: families.read(),
        logs: families.read(),
        auth_tls: families.read(),
        balancing: families.read(),
        hashing: families.read(),
        affinity: families.read(),
        canary: families.read(),
        external_auth: families.read(),
        body: families.read(),
        pacing: families.read(),
        upstream: families.read(),
        backend: families.read(),
        errors: families.read(),
        answers: families.read(),
        limits: families.read(),
        basic_auth: families.read(),
        passthrough: families.read(),
        mirroring: families.read(),
        ciphers: families.read(),
        ..Annotations::default()
    };
    let mut denied = families.denied;
    let asks = read.auth_tls.as_ref().is_some_and(|auth_tls| auth_tls.demand != Demand::Nothing);
    read.own_tls = asks.then_some("auth-tls-secret");
    if read.passthrough.is_on {
        read.own_tls = Some(PASSTHROUGH);
        warn_of_passthrough(annotations, families.checks);
    }
    for (known, value) in annotations.iter().filter_map(|(name, value)| Some((find(name)?, value))) {
        if is_unserved_protection(known, value) {
            denied.push(Denied { name: known.name, why: "is not supported".to_owned() });
        }
    }
    denied.sort_by_key(|denied| denied.name);
    // If an Ingress is refused, others of the host receive its requests. This must not happen if it protects its paths.
    let protects =
        annotations.iter().any(|(name, value)| find(name).is_some_and(|known| known.protects(value)));
    let (closing, refusing) = denied.into_iter().partition(|denied| protects || denied.closes());
    let unserved = close(closing, is_ignored, checks);
    let refused = refuse(refusing, checks);
    let unknown = warn_of_the_rest(annotations, checks);
    if !is_ignored {
        let whole_hosts = unserved.whole_hosts || read.rewrite.may_make_regex();
        read.unserved = Unserved { whole_hosts, unknown, ..unserved };
    }
    let known = annotations.keys().filter_map(|name| find(name));
    read.risk = known.map(|known| (risk::of(known.name), known.name)).max();
    Read { annotations: read, refused }
}

/// The annotations in use. The hashes are seeded, so that nobody can choose annotations with equal ones.
static IN_USE: LazyLock<(RandomState, Interned<Annotations>)> = LazyLock::new(Default::default);

/// Frees the memory of annotations that are no longer used.
pub(crate) fn forget_unused() {
    IN_USE.1.forget_unused();
}

/// Returns the annotations of an Ingress as one value with those of other Ingresses that are equal: many Ingresses are created
/// from the same chart.
pub(super) fn shared(written: &BTreeMap<String, String>, read: Annotations) -> Arc<Annotations> {
    let (seed, in_use) = &*IN_USE;
    let mut hasher = seed.build_hasher();
    let known = written.iter().filter(|(name, _)| name.starts_with(NGINX) || name.starts_with(OURS));
    known.for_each(|annotation| annotation.hash(&mut hasher));
    in_use.share(hasher.finish(), Arc::new(read))
}

fn find(full_name: &str) -> Option<&'static Known> {
    known::find(full_name.strip_prefix(NGINX)?)
}

fn is_unserved_protection(known: &Known, value: &str) -> bool {
    !known.is_served && !known.is_moot && known.protects(value)
}

/// Reads the families of an Ingress.
struct Families<'a, 'c> {
    written: Written<'a>,
    checks: &'c mut Checks,
    denied: Vec<Denied>,
}

impl Families<'_, '_> {
    /// Reads a family. The default is used if it is denied.
    fn read<F: Family>(&mut self) -> F {
        F::parse(self.written, self.checks).unwrap_or_else(|why| {
            self.denied.push(why);
            F::default()
        })
    }
}

/// Why an Ingress is refused as a whole, and a warning for each annotation that is the cause.
fn refuse(denied: Vec<Denied>, checks: &mut Checks) -> Option<Box<str>> {
    for Denied { name, why } in &denied {
        let message = format!("{why}; the Ingress is not served, as in ingress-nginx");
        checks.warning_of(Topic::InvalidAnnotation, &annotation(&format!("{NGINX}{name}")), message);
    }
    let Denied { name, why } = denied.into_iter().next()?;
    Some(format!("annotation {NGINX}{name}: {why}").into())
}

/// What is closed, and a warning for each annotation that closes it.
fn close(denied: Vec<Denied>, is_ignored: bool, checks: &mut Checks) -> Unserved {
    let mut unserved = Unserved::default();
    let mut protections = Vec::new();
    for Denied { name, why } in denied {
        let protects = known::find(name).map_or(Protects::Host, |known| known.protects);
        let (what, what_is) = match protects {
            Protects::Host => ("protects the whole host", "it is"),
            Protects::Paths => ("protects the paths of this Ingress", "they are"),
            Protects::Nothing => ("is on an Ingress with protected paths", "they are"),
        };
        let message = match is_ignored {
            false => format!("{what} and {why}, so {what_is} closed"),
            true => format!("{what} and {why}; portcullis.dev/unsupported: ignore serves without it"),
        };
        let full_name = format!("{NGINX}{name}");
        checks.warning_of(Topic::Protection(name), &annotation(&full_name), message);
        unserved.whole_hosts |= protects == Protects::Host;
        protections.push(UnservedProtection { name, why: why.into() });
    }
    Unserved { protections: protections.into(), ..unserved }
}

/// Warns about protections that only apply to plain HTTP, since TLS is passed through.
fn warn_of_passthrough(annotations: &BTreeMap<String, String>, checks: &mut Checks) {
    for (full_name, value) in annotations {
        let Some(known) = find(full_name).filter(|known| known.name != PASSTHROUGH) else { continue };
        if known.is_served && known.protects(value) {
            let message =
                format!("protects only plain HTTP, because {PASSTHROUGH} passes TLS through to the backend");
            checks.warning_of(Topic::Annotation(known.name), &annotation(full_name), message);
        }
    }
}

/// Warns about annotations that have no effect and do not close paths. Returns the first unknown one.
fn warn_of_the_rest(annotations: &BTreeMap<String, String>, checks: &mut Checks) -> Option<Box<str>> {
    let mut unknown = None;
    for (full_name, value) in annotations {
        let (topic, message) = match find(full_name) {
            Some(known) if known.is_served || is_unserved_protection(known, value) => continue,
            Some(known) if known.is_moot => {
                (Topic::Annotation(known.name), "has no effect and is not needed: messages are streamed")
            }
            Some(known) => match known.group {
                known::WITHOUT_EFFECT => (
                    Topic::Annotation(known.name),
                    "has no effect, and has none in ingress-nginx 1.15 either",
                ),
                _ => (Topic::Annotation(known.name), "is not served; it has no effect"),
            },
            None if full_name
                .strip_prefix(OURS)
                .map_or(full_name.starts_with(NGINX), |name| name != UNSUPPORTED) =>
            {
                unknown.get_or_insert_with(|| full_name.as_str().into());
                (Topic::UnknownAnnotation, "is not a known annotation; it has no effect")
            }
            None => continue,
        };
        checks.warning_of(topic, &annotation(full_name), message);
    }
    unknown
}

fn is_ignored(annotations: &BTreeMap<String, String>, checks: &mut Checks) -> bool {
    let name = format!("{OURS}{UNSUPPORTED}");
    match annotations.get(&name).map(String::as_str) {
        None => false,
        Some("ignore") => true,
        Some(other) => {
            let message = format!("{} is not a known value; use ignore", quoted(other));
            checks.warning_of(Topic::InvalidAnnotation, &annotation(&name), message);
            false
        }
    }
}

#[cfg(test)]
mod tests;
