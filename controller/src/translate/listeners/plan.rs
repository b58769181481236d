//! What each port of the table has, and with which certificates.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostMap, HostPattern};
use portcullis_tls::{Certificate, Certificates, PortCertificates, Termination};

use super::{IngressSide, ListenerPlan, Listeners, PortPlan, claims::Claims, gateways::States, ingress};
use crate::{
    ir::{Ingress, Kind, ObjectKey},
    snapshot::Snapshot,
    status::Message,
    translate::{CertificatePool, Settings},
};

type Shown = BTreeMap<u16, BTreeMap<HostPattern, Vec<Arc<Certificate>>>>;

pub(super) fn plan(
    snapshot: &Snapshot,
    settings: &Settings,
    certificates: &CertificatePool,
    mut gateways: States,
    mut side: IngressSide,
    claims: &Claims,
) -> Listeners {
    let mut ports = frame(claims);
    let mut shown = of_gateways(&gateways);
    of_ingresses(snapshot, settings, certificates, &mut side, claims, &mut shown);
    for host in side.hosts.values() {
        for (port, hostname) in [(settings.http_port, &host.http), (settings.https_port, &host.https)] {
            if let (Some(hostname), Some(plan)) = (hostname, ports.get_mut(&port)) {
                plan.listeners.entry(hostname.clone()).or_default().ingress = true;
            }
        }
    }
    // Whoever names a host that nobody has is shown the default certificate, and then a 404.
    if shown.get(&settings.https_port).is_some_and(|hosts| hosts.contains_key(&HostPattern::Any))
        && let Some(plan) = ports.get_mut(&settings.https_port)
    {
        let any = plan.listeners.entry(HostPattern::Any).or_default();
        any.ingress |= any.gateway.is_none();
    }
    ports.retain(|_, plan| !plan.listeners.is_empty());
    for listener in gateways.values_mut().flat_map(|state| &mut state.listeners).filter(|l| l.point.served) {
        let Some(port) = ports.get(&listener.point.port) else { continue };
        let own = &listener.point.hostname;
        listener.ingress_behind = port.listeners.get(own).is_some_and(|plan| plan.ingress);
        if !matches!(own, HostPattern::Exact(_)) {
            let covered =
                port.listeners.iter().filter(|(host, plan)| plan.gateway.is_none() && host.intersects(own));
            listener.ingress_before =
                covered.map(|(host, _)| host.clone()).filter(|host| is_within(host, own)).collect();
        }
    }
    find_overlaps(&mut gateways);
    Listeners {
        gateways: gateways.into_iter().map(|(key, state)| (key, Arc::new(state))).collect(),
        ingress: side,
        ports,
        certificates: Arc::new(compile(shown)),
    }
}

/// Whether a listener of `narrow` takes hosts from one of `wide`, which it has hosts in common with.
fn is_within(narrow: &HostPattern, wide: &HostPattern) -> bool {
    narrow.specificity() > wide.specificity()
}

fn frame(claims: &Claims) -> BTreeMap<u16, PortPlan> {
    let port = |(port, claim): (&u16, &super::claims::Claim)| {
        let listeners = claim.hosts.iter().map(|(hostname, id)| {
            (hostname.clone(), ListenerPlan { gateway: Some(Arc::clone(id)), ingress: false })
        });
        (*port, PortPlan { protocol: claim.protocol, listeners: listeners.collect() })
    };
    claims.ports.iter().map(port).collect()
}

/// A listener without any certificate stands there too, so that its hosts are not taken for those of another one.
fn of_gateways(gateways: &States) -> Shown {
    let mut shown = Shown::new();
    for listener in gateways.values().flat_map(|state| &state.listeners).filter(|l| l.point.served) {
        if listener.certificates.is_some() {
            let hosts = shown.entry(listener.point.port).or_default();
            hosts.insert(listener.point.hostname.clone(), listener.usable_certificates().cloned().collect());
        }
    }
    shown
}

