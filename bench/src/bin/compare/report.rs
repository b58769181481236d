//! The figures as Markdown: medians over the rounds, the machine, the versions.

use std::fmt::Write as _;

use portcullis_bench::{load::Report, machine};

use crate::{
    Arguments, Results,
    lines::LINES,
    peers::{Name, Peer},
};

/// At most this much more CPU than pingora by itself is the aim.
const AIM: f64 = 1.15;

pub(crate) fn markdown(arguments: &Arguments, peers: &[Peer], results: &Results) -> String {
    let mut text = format!("# The peers side by side\n\n{}\n", conditions(arguments));
    if arguments.quick {
        text.push_str("**A quick run: it shows that everything works; its figures mean nothing.**\n\n");
    }
    text.push_str("## CPU for each request, µs (median of the rounds)\n\n");
    text.push_str(&table(peers, results, cpu, |value| format!("{value:.1}"), true));
    text.push_str("\nThe lowest and the highest round:\n\n");
    text.push_str(&spread(peers, results));
    text.push_str("\n## Requests a second, with one core\n\n");
    text.push_str(&table(
        peers,
        results,
        |report| Some(report.per_second),
        |value| format!("{value:.0}"),
        false,
    ));
    text.push_str("\n## Share of that core in use, %\n\nWell under 100: the generator or the backend was the limit.\n\n");
    text.push_str(&table(peers, results, |r| r.cpu_share, |value| format!("{:.0}", value * 100.0), false));
    text.push_str("\n## Latency, median / 99th percentile, µs\n\n");
    text.push_str("Of a closed loop: what would have been asked during a stall is not counted (coordinated omission).\n\n");
    text.push_str(&latencies(peers, results));
    let _ = write!(
        text,
        "\n## Errors\n\n{}\n\n## Machine and versions\n\n{}",
        errors(peers, results),
        versions(peers)
    );
    text
}

fn conditions(arguments: &Arguments) -> String {
    format!(
        "{} rounds of {} s for each proxy and line, taking turns. The proxy on core {}, generator and backend on \
         core {}. One worker each, TLS 1.3 with AES-128-GCM and X25519, one ECDSA P-256 certificate, connections to \
         the backend kept, no access logs; `bench/peers` has the settings.\n",
        arguments.rounds, arguments.seconds, arguments.proxy_cores, arguments.load_cores
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
    if ratios {
        columns
            .extend([format!("portcullis / bare (aim: {AIM})"), "portcullis / envoy (aim: < 1)".to_owned()]);
    }
    rows(&columns, |line| {
        let medians: Vec<Option<f64>> =
            results[line].iter().map(|reports| median(reports.iter().filter_map(&value).collect())).collect();
        let of = |name| peers.iter().position(|peer| peer.name == name).and_then(|index| medians[index]);
        let mut cells: Vec<String> =
            medians.iter().map(|median| median.map_or_else(|| "-".to_owned(), &show)).collect();
        if ratios {
            cells.extend([Name::Bare, Name::Envoy].map(|other| match (of(Name::Portcullis), of(other)) {
                (Some(ours), Some(theirs)) => format!("{:.2}", ours / theirs),
                _ => "-".to_owned(),
            }));
        }
        cells
    })
}

fn spread(peers: &[Peer], results: &Results) -> String {
    rows(&names(peers), |line| {
        let range = |reports: &Vec<Report>| {
            let lowest = reports.iter().filter_map(cpu).min_by(f64::total_cmp)?;
            let highest = reports.iter().filter_map(cpu).max_by(f64::total_cmp)?;
            Some(format!("{lowest:.1} to {highest:.1}"))
        };
        results[line].iter().map(|reports| range(reports).unwrap_or_else(|| "-".to_owned())).collect()
    })
}

fn latencies(peers: &[Peer], results: &Results) -> String {
    rows(&names(peers), |line| {
        let of = |reports: &[Report], value: fn(&Report) -> f64| median(reports.iter().map(value).collect());
        let cell = |reports: &Vec<Report>| {
            Some(format!("{:.0} / {:.0}", of(reports, |r| r.p50)?, of(reports, |r| r.p99)?))
        };
        results[line].iter().map(|reports| cell(reports).unwrap_or_else(|| "-".to_owned())).collect()
    })
}

fn names(peers: &[Peer]) -> Vec<String> {
    peers.iter().map(|peer| peer.name.to_string()).collect()
}

fn rows(columns: &[String], cells: impl Fn(usize) -> Vec<String>) -> String {
    let mut text = format!("| | {} |\n| --- |{}\n", columns.join(" | "), " ---: |".repeat(columns.len()));
    for (number, line) in LINES.iter().enumerate() {
        let _ = writeln!(text, "| {} | {} |", line.name, cells(number).join(" | "));
    }
    text
}

fn errors(peers: &[Peer], results: &Results) -> String {
    let mut lines = Vec::new();
    for (line, by_peer) in LINES.iter().zip(results) {
        for (peer, reports) in peers.iter().zip(by_peer) {
            let errors: u64 = reports.iter().map(|report| report.errors).sum();
            if let Some(first) = reports.iter().find_map(|report| report.first_error.as_ref()) {
                lines.push(format!("- {} on {}: {errors}, the first: {first}", peer.name, line.name));
            }
        }
    }
    if lines.is_empty() {
        "None: every answer was 200 with its whole body.".to_owned()
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
