//! What is to be done for what there is to become what is wished for: no I/O, one answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use super::{
    Hindrances, Wish, Wishes,
    difference::{differs, differs_in},
    live::{Live, Name},
    manifests,
};
use crate::{ir::ObjectKey, translate::PortRange};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) acts: Vec<Act>,
    /// What cannot be done.
    pub(super) hindrances: Hindrances,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Act {
    /// For whom.
    pub(super) gateway: ObjectKey,
    pub(super) target: Target,
    pub(super) deed: Deed,
    /// Whether requests get lost without it, so that others step in for a leader that is gone.
    pub(super) is_urgent: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    Apply(Value),
    /// The object of this uid.
    Delete {
        uid: String,
    },
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) kind: Made,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

/// What is made for a Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Made {
    Service,
    EndpointSlice,
}

/// The port that was chosen for a Gateway's (by its uid), as long as its Service has not been seen to say so.
pub(super) type Assigned = BTreeMap<(Box<str>, u16), u16>;

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// `assigned` is what this replica has chosen since it leads. `has_endpoints` says whether it is known who we are.
pub(super) fn plan(
    wishes: &Wishes,
    live: &Live,
    range: PortRange,
    assigned: &mut Assigned,
    has_endpoints: bool,
) -> Plan {
    let mut plan = Plan::default();
    let mut ports = Ports::of(wishes, live, range);
    let wanted = |(uid, port): &(Box<str>, u16)| {
        wishes.wishes.values().any(|wish| wish.uid == *uid && wish.ports.contains(port))
    };
    assigned.retain(|of, _| wanted(of));
    for (gateway, wish) in &wishes.wishes {
        let there = live.find(Made::Service, &(gateway.namespace.clone(), wish.service.clone()));
        // One of another owner goes with that one.
        if there.is_some_and(|there| owner(there) != Some(&*wish.uid)) {
            continue;
        }
        match ports.choose(gateway, wish, there, assigned) {
            Ok(chosen) => plan.service(gateway, wish, there, &chosen),
            Err(NoPortLeft) => {
                let why = format!("no port is left of {range} (--dedicated-ports)");
                plan.hindrances.insert(gateway.clone(), why.into());
            }
        }
        match has_endpoints {
            true if there.is_some() => plan.slices(gateway, wish, live),
            true => {}
            false => {
                let why = "it is not known which Service leads here (--service), so that it has no endpoints";
                plan.hindrances.insert(gateway.clone(), why.into());
            }
        }
    }
    for kind in [Made::Service, Made::EndpointSlice] {
        plan.remove_what_is_left(wishes, live, kind);
    }
    plan
}

impl Plan {
    fn service(
        &mut self,
        gateway: &ObjectKey,
        wish: &Wish,
        there: Option<&Value>,
        ports: &BTreeMap<u16, u16>,
    ) {
        let wanted = manifests::service(gateway, wish, ports);
        if there.is_none_or(|there| differs(there, &wanted)) {
            self.add(gateway, Made::Service, wish.service.clone(), Deed::Apply(wanted), false);
        }
    }

    fn slices(&mut self, gateway: &ObjectKey, wish: &Wish, live: &Live) {
        // A Service of ours that is not there says nothing of where we are.
        if live.own_slices().next().is_none() {
            return;
        }
        for family in FAMILIES {
            let name: Box<str> = manifests::slice_name(&wish.service, family).into();
            let there = live.find(Made::EndpointSlice, &(gateway.namespace.clone(), name.clone()));
            if there.is_some_and(|there| owner(there) != Some(&*wish.uid)) {
                continue;
            }
            match (endpoints(live, family), there) {
                // One that leads nowhere is not worth beginning.
                (Some(_), None) if wish.bound.is_empty() => {}
                (Some(endpoints), there) => {
                    let wanted = manifests::slice(gateway, wish, family, &endpoints);
                    if there.is_none_or(|there| differs(there, &wanted)) {
                        let is_urgent =
                            there.is_some_and(|there| differs_in(there, &wanted, &["endpoints", "ports"]));
                        self.add(gateway, Made::EndpointSlice, name, Deed::Apply(wanted), is_urgent);
                    }
                }
                (None, Some(there)) => self.delete(gateway, Made::EndpointSlice, name, there),
                (None, None) => {}
            }
        }
    }

    /// What was made for Gateways that do not have it by themselves any more.
    fn remove_what_is_left(&mut self, wishes: &Wishes, live: &Live, kind: Made) {
        for ((namespace, name), there) in live.made(kind) {
            if let Some(uid) = owner(there).filter(|uid| wishes.left.contains(*uid)) {
                let owner = there["metadata"]["ownerReferences"].as_array().into_iter().flatten();
                let owner = owner.filter(|owner| owner["uid"].as_str() == Some(uid));
                let gateway = owner.into_iter().find_map(|owner| owner["name"].as_str()).unwrap_or_default();
                let gateway = ObjectKey::new(crate::ir::Kind::Gateway, namespace, gateway);
                self.delete(&gateway, kind, name.clone(), there);
            }
        }
    }

