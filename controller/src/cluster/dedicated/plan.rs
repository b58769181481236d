//! Decides what has to be written so that the objects in the cluster become the desired ones: no I/O, one answer.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_routing::PortKey;
use serde_json::{Value, json};

use super::{
    DesiredService, DesiredServices, ProvisioningErrors, allocate,
    difference::{differs, differs_in},
    live::Live,
    manifests::{self, MOST_ENDPOINTS},
    record::Record,
    reports,
    target::{Name, Target, TargetKind},
    written::owner,
};
use crate::{
    ir::{Kind, ObjectKey},
    translate::PortRange,
};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) acts: Vec<Act>,
    /// What cannot be done, by Gateway.
    pub(super) errors: ProvisioningErrors,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Act {
    /// The Gateways that it is done for.
    pub(super) gateways: Vec<ObjectKey>,
    pub(super) target: Target,
    pub(super) deed: Deed,
    pub(super) turn: Turn,
}

/// Which replica writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The leader alone.
    Leader,
    /// The leader, or another replica if the leader does not: requests are lost until it is written.
    LeaderFirst,
    /// Each replica, about itself.
    Everyone,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    /// The whole object, by server-side apply.
    Apply(Value),
    /// These fields, by a merge patch; with a resourceVersion among them only if nobody wrote meanwhile.
    Merge(Value),
    Create(Value),
    /// The object of this uid.
    Delete {
        uid: String,
    },
}

/// What a replica knows about itself and its settings.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) range: PortRange,
    /// The ConfigMap of the record.
    pub(super) record: Name,
    /// The ConfigMap in which pods report what they have bound.
    pub(super) reports: Name,
    /// This replica's key there.
    pub(super) pod: String,
    pub(super) identity: Identity,
    /// Whether it is known which Service leads here.
    pub(super) has_endpoints: bool,
}

/// How objects are marked as ours.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The controller whose Gateways they are made for.
    pub(super) controller: Box<str>,
    /// In `metadata.managedFields`.
    pub(super) field_manager: String,
}

/// What changes while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now<'n> {
    /// The record as it is, or as it was before somebody deleted it.
    pub(super) recorded: Option<&'n Record>,
    /// Ports that were removed from it by hand, and when.
    pub(super) lost: &'n BTreeMap<u16, u64>,
    /// The ports of the range that this replica has bound; `None` where that is not known yet.
    pub(super) bound: Option<&'n BTreeSet<PortKey>>,
    /// In seconds since 1970.
    pub(super) time: u64,
}

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

pub(super) fn plan(desired: &DesiredServices, live: &Live, place: &Place, now: Now<'_>) -> Plan {
    let mut plan = Plan::default();
    plan.report(live, place, now);
    plan.record(desired, live, place, now);
    for (gateway, spec) in &desired.services {
        let there = live.find(TargetKind::Service, &(gateway.namespace.clone(), spec.service.clone()));
        // A Service of another owner is deleted with that owner.
        if there.is_some_and(|there| owner(there) != Some(&*spec.uid)) {
            continue;
        }
        let ports: BTreeMap<PortKey, u16> = spec
            .ports
            .iter()
            .filter_map(|port| Some((*port, now.recorded?.allocation.of(&spec.uid, *port)?)))
            .filter(|(_, ours)| place.range.contains(*ours))
            .collect();
        // While no port is recorded, an existing Service is left as it is and keeps its address.
        if !ports.is_empty() {
            plan.service(&place.identity, gateway, spec, there, &ports);
        }
        match place.has_endpoints {
            true if there.is_some() => {
                plan.slices(&place.identity, gateway, spec, live, &ports, now.recorded.is_some());
            }
            true => {}
            false => {
                let why = "the Service of this release is not known (--service), so it has no endpoints";
                plan.errors.insert(gateway.clone(), why.into());
            }
        }
    }
    for kind in [TargetKind::Service, TargetKind::EndpointSlice] {
        plan.remove_what_is_left(&place.identity, desired, live, kind);
    }
    plan
}

impl Plan {
    /// Reports what this replica has bound.
    fn report(&mut self, live: &Live, place: &Place, now: Now<'_>) {
        let Some(bound) = now.bound else { return };
        let text = reports::report(bound.iter().copied());
        let (pod, known) = (&*place.pod, live.reports());
        // A replica that has never bound a port need not report that.
        if known.text(pod).unwrap_or_default() == text {
            return;
        }
        let mut data = json!({ pod: text });
        let pods: Vec<_> = live.own_slices().flat_map(endpoints_of).filter_map(pod_of).chain([pod]).collect();
        known.of_nobody(&pods).into_iter().for_each(|gone| data[gone] = Value::Null);
        let target = place.reports.clone();
        self.config_map(target, data, live.has_reports().then_some(None), Turn::Everyone, Vec::new());
    }

