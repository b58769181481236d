//! Settings that change at run time, and the owners of hostnames.

use std::sync::Arc;

use super::Index;
use crate::{
    Problem,
    facts::Fact,
    ir::{Kind, ObjectKey},
    translate::{HostOwners, PortServices, Reader},
};

impl Index {
    /// What is wrong with the ConfigMap of settings, and which ConfigMaps of TCP and UDP services do not exist.
    pub fn settings_problems(&self) -> &[Problem] {
        &self.settings_problems
    }

    /// Reads the ConfigMap of settings if it changed. Returns whether the settings changed.
    pub(super) fn renew_live_settings(&mut self) -> bool {
        if !std::mem::take(&mut self.is_settings_map_new) {
            return false;
        }
        let before = std::mem::replace(&mut self.settings.live, Arc::clone(&self.flags));
        let fetched = self.fetched.as_ref();
        let is_pending = |key: &ObjectKey| fetched.is_some_and(|fetched| !fetched.contains(key));
        (self.settings.live, self.settings_problems) =
            self.settings.with_settings_map_after(&self.snapshot, &mut self.last_good_settings, &is_pending);
        let services = PortServices::read(&self.settings, &self.snapshot);
        self.settings_problems.extend_from_slice(services.missing());
        if *self.settings.port_services != services {
            self.settings.port_services = Arc::new(services);
            self.units.change(&Fact::Settings);
        }
        if self.settings.live.entrance != before.entrance {
            self.units.change(&Fact::Entrance);
        }
        if self.settings.live.ingress != before.ingress {
            self.units.change(&Fact::Settings);
        }
        self.settings.live != before
    }

    /// Updates the owners of hostnames from the stale routes, and from all Ingresses if their hosts were translated
    /// again, since a change of an Ingress's hosts or class makes them stale. Units that read the owner of a
    /// hostname become stale when it changes.
    pub(super) fn renew_owners(&mut self, are_hosts_new: bool) {
        if !self.settings.live.entrance.first_namespace_owns {
            self.owners = None;
            return;
        }
        let mut keys: Vec<_> = match &self.owners {
            None => self.snapshot.routes.keys().cloned().collect(),
            Some(_) => self.units.stale.routes.iter().cloned().collect(),
        };
        if are_hosts_new || self.owners.is_none() {
            keys.extend(self.snapshot.ingresses.keys().cloned());
            let known = self.owners.iter().flat_map(HostOwners::ingresses);
            keys.extend(known.filter(|key| !self.snapshot.ingresses.contains_key(*key)).cloned());
        }
        let owners = self.owners.get_or_insert_with(HostOwners::default);
        let reader = Reader::new(&self.snapshot, &self.settings, None);
        for key in &keys {
            if key.kind == Kind::Ingress {
                match self.snapshot.ingresses.get(key) {
                    Some(ingress) => owners.set_ingress(&reader, ingress),
                    None => owners.remove(key),
                }
            } else {
                match self.snapshot.routes.get(key) {
                    Some(route) => owners.set_route(&reader, &self.listeners, route),
                    None => owners.remove(key),
                }
            }
        }
        for fact in owners.take_changed() {
            self.units.change(&fact);
        }
    }
}