    fn delete(&mut self, gateway: &ObjectKey, kind: Made, name: Box<str>, there: &Value) {
        // It is going already where it says so.
        let metadata = &there["metadata"];
        if let (Some(uid), None) = (metadata["uid"].as_str(), metadata["deletionTimestamp"].as_str()) {
            self.add(gateway, kind, name, Deed::Delete { uid: uid.to_owned() }, false);
        }
    }

    fn add(&mut self, gateway: &ObjectKey, kind: Made, name: Box<str>, deed: Deed, is_urgent: bool) {
        let target = Target { kind, namespace: gateway.namespace.clone(), name };
        self.acts.push(Act { gateway: gateway.clone(), target, deed, is_urgent });
    }
}

/// There is none for all ports of a Gateway.
struct NoPortLeft;

/// Ports of the range, and who has them.
struct Ports {
    range: PortRange,
    /// Those that are somebody's beyond doubt.
    held: BTreeMap<u16, Box<str>>,
    /// The Services that name them, whoever has them.
    named: BTreeMap<u16, BTreeSet<Name>>,
}

impl Ports {
    fn of(wishes: &Wishes, live: &Live, range: PortRange) -> Self {
        let held = wishes.wishes.values();
        let held = held.flat_map(|wish| wish.bound.values().map(|port| (*port, wish.uid.clone())));
        let mut named: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (name, service) in live.made(Made::Service) {
            for port in targets(service).into_values() {
                named.entry(port).or_default().insert(name.clone());
            }
        }
        Self { range, held: held.collect(), named }
    }

    /// For each port of a Gateway the one that it has, that its Service names, that was chosen before, or a new one.
    fn choose(
        &mut self,
        gateway: &ObjectKey,
        wish: &Wish,
        there: Option<&Value>,
        assigned: &mut Assigned,
    ) -> Result<BTreeMap<u16, u16>, NoPortLeft> {
        let named = there.map(targets).unwrap_or_default();
        let name = (gateway.namespace.clone(), wish.service.clone());
        let mut chosen = BTreeMap::new();
        for port in &wish.ports {
            let key = (wish.uid.clone(), *port);
            let taken: BTreeSet<u16> = chosen.values().copied().collect();
            // Where another Service names it too, it is ours if translation says so.
            let usable = |port: &u16| {
                let is_held = self.held.get(port);
                let is_named = self.named.get(port).is_some_and(|names| names.iter().any(|n| *n != name));
                is_held.map_or(!is_named, |uid| *uid == wish.uid)
                    && self.range.contains(*port)
                    && !taken.contains(port)
            };
            let known = [wish.bound.get(port), named.get(port), assigned.get(&key)];
            let known = known.into_iter().flatten().copied().find(usable);
            let bound = known.or_else(|| self.free(assigned)).ok_or(NoPortLeft)?;
            self.held.insert(bound, wish.uid.clone());
            assigned.insert(key, bound);
            chosen.insert(*port, bound);
        }
        Ok(chosen)
    }

    fn free(&self, assigned: &Assigned) -> Option<u16> {
        let taken: BTreeSet<_> = assigned.values().collect();
        self.range.ports().find(|port| {
            !self.held.contains_key(port) && !self.named.contains_key(port) && !taken.contains(port)
        })
    }
}

/// Where the TCP ports of a Service lead to.
fn targets(service: &Value) -> BTreeMap<u16, u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let tcp = ports.filter(|port| port.get("protocol").is_none_or(|protocol| protocol == "TCP"));
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    tcp.filter_map(|port| Some((number(&port["port"])?, number(&port["targetPort"])?))).collect()
}

/// The uid of the Gateway that an object was made for.
fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let is_gateway = |owner: &&Value| {
        let version = owner["apiVersion"].as_str().unwrap_or_default();
        owner["kind"] == "Gateway" && version.starts_with("gateway.networking.k8s.io/")
    };
    owners.iter().find(is_gateway)?["uid"].as_str()
}

/// Our endpoints of a family, each once and in an order of their own; `None` where we have none of that family.
fn endpoints<'l>(live: &'l Live, family: &str) -> Option<Vec<&'l Value>> {
    let slices: Vec<_> = live.own_slices().filter(|slice| slice["addressType"] == family).collect();
    let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let address = |endpoint: &&Value| endpoint["addresses"][0].as_str().unwrap_or_default().to_owned();
    let by_address: BTreeMap<_, _> = all.map(|endpoint| (address(&endpoint), endpoint)).collect();
    (!slices.is_empty()).then(|| by_address.into_values().collect())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Made::Service => "Service",
            Made::EndpointSlice => "EndpointSlice",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests;
