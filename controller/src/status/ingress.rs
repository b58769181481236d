//! The status of an Ingress. Its API knows no conditions: what its owner should know is in the messages.

use std::collections::BTreeSet;

use portcullis_routing::PortKey;

use super::{
    IngressLoadBalancer, IngressLoadBalancerIngress, IngressStatus, Message, Report, Status, bounded,
};
use crate::{
    ir::ObjectKey,
    translate::{Address, Binding, Listeners, Loss, Reader, Translated},
};

/// What is said about an Ingress of ours; `losses` are those of its paths that an older one has.
pub fn ingress<'l>(
    key: &ObjectKey,
    translated: &Translated,
    listeners: &Listeners,
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
