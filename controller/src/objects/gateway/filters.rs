//! `filters` of a listener (ListenerFilters, experimental channel).
//!
//! A filter protects what is behind its listener. So one that cannot be read, or that is of a later release of the API, is
//! never left out: it stands in the list, and says why it cannot be carried out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    ir::{
        gateway::{FilterFault, InvalidFilter},
        route::{ExternalAuthFilter, InvalidRule},
    },
    objects::{
        checks::{Checks, Path},
        filters::external_auth,
        names,
        part::Part,
        routes::not_served,
        wire::{ExtensionRef, ExternalAuth},
    },
};

/// `filters`: the list of each phase, by its name. A phase that is not known here may protect, too.
pub(super) type PhasesOfFilters = BTreeMap<String, Part<Vec<Part<Filter>>>>;

/// The phase that is served.
const REQUESTS: &str = "requests";

/// `filters.requests[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    r#type: FilterType,
    external_auth: Option<ExternalAuth>,
    extension_ref: Option<ExtensionRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum FilterType {
    ExternalAuth,
    ExtensionRef,
}

type Read = Result<ExternalAuthFilter, InvalidFilter>;

pub(super) fn read(
    written: Option<Part<PhasesOfFilters>>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[Read]> {
    let unserved = |why| InvalidFilter { fault: FilterFault::Unserved, why };
    let phases = match written.map(|part| part.read(checks, at)) {
        None => return Box::default(),
        Some(Ok(phases)) => phases,
        Some(Err(why)) => return [Err(unserved(why))].into(),
    };
    let mut all = Vec::new();
    for (phase, list) in phases {
        let at = at.field(&phase);
        if phase != REQUESTS {
            all.push(not_served(&at, "filters of this phase are not served", checks).map_err(unserved));
            continue;
        }
        match list.read(checks, &at) {
            Ok(list) => {
                checks.entries(list.len(), 0..=16, &at);
                let list = list.iter().enumerate();
                all.extend(list.filter_map(|(i, filter)| one(filter, checks, &at.index(i))));
            }
            Err(why) => all.push(Err(unserved(why))),
        }
    }
    all.into()
}

/// Returns `None` where the object is refused for it.
fn one(written: &Part<Filter>, checks: &mut Checks, at: &Path<'_>) -> Option<Read> {
    let fault = |fault| move |why| InvalidFilter { fault, why };
    let filter = match written.read(checks, at) {
        Ok(filter) => filter,
        Err(why) => return Some(Err(fault(FilterFault::Unserved)(why))),
    };
    check_one_of(&filter, checks, at);
    Some(match filter.r#type {
        FilterType::ExternalAuth => {
            let auth = filter.external_auth?;
            let has_body = auth.forward_body.as_ref().is_some_and(|body| body.max_size > Some(0));
            let of = if has_body { FilterFault::Unserved } else { FilterFault::Invalid };
            external_auth::read(auth, checks, &at.field("externalAuth")).map_err(fault(of))
        }
        FilterType::ExtensionRef => {
            let reference = filter.extension_ref?;
            extension(&reference, checks, &at.field("extensionRef")).map_err(fault(FilterFault::Extension))
        }
    })
}

fn extension<T>(reference: &ExtensionRef, checks: &mut Checks, at: &Path<'_>) -> Result<T, InvalidRule> {
    checks.form(&reference.group, names::GROUP, &at.field("group"));
    checks.form(&reference.kind, names::KIND, &at.field("kind"));
    checks.form(&reference.name, names::OBJECT_NAME, &at.field("name"));
    not_served(at, format!("no filter of kind {} is served", reference.kind), checks)
}

/// The field that a type names is there, and no other.
fn check_one_of(filter: &Filter, checks: &mut Checks, at: &Path<'_>) {
    for (field, of, is_there) in [
        ("externalAuth", FilterType::ExternalAuth, filter.external_auth.is_some()),
        ("extensionRef", FilterType::ExtensionRef, filter.extension_ref.is_some()),
    ] {
        match (filter.r#type == of, is_there) {
            (true, false) => checks.error(&at.field(field), "is required by the filter's type"),
            (false, true) => checks.error(&at.field(field), "must not stand in a filter of another type"),
            _ => {}
        }
    }
}
