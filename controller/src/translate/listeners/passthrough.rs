//! Which hosts of Ingresses have their TLS passed through to a backend (`ssl-passthrough`).
//!
//! As in ingress-nginx, the oldest Ingress with rules for the host decides: a younger one cannot take the connections of
//! others away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::HostPattern;

use super::IngressHost;
use crate::{
    ir::{Ingress, ObjectKey},
    status::Message,
};

/// The hosts for which the oldest Ingress sets `ssl-passthrough`, each with that Ingress. `ours` are the Ingresses, the oldest first.
pub(super) fn of_hosts(ours: &[Arc<Ingress>]) -> BTreeMap<HostPattern, &ObjectKey> {
    let mut passing = BTreeMap::new();
    if ours.iter().all(|ingress| !ingress.annotations.passthrough.is_on) {
        return passing;
    }
    let mut decided = BTreeSet::new();
    for ingress in ours.iter().filter(|ingress| ingress.annotations.canary.is_none()) {
        for rule in ingress.rules.iter().filter(|rule| rule.host != HostPattern::Any) {
            if decided.insert(&rule.host) && ingress.annotations.passthrough.is_on {
                passing.insert(rule.host.clone(), &ingress.meta.key);
            }
        }
    }
    passing
}

/// Messages for the owners of Ingresses whose host has its TLS passed through as another one says, or not although they ask
/// for it. Beside a Gateway's listener of the same name there is a message already.
pub(super) fn messages(
    ours: &[Arc<Ingress>],
    hosts: &BTreeMap<HostPattern, IngressHost>,
    passing: &BTreeMap<HostPattern, &ObjectKey>,
) -> Vec<(ObjectKey, Message)> {
    let mut messages = Vec::new();
    for ingress in ours {
        let (key, asks) = (&ingress.meta.key, ingress.annotations.passthrough.is_on);
        for host in ingress.hosts() {
            let Some(state) = hosts.get(&host).filter(|state| state.https.is_some()) else { continue };
            let message = match &state.special.passthrough {
                Some(by) if by != key => Message::note(format!(
                    "host {host}: TLS is passed through by {by} (ssl-passthrough); this Ingress serves only plain HTTP"
                )),
                None if asks && passing.get(&host) != Some(&key) => {
                    let why = match host {
                        HostPattern::Any => "passthrough requires a rule with the host",
                        _ => "the oldest Ingress of the host takes precedence and does not set it",
                    };
                    Message::refused(format!(
                        "host {host}: TLS is not passed through: {why}; requests over TLS receive 403"
                    ))
                }
                _ => continue,
            };
            messages.push((key.clone(), message));
        }
    }
    messages
}
