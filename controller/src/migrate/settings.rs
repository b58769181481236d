//! The ConfigMap of ingress-nginx, key by key.

use crate::{
    Problem, Settings, Severity,
    ir::{ConfigMap, LiveSettings, ObjectKey},
    objects::{
        nginx_keys::{self, Fate},
        read_live_settings,
    },
    problem::Topic,
    snapshot::Snapshot,
};

use super::report::{KeyReport, SettingsReport, Verdict};

/// The names of the ConfigMap in installations by the chart or the manifests of ingress-nginx.
const NAMES: [&str; 3] = ["ingress-nginx-controller", "nginx-ingress-controller", "nginx-configuration"];

/// The settings with those of the ConfigMap of ingress-nginx: the configured one, or else the one with a usual name.
pub(super) fn with_map(settings: &Settings, snapshot: &Snapshot) -> Settings {
    let settings_map = settings.settings_map.clone().or_else(|| guess(snapshot));
    let settings = Settings { settings_map, ..settings.clone() };
    Settings { live: settings.with_settings_map(snapshot).0, ..settings }
}

fn guess(snapshot: &Snapshot) -> Option<ObjectKey> {
    let named = |name: &&str| snapshot.config_maps.keys().find(|key| *key.name == **name);
    NAMES.iter().find_map(named).cloned()
}

/// The report of its keys.
pub(super) fn of(map: &ConfigMap) -> SettingsReport {
    let (_, problems) = read_live_settings(&LiveSettings::default(), map, &mut Default::default());
    let key = |key: &str| {
        let at = format!("data.{key}");
        let inside = format!("{at}[");
        let about =
            problems.iter().filter(|problem| *problem.field == *at || problem.field.starts_with(&inside));
        let found: Vec<_> = about.collect();
        let verdict = found.iter().map(|problem| verdict(key, problem));
        let how = found.iter().map(|problem| problem.message.to_string());
        KeyReport { key: key.to_owned(), verdict: verdict.max().unwrap_or(Verdict::Same), how: how.collect() }
    };
    let meta = &map.meta;
    let keys = map.data.keys().map(|name| key(name)).collect();
    SettingsReport { namespace: meta.namespace().to_owned(), name: meta.name().to_owned(), keys }
}

fn verdict(key: &str, problem: &Problem) -> Verdict {
    match (problem.topic, problem.severity) {
        // Neither ingress-nginx nor Portcullis has this key.
        (Topic::UnknownField, _) => Verdict::NoEffectThere,
        (Topic::NotServed, _) => match nginx_keys::find(key) {
            Some(Fate::NoEffect(_)) => Verdict::Same,
            Some(Fate::Protects(_)) => Verdict::Refused,
            _ => Verdict::Different,
        },
        (_, Severity::Error) => Verdict::Refused,
        // An invalid value of a key that protects.
        (_, Severity::Warning) if problem.message.contains("closed") => Verdict::Refused,
        (_, Severity::Warning) => Verdict::Different,
    }
}
