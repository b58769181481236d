//! Statuses of what changed, and of nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::ListenerId;

use super::Index;
use crate::{
    ir::{Kind, ObjectKey},
    status::{self, Report, Statuses},
};

/// Whose statuses have to be told again.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub(super) classes: BTreeSet<ObjectKey>,
    pub(super) gateways: BTreeSet<ObjectKey>,
    pub(super) ingresses: BTreeSet<ObjectKey>,
    /// With what there is to say: nobody else keeps it.
    routes: BTreeMap<ObjectKey, Option<Report>>,
}

impl Stale {
    /// Notes what is to be said of a route, or that there is something of an Ingress.
    pub(super) fn route(&mut self, key: ObjectKey, report: Option<Report>) {
        if key.kind == Kind::Ingress {
            self.ingresses.insert(key);
        } else {
            self.routes.insert(key, report);
        }
    }

    /// Notes the Gateway of a listener.
    pub(super) fn listener(&mut self, id: &Arc<ListenerId>) {
        if let ListenerId::Gateway { namespace, name, .. } = &**id {
            self.gateways.insert(ObjectKey::new(Kind::Gateway, namespace, name));
        }
    }

    fn is_empty(&self) -> bool {
        self.classes.is_empty()
            && self.gateways.is_empty()
            && self.ingresses.is_empty()
            && self.routes.is_empty()
    }
}

impl Index {
    /// Whether [`Index::tell`] may have something to say.
    pub fn has_more_to_tell(&self) -> bool {
        self.complete && !self.stale.is_empty()
    }

    /// Brings statuses up to date and names those that are others. They must be those of the last call, whose changes
    /// alone are made.
    pub fn tell(&mut self, statuses: &mut Statuses) -> Vec<ObjectKey> {
        let mut changed = Vec::new();
        if !self.complete {
            return changed;
        }
        let Stale { classes, gateways, ingresses, routes } = std::mem::take(&mut self.stale);
        let (settings, bindings) = (&self.settings, Some(&self.bindings));
        let mut set = |key: ObjectKey, report| changed.extend(statuses.set(&key, report).then_some(key));
        for key in classes {
            let class = self.snapshot.gateway_classes.get(&key);
            let report = class.and_then(|class| status::gateway_class(class, &self.snapshot, settings));
            set(key, report);
        }
        for key in gateways {
            let state = self.listeners.gateways.get(&key);
            let count = |id: &Arc<ListenerId>| self.routes.attached(id);
            let report = state.map(|state| status::gateway(state, settings, bindings, count));
            set(key, report);
        }
        for key in ingresses {
            let translated = self.routes.ingress(&key).filter(|translated| translated.ours);
            let report = translated.map(|translated| {
                let losses = self.routes.losses(&key, translated);
                status::ingress(&key, translated, &self.listeners, settings, bindings, losses)
            });
            set(key, report);
        }
        for (key, report) in routes {
            set(key, report);
        }
        changed
    }
}
