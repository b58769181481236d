//! ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap as Written;
use serde_json::Value;

use super::secret::{MAX_DATA, MESSAGE_TOO_LARGE};
use crate::{
    ir::{ConfigMap, Meta},
    objects::{
        checks::{Checks, Path},
        names, typed,
    },
};

/// Reads a ConfigMap; its `binaryData` is not needed by anybody.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<ConfigMap> {
    let written: Written = typed::whole(document, checks)?;
    let (data, binary) = (written.data.unwrap_or_default(), written.binary_data.unwrap_or_default());
    let (at, at_binary) = (Path::Root.field("data"), Path::Root.field("binaryData"));
    data.keys().for_each(|key| checks.form(key, names::DATA_KEY, &at.field(key)));
    for key in binary.keys() {
        checks.form(key, names::DATA_KEY, &at_binary.field(key));
        checks.require(!data.contains_key(key), &at_binary.field(key), "must not be a key of data as well");
    }
    let size: usize = data.values().map(String::len).chain(binary.values().map(|b| b.0.len())).sum();
    checks.require(size <= MAX_DATA, &Path::Root, MESSAGE_TOO_LARGE);
    Some(ConfigMap { meta, data: data.into_iter().map(|(k, v)| (k.into(), v.into())).collect() })
}
