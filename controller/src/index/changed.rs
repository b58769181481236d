//! What one change of one object makes stale.

use super::Index;
use crate::{
    ir::{Ingress, Kind, Object, ObjectKey, Service},
    snapshot::Change,
    translate::may_be_of_a_gateway,
};

impl Index {
    /// Notes what a change makes stale; the snapshot is still the one from before.
    pub(super) fn mark(&mut self, change: &Change) {
        match change {
            Change::Apply(object) => self.mark_object(&object.meta().key, Some(object)),
            Change::Delete(key) => self.mark_object(key, None),
        }
    }

    fn mark_object(&mut self, key: &ObjectKey, now: Option<&Object>) {
        match key.kind {
            Kind::GatewayClass => {
                self.dirty.listeners = true;
                self.stale.classes.insert(key.clone());
            }
            Kind::Gateway => {
                self.dirty.listeners = true;
                // A route says of a Gateway that is another controller's nothing, of a missing one that it is missing.
                if self.snapshot.gateways.contains_key(key) != now.is_some() {
                    self.mark_dependents(key);
                }
            }
            Kind::GatewayParameters => {
                self.dirty.listeners = true;
                self.stale.classes.extend(self.snapshot.gateway_classes.keys().cloned());
            }
            Kind::HttpRoute | Kind::GrpcRoute => drop(self.dirty.routes.insert(key.clone())),
            Kind::Ingress => {
                self.dirty.routes.insert(key.clone());
                self.dirty.listeners |= !self.keeps_its_hosts(key, now);
            }
            Kind::IngressClass => {
                self.dirty.listeners = true;
                self.mark_all_ingresses();
            }
            Kind::ReferenceGrant => {
                self.dirty.listeners = true; // certificates of Gateways
                self.dirty.grants = true; // what names may lead to
                self.dirty.routes.extend(self.routes.dependents.of_grants(&key.namespace));
            }
            Kind::Service => self.mark_service(key, now),
            Kind::EndpointSlice => self.mark_slice(key, now),
            Kind::Secret => {
                let before = self.snapshot.secrets.get(key).map(|secret| &secret.data);
                let now = match now {
                    Some(Object::Secret(secret)) => Some(&secret.data),
                    _ => None,
                };
                self.dirty.listeners |= before != now;
            }
            Kind::Namespace => {
                let before = self.snapshot.namespaces.get(key).map(|namespace| &namespace.labels);
                let now = match now {
                    Some(Object::Namespace(namespace)) => Some(&namespace.labels),
                    _ => None,
                };
                if before != now {
                    self.mark_dependents(key);
                }
            }
            Kind::ConfigMap => {} // nothing refers to one
        }
    }

    fn mark_dependents(&mut self, key: &ObjectKey) {
        self.dirty.routes.extend(self.routes.dependents.of_object(key));
    }

    fn mark_service(&mut self, key: &ObjectKey, now: Option<&Object>) {
        let before = self.snapshot.services.get(key);
        let now = match now {
            Some(Object::Service(now)) => Some(now),
            _ => None,
        };
        let is_same = |same: fn(&Service, &Service) -> bool| match (before, now) {
            (Some(before), Some(now)) => same(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        let same_ports = is_same(|before, now| before.ports == now.ports);
        let same_gateway = is_same(|before, now| before.gateway == now.gateway);
        self.dirty.listeners |= may_be_of_a_gateway(&key.name) && !(same_ports && same_gateway);
        let same_backend = same_ports && is_same(|before, now| before.external_name == now.external_name);
        let same_addresses = is_same(|before, now| before.cluster_ips == now.cluster_ips) && same_gateway;
        if !same_backend || !same_addresses {
            self.dirty.services.insert(key.clone());
        }
        if !same_backend {
            self.mark_dependents(key);
        }
    }

    fn mark_slice(&mut self, key: &ObjectKey, now: Option<&Object>) {
        let before = self.snapshot.endpoint_slices.get(key).map(|slice| &**slice);
        let now = match now {
            Some(Object::EndpointSlice(slice)) => Some(&**slice),
            _ => None,
        };
        // A slice may belong to another Service than before.
        let services = [before, now].into_iter().flatten().filter_map(|slice| slice.service.as_deref());
        self.dirty
            .services
            .extend(services.map(|service| ObjectKey::new(Kind::Service, &key.namespace, service)));
    }

    /// Whether an Ingress asks for the same hosts as before, with the same TLS: then no listener is another.
    fn keeps_its_hosts(&self, key: &ObjectKey, now: Option<&Object>) -> bool {
        let (Some(before), Some(Object::Ingress(now))) = (self.snapshot.ingresses.get(key), now) else {
            return false;
        };
        let rule_hosts =
            |ingress: &Ingress| ingress.rules.iter().map(|rule| rule.host.clone()).collect::<Vec<_>>();
        before.class == now.class
            && before.legacy_class == now.legacy_class
            && before.meta.created == now.meta.created
            && before.tls == now.tls
            && before.unserved == now.unserved
            && before.regex_paths == now.regex_paths
            && before.default_backend.is_some() == now.default_backend.is_some()
            && rule_hosts(before) == rule_hosts(now)
    }
}
