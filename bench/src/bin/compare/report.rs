//! The figures as Markdown: medians over the rounds, the machine, the versions.

use std::fmt::Write as _;

use portcullis_bench::{
    comparison::{LINES, Name, Peer},
    load::Report,
    machine,
};

use crate::{Arguments, Measured, Results};

/// The aim: at most this many times the CPU of pingora by itself.
const AIM: f64 = 1.15;

pub(crate) fn markdown(arguments: &Arguments, peers: &[Peer], measured: &Measured) -> String {
    let results = &measured.saturated;
    let mut text = format!("# The peers side by side\n\n{}\n", conditions(arguments));
    if arguments.quick {
        text.push_str("**A quick run: it shows that everything works; its figures mean nothing.**\n\n");
    }
    text.push_str("## CPU for each request, µs (median of the rounds)\n\n");
    text.push_str(
        "A ratio is the median of the rounds' ratios: in a round, one was measured soon after the other.\n\n",
    );
    text.push_str(&table(peers, results, cpu, |value| format!("{value:.1}"), true));
    text.push_str("\nThe lowest and the highest round:\n\n");
    text.push_str(&spread(peers, results));
    text.push_str("\n## What a route's work costs\n\n");
    text.push_str("CPU for each request, by CPU on a route without filters that got the same requests.\n\n");
    text.push_str(&to_plain(peers, results));
    text.push_str("\n## Requests a second, with one core\n\n");
    text.push_str(&table(peers, results, |r| Some(r.per_second), |value| format!("{value:.0}"), false));
    text.push_str("\n## Share of that core in use, %\n\nWell under 100: the generator or the backend was the limit.\n\n");
    text.push_str(&table(peers, results, |r| r.cpu_share, |value| format!("{:.0}", value * 100.0), false));
    text.push_str("\n## Latency under saturation, median / 99th percentile, µs\n\n");
    text.push_str("Of a closed loop: what would have been asked during a stall is not counted (coordinated omission).\n\n");
    text.push_str(&latencies(peers, results));
    if let Some((rates, results)) = &measured.at_rate {
        text.push_str("\n## Latency at a fixed rate, median / 99th / 99.9th percentile, µs\n\n");
        text.push_str(
            "At half of what the slowest proxy reaches, each latency from when its request was due.\n\n",
        );
        text.push_str(&latencies_at_rate(peers, rates, results));
    }
    let _ = write!(
        text,
        "\n## Errors\n\n{}\n\n## Machine and versions\n\n{}",
        errors(peers, measured),
        versions(peers)
    );
    text
}

fn conditions(arguments: &Arguments) -> String {
    format!(
        "{} rounds of {} s for each proxy and line, taking turns. The proxy on core {}, generator and backend on \
         core {}. One worker each, TLS 1.3 with AES-128-GCM and X25519, one ECDSA P-256 certificate, connections to \
         the backend kept, no access logs; `bench/peers` has the settings.\n",
        arguments.rounds, arguments.seconds, arguments.setup.proxy_cores, arguments.setup.load_cores
    )
}

fn cpu(report: &Report) -> Option<f64> {
    report.cpu_per_request
}

/// One row a line, one column a proxy; with the ratios that are aimed at, if wanted.
fn table(
    peers: &[Peer],
    results: &Results,
    value: impl Fn(&Report) -> Option<f64>,
    show: impl Fn(f64) -> String,
    ratios: bool,
) -> String {
    let mut columns: Vec<String> = peers.iter().map(|peer| peer.name.to_string()).collect();
    let ratios = if ratios { ratios_shown(peers) } else { Vec::new() };
    columns.extend(ratios.iter().map(|(_, title)| title.clone()));
    rows(&columns, |line| {
        let cell = |reports: &Vec<Report>| median_of(reports, &value).map(&show);
        let mut cells: Vec<Option<String>> = results[line].iter().map(cell).collect();
        cells.extend(ratios.iter().map(|(other, _)| {
            let rounds = ratios_to(*other, peers, &results[line], &value);
            median(rounds).map(|ratio| format!("{ratio:.2}"))
        }));
        cells
    })
}

/// Which proxies Portcullis is compared with, and the titles. Ratios with an aim are shown even without that proxy.
fn ratios_shown(peers: &[Peer]) -> Vec<(Name, String)> {
    let mut shown = vec![
        (Name::Bare, format!("portcullis / bare (aim: {AIM})")),
        (Name::Envoy, "portcullis / envoy (aim: < 1)".to_owned()),
    ];
    if has_baseline(peers) {
        shown.insert(0, (Name::Baseline, "portcullis / baseline".to_owned()));
    }
    shown
}

/// The ratio of Portcullis to another proxy, in each round.
fn ratios_to(
    other: Name,
    peers: &[Peer],
    by_peer: &[Vec<Report>],
    value: impl Fn(&Report) -> Option<f64>,
) -> Vec<f64> {
    let of = |name| peers.iter().position(|peer| peer.name == name).map(|index| &by_peer[index]);
    let (Some(ours), Some(theirs)) = (of(Name::Portcullis), of(other)) else { return Vec::new() };
    ratios(ours, theirs, value)
}

fn ratios(these: &[Report], those: &[Report], value: impl Fn(&Report) -> Option<f64>) -> Vec<f64> {
    these.iter().zip(those).filter_map(|(this, that)| Some(value(this)? / value(that)?)).collect()
}

