//! Hosts that are closed as a whole, since one of their Ingresses protects them with an annotation that is not served.
//!
//! ingress-nginx applies some annotations to a whole server: if one Ingress of the host has such an annotation, it
//! protects all of them. Here all of them are closed, except older ones of other namespaces: a tenant who adds an
//! Ingress to a host takes nothing away from those who were there first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::HostPattern;

use super::reach::{Reach, protected_hosts};
use crate::{
    ir::{Ingress, ObjectKey},
    problem::Topic,
    status::Message,
};

/// Who closes a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure(Reach<Closer>);

/// An Ingress that closes a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closer {
    pub ingress: ObjectKey,
    /// What is not served.
    pub by: Box<str>,
}

impl Closure {
    /// Who closes an Ingress at this host, if anybody does.
    pub(crate) fn of(&self, ingress: &Ingress) -> Option<&Closer> {
        self.0.reaching(ingress)
    }
}

/// The closed hosts of the Ingresses that are ours (the oldest first). `refused` are the hosts that they may not serve:
/// what an Ingress protects stays closed for others of its namespace. `strict`: annotations on no list close, too.
pub(super) fn closures(
    ours: &[Arc<Ingress>],
    refused: &BTreeMap<ObjectKey, BTreeSet<HostPattern>>,
    strict: bool,
) -> BTreeMap<HostPattern, Arc<Closure>> {
    let may_serve = |ingress: &Ingress, host: &HostPattern| {
        refused.get(&ingress.meta.key).is_none_or(|refused| !refused.contains(host))
    };
    let mut regex: BTreeMap<HostPattern, Reach<()>> = BTreeMap::new();
    for ingress in ours.iter().filter(|ingress| ingress.annotations.rewrite.may_make_regex()) {
        for host in protected_hosts(ingress) {
            let may_serve = may_serve(ingress, &host);
            regex.entry(host).or_default().add(ingress, may_serve, || ());
        }
    }
    let mut closed: BTreeMap<HostPattern, Reach<Closer>> = BTreeMap::new();
    for ingress in ours {
        let Some(by) = ingress.annotations.unserved.closed_by(strict) else { continue };
        for host in protected_hosts(ingress) {
            // Where paths are regular expressions in ingress-nginx, it is unknown which requests they match.
            let is_regex = || regex.get(&host).is_some_and(|regex| regex.reaching(ingress).is_some());
            if ingress.annotations.unserved.whole_hosts || is_regex() {
                let may_serve = may_serve(ingress, &host);
                let closer = || Closer { ingress: ingress.meta.key.clone(), by: by.as_str().into() };
                closed.entry(host).or_default().add(ingress, may_serve, closer);
            }
        }
    }
    closed.into_iter().map(|(host, reach)| (host, Arc::new(Closure(reach)))).collect()
}

/// Messages for the Ingresses that close hosts: which others are served there all the same.
pub(super) fn messages(
    ours: &[Arc<Ingress>],
    closures: &BTreeMap<HostPattern, Arc<Closure>>,
) -> Vec<(ObjectKey, Message)> {
    let mut open: BTreeMap<HostPattern, Vec<&ObjectKey>> = BTreeMap::new();
    if closures.is_empty() {
        return Vec::new();
    }
    for ingress in ours {
        for host in ingress.served_hosts() {
            if closures.get(&host).is_some_and(|closure| closure.of(ingress).is_none()) {
                open.entry(host).or_default().push(&ingress.meta.key);
            }
        }
    }
    let told = open.iter().flat_map(|(host, open)| {
        let more = open.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let closers = closures.get(host).into_iter().flat_map(|closure| closure.0.all());
        let first = open[0];
        closers.map(move |closer| {
            let text = format!(
                "host {host}: {first}{more}, older and of another namespace, is served without {}",
                closer.by
            );
            (closer.ingress.clone(), Message::about(Topic::Closed, text))
        })
    });
    told.collect()
}
