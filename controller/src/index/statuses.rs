//! Statuses of the objects whose translation changed, and of no others.

use portcullis_routing::HostPattern;

use super::{Index, units::Unit};
use crate::{
    ir::{Object, ObjectKey},
    status::{self, Report, Statuses},
    translate::Reader,
};

impl Index {
    /// Whether [`Index::update_statuses`] may have something to do.
    pub fn has_stale_statuses(&self) -> bool {
        let stale = &self.units.stale;
        self.complete && !(stale.statuses.is_empty() && stale.reports.is_empty())
    }

    /// Brings statuses up to date and returns the keys of those that changed. `statuses` must be what the last call left:
    /// only what changed since then is written.
    pub fn update_statuses(&mut self, statuses: &mut Statuses) -> Vec<ObjectKey> {
        let mut changed = Vec::new();
        if !self.complete {
            return changed;
        }
        let stale = std::mem::take(&mut self.units.stale.statuses);
        let mut reports = Vec::with_capacity(stale.len());
        for key in stale {
            let reader = Reader::new(&self.snapshot, &self.settings, Some(&self.bindings))
                .with_fetched(self.fetched.as_ref())
                .noting();
            let report = self.report(&key, &reader);
            self.units.record(Unit::Status(key.clone()), &reader);
            reports.push((key, report));
        }
        changed.extend(statuses.set_all(reports));
        changed.extend(statuses.set_all(std::mem::take(&mut self.units.stale.reports)));
        changed
    }

    /// The report of an object; `None` where it is gone or not ours.
    fn report(&self, key: &ObjectKey, reader: &Reader<'_>) -> Option<Report> {
        match self.snapshot.get(key)? {
            Object::GatewayClass(class) => status::gateway_class(&class, reader),
            Object::Gateway(_) => {
                let state = self.listeners.gateway(key)?;
                Some(status::gateway(state, reader, &self.routes.attached, &self.shared))
            }
            Object::ListenerSet(_) => {
                let state = self.listeners.set(key)?;
                Some(status::listener_set(state, reader, &self.routes.attached, &self.shared))
            }
            Object::Ingress(ingress) => {
                let said = |host: &HostPattern| self.routes.said(host);
                status::ingress(&ingress, &self.listeners, &self.shared, reader, said)
            }
            Object::XBackend(backend) => {
                status::x_backend(&backend, reader, &self.policies, &self.routes.policy_users)
            }
            Object::BackendTlsPolicy(policy) => {
                status::backend_tls_policy(&policy, reader, &self.policies, &self.routes.policy_users)
            }
            Object::ConfigMap(_) => status::port_services(key, reader, self.routes.service_messages()),
            // Its report is made when it is translated.
            Object::Route(_) => None,
            // We write no status for these.
            Object::GatewayParameters(_)
            | Object::ReferenceGrant(_)
            | Object::IngressClass(_)
            | Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::Secret(_)
            | Object::ClusterTrustBundle(_)
            | Object::Pod(_)
            | Object::Namespace(_) => None,
        }
    }
}
