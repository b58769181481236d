//! Ingress: hosts, paths, and what annotations say of them.
//!
//! ```text
//! ingress.rs    the Ingresses of a host: each is compiled, and they are put together
//! paths.rs      which Ingress has each path, and how the paths of the host are matched
//! compiler.rs   an Ingress at a host: its rules
//! uncompiled.rs of them, those whose regular expressions are not compiled
//! steps.rs      what its annotations do to a request: a step for each family
//! external_auth.rs   of them, the check by a service
//! upstream.rs   how long its backends may take, and when another one is asked
//! access.rs     of them, which clients may send requests
//! basic_auth.rs of them, names and passwords
//! limits.rs     of them, how many requests a client may send
//! backends.rs   its backends
//! passthrough.rs where the host's TLS connections go, if they are passed through
//! errors.rs     who answers in place of a backend, or of an answer with an error status
//! headers.rs    headers that are added to answers, and what is rewritten there
//! labels.rs     the labels of its requests in metrics
//! common.rs     parts of its rules that other Ingresses have, too
//! spread.rs     how their requests are spread over endpoints, and over a Service and its canary
//! claims.rs     what the host says of the Services that its Ingresses use
//! needs.rs      which regular expressions its Ingresses need
//! ```

mod access;
mod backends;
mod basic_auth;
mod claims;
mod common;
mod compiler;
mod errors;
mod external_auth;
mod headers;
mod labels;
mod limits;
mod needs;
mod passthrough;
mod paths;
mod spread;
mod steps;
mod uncompiled;
mod upstream;

use std::sync::Arc;

use portcullis_routing::HostPattern;

pub use claims::ingress_claims;
pub use common::CommonParts;
pub(crate) use headers::of_unmatched;
pub use labels::LabelPool;
pub use needs::ingress_patterns;
pub(crate) use paths::are_regex;

use super::{
    HostRefusal, HostTranslation, IngressBackends, Listeners, PatternQuotas, Pools, Reader, RuleSource,
    Settings,
};
use crate::{ir::Ingress, problem::Topic, status::Message};
use claims::Mains;
use compiler::{Compiler, Host};
use paths::Place;

/// What the translation of a host depends on in other hosts, and in routes.
#[derive(Clone, Copy, Debug)]
pub struct OtherHosts<'a> {
    pub backends: &'a IngressBackends,
    pub quotas: &'a PatternQuotas,
}

/// Translates the Ingresses of a host: first decides which Ingress gets each path, then compiles the rules.
pub fn ingress_host(
    reader: &Reader<'_>,
    listeners: &Listeners,
    pools: &Pools,
    others: OtherHosts<'_>,
    served_as: &HostPattern,
) -> HostTranslation {
    let mut translation = HostTranslation::default();
    let Some(state) = listeners.at_host(reader, served_as) else { return translation };
    let host = state.special.same_as.as_ref().unwrap_or(served_as);
    let mut ingresses: Vec<_> = state.ingresses.iter().filter_map(|key| reader.ingress(key)).collect();
    ingresses.sort_by_cached_key(|ingress| ingress.age());
    let (canaries, ingresses) = claims::split(&ingresses);
    let paths::All { mut places, mut losses } = paths::all(&ingresses, host);
    if places.is_empty() {
        places.extend(paths::redirected(&ingresses, host));
    }
    let context = Host { reader, pools, others, state, host, served_as, ingresses: &ingresses };
    let mut compilers: Vec<_> = ingresses.iter().map(|ingress| Compiler::new(context, ingress)).collect();
    places.retain(|place| !compilers[place.ingress].is_of_canary(place));
    let located = uncompiled::located(&mut compilers, &mut places);
    let entries = places.iter().zip(located);
    let entries = entries.filter_map(|(place, located)| compilers[place.ingress].entry(place, located));
    let entries: Vec<_> = entries.collect();
    if !entries.is_empty() {
        let table = pools.host_tables.new_table(entries);
        let slots = context.slots(&RuleSource::Ingress).into_iter();
        translation.tables.extend(slots.map(|slot| (slot, Arc::clone(&table))));
    }
    if *host == HostPattern::Any {
        let mut defaults = compilers.iter_mut().filter(|compiler| compiler.ingress.is_default_backend());
        if let Some(table) = defaults.next().and_then(Compiler::for_the_rest) {
            let table = Arc::new(table);
            let slots = context.slots(&RuleSource::IngressDefault).into_iter();
            translation.tables.extend(slots.map(|slot| (slot, Arc::clone(&table))));
        }
        losses.extend(paths::lost_defaults(&ingresses, host, Ingress::is_default_backend));
    } else if places.iter().any(Place::is_rest) {
        let has_rules = |ingress: &Ingress| !ingress.rules.of_host(host).is_empty();
        losses.extend(paths::lost_defaults(&ingresses, host, has_rules));
    }
    if let Some(by) = &state.special.passthrough {
        translation.stream = passthrough::stream(&context, by, &places, &mut compilers);
    }
    for compiler in compilers {
        let key = compiler.ingress.meta.key.clone();
        let (messages, mut policies) = compiler.finish();
        translation.policies.append(&mut policies);
        if !messages.is_empty() {
            translation.messages.insert(key, messages);
        }
    }
    if !canaries.is_empty() {
        let mains = Mains::of(&ingresses, host);
        let settings = reader.settings();
        for canary in canaries.into_iter().filter(|canary| !is_closed_by_settings(canary, settings)) {
            let messages = spread::of_canary(&context, canary, &mains);
            translation.messages.entry(canary.meta.key.clone()).or_default().extend(messages);
        }
        translation.messages.retain(|_, messages| !messages.is_empty());
    }
    for loss in losses {
        let messages = translation.messages.entry(loss.of()).or_default();
        messages.insert(Message::refused(loss.to_string()).caused_by(loss.cause()));
    }
    translation
}

