//! ClusterTrustBundle.

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundleSpec;
use serde_json::Value;

use crate::{
    ir::{ClusterTrustBundle, Meta},
    objects::{
        checks::{Checks, Path},
        typed,
    },
};

/// The maximum length of the certificates in bytes (certificates, `ValidateClusterTrustBundle`).
const MAX_CERTIFICATES: usize = 1 << 20;

/// Reads a ClusterTrustBundle. Its certificates are read where an object refers to it.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<ClusterTrustBundle> {
    let spec: ClusterTrustBundleSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    checks.length(&spec.trust_bundle, 1..=MAX_CERTIFICATES, &at.field("trustBundle"));
    Some(ClusterTrustBundle { meta, certificates: spec.trust_bundle.into() })
}
