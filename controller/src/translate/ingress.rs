//! Ingress: hosts, paths, and what annotations say of them.
//!
//! ```text
//! ingress.rs    the Ingresses of a host: each is compiled, and they are put together
//! paths.rs      which Ingress has each path, and how the paths of the host are matched
//! compiler.rs   an Ingress at a host: its rules
//! steps.rs      what its annotations do to a request: a step for each family
//! access.rs     of them, which clients may send requests
//! limits.rs     of them, how many requests a client may send
//! backends.rs   its backends
//! ```

mod access;
mod backends;
mod compiler;
mod limits;
mod paths;
mod steps;

use std::sync::Arc;

use portcullis_routing::{HostPattern, HostTable};

use super::{HostRefusal, HostTranslation, Listeners, Pools, Reader, RuleSource, Settings};
use crate::{ir::Ingress, problem::Topic, status::Message};
use compiler::{Compiler, Host};
use paths::Place;

/// Translates the Ingresses of a host: first decides which Ingress gets each path, then compiles the rules.
pub fn ingress_host(
    reader: &Reader<'_>,
    listeners: &Listeners,
    Pools { backends, patterns, .. }: &Pools,
    host: &HostPattern,
) -> HostTranslation {
    let mut translation = HostTranslation::default();
    let Some(state) = listeners.at_host(reader, host) else { return translation };
    let mut ingresses: Vec<_> = state.ingresses.iter().filter_map(|key| reader.ingress(key)).collect();
    ingresses.sort_by_cached_key(|ingress| ingress.age());
    let (owned, mut losses) = paths::settle(&ingresses, host);
    let with_rules = |ingress: &&Ingress| !ingress.rules.of_host(host).is_empty();
    // What no path matches is answered as the oldest Ingress with rules says; of hosts that no Ingress names, as the oldest
    // with nothing but a default backend does.
    let first = ingresses.iter().position(with_rules).filter(|_| *host != HostPattern::Any);
    let mut places = paths::places(&owned, first, paths::are_regex(&ingresses, host));
    if places.is_empty() {
        places.extend(paths::redirected(&ingresses, host));
    }
    let context = Host { reader, backends, patterns, state, host };
    let mut compilers: Vec<_> = ingresses.iter().map(|ingress| Compiler::new(context, ingress)).collect();
    let entries: Vec<_> = places.iter().filter_map(|place| compilers[place.ingress].entry(place)).collect();
    if !entries.is_empty() {
        let table = Arc::new(HostTable::compile(entries));
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
        let has_rules = |ingress: &Ingress| with_rules(&ingress);
        losses.extend(paths::lost_defaults(&ingresses, host, has_rules));
    }
    for compiler in compilers {
        let key = compiler.ingress.meta.key.clone();
        let (messages, mut policies) = compiler.finish();
        translation.policies.append(&mut policies);
        if !messages.is_empty() {
            translation.messages.insert(key, messages.into_iter().collect());
        }
    }
    for loss in losses {
        let messages = translation.messages.entry(loss.of()).or_default();
        messages.insert(Message::refused(loss.to_string()));
    }
    translation
}

/// The message for the owner of an Ingress that is closed as a whole.
pub(crate) fn closed(ingress: &Ingress, settings: &Settings) -> Option<Message> {
    let unserved = &ingress.annotations.unserved;
    let by = unserved.closed_by(settings.strict_annotations)?;
    let what = if unserved.whole_hosts { "its hosts are" } else { "its paths are" };
    let text = format!(
        "{what} closed (503), since what protects them is not served yet: {by}; the annotation \
         portcullis.dev/unsupported: ignore serves them without"
    );
    Some(Message::about(Topic::Closed, text))
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
