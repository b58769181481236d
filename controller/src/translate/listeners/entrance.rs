//! What namespaces may take of the shared addresses (`docs/settings.md`): how many listeners, ports and certificates,
//! and which hostnames.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_routing::{HostPattern, PortKey};

use super::{ListenerRefusal, hosts::Reads, states::Owner};
use crate::{
    ir::{Ingress, Kind, ObjectKey, gateway::GatewayListener, live_settings::SharedEntrance},
    status::Message,
    translate::{CertificateRefError, Reader, Settings, may_serve},
};

/// What the objects of a namespace have taken so far. The oldest objects are counted first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    listeners: usize,
    /// The ports of listeners, except the ports of Ingresses, which every namespace may use.
    ports: BTreeSet<PortKey>,
    secrets: BTreeSet<ObjectKey>,
}

/// What Gateways and ListenerSets have taken, for each namespace that has taken anything.
pub(super) type ByNamespace = BTreeMap<Box<str>, Taken>;

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

/// Whether there is any limit to count for.
pub(super) fn is_limited(entrance: &SharedEntrance) -> bool {
    let SharedEntrance { max_listeners, max_ports, max_certificates, .. } = entrance;
    [max_listeners, max_ports, max_certificates].into_iter().any(Option::is_some)
}

/// Refuses what Ingresses (the oldest first) may not take beside what Gateways and ListenerSets have taken.
pub(super) fn restrict(
    reader: &Reader<'_>,
    taken: &ByNamespace,
    ingresses: &[Arc<Ingress>],
    reads: &mut Reads,
) -> Restricted {
    let mut restricted = Restricted::default();
    if *reader.entrance() == SharedEntrance::default() {
        return Restricted { ingresses: ingresses.to_vec(), ..restricted };
    }
    // Only the certificates of Ingresses are counted.
    let is_counted = reader.entrance().max_certificates.is_some();
    let mut taken = if is_counted { taken.clone() } else { ByNamespace::new() };
    for ingress in ingresses {
        let of_namespace = taken.entry(ingress.meta.namespace().into()).or_default();
        reads.of(reader, ingress, || restricted.add(reader, ingress, of_namespace));
    }
    restricted
}

/// Refuses the listeners and certificates of an object beyond the limits. The objects of a namespace have to come in
/// the order of their precedence.
pub(super) fn restrict_owner(reader: &Reader<'_>, owner: &mut Owner, taken: &mut Taken) {
    if owner.is_refused() || owner.is_dedicated() {
        return;
    }
    for index in 0..owner.listeners().len() {
        let (listener, state) = (&owner.specs()[index], &owner.listeners()[index]);
        match &state.refused {
            // Whatever the hostname: the limits are checked first, as without them it might be another's tomorrow.
            None | Some(ListenerRefusal::HostnameRefused(_)) => {}
            Some(_) => continue,
        }
        if let Err(refusal) = taken.allow(reader, listener) {
            owner.listener_mut(index).refuse(refusal);
            continue;
        }
        if state.refused.is_some() {
            continue;
        }
        taken.listener(reader, listener);
        let references = listener.tls.as_ref().map(|tls| &*tls.certificates).unwrap_or_default();
        let mut over = Vec::new();
        for (number, (reference, certificate)) in
            references.iter().zip(state.certificates.iter().flatten()).enumerate()
        {
            let namespace = reference.namespace.as_deref().unwrap_or(owner.meta().namespace());
            let secret = ObjectKey::new(Kind::Secret, namespace, &reference.name);
            if certificate.is_ok()
                && let Err(limit) = taken.secret(reader, secret)
            {
                over.push((number, limit));
            }
        }
        for (number, limit) in over {
            let certificates = owner.listener_mut(index).certificates.as_mut();
            if let Some(certificate) = certificates.and_then(|certificates| certificates.get_mut(number)) {
                *certificate = Err(CertificateRefError::OverLimit(limit));
            }
        }
    }
}

fn is_of_ingresses(settings: &Settings, port: PortKey) -> bool {
    [settings.http_port, settings.https_port].map(PortKey::tcp).contains(&port)
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether one more listener is within the limits.
    fn allow(&self, reader: &Reader<'_>, listener: &GatewayListener) -> Result<(), ListenerRefusal> {
        let (entrance, port) = (reader.entrance(), listener.port_key());
        let over = |of, limit, setting| Err(ListenerRefusal::OverLimit { of, limit, setting });
        if let Some(limit) = entrance.max_listeners.filter(|limit| self.listeners >= *limit) {
            return over("listeners", limit, "max-listeners-per-namespace");
        }
        let is_new = !is_of_ingresses(reader.settings(), port) && !self.ports.contains(&port);
        if let Some(limit) = entrance.max_ports.filter(|limit| is_new && self.ports.len() >= *limit) {
            return over("ports", limit, "max-ports-per-namespace");
        }
        Ok(())
    }

    /// Counts one more listener.
    fn listener(&mut self, reader: &Reader<'_>, listener: &GatewayListener) {
        if !is_of_ingresses(reader.settings(), listener.port_key()) {
            self.ports.insert(listener.port_key());
        }
        self.listeners += 1;
    }

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
                tell(format!("TLS: the certificate in Secret {secret} cannot be used: {error}"));
                left_out.insert(Box::<str>::from(secret));
            }
        }
        if refused.is_empty() && left_out.is_empty() {
            self.ingresses.push(Arc::clone(ingress));
            return;
        }
        let mut cut = Ingress::clone(ingress);
        cut.rules.retain(|rule| !refused.contains(&rule.host));
        // Beside rules, a default backend answers for their hosts alone: no longer for any if none is left.
        let is_without_rules = cut.rules.is_empty() && !ingress.rules.is_empty();
        if refused.contains(&HostPattern::Any) || is_without_rules {
            cut.default_backend = None;
        }
        cut.tls.keep_secrets(|secret| !left_out.contains(secret));
        self.ingresses.push(Arc::new(cut));
        self.hosts.insert(key.clone(), refused);
    }
}