/// The message for an Ingress that its own annotations close.
pub(crate) fn closed_by_annotations(ingress: &Ingress, settings: &Settings) -> Option<Message> {
    let unserved = &ingress.annotations.unserved;
    let why = unserved.why_closed(settings.strict_annotations)?;
    let what = if unserved.whole_hosts { "its hosts are" } else { "its paths are" };
    let text = format!(
        "{what} closed (503), because annotations that protect them cannot be served ({why}); the annotation portcullis.dev/unsupported: ignore serves them without protection"
    );
    Some(Message::about(Topic::Closed, text))
}

/// Whether the settings of the controller close an Ingress. Its annotations then apply to nothing beyond its own paths: not to
/// Services that other Ingresses use too, to other names of its hosts, or to the root of a host.
///
/// Regular expressions are an exception. They are matched as for any other Ingress: with another kind of match, requests of
/// its closed paths would reach other Ingresses.
pub(crate) fn is_closed_by_settings(ingress: &Ingress, settings: &Settings) -> bool {
    let live = &settings.live.ingress;
    live.closed_by.is_some() || ingress.annotations.risk.is_some_and(|(risk, _)| risk > live.risk_level)
}

/// Why an Ingress is closed that has a riskier annotation than the settings of the controller allow. ingress-nginx would not
/// apply it, so that others might receive its requests.
fn risky(ingress: &Ingress, settings: &Settings) -> Option<String> {
    let level = settings.live.ingress.risk_level;
    let (risk, name) = ingress.annotations.risk.filter(|(risk, _)| *risk > level)?;
    let (risk, level) = (risk.as_str(), level.as_str());
    Some(format!("the risk of annotation {name} is {risk}, and annotations-risk-level is {level}"))
}

/// The messages for an Ingress that the settings of the controller close.
pub(crate) fn closed_by_settings<'a>(
    ingress: &Ingress,
    settings: &'a Settings,
) -> impl Iterator<Item = Message> + use<'a> {
    let keys = access::unreadable(&ingress.annotations.access, settings).map(access::unreadable_setting);
    let risky = risky(ingress, settings);
    let reasons = settings.live.ingress.closed_by.iter().map(|why| why.to_string()).chain(risky).chain(keys);
    reasons.map(|why| {
        let text = format!("its paths are closed (503) by the settings of the controller: {why}");
        Message::about(Topic::Closed, text)
    })
}

/// Whether an Ingress may serve a host of its own.
pub(super) fn may_serve(
    reader: &Reader<'_>,
    ingress: &Ingress,
    host: &HostPattern,
) -> Result<(), HostRefusal> {
    reader.may_serve(ingress.meta.namespace(), host)?;
    reader.may_take((&ingress.meta).into(), host)
}
