//! What tables and certificates say of Ingresses.

use std::collections::BTreeMap;

use portcullis_routing::{BackendError, HostPattern, IngressLabels, Rule, Table, bounded_label};
use portcullis_tls::Certificates;

/// What an Ingress lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orphan {
    /// A Service does not exist.
    pub no_service: bool,
    /// A Service has no endpoints.
    pub no_endpoint: bool,
}

/// The certificate of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostCertificate {
    /// In seconds since 1970.
    pub not_after: i64,
    pub host: String,
    pub namespace: String,
    pub secret: String,
    pub identifier: String,
}

impl Orphan {
    pub(super) fn is_any(self) -> bool {
        self.no_service || self.no_endpoint
    }

    fn of(rule: &Rule) -> Self {
        let mut orphan = Self::default();
        // The first backend is the one that the path names.
        match rule.backends.all().first().map(|choice| choice.backend.as_ref().map_err(|error| &**error)) {
            Some(Ok(backend)) => orphan.no_endpoint = backend.endpoints.is_empty(),
            Some(Err(BackendError::Missing(why))) => match **why {
                BackendError::NotFound(_) => orphan.no_service = true,
                _ => orphan.no_endpoint = true,
            },
            Some(Err(_)) | None => {}
        }
        orphan
    }
}

/// What each Ingress lacks, by namespace and name; only of rules with labels.
pub fn orphans(table: &Table) -> BTreeMap<(Box<str>, Box<str>), Orphan> {
    let mut all = BTreeMap::<_, Orphan>::new();
    let listeners = table.ports.values().flat_map(|port| port.listeners.iter());
    let hosts = listeners.filter_map(|(_, listener)| listener.http_routes()).flat_map(|of| of.hosts.iter());
    for entry in hosts.flat_map(|(_, host)| host.entries()) {
        let Some(IngressLabels { namespace, ingress, .. }) = entry.rule.labels.as_deref() else { continue };
        let Orphan { no_service, no_endpoint } = Orphan::of(&entry.rule);
        let orphan = all.entry((namespace.clone(), ingress.clone())).or_default();
        orphan.no_service |= no_service;
        orphan.no_endpoint |= no_endpoint;
    }
    all
}

/// The certificates of the hosts of Ingresses that come from Secrets, the first to expire first.
pub fn certificates(table: &Table, certificates: &Certificates) -> Vec<HostCertificate> {
    let mut all = Vec::new();
    for (bound, port) in &table.ports {
        let Some(of_port) = certificates.ports.get(bound) else { continue };
        let hosts = port.listeners.iter().filter(|(_, listener)| listener.id.is_ingress());
        for (host, _) in hosts.filter(|(host, _)| **host != HostPattern::Any) {
            let shown = of_port.listeners.get(host).and_then(|termination| termination.for_host(host));
            let Some(shown) = shown else { continue };
            let Some((namespace, secret)) = shown.origin.as_ref().and_then(|origin| origin.split_once('/'))
            else {
                continue;
            };
            all.push(HostCertificate {
                not_after: shown.not_after,
                host: host.to_string(),
                namespace: namespace.to_owned(),
                secret: secret.to_owned(),
                identifier: bounded_label(&shown.identifier).into_owned(),
            });
        }
    }
    all.sort();
    all.dedup();
    all
}
