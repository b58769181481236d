//! Which clients may send requests to an Ingress, by their address.

use std::sync::Arc;

use portcullis_routing::{
    Networks, Step,
    step::{AccessList, Check, Satisfy},
};

use super::steps::Site;
use crate::{
    ir::{
        ingress::Access,
        live_settings::{Denied, GlobalAccess},
    },
    translate::Settings,
};

const BLOCK: &str = "block-cidrs";
const DENY: &str = "denylist-source-range";

/// The steps that check the client's address, if any are configured. An annotation overrides the global setting of its kind.
/// `block-cidrs` is the operator's: it holds always, whatever else an Ingress is satisfied with.
pub(super) fn steps(site: &Site<'_>) -> Vec<Step> {
    let own = &site.annotations.access;
    let GlobalAccess { allow, deny, block, .. } = &site.settings.live.ingress.access;
    let deny = own.deny.clone().map_or_else(|| deny.clone(), Denied::Networks);
    let allow = own.allow.as_ref().or(allow.as_ref()).cloned();
    let satisfy = site.annotations.basic_auth.satisfy;
    [step(site, BLOCK, block, None, Satisfy::All), step(site, DENY, &deny, allow, satisfy)]
        .into_iter()
        .flatten()
        .collect()
}

/// The lists of the settings that cannot be read and that hold for an Ingress with these annotations.
pub(super) fn unreadable<'a>(
    own: &Access,
    settings: &'a Settings,
) -> impl Iterator<Item = &'static str> + use<'a> {
    let GlobalAccess { deny, block, .. } = &settings.live.ingress.access;
    let lists = [(BLOCK, block, true), (DENY, deny, own.deny.is_none())];
    lists.into_iter().filter(|(_, list, holds)| *holds && **list == Denied::Unknown).map(|(key, ..)| key)
}

/// Why a path is closed by such a list.
pub(super) fn unreadable_setting(key: &str) -> String {
    format!("the setting {key} cannot be read")
}

/// The steps that refuse requests for their headers, at any Ingress.
pub(super) fn blocked(settings: &Settings) -> impl Iterator<Item = Step> {
    let GlobalAccess { user_agents, referers, .. } = &settings.live.ingress.access;
    [user_agents, referers].into_iter().flatten().map(|values| Step::Blocked(Arc::clone(values)))
}

fn step(
    site: &Site<'_>,
    key: &str,
    deny: &Denied,
    allow: Option<Arc<Networks>>,
    satisfy: Satisfy,
) -> Option<Step> {
    let deny = match deny {
        Denied::Nobody => None,
        Denied::Networks(networks) => Some(Arc::clone(networks)),
        Denied::Unknown => {
            return Some(Step::Check(Check::Closed(Arc::new(unreadable_setting(key)))));
        }
    };
    let is_any = deny.is_some() || allow.is_some();
    is_any.then(|| Step::AccessList(site.common.access_list(AccessList { deny, allow, satisfy })))
}