    fn record(&mut self, desired: &DesiredServices, live: &Live, place: &Place, now: Now<'_>) {
        let next = allocate::next(now.recorded, now.lost, desired, live, place.range, now.time);
        for (gateway, without) in &next.without {
            let ports = crate::status::list(&without.ports);
            self.errors.insert(gateway.clone(), format!("port {ports}: {}", without.why).into());
        }
        let is_as_recorded =
            live.record().broken.is_empty() && live.record().record.as_ref() == Some(&next.record);
        // A cluster without such Gateways needs no record.
        let is_nothing = live.record().record.is_none() && next.record == Record::default();
        if is_as_recorded || is_nothing {
            return;
        }
        let waiting = desired.services.iter().filter(|(_, spec)| {
            let has =
                |port: &PortKey| now.recorded.is_some_and(|r| r.allocation.of(&spec.uid, *port).is_some());
            !spec.ports.iter().all(has)
        });
        let waiting = waiting.map(|(gateway, _)| gateway.clone()).collect();
        let version = live.record_version().map(Some);
        self.config_map(place.record.clone(), next.record.data(), version, Turn::Leader, waiting);
    }

    /// `version` is `None` if the ConfigMap does not exist, else the resourceVersion that has to be current, if any.
    fn config_map(
        &mut self,
        (namespace, name): Name,
        data: Value,
        version: Option<Option<&str>>,
        turn: Turn,
        gateways: Vec<ObjectKey>,
    ) {
        let deed = match version {
            None => Deed::Create(manifests::config_map(&namespace, &name, data)),
            Some(None) => Deed::Merge(json!({ "data": data })),
            Some(Some(version)) => {
                Deed::Merge(json!({ "metadata": { "resourceVersion": version }, "data": data }))
            }
        };
        let target = Target { kind: TargetKind::ConfigMap, namespace, name };
        self.acts.push(Act { gateways, target, deed, turn });
    }

    fn service(
        &mut self,
        identity: &Identity,
        gateway: &ObjectKey,
        spec: &DesiredService,
        there: Option<&Value>,
        ports: &BTreeMap<PortKey, u16>,
    ) {
        let mut wanted = identity.marked(manifests::service(gateway, spec, ports));
        // A Service's clusterIP is immutable: a write that changed it would fail, with everything else in it. The Gateway's
        // status says that the address is not assigned.
        let given = there.and_then(|there| there["spec"]["clusterIP"].as_str()).filter(|ip| !ip.is_empty());
        if let (Some(given), Some(fields)) = (given, wanted["spec"].as_object_mut())
            && fields.get("clusterIP").is_some_and(|asked| asked != given)
        {
            fields.remove("clusterIP");
        }
        if there.is_none_or(|there| differs(there, &wanted, &identity.field_manager)) {
            self.add(gateway, TargetKind::Service, spec.service.clone(), Deed::Apply(wanted), Turn::Leader);
        }
    }

    /// Slices of their own for each port and family: a pod that has not bound one port is in the slices of the others.
    fn slices(
        &mut self,
        identity: &Identity,
        gateway: &ObjectKey,
        spec: &DesiredService,
        live: &Live,
        ports: &BTreeMap<PortKey, u16>,
        is_recorded: bool,
    ) {
        // Without our own Service it is not known where our pods are.
        if live.own_slices().next().is_none() {
            return;
        }
        let is_its =
            |(name, slice): &(&Name, &Value)| name.0 == gateway.namespace && owner(slice) == Some(&*spec.uid);
        let its: BTreeMap<&Name, &Value> = live.made(TargetKind::EndpointSlice).filter(is_its).collect();
        let mut wanted_names = BTreeSet::new();
        let begun = self.acts.len();
        for family in FAMILIES {
            let Some(all) = endpoints(live, family) else { continue };
            for (port, ours) in ports {
                let enters = |endpoint: &&Value| {
                    enters(endpoint, PortKey { number: *ours, ..*port }, live, its.values().copied())
                };
                let endpoints: Vec<_> = all.iter().copied().filter(enters).collect();
                for (number, endpoints) in parts(&endpoints).enumerate() {
                    let name = manifests::slice_name(&spec.service, *port, family, number);
                    let name: Name = (gateway.namespace.clone(), name.into());
                    let there = live.find(TargetKind::EndpointSlice, &name);
                    if there.is_some_and(|there| owner(there) != Some(&*spec.uid)) {
                        continue;
                    }
                    wanted_names.insert(name.clone());
                    // A slice without endpoints is not created.
                    if there.is_none() && endpoints.is_empty() {
                        continue;
                    }
                    let wanted = manifests::slice(gateway, spec, (*port, *ours), family, number, endpoints);
                    let wanted = identity.marked(wanted);
                    if there.is_none_or(|there| differs(there, &wanted, &identity.field_manager)) {
                        let is_urgent =
                            there.is_some_and(|there| differs_in(there, &wanted, &["endpoints", "ports"]));
                        let turn = if is_urgent { Turn::LeaderFirst } else { Turn::Leader };
                        self.add(gateway, TargetKind::EndpointSlice, name.1, Deed::Apply(wanted), turn);
                    }
                }
            }
        }
        // Slices that are no longer desired are deleted once the desired ones are there; one that leads to a port that
        // is not this Gateway's is deleted at once.
        let is_done = self.acts.len() == begun;
        let leads_astray = |slice: &Value| {
            let mut targets = slice["ports"].as_array().into_iter().flatten().map(|port| &port["port"]);
            is_recorded && targets.any(|target| !ports.values().any(|ours| target == ours))
        };
        for (name, there) in its.into_iter().filter(|(name, _)| !wanted_names.contains(*name)) {
            if leads_astray(there) || is_done && is_recorded {
                self.delete(gateway, TargetKind::EndpointSlice, name.1.clone(), there);
            }
        }
    }

