//! Which clients may send requests to an Ingress, by their address.

use portcullis_routing::{
    Step,
    step::{AccessList, Check},
};

use super::steps::Site;
use crate::ir::live_settings::{Denied, GlobalAccess};

/// The step that asks who the client is, if anything says so. An annotation takes the place of the global setting of its kind;
/// `block-cidrs` holds always.
pub(super) fn steps(site: &Site<'_>) -> Option<Step> {
    let own = &site.annotations.access;
    let GlobalAccess { allow, deny, block } = &site.settings.live.ingress.access;
    let deny = own.deny.clone().map_or_else(|| deny.clone(), Denied::Networks);
    let mut denied = Vec::new();
    for (key, networks) in [("block-cidrs", block.clone()), ("denylist-source-range", deny)] {
        match networks {
            Denied::Nobody => {}
            Denied::Networks(networks) => denied.push(networks),
            Denied::Unknown => {
                let why = format!("the setting {key} cannot be read");
                return Some(Step::Check(Check::Closed(why.into())));
            }
        }
    }
    let allow = own.allow.as_ref().or(allow.as_ref()).cloned();
    let is_any = !denied.is_empty() || allow.is_some();
    is_any.then(|| Step::AccessList(Box::new(AccessList { deny: denied, allow })))
}
