//! The certificates that are shown for the hosts of Ingresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{ClientAuth, HostPattern};
use portcullis_tls::{Certificate, CipherPolicy};

use super::{IngressHost, IngressSide, hosts::Reads};
use crate::{
    ir::{Ingress, Kind, ObjectKey},
    translate::{CertificatePool, CertificateRefError, Fault, Reader},
};

/// How TLS is terminated on a port, by the hostname under which the port finds a listener.
pub(super) type ShownHosts = BTreeMap<HostPattern, Arc<Shown>>;

/// How TLS is terminated for a hostname. Neighbours that are equal share it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    /// The certificates that clients are shown.
    pub(super) certificates: Vec<Arc<Certificate>>,
    /// What clients are asked for.
    pub(super) client_auth: ClientAuth,
    /// The cipher suites.
    pub(super) ciphers: CipherPolicy,
}

/// Chooses the certificate of each host for which no Gateway shows one (`of_gateway`): that of the oldest Ingress with
/// TLS for the host, else the default certificate. A host with none of them is not served over TLS. `has_default` says
/// whether we terminate TLS for clients that name a host without a listener.
pub(super) fn choose(
    reader: &Reader<'_>,
    certificates: &CertificatePool,
    ingresses: &[Arc<Ingress>],
    side: &mut IngressSide,
    reads: &mut Reads,
    of_gateway: impl Fn(&HostPattern) -> bool,
    has_default: bool,
) -> ShownHosts {
    let mut shown = ShownHosts::new();
    let default = default_certificate(reader, certificates);
    let own = Own::of(reader, certificates, ingresses, side, reads);
    let mut dark = BTreeSet::new();
    let mut last: Option<Arc<Shown>> = None;
    for (host, state) in &mut side.hosts {
        let Some(hostname) = state.https.map(|found_as| found_as.hostname(host)) else { continue };
        if of_gateway(&hostname) || state.special.passthrough.is_some() {
            continue;
        }
        // Another name of a host is shown its certificate.
        let named = state.special.same_as.as_ref().unwrap_or(host);
        let chosen = own.of_host(named, own.inherited(state), default.as_ref());
        if chosen.is_empty() {
            state.https = None;
            if !own.pending.contains(host) {
                dark.insert(host.clone());
            }
        } else {
            let client_auth = state.special.client_auth.as_ref().map(|asked| asked.policy());
            let client_auth = client_auth.unwrap_or_default();
            let ciphers = state.special.ciphers.clone();
            let now = Shown { certificates: chosen, client_auth, ciphers };
            let now = last.take().filter(|last| **last == now).unwrap_or_else(|| Arc::new(now));
            last = Some(Arc::clone(&now));
            shown.insert(hostname, now);
        }
    }
    // A client that names a host without a listener is shown the default certificate.
    if let Some(default) = default.filter(|_| has_default && !of_gateway(&HostPattern::Any)) {
        let shown_default = || {
            let (client_auth, ciphers) = (ClientAuth::Unasked, CipherPolicy::default());
            Arc::new(Shown { certificates: vec![default], client_auth, ciphers })
        };
        shown.entry(HostPattern::Any).or_insert_with(shown_default);
    }
    for ingress in ingresses {
        let asks = |host: &HostPattern| match host {
            // What its default backend answers may be shown the certificate of any section.
            HostPattern::Any => !ingress.tls.is_empty(),
            host => ingress.tls.of_host(host).is_some(),
        };
        for host in ingress.served_hosts().into_iter().filter(asks).filter(|host| dark.contains(host)) {
            let text =
                format!("TLS: host {host} is served over plain HTTP only, because it has no certificate");
            tell(side, ingress, &text.into());
        }
    }
    shown
}

/// Whether a certificate is for a host. For hosts that no Ingress names, any is.
fn covers(certificate: &Certificate, host: &HostPattern) -> bool {
    *host == HostPattern::Any || certificate.names.iter().any(|name| name.covers(host))
}

/// The certificates that Ingresses name.
#[derive(Default)]
struct Own {
    hosts: BTreeMap<HostPattern, (ObjectKey, Arc<Certificate>)>,
    /// Those of Ingresses that answer for every host: of several, the one that fits the server name is shown.
    every_host: Vec<Arc<Certificate>>,
    /// The hosts whose certificate is being fetched.
    pending: BTreeSet<HostPattern>,
}

