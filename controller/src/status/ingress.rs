//! The status of an Ingress. Its API knows no conditions: what its owner should know is in the messages.

use std::collections::BTreeSet;

use portcullis_routing::{HostPattern, PortKey};

use super::{
    IngressLoadBalancer, IngressLoadBalancerIngress, IngressStatus, Message, Report, Status, bounded, refused,
};
use crate::{
    ir::Ingress,
    translate::{
        Address, Binding, Classes, HostMessages, IngressHost, Listeners, Reader, Settings, SharedHosts,
        closed_by_annotations, closed_by_settings, shared_with,
    },
};

/// What is said about an Ingress; nothing where it is not ours. `hosts` has what is said of each host.
pub fn ingress<'h>(
    ingress: &Ingress,
    listeners: &Listeners,
    shared: &SharedHosts,
    reader: &Reader<'_>,
    hosts: impl Fn(&HostPattern) -> Option<&'h HostMessages>,
) -> Option<Report> {
    let classes = Classes::of(reader);
    if !classes.is_ours(ingress) {
        return None;
    }
    // Without an address, nothing is written.
    let addresses = reader.addresses().iter().filter(|_| classes.is_published(ingress));
    let (key, settings) = (&ingress.meta.key, reader.settings());
    let own = ingress.served_hosts();
    let mut messages: Vec<_> = match &ingress.refused {
        Some(why) => vec![Message::refused(refused(why))],
        None => Message::warnings(&ingress.meta)
            .chain(closed_by_annotations(ingress, settings))
            .chain(closed_by_settings(ingress, settings))
            .collect(),
    };
    messages.extend(own.iter().filter_map(|host| hosts(host)?.get(key)).flatten().cloned());
    messages.extend(listeners.ingress.messages.get(key).into_iter().flatten().cloned());
    messages.extend(unbound(ingress, &own, listeners, reader));
    messages.extend(own.iter().flat_map(|host| shared_host(ingress, host, listeners, shared, settings)));
    messages.sort();
    messages.dedup();
    let ingress = addresses.map(|address| match address {
        Address::Ip(ip) => IngressLoadBalancerIngress::Ip(ip.to_string()),
        Address::Hostname(name) => IngressLoadBalancerIngress::Hostname(name.to_string()),
    });
    Some(Report {
        status: Status::LoadBalancer(IngressStatus {
            load_balancer: IngressLoadBalancer { ingress: ingress.collect() },
        }),
        messages: bounded::messages(messages),
    })
}

/// The ports that its hosts are served on and that are not bound.
fn unbound(
    ingress: &Ingress,
    own: &BTreeSet<HostPattern>,
    listeners: &Listeners,
    reader: &Reader<'_>,
) -> Vec<Message> {
    let settings = reader.settings();
    let states: Vec<_> = own.iter().filter_map(|host| served(ingress, host, listeners)).collect();
    let http = states.iter().any(|state| state.http.is_some());
    let https = states.iter().any(|state| state.https.is_some());
    let ports = [(http, settings.http_port), (https, settings.https_port)];
    let unbound = ports.into_iter().filter(|(is_served, _)| *is_served).filter_map(|(_, port)| {
        let Binding::Failed(why) = reader.binding(settings.bound(PortKey::tcp(port)).ok()?) else {
            return None;
        };
        Some(Message::refused(format!("not served on port {port}, which cannot be bound: {why}")))
    });
    unbound.collect()
}

/// Returns the state of a host that the Ingress serves. Other Ingresses may serve a host that this one may not.
fn served<'l>(ingress: &Ingress, host: &HostPattern, listeners: &'l Listeners) -> Option<&'l IngressHost> {
    let state = listeners.ingress.hosts.get(host)?;
    state.ingresses.contains(&ingress.meta.key).then_some(state)
}

/// So many of the hosts are named that an Ingress with a wildcard shares.
const SHARED: usize = 16;

/// What it shares of a host with routes whose listener has another hostname.
fn shared_host(
    ingress: &Ingress,
    host: &HostPattern,
    listeners: &Listeners,
    shared: &SharedHosts,
    settings: &Settings,
) -> Vec<Message> {
    let Some(state) = served(ingress, host, listeners) else { return Vec::new() };
    // The default backend alone has no rules there.
    if ingress.rules.of_host(host).is_empty() {
        return Vec::new();
    }
    let mut messages = Vec::new();
    for (found_as, port, is_tls) in
        [(state.http, settings.http_port, false), (state.https, settings.https_port, true)]
    {
        let (Some(found_as), Ok(bound)) = (found_as, settings.bound(PortKey::tcp(port))) else { continue };
        let place = (bound, found_as.hostname(host));
        for (host, shared) in shared.of_ingress(&place).take(SHARED) {
            messages.extend(shared_with(host, port, &shared.gateway_id, is_tls, ingress.annotations.own_tls));
        }
    }
    messages
}
