//! The tables: one row for each line, one column for each proxy.

use portcullis_bench::{
    comparison::{Group, Line, Name},
    load::Report,
};

use super::Figures;
use crate::statistics::{ends, median, median_of, ratios};

/// The aim: at most this many times the CPU of pingora by itself.
const AIM: f64 = 1.15;

/// A column with the ratio of Portcullis to another proxy.
struct Ratio {
    to: Name,
    title: String,
}

impl<'a> Figures<'a> {
    /// The CPU time for each request of a group's lines, with ratios; `None` if no such line was measured.
    pub(super) fn cpu_of(&self, group: Group) -> Option<String> {
        let lines = self.numbered(|line| line.group == group)?;
        let ratios = self.ratios_shown(group);
        let columns = self.columns(&lines);
        let mut text = header(
            columns
                .iter()
                .map(|index| self.name(*index))
                .chain(ratios.iter().map(|ratio| ratio.title.clone())),
        );
        for (number, line) in &lines {
            let own = columns.iter().map(|index| {
                median_of(self.reports(*number, *index), cpu).map(|value| format!("{value:.1}"))
            });
            let ratios = ratios.iter().map(|ratio| two_digits(median(self.ratios_to(ratio.to, *number))));
            text.push_str(&row(line.name, own.chain(ratios)));
        }
        Some(text)
    }

    /// The lines that have a unit of their own.
    pub(super) fn units(&self) -> Option<String> {
        let lines = self.numbered(|line| line.unit.is_some())?;
        let columns = self.columns(&lines);
        let mut text = header(columns.iter().map(|index| self.name(*index)));
        for (number, line) in &lines {
            let Some(unit) = line.unit else { continue };
            let cells = columns.iter().map(|index| {
                let value =
                    median_of(self.reports(*number, *index), |report| cpu(report).map(|cpu| unit.of(cpu)));
                value.map(|value| format!("{value:.0}"))
            });
            text.push_str(&row(&format!("{}: {}", line.name, unit.title()), cells));
        }
        Some(text)
    }

    /// The lines that have a plain one; `None` if no such line was measured.
    pub(super) fn beside_plain(&self) -> Option<String> {
        let lines = self.numbered(|line| line.beside.is_some())?;
        let columns = self.columns(&lines);
        let titles = columns.iter().map(|index| self.name(*index));
        let mut text = header(titles.chain(["aim for portcullis".to_owned()]));
        for (number, line) in &lines {
            let Some(beside) = line.beside else { continue };
            let Some(plain) = self.lines.iter().position(|plain| plain.name == beside.line) else { continue };
            let cells = columns.iter().map(|index| {
                let rounds = ratios(self.reports(*number, *index), self.reports(plain, *index), cpu);
                two_digits(median(rounds).map(|ratio| ratio / beside.requests))
            });
            let times =
                if beside.requests > 1.0 { format!("{} × ", beside.requests) } else { String::new() };
            let name = format!("{} / {times}{}", line.name, beside.line);
            text.push_str(&row(&name, cells.chain([beside.aim.map(str::to_owned)])));
        }
        Some(text)
    }

    /// All lines and proxies.
    pub(super) fn all(&self, value: impl Fn(&Report) -> Option<f64>, show: impl Fn(f64) -> String) -> String {
        self.rows(|reports| median_of(reports, &value).map(&show))
    }

    pub(super) fn spread(&self) -> String {
        let range =
            |shown: (f64, f64), digits: usize| format!("{:.digits$} to {:.digits$}", shown.0, shown.1);
        let baseline = self.has(Name::Baseline);
        let more = baseline.then(|| "portcullis / baseline".to_owned());
        let mut text = header(self.names().chain(more));
        for (number, line) in self.lines.iter().enumerate() {
            let of_rounds = |reports: &Vec<Report>| Some(range(ends(reports.iter().filter_map(cpu))?, 1));
            let cells = self.results[number].iter().map(of_rounds);
            let ratios = ends(self.ratios_to(Name::Baseline, number).into_iter());
            let ratios = baseline.then(|| ratios.map(|shown| range(shown, 2)));
            text.push_str(&row(line.name, cells.chain(ratios)));
        }
        text
    }

    pub(super) fn latencies(&self) -> String {
        self.rows(|reports| {
            let of = |value: fn(&Report) -> f64| median_of(reports, |report| Some(value(report)));
            Some(format!("{:.0} / {:.0}", of(|r| r.p50)?, of(|r| r.p99)?))
        })
    }

