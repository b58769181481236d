//! The report as Markdown, for an issue or a wiki.

use super::report::{IngressReport, Report, Verdict};

impl Report {
    /// The report as Markdown: totals, then a table for each verdict, the worst first.
    pub fn markdown(&self) -> String {
        let mut page = "# From ingress-nginx\n\n".to_owned();
        for line in self.totals().lines() {
            page += &format!("- {line}\n");
        }
        for verdict in Verdict::WORST_FIRST {
            let rows: String = self.ingresses.iter().flat_map(|ingress| rows(ingress, verdict)).collect();
            if !rows.is_empty() {
                page += &format!("\n## {}\n\n", title(verdict));
                page += "| Ingress | annotation | details | instead |\n| --- | --- | --- | --- |\n";
                page += &rows;
            }
        }
        for map in self.maps() {
            page += &format!("\n## ConfigMap {}/{}\n\n", map.namespace, map.name);
            page += "| key | verdict | details |\n| --- | --- | --- |\n";
            for key in &map.keys {
                page += &row(&[&format!("`{}`", key.key), key.verdict.as_str(), &cell(&key.how)]);
            }
        }
        if !self.unreadable.is_empty() {
            page += "\n## Not read\n\n";
            page += &self.unreadable.iter().map(|what| format!("- {}\n", escaped(what))).collect::<String>();
        }
        page
    }
}

fn title(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "Same",
        Verdict::NoEffectThere => "No effect in ingress-nginx either",
        Verdict::Different => "Different",
        Verdict::Refused => "Refused",
    }
}

fn rows(ingress: &IngressReport, verdict: Verdict) -> Vec<String> {
    let IngressReport { namespace, name, annotations, notes, .. } = ingress;
    let of = format!("{namespace}/{name}");
    let of_annotations =
        annotations.iter().filter(|annotation| annotation.verdict == verdict).map(|annotation| {
            let name = format!("`{}`", IngressReport::short_name(&annotation.name));
            row(&[&of, &name, &cell(&annotation.how), &cell(&annotation.instead)])
        });
    let of_notes = notes.iter().filter(|note| note.verdict == verdict);
    let of_notes = of_notes.map(|note| row(&[&of, "", &escaped(&note.text), &cell(&note.instead)]));
    of_annotations.chain(of_notes).collect()
}

fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cell(lines: &[String]) -> String {
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br>")
}

/// Escapes text from objects, so that it cannot end its table cell.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|").replace('`', "'");
    text.replace(['\n', '\r'], " ")
}
