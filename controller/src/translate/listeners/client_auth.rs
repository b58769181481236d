//! What hosts of Ingresses ask of clients' certificates (`auth-tls-*`).
//!
//! ingress-nginx applies these annotations to a whole server: those of the oldest Ingress that has them. Here they reach as
//! far as what closes a host does ([`Reach`]): all Ingresses of the namespace, and younger ones of others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{ClientAuth, HostPattern, TlsMaterial, pattern::Source, step::Demand};

use super::{
    hosts::Reads,
    reach::{Reach, protected_hosts},
};
use crate::{
    ir::{Ingress, ObjectKey, ingress::AuthTls},
    status::Message,
    translate::{AuthoritiesPool, Fault, Reader},
};

/// What a host asks of its clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostClientAuth(Reach<ClientAuthOf>);

/// What an Ingress asks, and with which authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthOf {
    pub ingress: ObjectKey,
    pub asked: AuthTls,
    /// `None` if no certificate can be verified: then no request passes.
    pub authorities: Option<TlsMaterial>,
}

impl ClientAuthOf {
    /// The Ingress with the annotations, and what the subject must contain, if that is asked.
    pub(crate) fn with_subject(&self) -> Option<(&ObjectKey, &Source)> {
        Some((&self.ingress, self.asked.subject.as_ref()?))
    }
}

impl HostClientAuth {
    /// What is asked of the clients of an Ingress at this host, if anything is.
    pub(crate) fn of(&self, ingress: &Ingress) -> Option<&ClientAuthOf> {
        self.0.reaching(ingress)
    }

    /// The policy of handshakes for the host.
    pub(super) fn policy(&self) -> ClientAuth {
        let first = self.0.first().or_else(|| self.0.all().next());
        let asked = first.filter(|first| first.asked.demand != Demand::Nothing);
        match asked.and_then(|first| Some((first.authorities.clone()?, first.asked.depth))) {
            Some((authorities, depth)) => ClientAuth::Reported { authorities: [authorities].into(), depth },
            None => ClientAuth::Unasked,
        }
    }

    /// Whether certificates are verified in handshakes as is asked of an Ingress's clients: those of another namespace's
    /// authorities must not open what it protects.
    pub(crate) fn is_verified(&self, asked: &ClientAuthOf) -> bool {
        self.0.first().is_none_or(|first| first.ingress.namespace == asked.ingress.namespace)
    }
}

/// What each host asks.
pub(super) type AskedByHost = BTreeMap<HostPattern, Arc<HostClientAuth>>;

/// What each host asks. `ours` are the Ingresses, the oldest first; `refused` the hosts that they may not serve.
pub(super) fn of_hosts(
    reader: &Reader<'_>,
    pool: &AuthoritiesPool,
    ours: &[Arc<Ingress>],
    refused: &BTreeMap<ObjectKey, BTreeSet<HostPattern>>,
    reads: &mut Reads,
) -> (AskedByHost, Vec<(ObjectKey, Message)>) {
    let mut hosts: BTreeMap<HostPattern, Reach<ClientAuthOf>> = BTreeMap::new();
    let mut messages = Vec::new();
    for ingress in ours {
        let Some(asked) = &ingress.annotations.auth_tls else { continue };
        let authorities = reads.of(reader, ingress, || authorities(reader, pool, ingress, asked));
        if let Err(error) = &authorities {
            let text = format!(
                "client certificates cannot be verified, so hosts with its policy respond with 403: auth-tls-secret: {}",
                error.text
            );
            messages.push((ingress.meta.key.clone(), error.message(text)));
        }
        let authorities = authorities.ok();
        for host in protected_hosts(ingress) {
            let may_serve = refused.get(&ingress.meta.key).is_none_or(|refused| !refused.contains(&host));
            let of = || ClientAuthOf {
                ingress: ingress.meta.key.clone(),
                asked: asked.clone(),
                authorities: authorities.clone(),
            };
            hosts.entry(host).or_default().add(ingress, may_serve, of);
        }
    }
    (hosts.into_iter().map(|(host, reach)| (host, Arc::new(HostClientAuth(reach)))).collect(), messages)
}

fn authorities(
    reader: &Reader<'_>,
    pool: &AuthoritiesPool,
    ingress: &Ingress,
    asked: &AuthTls,
) -> Result<TlsMaterial, Fault> {
    let Some(secret) = &asked.secret else { return Err("it has to be namespace/name".into()) };
    if *secret.namespace != *ingress.meta.namespace() {
        return Err(format!("{secret} is in another namespace").into());
    }
    let read = pool.of_secret(reader, secret);
    read.map_err(|error| Fault::of_reference(error.to_string(), error.is_missing()))
}