    /// A proxy that did not keep the rate up is shown with what it reached.
    pub(super) fn latencies_at_rate(&self, rates: &[f64]) -> String {
        let mut text = header(["requests a second".to_owned()].into_iter().chain(self.names()));
        for (number, line) in self.lines.iter().enumerate() {
            let cells = self.results[number].iter().map(|reports| at_rate(reports, rates[number]));
            let rate = Some(format!("{:.0}", rates[number]));
            text.push_str(&row(line.name, [rate].into_iter().chain(cells)));
        }
        text
    }

    fn rows(&self, cell: impl Fn(&[Report]) -> Option<String>) -> String {
        let mut text = header(self.names());
        for (number, line) in self.lines.iter().enumerate() {
            let cells = self.results[number].iter().map(|reports| cell(reports));
            text.push_str(&row(line.name, cells));
        }
        text
    }

    /// These lines with their numbers; `None` if there are none.
    fn numbered(&self, wanted: impl Fn(&Line) -> bool) -> Option<Vec<(usize, &'a Line)>> {
        let lines: Vec<_> = self.lines.iter().enumerate().filter(|(_, line)| wanted(line)).collect();
        (!lines.is_empty()).then_some(lines)
    }

    /// The numbers of the proxies that were measured with any of these lines.
    fn columns(&self, lines: &[(usize, &Line)]) -> Vec<usize> {
        let measured = |index: &usize| lines.iter().any(|(_, line)| line.is_for(self.peers[*index].name));
        (0..self.peers.len()).filter(measured).collect()
    }

    /// Which proxies Portcullis is compared with in a group's table. Ratios with an aim are shown even without that
    /// proxy.
    fn ratios_shown(&self, group: Group) -> Vec<Ratio> {
        let ratio = |to: Name, aim: &str| Ratio { to, title: format!("portcullis / {to}{aim}") };
        let mut shown = match group {
            Group::Http => {
                vec![ratio(Name::Bare, &format!(" (aim: {AIM})")), ratio(Name::Envoy, " (aim: < 1)")]
            }
            Group::Ingress => vec![ratio(Name::Nginx, "")],
            Group::Stream => vec![
                ratio(Name::Haproxy, " (aim: 1)"),
                ratio(Name::Nginx, " (aim for UDP: 1)"),
                ratio(Name::Envoy, ""),
            ],
        };
        if self.has(Name::Baseline) {
            shown.insert(0, ratio(Name::Baseline, ""));
        }
        shown
    }

    /// The ratio of Portcullis to another proxy, in each round of a line.
    fn ratios_to(&self, other: Name, line: usize) -> Vec<f64> {
        let of = |name| self.peers.iter().position(|peer| peer.name == name);
        match (of(Name::Portcullis), of(other)) {
            (Some(ours), Some(theirs)) => ratios(self.reports(line, ours), self.reports(line, theirs), cpu),
            _ => Vec::new(),
        }
    }

    fn reports(&self, line: usize, peer: usize) -> &'a [Report] {
        &self.results[line][peer]
    }

    fn has(&self, name: Name) -> bool {
        self.peers.iter().any(|peer| peer.name == name)
    }

    fn name(&self, index: usize) -> String {
        self.peers[index].name.to_string()
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.peers.iter().map(|peer| peer.name.to_string())
    }
}

fn cpu(report: &Report) -> Option<f64> {
    report.cpu_per_request
}

fn at_rate(reports: &[Report], rate: f64) -> Option<String> {
    let of = |value: fn(&Report) -> f64| median_of(reports, |report| Some(value(report)));
    let cell = format!("{:.0} / {:.0} / {:.0}", of(|r| r.p50)?, of(|r| r.p99)?, of(|r| r.p999)?);
    let reached = of(|r| r.per_second)? / rate;
    Some(if reached < 0.97 { format!("{cell} ({:.0} % of the rate)", reached * 100.0) } else { cell })
}

fn two_digits(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.2}"))
}

fn header(columns: impl IntoIterator<Item = String>) -> String {
    let columns: Vec<String> = columns.into_iter().collect();
    format!("| | {} |\n| --- |{}\n", columns.join(" | "), " ---: |".repeat(columns.len()))
}

/// A cell without a figure is a dash.
fn row(name: &str, cells: impl IntoIterator<Item = Option<String>>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned())).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}
