//! Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret as Written;
use serde_json::Value;

use crate::{
    ir::{Meta, Secret},
    objects::{
        checks::{Checks, Path},
        names, typed,
    },
};

/// The most bytes of data in a Secret or ConfigMap (core/v1, `MaxSecretSize`).
pub(super) const MAX_DATA: usize = 1 << 20;
pub(super) const MESSAGE_TOO_LARGE: &str = "must have at most 1 MiB of data";

/// Reads a Secret, its `stringData` merged into its `data`.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<Secret> {
    let written: Written = typed::secretly(document, checks)?;
    let mut data: BTreeMap<Box<str>, Vec<u8>> =
        written.data.into_iter().flatten().map(|(k, v)| (k.into(), v.0)).collect();
    let texts = written.string_data.into_iter().flatten();
    data.extend(texts.map(|(k, v)| (k.into_boxed_str(), v.into_bytes())));
    let at = Path::Root.field("data");
    data.keys().for_each(|key| checks.form(key, names::DATA_KEY, &at.field(key)));
    checks.require(data.values().map(Vec::len).sum::<usize>() <= MAX_DATA, &at, MESSAGE_TOO_LARGE);
    let kind = written.type_.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Opaque".to_owned());
    if kind == "kubernetes.io/tls" {
        for key in ["tls.crt", "tls.key"] {
            checks.require(
                data.contains_key(key),
                &at.field(key),
                "is required by the type kubernetes.io/tls",
            );
        }
    }
    Some(Secret { meta, kind: kind.into(), data })
}
