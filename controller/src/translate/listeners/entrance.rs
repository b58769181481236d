//! What namespaces may take of the shared addresses (`docs/settings.md`): how many listeners, ports and certificates,
//! and which hostnames.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostPattern, PortKey};

use super::{
    Addressing, ListenerRefusal,
    states::{Owner, States},
};
use crate::{
    ir::{Ingress, Kind, ObjectKey, gateway::GatewayListener, live_settings::SharedEntrance},
    status::Message,
    translate::{CertificateRefError, Reader, Settings, Taker, may_serve},
};

/// What the objects of a namespace have taken so far. The oldest objects are counted first.
#[derive(Debug, Default)]
struct Taken {
    listeners: usize,
    /// The ports of listeners, except the ports of Ingresses, which every namespace may use.
    ports: BTreeSet<PortKey>,
    secrets: BTreeSet<ObjectKey>,
}

type ByNamespace = BTreeMap<Box<str>, Taken>;

/// Ingresses, cut down to what they may take.
#[derive(Debug, Default)]
pub(super) struct Restricted {
    /// Without the hosts and Secrets that they may not have.
    pub(super) ingresses: Vec<Arc<Ingress>>,
    /// The hosts that each may not serve.
    pub(super) hosts: BTreeMap<ObjectKey, BTreeSet<HostPattern>>,
    /// Messages for their owners.
    pub(super) messages: Vec<(ObjectKey, Message)>,
}

/// Refuses what Gateways, ListenerSets and Ingresses (the oldest first) may not take.
pub(super) fn restrict(reader: &Reader<'_>, states: &mut States, ingresses: &[Arc<Ingress>]) -> Restricted {
    let mut restricted = Restricted::default();
    if *reader.entrance() == SharedEntrance::default() {
        return Restricted { ingresses: ingresses.to_vec(), ..restricted };
    }
    let mut taken = ByNamespace::new();
    for mut owner in states.by_precedence() {
        if !matches!(owner.addressing, Addressing::Dedicated(_)) {
            let of_namespace = taken.entry(owner.meta.namespace().into()).or_default();
            restrict_owner(reader, &mut owner, of_namespace);
        }
    }
    for ingress in ingresses {
        let of_namespace = taken.entry(ingress.meta.namespace().into()).or_default();
        restricted.add(reader, ingress, of_namespace);
    }
    restricted
}

fn restrict_owner(reader: &Reader<'_>, owner: &mut Owner<'_>, taken: &mut Taken) {
    let (meta, taker) = (owner.meta, Taker { key: &owner.meta.key, since: owner.since });
    for (listener, slot) in owner.specs.iter().zip(&mut *owner.listeners) {
        if slot.refused.is_some() {
            continue;
        }
        if let Err(refusal) = may_listen(reader, taker, listener, taken) {
            slot.refuse(refusal);
            continue;
        }
        let references = listener.tls.as_ref().map(|tls| &*tls.certificates).unwrap_or_default();
        for (reference, certificate) in references.iter().zip(slot.certificates.iter_mut().flatten()) {
            let namespace = reference.namespace.as_deref().unwrap_or(meta.namespace());
            let secret = ObjectKey::new(Kind::Secret, namespace, &reference.name);
            if certificate.is_ok()
                && let Err(limit) = taken.secret(reader, secret)
            {
                *certificate = Err(CertificateRefError::OverLimit(limit));
            }
        }
    }
}

fn may_listen(
    reader: &Reader<'_>,
    taker: Taker<'_>,
    listener: &GatewayListener,
    taken: &mut Taken,
) -> Result<(), ListenerRefusal> {
    let (entrance, port) = (reader.entrance(), listener.port_key());
    if let Some(limit) = entrance.max_listeners.filter(|limit| taken.listeners >= *limit) {
        return Err(ListenerRefusal::OverLimit {
            of: "listeners",
            limit,
            setting: "max-listeners-per-namespace",
        });
    }
    if !is_of_ingresses(reader.settings(), port)
        && !taken.ports.contains(&port)
        && let Some(limit) = entrance.max_ports.filter(|limit| taken.ports.len() >= *limit)
    {
        return Err(ListenerRefusal::OverLimit { of: "ports", limit, setting: "max-ports-per-namespace" });
    }
    // A listener that is older than the owner of a hostname is allowed: the owner may attach to it.
    if listener.protocol.has_hostnames() {
        reader.may_take(taker, &listener.hostname)?;
    }
    if !is_of_ingresses(reader.settings(), port) {
        taken.ports.insert(port);
    }
    taken.listeners += 1;
    Ok(())
}

fn is_of_ingresses(settings: &Settings, port: PortKey) -> bool {
    [settings.http_port, settings.https_port].map(PortKey::tcp).contains(&port)
}

impl Taken {
    /// Counts one more Secret, or returns the limit.
    fn secret(&mut self, reader: &Reader<'_>, secret: ObjectKey) -> Result<(), usize> {
        let limit = reader.entrance().max_certificates;
        match limit.filter(|limit| self.secrets.len() >= *limit && !self.secrets.contains(&secret)) {
            Some(limit) => Err(limit),
            None => {
                self.secrets.insert(secret);
                Ok(())
            }
        }
    }
}

impl Restricted {
    fn add(&mut self, reader: &Reader<'_>, ingress: &Arc<Ingress>, taken: &mut Taken) {
        let (key, namespace) = (&ingress.meta.key, ingress.meta.namespace());
        let mut tell = |text: String| self.messages.push((key.clone(), Message::refused(text)));
        let mut refused = BTreeSet::new();
        for host in ingress.served_hosts() {
            if let Err(why) = may_serve(reader, ingress, &host) {
                tell(format!("not served: {why}"));
                refused.insert(host);
            }
        }
        let mut left_out = BTreeSet::new();
        for secret in ingress.tls.iter().filter_map(|tls| tls.secret.as_deref()) {
            if let Err(limit) = taken.secret(reader, ObjectKey::new(Kind::Secret, namespace, secret)) {
                let error = CertificateRefError::OverLimit(limit);
                tell(format!("TLS: the certificate in Secret {secret} cannot be shown: {error}"));
                left_out.insert(Box::<str>::from(secret));
            }
        }
        if refused.is_empty() && left_out.is_empty() {
            self.ingresses.push(Arc::clone(ingress));
            return;
        }
        let mut cut = Ingress::clone(ingress);
        cut.rules.retain(|rule| !refused.contains(&rule.host));
        if refused.contains(&HostPattern::Any) {
            cut.default_backend = None;
        }
        cut.tls.keep_secrets(|secret| !left_out.contains(secret));
        self.ingresses.push(Arc::new(cut));
        self.hosts.insert(key.clone(), refused);
    }
}
