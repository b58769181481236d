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
    status::{Level, Message},
};

use super::report::{KeyReport, SettingsReport, Verdict};

/// The names of the ConfigMap in installations by the chart or the manifests of ingress-nginx.
const NAMES: [&str; 3] = ["ingress-nginx-controller", "nginx-ingress-controller", "nginx-configuration"];

/// The same of the ConfigMaps of TCP and UDP services.
const TCP_NAMES: [&str; 3] = ["ingress-nginx-tcp", "tcp-services", "nginx-ingress-tcp"];
const UDP_NAMES: [&str; 3] = ["ingress-nginx-udp", "udp-services", "nginx-ingress-udp"];

/// The settings with those of the ConfigMaps of ingress-nginx: the configured ones, or else those with a usual name.
pub(super) fn with_map(settings: &Settings, snapshot: &Snapshot) -> Settings {
    let map = |configured: &Option<ObjectKey>, names| configured.clone().or_else(|| guess(snapshot, names));
    let settings = Settings {
        settings_map: map(&settings.settings_map, &NAMES),
        tcp_services: map(&settings.tcp_services, &TCP_NAMES),
        udp_services: map(&settings.udp_services, &UDP_NAMES),
        ..settings.clone()
    };
    Settings { live: settings.with_settings_map(snapshot).0, ..settings }
}

fn guess(snapshot: &Snapshot, names: &[&str]) -> Option<ObjectKey> {
    let named = |name: &&str| snapshot.config_maps.keys().find(|key| *key.name == **name);
    names.iter().find_map(named).cloned()
}

/// The report on a ConfigMap of TCP or UDP services, from the messages about it. A Service that is not among the objects is
/// not reported.
pub(super) fn of_services(map: &ConfigMap, messages: &[Message]) -> SettingsReport {
    let key = |key: &str| {
        let is_of_key = |message: &&Message| {
            let rest = message.text.strip_prefix("data.").and_then(|rest| rest.strip_prefix(key));
            rest.is_some_and(|rest| rest.starts_with(" is ") || (rest.starts_with(": ") && !is_missing(rest)))
        };
        let found: Vec<_> = messages.iter().filter(is_of_key).collect();
        let verdict = found.iter().map(|message| match message.level {
            Level::Refused => Verdict::Refused,
            Level::Warning | Level::Note => Verdict::Same,
        });
        let how = found.iter().map(|message| message.text.clone()).collect();
        KeyReport { key: key.to_owned(), verdict: verdict.max().unwrap_or(Verdict::Same), how }
    };
    report(map, key)
}

/// Whether a message, without its key, is about a Service that does not exist.
fn is_missing(message: &str) -> bool {
    message.starts_with(": Service ") && message.contains(" not found; ")
}

fn report(map: &ConfigMap, key: impl Fn(&str) -> KeyReport) -> SettingsReport {
    let keys = map.data.keys().map(|name| key(name)).collect();
    SettingsReport { namespace: map.meta.namespace().to_owned(), name: map.meta.name().to_owned(), keys }
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
    report(map, key)
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