    /// Deletes what was made for Gateways that no longer have a Service of their own.
    fn remove_what_is_left(
        &mut self,
        identity: &Identity,
        desired: &DesiredServices,
        live: &Live,
        kind: TargetKind,
    ) {
        for ((namespace, name), there) in live.made(kind).filter(|(_, there)| identity.made(there)) {
            if let Some(uid) = owner(there).filter(|uid| desired.left.contains(*uid)) {
                let owner = there["metadata"]["ownerReferences"].as_array().into_iter().flatten();
                let owner = owner.filter(|owner| owner["uid"].as_str() == Some(uid));
                let gateway = owner.into_iter().find_map(|owner| owner["name"].as_str()).unwrap_or_default();
                let gateway = ObjectKey::new(Kind::Gateway, namespace, gateway);
                self.delete(&gateway, kind, name.clone(), there);
            }
        }
    }

    fn delete(&mut self, gateway: &ObjectKey, kind: TargetKind, name: Box<str>, there: &Value) {
        // With a deletionTimestamp it is being deleted already.
        let metadata = &there["metadata"];
        if let (Some(uid), None) = (metadata["uid"].as_str(), metadata["deletionTimestamp"].as_str()) {
            self.add(gateway, kind, name, Deed::Delete { uid: uid.to_owned() }, Turn::Leader);
        }
    }

    fn add(&mut self, gateway: &ObjectKey, kind: TargetKind, name: Box<str>, deed: Deed, turn: Turn) {
        let target = Target { kind, namespace: gateway.namespace.clone(), name };
        self.acts.push(Act { gateways: vec![gateway.clone()], target, deed, turn });
    }
}

/// The annotation that names the controller that made an object: another release of ours may run in the same cluster.
const CONTROLLER: &str = "portcullis.dev/gateway-controller";

impl Identity {
    fn marked(&self, mut manifest: Value) -> Value {
        manifest["metadata"]["annotations"][CONTROLLER] = (&*self.controller).into();
        manifest
    }

    /// Whether we made an object. One without the annotation is of an earlier release, which was alone in its cluster.
    fn made(&self, object: &Value) -> bool {
        let controller = object["metadata"]["annotations"][CONTROLLER].as_str();
        controller.is_none_or(|controller| *controller == *self.controller)
    }
}

/// The endpoints of each slice, the first of which is there even without any.
fn parts<'e, 'v>(endpoints: &'e [&'v Value]) -> impl Iterator<Item = &'e [&'v Value]> {
    let none = endpoints.is_empty().then_some(endpoints);
    none.into_iter().chain(endpoints.chunks(MOST_ENDPOINTS))
}

/// Whether an endpoint belongs in the slices that lead to a port of ours: its pod has bound that port. An endpoint
/// whose pod does not report (of an earlier release) stays in the slices that it is in.
fn enters<'s>(
    endpoint: &Value,
    ours: PortKey,
    live: &Live,
    mut slices: impl Iterator<Item = &'s Value>,
) -> bool {
    let Some(pod) = pod_of(endpoint) else { return true };
    live.reports().has_bound(pod, ours).unwrap_or_else(|| {
        slices.any(|slice| {
            let leads_there =
                slice["ports"].as_array().into_iter().flatten().any(|port| port["port"] == ours.number);
            leads_there && endpoints_of(slice).any(|there| there["addresses"][0] == endpoint["addresses"][0])
        })
    })
}

fn pod_of(endpoint: &Value) -> Option<&str> {
    let target = &endpoint["targetRef"];
    target["name"].as_str().filter(|_| target["kind"] == "Pod")
}

fn endpoints_of(slice: &Value) -> impl Iterator<Item = &Value> {
    slice["endpoints"].as_array().into_iter().flatten()
}

/// Our endpoints of an address family, each once, sorted by address; `None` where we have no slice of that family.
fn endpoints<'l>(live: &'l Live, family: &str) -> Option<Vec<&'l Value>> {
    let slices: Vec<_> = live.own_slices().filter(|slice| slice["addressType"] == family).collect();
    let all = slices.iter().flat_map(|slice| endpoints_of(slice));
    let address = |endpoint: &&Value| endpoint["addresses"][0].as_str().unwrap_or_default().to_owned();
    let by_address: BTreeMap<_, _> = all.map(|endpoint| (address(&endpoint), endpoint)).collect();
    (!slices.is_empty()).then(|| by_address.into_values().collect())
}

#[cfg(test)]
mod tests;
