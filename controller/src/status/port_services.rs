//! What is reported about a ConfigMap of TCP or UDP services.

use super::{Message, Report, Status, bounded};
use crate::{
    ir::ObjectKey,
    translate::{Binding, Reader, ServiceMessages},
};

/// The report on a ConfigMap of TCP or UDP services; `None` for any other ConfigMap. `unresolved` has the messages about
/// the Services of entries.
pub fn port_services(map: &ObjectKey, reader: &Reader<'_>, unresolved: &ServiceMessages) -> Option<Report> {
    let settings = reader.settings();
    settings.service_maps().find(|(known, _)| *known == map)?;
    let services = &settings.port_services;
    let mut messages = services.messages(map).to_vec();
    messages.extend(unresolved.get(map).into_iter().flatten().cloned());
    messages.extend(services.ports(map).filter_map(|port| {
        let Binding::Failed(why) = reader.binding(settings.bound(port).ok()?) else { return None };
        Some(Message::refused(format!("data.{}: the port cannot be bound: {why}", port.number)))
    }));
    Some(Report { status: Status::None, messages: bounded::messages(messages) })
}
