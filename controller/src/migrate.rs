//! Compares the Ingresses of ingress-nginx with their behavior here, before anything is migrated.
//!
//! ```text
//! objects.rs      the objects of files or of a cluster; the annotations as they are written
//! annotations.rs  an annotation and its value -> same, different, refused, without effect there either
//! snippets.rs     a snippet -> equivalent annotations, filters and settings
//! patterns.rs     a path with look-around -> an equivalent regular expression without it
//! hosts.rs        effects of an Ingress on others of its host; names that resolve to other namespaces
//! settings.rs     the keys of the ConfigMaps of ingress-nginx: its settings, TCP services and UDP services
//! gateway_api.rs  equivalent Gateways and HTTPRoutes
//! requests.rs     requests for comparing two controllers
//! report.rs       all of it, with totals; text.rs and markdown.rs print it
//! ```

mod annotations;
mod gateway_api;
mod hosts;
mod markdown;
mod objects;
mod patterns;
mod report;
mod requests;
mod settings;
mod snippets;
mod text;

pub use crate::objects::known_annotations::{Annotation, Outcome, annotations};
pub use gateway_api::{Translated, to_gateway_api};
pub use objects::Objects;
pub use report::{AnnotationReport, IngressReport, KeyReport, Note, Report, SettingsReport, Totals, Verdict};
pub use requests::requests;
pub use text::printable;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Settings, check,
    ir::{Ingress, Kind, ObjectKey},
    status::{Cause, Level, Message},
    translate::{Classes, Reader, closed_by_annotations},
};

/// The report on the Ingresses that `settings` selects, and on the keys of the ConfigMaps of ingress-nginx.
///
/// Secrets and endpoints can be missing from the objects; this is not reported.
pub fn report(objects: &Objects, settings: &Settings) -> Report {
    let snapshot = objects.with_namespaces();
    let settings = &settings::with_map(settings, &snapshot);
    let statuses = check::translation(&snapshot, settings).statuses;
    let mut notes: BTreeMap<ObjectKey, Vec<Note>> = BTreeMap::new();
    let reader = Reader::new(&snapshot, settings, None);
    let classes = Classes::of(&reader);
    let mut ours: Vec<_> = reader.ingresses().filter(|ingress| classes.is_ours(ingress)).cloned().collect();
    ours.sort_by_cached_key(|ingress| ingress.age());
    for (key, note) in hosts::notes(&ours, &reader) {
        notes.entry(key).or_default().push(note);
    }
    for (key, report) in statuses.iter().filter(|(key, _)| key.kind == Kind::Ingress) {
        let of_key = notes.entry(key.clone()).or_default();
        let Some(ingress) = snapshot.ingresses.get(key) else { continue };
        // The report has these with their annotations.
        let known = of_annotations(ingress, settings);
        let others = report.messages.iter().filter(|message| !known.contains(message));
        for note in others.filter_map(of_status) {
            if !of_key.contains(&note) {
                of_key.push(note);
            }
        }
    }
    let ours: BTreeSet<_> = ours.iter().map(|ingress| &ingress.meta.key).collect();
    let mut ingresses = Vec::new();
    for (key, written) in objects.ingresses() {
        // The class of an invalid Ingress is unknown.
        if ours.contains(key) || !snapshot.ingresses.contains_key(key) {
            let notes = notes.remove(key).unwrap_or_default();
            let is_read = |map: &ObjectKey| snapshot.config_maps.contains_key(map);
            ingresses.push(annotations::of_ingress(key, written, notes, is_read));
        }
    }
    let read = settings.settings_map.as_ref().and_then(|key| snapshot.config_maps.get(key));
    let of_services = settings.service_maps().filter_map(|(key, _)| {
        let map = snapshot.config_maps.get(key)?;
        Some(settings::of_services(map, &statuses.get(key)?.messages))
    });
    let unreadable = objects.unreadable().to_vec();
    Report::new(ingresses, read.map(|map| settings::of(map)), of_services.collect(), unreadable)
}

/// The messages of an Ingress's status that its annotations alone decide.
fn of_annotations(ingress: &Ingress, settings: &Settings) -> Vec<Message> {
    Message::warnings(&ingress.meta).chain(closed_by_annotations(ingress, settings)).collect()
}

/// The note for a message of an Ingress's status; `None` if the report has it already, or if it is about an object that does
/// not exist, since that may not be among the objects.
fn of_status(Message { level, text, cause, .. }: &Message) -> Option<Note> {
    let instead = match cause {
        Some(Cause::Groups) => vec![patterns::WITH_SMALLER_GROUPS.to_owned()],
        Some(Cause::Budget) => vec![patterns::WITH_LESS_MEMORY.to_owned()],
        _ => Vec::new(),
    };
    let (verdict, text) = match (cause, level) {
        (Some(Cause::Missing | Cause::Pattern), _) => return None,
        // Which Ingress takes precedence for a path is the same in ingress-nginx.
        (Some(Cause::Precedence), _) => (Verdict::Same, format!("{text}; as there")),
        (_, Level::Note) => (Verdict::Same, text.clone()),
        (_, Level::Refused) => (Verdict::Refused, text.clone()),
        (_, Level::Warning) => (Verdict::Different, text.clone()),
    };
    Some(Note { verdict, text, instead })
}

#[cfg(test)]
mod tests;
