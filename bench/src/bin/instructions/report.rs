//! The counts as Markdown.

use std::fmt::Write as _;

use portcullis_bench::{
    comparison::{Line, Name},
    machine,
};

use crate::{Arguments, Counted, Results, counter::PerRequest};

pub(crate) fn markdown(
    arguments: &Arguments,
    lines: &[Line],
    peers: &[Counted],
    [instructions, calls]: &Results,
) -> String {
    let mut text = format!(
        "# Instructions and system calls of a request\n\n\
         The difference between {} and {} requests, divided. Connections: {}, one request at a time on each; one worker; \
         `bench/peers` has the settings.\n\n",
        arguments.few, arguments.many, arguments.connections
    );
    text.push_str("## User instructions\n\n");
    text.push_str(&table(lines, peers, instructions, |value| format!("{value:.0}")));
    text.push_str("\n## System calls\n\n");
    text.push_str(&table(lines, peers, calls, |value| format!("{value:.1}")));
    text.push_str("\n## Which system calls\n\n");
    text.push_str(&rows(lines, &names(peers), calls, |of_line| of_line.iter().map(by_name).collect()));
    let _ = write!(text, "\n## Machine and versions\n\n{}", machine::describe());
    for (name, version) in peers {
        let _ = writeln!(text, "- {name}: {version}");
    }
    text
}

/// Totals, and how portcullis compares to each of the others.
fn table(
    lines: &[Line],
    peers: &[Counted],
    results: &[Vec<PerRequest>],
    show: impl Fn(f64) -> String,
) -> String {
    let ours = peers.iter().position(|(name, _)| *name == Name::Portcullis);
    let others = |index: &usize| ours.is_some_and(|ours| ours != *index);
    let others: Vec<usize> = (0..peers.len()).filter(others).collect();
    let mut columns = names(peers);
    columns.extend(others.iter().map(|&other| format!("portcullis / {}", peers[other].0)));
    rows(lines, &columns, results, |of_line| {
        let total = |index: usize| Some(of_line[index].values().sum::<f64>()).filter(|total| *total > 0.0);
        let dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        let mut cells: Vec<String> = (0..peers.len()).map(|index| dash(total(index).map(&show))).collect();
        let ratio = |other: &usize| Some(format!("{:.2}", total(ours?)? / total(*other)?));
        cells.extend(others.iter().map(|other| dash(ratio(other))));
        cells
    })
}

/// The most frequent first.
fn by_name(counts: &PerRequest) -> String {
    let mut counts: Vec<(&String, &f64)> = counts.iter().collect();
    counts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let shown: Vec<String> = counts.into_iter().map(|(name, count)| format!("{name} {count:.1}")).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn names(peers: &[Counted]) -> Vec<String> {
    peers.iter().map(|(name, _)| name.to_string()).collect()
}

fn rows(
    lines: &[Line],
    columns: &[String],
    results: &[Vec<PerRequest>],
    cells: impl Fn(&[PerRequest]) -> Vec<String>,
) -> String {
    let mut text = format!("| | {} |\n| --- |{}\n", columns.join(" | "), " ---: |".repeat(columns.len()));
    for (line, of_line) in lines.iter().zip(results) {
        let _ = writeln!(text, "| {} | {} |", line.name, cells(of_line).join(" | "));
    }
    text
}
