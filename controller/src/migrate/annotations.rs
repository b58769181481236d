//! An annotation and its value, compared with ingress-nginx.

use crate::{
    Problem, Severity,
    ir::ObjectKey,
    objects::{
        NGINX_PREFIX,
        known_annotations::{self, Annotation, Outcome},
    },
    problem::Topic,
    status::shortened,
};

use super::{
    objects::{Written, config_map_of},
    report::{AnnotationReport, IngressReport, Note, Verdict},
    snippets,
};

/// Values of unsupported annotations that describe the actual behavior, so that the annotation is not needed.
const AS_HERE: &[(&str, &[&str])] = &[
    ("connection-proxy-header", &["keep-alive", "Keep-Alive"]),
    ("enable-opentelemetry", &["false"]),
    ("enable-rewrite-log", &["false"]),
    ("http2-push-preload", &["true", "false"]),
    ("proxy-request-buffering", &["off"]),
];

/// The report of an Ingress. `is_read`: whether a ConfigMap is among the objects.
pub(super) fn of_ingress(
    key: &ObjectKey,
    written: &Written,
    mut notes: Vec<Note>,
    is_read: impl Fn(&ObjectKey) -> bool,
) -> IngressReport {
    let all = written.annotations.iter();
    let reported = all.filter_map(|(name, value)| of_annotation(name, value, &written.problems));
    let annotations = reported.map(|report| with_config_map(report, key, &is_read)).collect();
    let errors = written.problems.iter().filter(|problem| problem.severity == Severity::Error);
    if written.is_refused {
        // The errors below are the same, with their fields.
        notes.clear();
    }
    notes.extend(errors.map(|problem| Note {
        verdict: Verdict::Refused,
        text: format!("{}: {}", problem.field, problem.message),
        instead: Vec::new(),
    }));
    notes.sort_by_key(|note| std::cmp::Reverse(note.verdict));
    IngressReport::new((&key.namespace, &key.name), annotations, notes)
}

/// The report of an annotation; `None` if it is not one of ingress-nginx.
fn of_annotation(full_name: &str, value: &str, problems: &[Problem]) -> Option<AnnotationReport> {
    let name = full_name.strip_prefix(NGINX_PREFIX)?;
    let found: Vec<_> = problems.iter().filter(|problem| is_about(problem, full_name)).collect();
    let (verdict, how, instead) = match known_annotations::find(name) {
        None => {
            (Verdict::NoEffectThere, vec!["ingress-nginx 1.15 does not read this annotation".into()], vec![])
        }
        Some(known) if known.is_without_effect_there() => (
            Verdict::NoEffectThere,
            vec!["ingress-nginx 1.15 and later do not read this annotation".into()],
            vec![],
        ),
        Some(known) => of_known(known, value, &found),
    };
    let value = if value.len() > MAX_VALUE { shortened(value, MAX_VALUE) } else { value.to_owned() };
    Some(AnnotationReport { name: full_name.to_owned(), value, verdict, how, instead })
}

/// The same, and different if the value names a ConfigMap that was not read: its headers are not known.
fn with_config_map(
    mut report: AnnotationReport,
    ingress: &ObjectKey,
    is_read: impl Fn(&ObjectKey) -> bool,
) -> AnnotationReport {
    let name = IngressReport::short_name(&report.name);
    let unread = config_map_of(name, &report.value, &ingress.namespace).filter(|key| !is_read(key));
    if let Some(key) = unread {
        report.verdict = report.verdict.max(Verdict::Different);
        report.how.push(format!("{key} was not read"));
    }
    report
}

/// The longest value that a report has, in bytes.
const MAX_VALUE: usize = 1024;

fn is_about(problem: &Problem, full_name: &str) -> bool {
    problem.field.strip_prefix("metadata.annotations.") == Some(full_name)
}

fn of_known(known: Annotation, value: &str, problems: &[&Problem]) -> (Verdict, Vec<String>, Vec<String>) {
    let messages = || problems.iter().map(|problem| problem.message.to_string()).collect::<Vec<_>>();
    match known.outcome() {
        Outcome::Moot => (Verdict::Same, vec!["not needed: messages are streamed".into()], vec![]),
        Outcome::Served if problems.iter().any(|problem| matches!(problem.topic, Topic::Protection(_))) => {
            (Verdict::Refused, messages(), vec![])
        }
        Outcome::Served if problems.is_empty() => {
            let found: Vec<_> = known.differences_of(value).collect();
            let verdict =
                found.iter().map(|(_, closes)| if *closes { Verdict::Refused } else { Verdict::Different });
            let verdict = verdict.max().unwrap_or(Verdict::Same);
            (verdict, found.into_iter().map(|(how, _)| how.to_owned()).collect(), vec![])
        }
        Outcome::Served => {
            // A value that has no effect in Portcullis.
            let differs = known.differences().next().is_some();
            (if differs { Verdict::Different } else { Verdict::NoEffectThere }, messages(), vec![])
        }
        Outcome::Ignored if is_as_here(known.name(), value) => {
            (Verdict::Same, vec!["this is always the behavior".into()], vec![])
        }
        Outcome::Ignored => {
            let instead = known.instead().map(str::to_owned).into_iter().collect();
            (Verdict::Different, vec!["is not served; it has no effect".into()], instead)
        }
        Outcome::ClosesPaths | Outcome::ClosesHosts => of_protection(known, value),
    }
}

/// An unsupported annotation that protects paths or hosts.
fn of_protection(known: Annotation, value: &str) -> (Verdict, Vec<String>, Vec<String>) {
    let is_snippet = known.name().ends_with("-snippet");
    let instead = || match is_snippet {
        true => snippets::instead(known.name(), value),
        false => known.instead().map(str::to_owned).into_iter().collect(),
    };
    if known.is_off(value) {
        return match is_snippet && !instead().is_empty() {
            true => {
                (Verdict::Different, vec!["its headers are not set; no path is closed".into()], instead())
            }
            false => (Verdict::Same, vec![], vec![]),
        };
    }
    let what = if known.outcome() == Outcome::ClosesHosts { "its hosts are" } else { "its paths are" };
    let how = format!("{what} closed (503); portcullis.dev/unsupported: ignore serves them without it");
    (Verdict::Refused, vec![how], instead())
}

fn is_as_here(name: &str, value: &str) -> bool {
    AS_HERE.iter().any(|(of, values)| *of == name && values.contains(&value))
}