impl Own {
    /// Reads them. An Ingress whose certificate is not shown gets a message.
    fn of(
        reader: &Reader<'_>,
        certificates: &CertificatePool,
        ingresses: &[Arc<Ingress>],
        side: &mut IngressSide,
        reads: &mut Reads,
    ) -> Self {
        let mut own = Self::default();
        // What a canary says of TLS is not used.
        for ingress in ingresses.iter().filter(|ingress| ingress.annotations.canary.is_none()) {
            let read = |secret: &str| {
                certificates.read(reader, &ObjectKey::new(Kind::Secret, ingress.meta.namespace(), secret))
            };
            for fault in reads.of(reader, ingress, || own.add(ingress, read)) {
                tell(side, ingress, &fault);
            }
        }
        own
    }

    fn add(
        &mut self,
        ingress: &Ingress,
        read: impl Fn(&str) -> Result<Arc<Certificate>, CertificateRefError>,
    ) -> Vec<Fault> {
        let mut told: Vec<Fault> = Vec::new();
        let hosts = ingress.served_hosts();
        for host in &hosts {
            let section = ingress.tls.of_host(host);
            let Some(secret) = section.and_then(|section| section.secret.as_deref()) else { continue };
            match (read(secret), self.hosts.get(host)) {
                (Err(error), _) if error.is_pending() => {
                    self.pending.insert(host.clone());
                }
                (Err(error), _) => {
                    let text = format!("TLS: the certificate of host {host} cannot be used: {error}");
                    told.push(Fault::of_reference(text, error.is_missing()));
                }
                (Ok(other), _) if !covers(&other, host) => {
                    let names: Vec<_> = other.names.iter().take(5).map(ToString::to_string).collect();
                    let names = names.join(", ");
                    let text = format!(
                        "TLS: the certificate in Secret {secret} is for {names} and is not used for {host}"
                    );
                    told.push(text.into());
                }
                (Ok(own), Some((_, other))) if own.fingerprint == other.fingerprint => {}
                (Ok(_), Some((first, _))) => {
                    let text = format!(
                        "TLS: the certificate of {first} is used for host {host}; it takes precedence"
                    );
                    told.push(text.into());
                }
                (Ok(own), None) => drop(self.hosts.insert(host.clone(), (ingress.meta.key.clone(), own))),
            }
        }
        if hosts.contains(&HostPattern::Any) {
            for secret in ingress.tls.iter().filter_map(|tls| tls.secret.as_deref()) {
                match read(secret) {
                    Ok(certificate) => self.every_host.push(certificate),
                    Err(error) if error.is_pending() => {
                        self.pending.insert(HostPattern::Any);
                    }
                    Err(error) => told.push(Fault::of_reference(format!("TLS: {error}"), error.is_missing())),
                }
            }
        }
        told
    }

    /// The certificate of the wildcard host that covers a host, if it is one of the namespace.
    fn inherited(&self, state: &IngressHost) -> Option<&Arc<Certificate>> {
        let (ingress, certificate) = self.hosts.get(state.special.tls_of.as_ref()?)?;
        let first = state.ingresses.first()?;
        (ingress.namespace == first.namespace).then_some(certificate)
    }

    fn of_host(
        &self,
        host: &HostPattern,
        inherited: Option<&Arc<Certificate>>,
        default: Option<&Arc<Certificate>>,
    ) -> Vec<Arc<Certificate>> {
        let own = self.hosts.get(host).map(|(_, certificate)| certificate);
        let mut chosen: Vec<_> = own.or(inherited).or(default).cloned().into_iter().collect();
        if *host == HostPattern::Any {
            for certificate in &self.every_host {
                if chosen.iter().all(|known| known.fingerprint != certificate.fingerprint) {
                    chosen.push(Arc::clone(certificate));
                }
            }
        }
        chosen
    }
}

fn default_certificate(reader: &Reader<'_>, certificates: &CertificatePool) -> Option<Arc<Certificate>> {
    let settings = reader.settings();
    let named = settings.default_certificate.as_ref();
    let read = named.and_then(|key| certificates.read(reader, key).ok());
    read.or_else(|| settings.fallback_certificate.clone())
}

fn tell(side: &mut IngressSide, ingress: &Ingress, fault: &Fault) {
    let messages = side.messages.entry(ingress.meta.key.clone()).or_default();
    messages.push(fault.message(fault.text.as_str()));
}
