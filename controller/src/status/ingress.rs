//! The status of an Ingress. Its API knows no conditions: what its owner should know is in the messages.

use std::collections::BTreeSet;

use portcullis_routing::PortKey;

use super::{
    IngressLoadBalancer, IngressLoadBalancerIngress, IngressStatus, Message, Report, Status, bounded,
};
use crate::{
    ir::ObjectKey,
    translate::{Address, Binding, Listeners, Loss, Owner, Reader, SharedHosts, Translated, shared_with},
};

/// What is said about an Ingress of ours; `losses` are those of its paths that an older one has.
pub fn ingress<'l>(
    key: &ObjectKey,
    translated: &Translated,
    listeners: &Listeners,
    shared: &SharedHosts,
    reader: &Reader<'_>,
    losses: impl IntoIterator<Item = &'l Loss>,
) -> Report {
    let ports: BTreeSet<PortKey> = translated.attachments.iter().map(|a| a.slot.at.port).collect();
    let unbound = ports.iter().filter_map(|bound| {
        let Binding::Failed(why) = reader.binding(*bound) else { return None };
        let port = bound.number.saturating_sub(reader.settings().port_offset);
        Some(Message::refused(format!("not served on port {port}, which cannot be bound: {why}")))
    });
    let mut messages = translated.messages.clone();
    messages.extend(listeners.ingress.messages.get(key).into_iter().flatten().cloned());
    messages.extend(unbound);
    messages.extend(shared_hosts(translated, shared, reader));
    messages.extend(losses.into_iter().map(|loss| Message::refused(loss.to_string())));
    messages.sort();
    messages.dedup();
    let ingress = reader.addresses().iter().map(|address| match address {
        Address::Ip(ip) => IngressLoadBalancerIngress::Ip(ip.to_string()),
        Address::Hostname(name) => IngressLoadBalancerIngress::Hostname(name.to_string()),
    });
    Report {
        status: Status::LoadBalancer(IngressStatus {
            load_balancer: IngressLoadBalancer { ingress: ingress.collect() },
        }),
        messages: bounded::messages(messages),
    }
}

/// So many of the hosts are named that an Ingress with a wildcard shares.
const SHARED: usize = 16;

/// Hosts that are shared with routes, whose listener has another hostname.
fn shared_hosts(translated: &Translated, shared: &SharedHosts, reader: &Reader<'_>) -> Vec<Message> {
    let mut messages = Vec::new();
    for slot in translated.attachments.iter().map(|a| &a.slot).filter(|slot| slot.at.owner == Owner::Ingress)
    {
        let (place, settings) = ((slot.at.port, slot.at.listener.clone()), reader.settings());
        let port = slot.at.port.number.saturating_sub(settings.port_offset);
        let is_tls = settings.bound_for_https() == Ok(slot.at.port);
        for (host, shared) in shared.of_ingress(&place).take(SHARED) {
            messages.extend(shared_with(host, port, &shared.gateway_id, is_tls, translated.own_tls));
        }
    }
    messages
}
