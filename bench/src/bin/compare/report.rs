//! The figures as Markdown: medians over the rounds, the machine, the versions.

mod table;

use std::fmt::Write as _;

use portcullis_bench::{
    comparison::{Group, Line, Peer},
    machine,
};

use crate::{Arguments, Measured, Results};

pub(crate) fn markdown(arguments: &Arguments, lines: &[Line], peers: &[Peer], measured: &Measured) -> String {
    let figures = Figures { lines, peers, results: &measured.saturated };
    let mut text = format!("# The peers side by side\n\n{}\n", conditions(arguments));
    if arguments.quick {
        text.push_str("**A quick run: it shows that everything works; its figures mean nothing.**\n\n");
    }
    text.push_str("## CPU for each request, µs (median of the rounds)\n\n");
    text.push_str(
        "A ratio is the median of the rounds' ratios: in a round, one was measured soon after the other.\n",
    );
    for group in Group::ALL {
        if let Some(table) = figures.cpu_of(group) {
            let _ = write!(text, "\n### {}\n\n{table}", group.title());
        }
    }
    if let Some(table) = figures.units() {
        let _ = write!(text, "\n### Streams in other units\n\n{table}");
    }
    let _ = write!(text, "\nThe lowest and the highest round:\n\n{}", figures.spread());
    if let Some(table) = figures.beside_plain() {
        text.push_str("\n## What a route's work costs\n\n");
        text.push_str(
            "CPU for each request, by CPU for each request of the plain line, of the same proxy.\n\n",
        );
        text.push_str(&table);
    }
    text.push_str("\n## Requests a second, with one core\n\n");
    text.push_str(&figures.all(|report| Some(report.per_second), |value| format!("{value:.0}")));
    text.push_str("\n## Share of that core in use, %\n\nWell under 100: the generator or the backend was the limit.\n\n");
    text.push_str(&figures.all(|report| report.cpu_share, |value| format!("{:.0}", value * 100.0)));
    text.push_str("\n## Latency under saturation, median / 99th percentile, µs\n\n");
    text.push_str("Of a closed loop: what would have been asked during a stall is not counted (coordinated omission).\n\n");
    text.push_str(&figures.latencies());
    if let Some((rates, results)) = &measured.at_rate {
        text.push_str("\n## Latency at a fixed rate, median / 99th / 99.9th percentile, µs\n\n");
        text.push_str(
            "At half of what the slowest proxy reaches, each latency from when its request was due.\n\n",
        );
        text.push_str(&Figures { results, ..figures }.latencies_at_rate(rates));
    }
    let _ = write!(
        text,
        "\n## Errors\n\n{}\n\n## Machine and versions\n\n{}",
        errors(lines, peers, measured),
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

/// What was measured, and what the tables show of it.
#[derive(Clone, Copy)]
struct Figures<'a> {
    lines: &'a [Line],
    peers: &'a [Peer],
    results: &'a Results,
}

fn errors(lines: &[Line], peers: &[Peer], measured: &Measured) -> String {
    let mut text = Vec::new();
    for results in measured.all() {
        for (line, by_peer) in lines.iter().zip(results) {
            for (peer, reports) in peers.iter().zip(by_peer) {
                let errors: u64 = reports.iter().map(|report| report.errors).sum();
                if let Some(first) = reports.iter().find_map(|report| report.first_error.as_ref()) {
                    text.push(format!("- {} on {}: {errors}, the first: {first}", peer.name, line.name));
                }
            }
        }
    }
    if text.is_empty() {
        "None: every answer was 200 with its whole body, every message came back.".to_owned()
    } else {
        text.join("\n")
    }
}

fn versions(peers: &[Peer]) -> String {
    let mut text = machine::describe();
    for peer in peers {
        let _ = writeln!(text, "- {}: {}", peer.name, peer.version);
    }
    text
}
