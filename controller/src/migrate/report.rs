//! The report as data, for programs.

use std::collections::BTreeMap;

use serde::Serialize;

/// How Ingresses of ingress-nginx behave in Portcullis.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub totals: Totals,
    /// Sorted by namespace and name.
    pub ingresses: Vec<IngressReport>,
    /// The ConfigMap of ingress-nginx, if it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsReport>,
    /// Its ConfigMaps of TCP and UDP services, if they were found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<SettingsReport>,
    /// Files and documents that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// A comparison with ingress-nginx, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The same as on ingress-nginx.
    Same,
    /// It has no effect on ingress-nginx 1.15 either.
    NoEffectThere,
    /// Served differently, or without it.
    Different,
    /// Closed (503), or not served.
    Refused,
}

/// The number of each verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub ingresses: BTreeMap<Verdict, usize>,
    pub annotations: BTreeMap<Verdict, usize>,
}

/// An Ingress.
#[derive(Clone, Debug, Serialize)]
pub struct IngressReport {
    pub namespace: String,
    pub name: String,
    /// The worst of its annotations and notes.
    pub verdict: Verdict,
    pub annotations: Vec<AnnotationReport>,
    /// Notes on the Ingress as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// An annotation of an Ingress.
#[derive(Clone, Debug, Serialize)]
pub struct AnnotationReport {
    /// With its prefix.
    pub name: String,
    pub value: String,
    pub verdict: Verdict,
    /// The differences, or the reason for a refusal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub how: Vec<String>,
    /// What to write instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<String>,
}

/// A note on an Ingress as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub verdict: Verdict,
    pub text: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<String>,
}

/// A ConfigMap of ingress-nginx.
#[derive(Clone, Debug, Serialize)]
pub struct SettingsReport {
    pub namespace: String,
    pub name: String,
    pub keys: Vec<KeyReport>,
}

/// A key of it.
#[derive(Clone, Debug, Serialize)]
pub struct KeyReport {
    pub key: String,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub how: Vec<String>,
}

impl Verdict {
    /// The text in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::NoEffectThere => "no effect in ingress-nginx either",
            Self::Different => "different",
            Self::Refused => "refused",
        }
    }

    /// The worst first.
    pub const WORST_FIRST: [Self; 4] = [Self::Refused, Self::Different, Self::NoEffectThere, Self::Same];
}

impl Report {
    pub(super) fn new(
        ingresses: Vec<IngressReport>,
        settings: Option<SettingsReport>,
        services: Vec<SettingsReport>,
        unreadable: Vec<String>,
    ) -> Self {
        let mut totals = Totals::default();
        for ingress in &ingresses {
            *totals.ingresses.entry(ingress.verdict).or_default() += 1;
            for annotation in &ingress.annotations {
                *totals.annotations.entry(annotation.verdict).or_default() += 1;
            }
        }
        Self { totals, ingresses, settings, services, unreadable }
    }

    /// The ConfigMaps.
    pub(super) fn maps(&self) -> impl Iterator<Item = &SettingsReport> {
        self.settings.iter().chain(&self.services)
    }

    /// The worst of all verdicts.
    pub fn verdict(&self) -> Verdict {
        let keys = self.maps().flat_map(|map| &map.keys).map(|key| key.verdict);
        self.ingresses.iter().map(|ingress| ingress.verdict).chain(keys).max().unwrap_or(Verdict::Same)
    }
}

impl IngressReport {
    pub(super) fn new(
        (namespace, name): (&str, &str),
        annotations: Vec<AnnotationReport>,
        notes: Vec<Note>,
    ) -> Self {
        let verdicts = annotations.iter().map(|a| a.verdict).chain(notes.iter().map(|note| note.verdict));
        // An annotation without effect does not change the verdict.
        let verdict = verdicts.filter(|verdict| *verdict != Verdict::NoEffectThere).max();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            verdict: verdict.unwrap_or(Verdict::Same),
            annotations,
            notes,
        }
    }

    /// The name of an annotation without the prefix of ingress-nginx.
    pub(super) fn short_name(name: &str) -> &str {
        name.strip_prefix(crate::objects::NGINX_PREFIX).unwrap_or(name)
    }
}