fn has_baseline(peers: &[Peer]) -> bool {
    peers.iter().any(|peer| peer.name == Name::Baseline)
}

fn spread(peers: &[Peer], results: &Results) -> String {
    let baseline = has_baseline(peers);
    let mut columns = names(peers);
    columns.extend(baseline.then(|| "portcullis / baseline".to_owned()));
    rows(&columns, |line| {
        let range = |reports: &Vec<Report>| {
            let (lowest, highest) = ends(reports.iter().filter_map(cpu))?;
            Some(format!("{lowest:.1} to {highest:.1}"))
        };
        let mut cells: Vec<Option<String>> = results[line].iter().map(range).collect();
        if baseline {
            let ratios = ratios_to(Name::Baseline, peers, &results[line], cpu);
            let ends = ends(ratios.into_iter());
            cells.push(ends.map(|(lowest, highest)| format!("{lowest:.2} to {highest:.2}")));
        }
        cells
    })
}

/// One row for each line that stands beside a plain one.
fn to_plain(peers: &[Peer], results: &Results) -> String {
    let ours: Vec<usize> = (0..peers.len())
        .filter(|&index| matches!(peers[index].name, Name::Portcullis | Name::Baseline))
        .collect();
    let columns: Vec<String> = ours.iter().map(|&index| peers[index].name.to_string()).collect();
    let mut text = header(&columns);
    for (number, line) in LINES.iter().enumerate() {
        let Some(plain) = LINES.iter().position(|plain| line.beside == Some(plain.name)) else { continue };
        let cells = ours.iter().map(|&index| {
            let ratios = ratios(&results[number][index], &results[plain][index], cpu);
            median(ratios).map(|ratio| format!("{ratio:.2}"))
        });
        text.push_str(&row(&format!("{} / {}", line.name, LINES[plain].name), cells));
    }
    text
}

fn latencies(peers: &[Peer], results: &Results) -> String {
    rows(&names(peers), |line| {
        let cell = |reports: &Vec<Report>| {
            let of = |value: fn(&Report) -> f64| median_of(reports, |report| Some(value(report)));
            Some(format!("{:.0} / {:.0}", of(|r| r.p50)?, of(|r| r.p99)?))
        };
        results[line].iter().map(cell).collect()
    })
}

/// A proxy that did not keep the rate up is shown with what it reached.
fn latencies_at_rate(peers: &[Peer], rates: &[f64], results: &Results) -> String {
    let mut columns = vec!["requests a second".to_owned()];
    columns.extend(names(peers));
    rows(&columns, |line| {
        let cell = |reports: &Vec<Report>| {
            let of = |value: fn(&Report) -> f64| median_of(reports, |report| Some(value(report)));
            let cell = format!("{:.0} / {:.0} / {:.0}", of(|r| r.p50)?, of(|r| r.p99)?, of(|r| r.p999)?);
            let kept = of(|r| r.per_second)? / rates[line];
            Some(if kept < 0.97 { format!("{cell} ({:.0} % of the rate)", kept * 100.0) } else { cell })
        };
        let mut cells = vec![Some(format!("{:.0}", rates[line]))];
        cells.extend(results[line].iter().map(cell));
        cells
    })
}

fn names(peers: &[Peer]) -> Vec<String> {
    peers.iter().map(|peer| peer.name.to_string()).collect()
}

/// One row a line.
fn rows(columns: &[String], cells: impl Fn(usize) -> Vec<Option<String>>) -> String {
    let mut text = header(columns);
    for (number, line) in LINES.iter().enumerate() {
        text.push_str(&row(line.name, cells(number)));
    }
    text
}

fn header(columns: &[String]) -> String {
    format!("| | {} |\n| --- |{}\n", columns.join(" | "), " ---: |".repeat(columns.len()))
}

/// A cell without a figure is a dash.
fn row(name: &str, cells: impl IntoIterator<Item = Option<String>>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned())).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

fn errors(peers: &[Peer], measured: &Measured) -> String {
    let mut lines = Vec::new();
    for results in measured.all() {
        for (line, by_peer) in LINES.iter().zip(results) {
            for (peer, reports) in peers.iter().zip(by_peer) {
                let errors: u64 = reports.iter().map(|report| report.errors).sum();
                if let Some(first) = reports.iter().find_map(|report| report.first_error.as_ref()) {
                    lines.push(format!("- {} on {}: {errors}, the first: {first}", peer.name, line.name));
                }
            }
        }
    }
    if lines.is_empty() {
        "None: every answer was 200 with its whole body, every message came back.".to_owned()
    } else {
        lines.join("\n")
    }
}

fn versions(peers: &[Peer]) -> String {
    let mut text = machine::describe();
    for peer in peers {
        let _ = writeln!(text, "- {}: {}", peer.name, peer.version);
    }
    text
}

fn ends(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?))
}

/// Of all rounds that have this figure.
pub(crate) fn median_of(rounds: &[Report], value: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
    median(rounds.iter().filter_map(value).collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        for (values, want) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 5.0], Some(5.0)),
            (vec![4.0, 1.0, 2.0, 100.0], Some(3.0)),
        ] {
            assert_eq!(median(values.clone()), want, "{values:?}");
        }
    }
}