/// Chooses the certificate of each host: the Gateway's, that of the oldest Ingress with TLS for it, the default one.
/// A host with none of them is not served over TLS.
fn of_ingresses(
    snapshot: &Snapshot,
    settings: &Settings,
    certificates: &CertificatePool,
    side: &mut IngressSide,
    claims: &Claims,
    shown: &mut Shown,
) {
    if !claims.ports.get(&settings.https_port).is_some_and(|claim| claim.ingress) {
        return;
    }
    let default = default_certificate(snapshot, settings, certificates);
    let own = certificates_of_hosts(snapshot, certificates, side);
    let hosts = shown.entry(settings.https_port).or_default();
    let mut dark = BTreeSet::new();
    for (host, state) in &mut side.hosts {
        let Some(hostname) = &state.https else { continue };
        if hosts.contains_key(hostname) {
            continue;
        }
        match own.get(host).or(default.as_ref()) {
            Some(certificate) => drop(hosts.insert(hostname.clone(), vec![Arc::clone(certificate)])),
            None => {
                state.https = None;
                dark.insert(host.clone());
            }
        }
    }
    if let Some(default) = default {
        hosts.entry(HostPattern::Any).or_insert_with(|| vec![default]);
    }
    for ingress in &side.ours {
        let asked = ingress::hosts(ingress).into_iter().filter(|host| ingress::tls(ingress, host).is_some());
        let told = asked.filter(|host| dark.contains(host)).map(|host| {
            Message::refused(format!(
                "TLS: host {host} is served in plain alone, since there is no certificate for it"
            ))
        });
        let told: Vec<_> = told.collect();
        if !told.is_empty() {
            side.messages.entry(ingress.meta.key.clone()).or_default().extend(told);
        }
    }
}

fn default_certificate(
    snapshot: &Snapshot,
    settings: &Settings,
    certificates: &CertificatePool,
) -> Option<Arc<Certificate>> {
    let named = settings.default_certificate.as_ref();
    named
        .and_then(|key| certificates.read(snapshot, key).ok())
        .or_else(|| settings.fallback_certificate.clone())
}

/// The certificates that Ingresses name for their hosts; whoever does not get to show its own is told.
fn certificates_of_hosts(
    snapshot: &Snapshot,
    certificates: &CertificatePool,
    side: &mut IngressSide,
) -> BTreeMap<HostPattern, Arc<Certificate>> {
    let mut chosen: BTreeMap<HostPattern, (&Arc<Ingress>, &str, Arc<Certificate>)> = BTreeMap::new();
    for ingress in &side.ours {
        let mut hosts = ingress::hosts(ingress);
        if hosts.is_empty() {
            hosts.insert(HostPattern::Any);
        }
        let mut tell = |text: String| {
            let message = Message::refused(text);
            let messages = side.messages.entry(ingress.meta.key.clone()).or_default();
            if !messages.contains(&message) {
                messages.push(message);
            }
        };
        for host in hosts {
            let Some(Some(secret)) = ingress::tls(ingress, &host) else { continue };
            match certificates.read(snapshot, &ObjectKey::new(Kind::Secret, ingress.meta.namespace(), secret))
            {
                Err(error) => tell(format!("TLS: the certificate of host {host} cannot be shown: {error}")),
                Ok(certificate) => match chosen.get(&host) {
                    Some((_, _, other)) if other.fingerprint == certificate.fingerprint => {}
                    Some((other, ..)) => {
                        tell(format!(
                            "TLS: {} is older, and its certificate is shown for {host}",
                            other.meta.key
                        ));
                    }
                    None => drop(chosen.insert(host, (ingress, secret, certificate))),
                },
            }
        }
    }
    chosen.into_iter().map(|(host, (_, _, certificate))| (host, certificate)).collect()
}

fn compile(shown: Shown) -> Certificates {
    let port = |(port, hosts): (u16, BTreeMap<HostPattern, Vec<Arc<Certificate>>>)| {
        let mut listeners = HostMap::default();
        for (hostname, certificates) in hosts {
            listeners.insert(hostname, Arc::new(Termination { certificates }));
        }
        (port, Arc::new(PortCertificates { listeners }))
    };
    Certificates { ports: shown.into_iter().filter(|(_, hosts)| !hosts.is_empty()).map(port).collect() }
}

/// Two exact hostnames overlap only where they are the same, and then they are at odds; so only pairs with a wildcard
/// are looked at.
fn find_overlaps(gateways: &mut States) {
    let points: Vec<_> = gateways
        .values()
        .flat_map(|state| &state.listeners)
        .filter(|l| l.point.served && l.certificates.is_some())
        .map(|l| Arc::clone(&l.point))
        .collect();
    let wide: Vec<_> = points.iter().filter(|p| !matches!(p.hostname, HostPattern::Exact(_))).collect();
    let mut overlaps: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in &points {
        let candidates: Vec<_> = match one.hostname {
            HostPattern::Exact(_) => wide.clone(),
            _ => points.iter().collect(),
        };
        for other in candidates {
            if other.port == one.port && other.id != one.id && other.hostname.intersects(&one.hostname) {
                overlaps.entry(Arc::clone(&one.id)).or_default().push(Arc::clone(&other.id));
            }
        }
    }
    for listener in gateways.values_mut().flat_map(|state| &mut state.listeners) {
        listener.overlaps = overlaps.remove(&listener.point.id).unwrap_or_default();
    }
}
