//! The report for a terminal.

use std::{borrow::Cow, fmt};

use super::report::{AnnotationReport, IngressReport, Note, Report, SettingsReport, Verdict};

/// Escapes characters that a terminal, or YAML, would act upon: control characters, line separators, and those that change the
/// direction of text.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| match is_escaped(c) {
        true => c.escape_debug().to_string(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unreadable.iter().try_for_each(|what| writeln!(f, "{}", printable(what)))?;
        self.ingresses.iter().try_for_each(|ingress| write!(f, "{ingress}"))?;
        self.maps().try_for_each(|map| write!(f, "{map}"))?;
        writeln!(f, "{}", self.totals())
    }
}

impl Report {
    /// `30 Ingresses: 2 refused, ...; 85 annotations: ...`.
    pub(super) fn totals(&self) -> String {
        let of = |counts: &std::collections::BTreeMap<Verdict, usize>, what: &str| {
            let all: usize = counts.values().sum();
            let counted =
                Verdict::WORST_FIRST.iter().filter_map(|verdict| Some((counts.get(verdict)?, verdict)));
            let parts: Vec<_> =
                counted.map(|(count, verdict)| format!("{count} {}", verdict.as_str())).collect();
            let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
            format!("{all} {what}{parts}")
        };
        let keys = self.maps().flat_map(|map| &map.keys);
        let keys = keys.fold(std::collections::BTreeMap::new(), |mut counts, key| {
            *counts.entry(key.verdict).or_default() += 1;
            counts
        });
        let of_keys = if keys.is_empty() { String::new() } else { format!("\n{}", of(&keys, "settings")) };
        format!(
            "{}\n{}{of_keys}",
            of(&self.totals.ingresses, "Ingresses"),
            of(&self.totals.annotations, "annotations")
        )
    }
}

impl fmt::Display for IngressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, verdict, annotations, notes } = self;
        writeln!(f, "Ingress {}/{}: {}", printable(namespace), printable(name), verdict.as_str())?;
        let same = annotations.iter().filter(|annotation| annotation.is_plain());
        let same: Vec<_> = same.map(|annotation| IngressReport::short_name(&annotation.name)).collect();
        for annotation in annotations.iter().filter(|annotation| !annotation.is_plain()) {
            write!(f, "{annotation}")?;
        }
        notes.iter().try_for_each(|note| write!(f, "{note}"))?;
        match same.is_empty() {
            true => Ok(()),
            false => writeln!(f, "  same: {}", printable(&same.join(", "))),
        }
    }
}

impl AnnotationReport {
    /// Whether it requires no action.
    fn is_plain(&self) -> bool {
        self.verdict == Verdict::Same
    }
}

impl fmt::Display for AnnotationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, verdict, how, instead, value } = self;
        let value = if value.contains('\n') || value.len() > 60 { "..." } else { value };
        let name = printable(IngressReport::short_name(name));
        writeln!(f, "  {}: {name}: {}", verdict.as_str(), printable(value))?;
        how.iter().try_for_each(|how| writeln!(f, "    {}", printable(how)))?;
        instead_of(instead, f)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, text, instead } = self;
        writeln!(f, "  {}: {}", verdict.as_str(), printable(text))?;
        instead_of(instead, f)
    }
}

fn instead_of(instead: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    instead.iter().try_for_each(|instead| writeln!(f, "    instead: {}", printable(instead)))
}

impl fmt::Display for SettingsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, keys } = self;
        writeln!(f, "ConfigMap {}/{}", printable(namespace), printable(name))?;
        let same = keys.iter().filter(|key| key.verdict == Verdict::Same && key.how.is_empty());
        let same: Vec<_> = same.map(|key| key.key.as_str()).collect();
        for key in keys.iter().filter(|key| key.verdict != Verdict::Same || !key.how.is_empty()) {
            let how = key.how.join("; ");
            writeln!(f, "  {}: {}: {}", key.verdict.as_str(), printable(&key.key), printable(&how))?;
        }
        match same.is_empty() {
            true => Ok(()),
            false => writeln!(f, "  same: {}", printable(&same.join(", "))),
        }
    }
}
