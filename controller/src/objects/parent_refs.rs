//! `spec.parentRefs` of a route.

use std::sync::Arc;

use serde_json::Value;

use super::{
    checks::{Checks, Origin, Path},
    names, wire,
};
use crate::ir::route::{GroupKind, ParentKind, ParentRef};

/// The most references that a route may have.
pub(crate) const MOST: usize = 32;

/// Reads the references, with their defaults.
pub(crate) fn read(refs: Vec<wire::ParentRef>, checks: &mut Checks, at: &Path<'_>) -> Box<[Arc<ParentRef>]> {
    checks.entries(refs.len(), 0..=MOST, at);
    let refs = refs.into_iter().enumerate();
    let refs: Box<[_]> = refs.map(|(i, r)| Arc::new(one(r, checks, &at.index(i)))).collect();
    check_pairs(&refs, checks, at);
    refs
}

/// Reads one reference, if it can be read.
pub(crate) fn parse(parent: &Value) -> Option<ParentRef> {
    let parent: wire::ParentRef = serde_json::from_value(parent.clone()).ok()?;
    let mut checks = Checks::of("", Origin::ApiServer);
    let read = one(parent, &mut checks, &Path::Root);
    (!checks.refused()).then_some(read)
}

fn one(parent: wire::ParentRef, checks: &mut Checks, at: &Path<'_>) -> ParentRef {
    checks.optional_form(parent.group.as_deref(), names::GROUP, &at.field("group"));
    checks.optional_form(parent.kind.as_deref(), names::KIND, &at.field("kind"));
    checks.form(&parent.name, names::OBJECT_NAME, &at.field("name"));
    checks.optional_form(parent.namespace.as_deref(), names::LABEL, &at.field("namespace"));
    checks.optional_form(parent.section_name.as_deref(), names::SUBDOMAIN, &at.field("sectionName"));
    ParentRef {
        kind: kind(parent.group, parent.kind),
        namespace: parent.namespace.map(Into::into),
        name: parent.name.into(),
        section: parent.section_name.map(Into::into),
        port: parent.port.map(|port| checks.port(port, &at.field("port"))),
    }
}

fn kind(group: Option<String>, kind: Option<String>) -> ParentKind {
    let default = ParentKind::Gateway;
    let group = group.as_deref().unwrap_or(default.group());
    let kind = kind.as_deref().unwrap_or(default.kind());
    let served = [ParentKind::Gateway, ParentKind::ListenerSet];
    let found = served.into_iter().find(|served| served.group() == group && served.kind() == kind);
    found.unwrap_or_else(|| ParentKind::Other(Box::new(GroupKind { group: group.into(), kind: kind.into() })))
}

/// Several references to one parent must tell its listeners apart (CommonRouteSpec `parentRefs`).
///
/// The standard channel does that by `sectionName` alone, the experimental one by `sectionName` and `port`; what
/// one of them takes is taken.
fn check_pairs(refs: &[Arc<ParentRef>], checks: &mut Checks, at: &Path<'_>) {
    let clashes = |told: fn(&ParentRef) -> (Option<&str>, Option<u16>)| {
        (0..refs.len()).find_map(|i| {
            let same_parent = |other: &&Arc<ParentRef>| parent(other) == parent(&refs[i]);
            let earlier = refs[..i].iter().find(same_parent)?;
            let (a, b) = (told(earlier), told(&refs[i]));
            if (a.0.is_some(), a.1.is_some()) != (b.0.is_some(), b.1.is_some()) {
                return Some((
                    i,
                    "must name sectionName or port as the other references to the same parent do",
                ));
            }
            let twice = refs[..i].iter().filter(same_parent).any(|other| told(other) == b);
            twice.then_some((
                i,
                "must differ in sectionName or port from the other references to the same parent",
            ))
        })
    };
    let standard = clashes(|r| (r.section.as_deref(), None));
    let experimental = clashes(|r| (r.section.as_deref(), r.port));
    if let (Some(_), Some((i, message))) = (standard, experimental) {
        checks.error(&at.index(i), message);
    }
}

fn parent(parent: &ParentRef) -> (&ParentKind, Option<&str>, &str) {
    (&parent.kind, parent.namespace.as_deref(), &parent.name)
}
