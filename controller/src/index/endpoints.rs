//! From EndpointSlices into endpoint pools. No table is touched.

use std::collections::BTreeSet;

use crate::{
    ir::ObjectKey,
    snapshot::Snapshot,
    translate::{self, BackendPool},
};

/// Looks up the endpoints of pools that are new, and of those of these Services.
pub(super) fn fill(snapshot: &Snapshot, backends: &BackendPool, services: &BTreeSet<ObjectKey>) {
    translate::fill(snapshot, backends.take_fresh());
    for service in services {
        translate::fill(snapshot, backends.of_service(&service.namespace, &service.name));
    }
}
