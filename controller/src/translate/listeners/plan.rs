//! What each port of the table has, and with which certificates.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use portcullis_routing::{HostMap, HostPattern, ListenerId, PortKey, TlsMode};
use portcullis_tls::{Certificate, Certificates, ClientAuth, PortCertificates, Termination};

use super::{
    IngressSide, ListenerPlan, Listeners, Mode, PortPlan, conflicts::PortHolders, overlaps, states::States,
    tls,
};
use crate::translate::{CertificatePool, Reader};

/// The certificates of each bound port, by the hostname under which the port finds a listener.
type Shown = BTreeMap<PortKey, tls::ShownHosts>;

pub(super) fn plan(
    reader: &Reader<'_>,
    certificates: &CertificatePool,
    mut states: States,
    mut side: IngressSide,
    holders: &PortHolders,
) -> Listeners {
    let settings = reader.settings();
    let mut ports = frame(holders);
    let mut shown = of_listeners(&states);
    let (http, https) = (settings.bound_for_http().ok(), settings.bound_for_https().ok());
    if let Some(https) = https.filter(|_| holders.of_ingress(settings.https_port, settings).is_some()) {
        let hosts = shown.entry(https).or_default();
        let is_passed_on = |plan: &PortPlan| {
            let any = plan.listeners.get(&HostPattern::Any);
            any.is_some_and(|any| any.tls == TlsMode::Passthrough)
        };
        let has_default = !ports.get(&https).is_some_and(is_passed_on);
        tls::choose(reader, certificates, &mut side, hosts, has_default);
    }
    for (host, state) in &side.hosts {
        let id = Arc::new(ListenerId::ingress(host.clone()));
        for (port, hostname) in [(http, &state.http), (https, &state.https)] {
            if let (Some(hostname), Some(plan)) = (hostname, port.and_then(|port| ports.get_mut(&port))) {
                plan.listener(hostname).ingress = Some(Arc::clone(&id));
            }
        }
    }
    // Whoever names a host that nobody has is shown the default certificate, and then a 404.
    if let Some(https) = https
        && shown.get(&https).is_some_and(|hosts| hosts.contains_key(&HostPattern::Any))
        && let Some(plan) = ports.get_mut(&https)
    {
        let any = plan.listener(&HostPattern::Any);
        if any.gateway.is_none() && any.ingress.is_none() {
            any.ingress = Some(Arc::new(ListenerId::ingress(HostPattern::Any)));
        }
    }
    ports.retain(|_, plan| !plan.listeners.is_empty());
    for listener in states.listeners_mut().filter(|l| l.point.served) {
        let Some(port) = listener.point.bound().and_then(|bound| ports.get(&bound)) else { continue };
        listener.ingress_behind =
            port.listeners.get(&listener.point.hostname).is_some_and(|plan| plan.ingress.is_some());
    }
    overlaps::between_listeners(&mut states);
    overlaps::with_ingresses(&mut states, &ports);
    let (gateways, sets) = states.finish();
    Listeners { gateways, sets, ingress: side, ports, certificates: Arc::new(compile(shown)) }
}

impl PortPlan {
    fn listener(&mut self, hostname: &HostPattern) -> &mut ListenerPlan {
        let protocol = self.protocol;
        self.listeners.entry(hostname.clone()).or_insert_with(|| ListenerPlan::on(protocol))
    }
}

fn frame(holders: &PortHolders) -> BTreeMap<PortKey, PortPlan> {
    let port = |(port, held): (&PortKey, &super::conflicts::PortHolder)| {
        let listeners = held.hosts.iter().map(|(hostname, holder)| {
            let Mode { protocol: _, tls, traffic } = holder.mode.clone();
            let plan = ListenerPlan { tls, traffic, gateway: Some(Arc::clone(&holder.id)), ingress: None };
            (hostname.clone(), plan)
        });
        let (protocol, number, offset) = (held.protocol, held.number, held.offset);
        (*port, PortPlan { protocol, number, offset, listeners: listeners.collect() })
    };
    holders.ports.iter().map(port).collect()
}

/// A listener without any certificate stands there too, so that its hosts are not taken for those of another one.
fn of_listeners(states: &States) -> Shown {
    let mut shown = Shown::new();
    for listener in states.listeners().filter(|l| l.point.served) {
        if let (Some(bound), Some(_)) = (listener.point.bound(), &listener.certificates) {
            let hosts = shown.entry(bound).or_default();
            let mode = listener.point.mode.as_ref();
            let shown = tls::Shown {
                certificates: listener.usable_certificates().cloned().collect(),
                client_auth: mode.and_then(|mode| mode.tls.client_auth()).cloned().unwrap_or_default(),
            };
            hosts.insert(listener.point.hostname.clone(), shown);
        }
    }
    shown
}

/// Compiles the certificates of all ports. Listeners that show the same certificates share one [`Termination`], such as
/// thousands of hosts of Ingresses with one certificate, so that the proxy builds its TLS configuration only once for
/// them.
fn compile(shown: Shown) -> Certificates {
    let mut known: HashMap<(Vec<*const Certificate>, ClientAuth), Arc<Termination>> = HashMap::new();
    let mut shared = |tls::Shown { certificates, client_auth }: tls::Shown| {
        let same = (certificates.iter().map(Arc::as_ptr).collect(), client_auth.clone());
        let made = || Arc::new(Termination { certificates, client_auth });
        Arc::clone(known.entry(same).or_insert_with(made))
    };
    let port = |(port, hosts): (PortKey, tls::ShownHosts)| {
        let mut listeners = HostMap::default();
        for (hostname, shown) in hosts {
            listeners.insert(hostname, shared(shown));
        }
        (port, Arc::new(PortCertificates { listeners }))
    };
    Certificates { ports: shown.into_iter().filter(|(_, hosts)| !hosts.is_empty()).map(port).collect() }
}
