//! What each place of the table has, and with which certificates.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use foldhash::fast::RandomState;
use portcullis_routing::{HostPattern, PortKey, TlsMode};
use portcullis_tls::{CipherPolicy, ClientAuth, Termination};

use super::{
    GatewayPart, ListenerPlan, ListenerState, Listeners, Mode, PortPlan, Traffic,
    overlaps::{ByAge, ByHostname},
    tls::Shown,
};
use crate::translate::{Place, Settings};

impl Listeners {
    /// Brings one place up to date, and marks the objects that it concerns.
    pub(super) fn renew_place(&mut self, place: &Place, settings: &Settings) {
        let (port, hostname) = place;
        let frame = self.empty_port(*port, settings);
        let plan = self.plan_at(place, frame.as_ref());
        self.mark_overlaps(place, plan.as_ref());
        let shown = self.shown_at(place);
        let mut is_other = self.set_termination(place, shown);
        let of_port = self.ports.get(port);
        is_other |= of_port.zip(frame.as_ref()).is_some_and(|(before, now)| !before.is_same_port(now));
        let before = of_port.and_then(|of_port| of_port.listeners.get(hostname)).cloned();
        if is_other || before != plan {
            self.changed_places.entry(place.clone()).or_insert(before);
            self.set_plan(place, plan, frame);
        }
    }

    /// Returns what a port of the table speaks, with no listeners yet; `None` if neither listeners nor Ingresses use it.
    fn empty_port(&self, port: PortKey, settings: &Settings) -> Option<PortPlan> {
        let of_clients = settings.offset_for_clients();
        let of_ingresses = self.places.ports.get(&port);
        let unmatched = of_ingresses.and_then(|of| of.unmatched.clone());
        let (protocol, number, offset, proxy_protocol) = match (of_ingresses, self.claims.port(port)) {
            (Some(of), _) => (of.protocol, of.number, of_clients, of.proxy_protocol),
            // To a Gateway's own Service clients come at the port itself.
            (None, Some(held)) => {
                (held.protocol, held.number, if held.is_dedicated { 0 } else { of_clients }, false)
            }
            (None, None) => return None,
        };
        let listeners = BTreeMap::new();
        Some(PortPlan { protocol, number, offset, proxy_protocol, listeners, unmatched })
    }

    fn plan_at(&self, place: &Place, frame: Option<&PortPlan>) -> Option<ListenerPlan> {
        let (port, hostname) = place;
        let empty = ListenerPlan::on(frame?.protocol);
        let of_ingress = self.places.hosts.get(place).map(|place| {
            let tls = match (&empty.tls, &place.shown) {
                (TlsMode::Terminate(_), Some(shown)) => TlsMode::Terminate(shown.client_auth.clone()),
                (tls, _) => tls.clone(),
            };
            let tls = match (place.traffic, tls) {
                (Traffic::Streams, TlsMode::Terminate(_)) => TlsMode::Passthrough,
                (_, tls) => tls,
            };
            ListenerPlan {
                tls,
                traffic: place.traffic,
                ingress: Some(Arc::clone(&place.id)),
                hsts: place.hsts.clone(),
                ..empty.clone()
            }
        });
        let Some(ListenerState { point, filters, .. }) = self.holding(*port, hostname) else {
            return of_ingress;
        };
        let Mode { protocol: _, tls, traffic } = point.mode.clone()?;
        let gateway = GatewayPart { id: Arc::clone(&point.id), filters: Arc::clone(&filters.checks) };
        let gateway = Some(Box::new(gateway));
        Some(ListenerPlan { tls, traffic, gateway, ..of_ingress.unwrap_or(empty) })
    }

    /// A listener without any certificate stands there too, so that its hosts are not taken for those of another one.
    fn shown_at(&self, place: &Place) -> Option<Arc<Shown>> {
        let (port, hostname) = place;
        let of_listener = self.holding(*port, hostname).filter(|listener| listener.certificates.is_some());
        match of_listener {
            Some(listener) => {
                let mode = listener.point.mode.as_ref();
                Some(Arc::new(Shown {
                    certificates: listener.usable_certificates().cloned().collect(),
                    client_auth: mode.and_then(|mode| mode.tls.client_auth()).cloned().unwrap_or_default(),
                    ciphers: CipherPolicy::default(),
                }))
            }
            None => self.places.hosts.get(place)?.shown.clone(),
        }
    }

