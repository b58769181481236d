//! Keeps the host tables of all slots, and the rules of streams and datagrams.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{HostMap, HostPattern, HostTable, PortKey, Rule};

use crate::translate::{HostTableKey, ListenerKey, RuleSource};

/// The host tables, and the rules of streams and datagrams, of all slots that have one.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// The host tables at Gateways. A listener of a Gateway may have thousands of hosts, so each map has the same form
    /// as in the table, and the table shares it.
    of_gateways: BTreeMap<Arc<ListenerKey>, HostMap<Arc<HostTable>>>,
    /// The host tables of Ingresses. Each host of an Ingress is a listener of its own.
    of_ingresses: BTreeMap<HostTableKey, Arc<HostTable>>,
    /// The rules of streams and datagrams.
    streams: BTreeMap<Arc<ListenerKey>, HostMap<Arc<Rule>>>,
}

impl Slots {
    pub fn get(&self, slot: &HostTableKey) -> Option<&Arc<HostTable>> {
        match slot.at.owner {
            RuleSource::Gateway(_) => self.of_gateways.get(&slot.at)?.get(&slot.host),
            RuleSource::Ingress | RuleSource::IngressDefault | RuleSource::Services => {
                self.of_ingresses.get(slot)
            }
        }
    }

    pub fn insert(&mut self, slot: HostTableKey, table: Arc<HostTable>) {
        match slot.at.owner {
            RuleSource::Gateway(_) => {
                drop(self.of_gateways.entry(slot.at).or_default().insert(slot.host, table))
            }
            RuleSource::Ingress | RuleSource::IngressDefault | RuleSource::Services => {
                drop(self.of_ingresses.insert(slot, table))
            }
        }
    }

    pub fn remove(&mut self, slot: &HostTableKey) {
        self.of_ingresses.remove(slot);
        let Some(hosts) = self.of_gateways.get_mut(&slot.at) else { return };
        hosts.remove(&slot.host);
        if hosts.is_empty() {
            self.of_gateways.remove(&slot.at);
        }
    }

    /// Returns the rule that takes the streams or datagrams of a slot.
    pub(crate) fn stream(&self, slot: &HostTableKey) -> Option<&Arc<Rule>> {
        self.streams.get(&slot.at)?.get(&slot.host)
    }

    /// Returns the rules of streams or datagrams of one listener.
    pub(crate) fn streams(&self, at: &ListenerKey) -> HostMap<Arc<Rule>> {
        self.streams.get(at).cloned().unwrap_or_default()
    }

    pub(crate) fn insert_stream(&mut self, slot: HostTableKey, rule: Arc<Rule>) {
        self.streams.entry(slot.at).or_default().insert(slot.host, rule);
    }

    pub(crate) fn remove_stream(&mut self, slot: &HostTableKey) {
        let Some(hosts) = self.streams.get_mut(&slot.at) else { return };
        hosts.remove(&slot.host);
        if hosts.is_empty() {
            self.streams.remove(&slot.at);
        }
    }

    /// Returns the hosts without a wildcard that routes have at a port.
    pub(crate) fn exact_hosts(&self, port: PortKey) -> impl Iterator<Item = &HostPattern> {
        let of_port = self.of_gateways.iter().filter(move |(at, _)| at.port == port);
        let hosts = of_port.flat_map(|(_, hosts)| hosts.iter().map(|(host, _)| host));
        hosts.filter(|host| matches!(host, HostPattern::Exact(_)))
    }

    /// All of one listener and owner.
    pub(crate) fn hosts(&self, at: &ListenerKey) -> HostMap<Arc<HostTable>> {
        if let RuleSource::Gateway(_) = at.owner {
            return self.of_gateways.get(at).cloned().unwrap_or_default();
        }
        let mut hosts = HostMap::default();
        // `Any` is the first of all hostnames in their order.
        let first = HostTableKey::new(at.port, &at.listener, at.owner.clone(), &HostPattern::Any);
        for (slot, table) in self.of_ingresses.range(first..).take_while(|(slot, _)| *slot.at == *at) {
            hosts.insert(slot.host.clone(), Arc::clone(table));
        }
        hosts
    }
}

impl FromIterator<(HostTableKey, Arc<HostTable>)> for Slots {
    fn from_iter<I: IntoIterator<Item = (HostTableKey, Arc<HostTable>)>>(all: I) -> Self {
        let mut slots = Self::default();
        all.into_iter().for_each(|(slot, table)| slots.insert(slot, table));
        slots
    }
}