    /// Marks the holder of a place, and the objects that have listeners above it or beneath it, if it matters to them.
    fn mark_overlaps(&mut self, place: &Place, plan: Option<&ListenerPlan>) {
        let (port, hostname) = place;
        let is_wide = !matches!(hostname, HostPattern::Exact(_));
        let holder = self.claims.holder(*port, hostname).map(|holder| (holder.owner.clone(), holder.index));
        let ends_tls =
            |listener: &&ListenerState| listener.certificates.is_some() && listener.point.takes_requests();
        let of_tls =
            self.holding(*port, hostname).filter(ends_tls).map(|listener| Arc::clone(&listener.point.id));
        let of_tls = holder.clone().zip(of_tls).map(|(order, id)| ByAge { order, id });
        let mut concerned: Vec<_> = holder.iter().map(|(owner, _)| owner.clone()).collect();
        let is_wide_tls = is_wide && of_tls.is_some();
        if self.tls.set(place, of_tls) {
            let owner = |member: &ByAge| member.order.0.clone();
            let above = self.tls.above(place).filter_map(|above| self.tls.get(&above));
            concerned.extend(above.map(owner));
            concerned.extend(self.tls.beneath(place).map(|(_, member)| owner(member)));
            self.tls.set_wide(place, is_wide_tls);
            concerned.extend(self.tls.beneath(place).map(|(_, member)| owner(member)));
        }
        self.ingress_hosts.set_wide(place, is_wide && holder.is_some());
        let of_ingress = plan.filter(|plan| plan.gateway.is_none()).map(|_| ByHostname);
        if self.ingress_hosts.set(place, of_ingress) {
            let above = self.ingress_hosts.above(place);
            let holders = above.filter_map(|(port, hostname)| self.claims.holder(port, &hostname));
            concerned.extend(holders.map(|holder| holder.owner.clone()));
        }
        self.touched.owners.extend(concerned);
    }

    /// Returns whether TLS is terminated differently than before.
    fn set_termination(&mut self, (port, hostname): &Place, shown: Option<Arc<Shown>>) -> bool {
        let now = shown.map(|shown| self.terminations.share(&shown));
        let before = self.certificates.ports.get(port).and_then(|of_port| of_port.listeners.get(hostname));
        if before.map(Arc::as_ptr) == now.as_ref().map(Arc::as_ptr) {
            return false;
        }
        let ports = &mut Arc::make_mut(&mut self.certificates).ports;
        let of_port = Arc::make_mut(ports.entry(*port).or_default());
        match now {
            Some(now) => drop(of_port.listeners.insert(hostname.clone(), now)),
            None => drop(of_port.listeners.remove(hostname)),
        }
        if of_port.listeners.is_empty() {
            ports.remove(port);
        }
        true
    }

    fn set_plan(&mut self, (port, hostname): &Place, plan: Option<ListenerPlan>, frame: Option<PortPlan>) {
        let Some(frame) = frame else {
            self.ports.remove(port);
            return;
        };
        let of_port = self.ports.entry(*port).or_insert_with(|| frame.clone());
        (of_port.protocol, of_port.number, of_port.offset) = (frame.protocol, frame.number, frame.offset);
        (of_port.proxy_protocol, of_port.unmatched) = (frame.proxy_protocol, frame.unmatched);
        match plan {
            Some(plan) => drop(of_port.listeners.insert(hostname.clone(), plan)),
            None => drop(of_port.listeners.remove(hostname)),
        }
        if of_port.listeners.is_empty() {
            self.ports.remove(port);
        }
    }
}

/// Every [`Termination`] in use. Listeners that show the same certificates share one, such as thousands of hosts of
/// Ingresses with one certificate, so that the proxy builds its TLS configuration only once for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Terminations(HashMap<Same, Weak<Termination>, RandomState>);

/// The addresses of its certificates, and the rest of a [`Termination`].
type Same = (Box<[usize]>, ClientAuth, CipherPolicy);

impl Terminations {
    fn share(&mut self, Shown { certificates, client_auth, ciphers }: &Shown) -> Arc<Termination> {
        // The addresses of certificates are theirs as long as the termination lives, which holds them.
        let addresses = certificates.iter().map(|certificate| Arc::as_ptr(certificate).addr());
        let same = (addresses.collect(), client_auth.clone(), ciphers.clone());
        if let Some(known) = self.0.get(&same).and_then(Weak::upgrade) {
            return known;
        }
        let (certificates, client_auth, ciphers) =
            (certificates.clone(), client_auth.clone(), ciphers.clone());
        let made = Arc::new(Termination { certificates, client_auth, ciphers });
        self.0.insert(same, Arc::downgrade(&made));
        made
    }

    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, termination| termination.strong_count() > 0);
    }
}
