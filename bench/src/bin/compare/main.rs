//! The peers side by side: the same work for each, in rounds that take turns, and what it cost each of them.
#![allow(clippy::print_stdout)] // progress and the report are its output

mod report;
mod statistics;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use portcullis_bench::{
    comparison::{Comparison, Line, Name, Peer, Setup},
    load::Report,
};

use crate::statistics::median_of;

/// How long a proxy may take to give its first good answer.
const START: Duration = Duration::from_secs(20);

#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; each of them asks every proxy for every line.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measured seconds for each proxy, line and round.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Measure latencies too: as many rounds again, at half of the rate that the slowest proxy reaches on a line.
    #[arg(long)]
    latency: bool,
    /// Two short rounds, to see that everything works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    setup: Setup,
    /// Where `compare.md` goes.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Every report, by line, then by proxy, then by round; none of a proxy that was not measured with a line.
type Results = Vec<Vec<Vec<Report>>>;

/// What was measured.
struct Measured {
    saturated: Results,
    /// With --latency: requests in each second by line, and what came of them.
    at_rate: Option<(Vec<f64>, Results)>,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.rounds, arguments.seconds, arguments.warm_up) = (2, 0.2, 0.05);
    }
    fs::create_dir_all(&arguments.folder)?;
    // nginx and Envoy read paths from their files, and not relative to this folder.
    let folder = arguments.folder.canonicalize()?;
    let scratch = folder.join(format!("compare-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let compared = compare(&arguments, &scratch);
    if compared.is_ok() {
        fs::remove_dir_all(&scratch)?;
    }
    let (text, failed) = compared.with_context(|| format!("logs are in {}", scratch.display()))?;
    let path = folder.join("compare.md");
    fs::write(&path, &text)?;
    println!("\n{text}\nwritten to {}", path.display());
    if failed > 0 {
        bail!("{failed} requests without a good answer: these figures compare nothing");
    }
    Ok(())
}

/// Returns the report and how many requests had no good answer.
fn compare(arguments: &Arguments, scratch: &Path) -> Result<(String, u64)> {
    let comparison = Comparison::new(&arguments.setup, scratch)?;
    let mut peers = Vec::new();
    for name in arguments.setup.names(&comparison.lines) {
        let started = comparison.start(name, &[]);
        let mut peer = started.with_context(|| format!("start {name} (--without {name} leaves it out)"))?;
        let lines = || comparison.lines.iter().filter(move |line| line.is_for(name));
        if lines().any(|line| line.many_workers) {
            comparison.start_many_workers(&mut peer)?;
        }
        // A proxy that cannot serve every line is not measured at all, unless it is an older Portcullis.
        for line in lines() {
            let good = comparison.wait_until_good(&mut peer, line, START);
            let older = name == Name::Baseline && peer.instance_mut(line).process.is_running();
            if good.is_err() && older {
                println!("{name} does not serve {}", line.name);
                peer.leave_out(line);
            } else {
                good?;
            }
        }
        println!("{name}: {}", peer.version);
        peers.push(peer);
    }
    if peers.is_empty() {
        bail!("nothing to compare");
    }
    let saturated = rounds(arguments, &comparison, &mut peers, |_| Vec::new())?;
    let at_rate = if arguments.latency {
        let rates: Vec<f64> = saturated.iter().map(|by_peer| half_of_the_slowest(by_peer)).collect();
        println!("latencies, at a fixed rate");
        let rate = |line: usize| vec!["--rate".to_owned(), rates[line].to_string()];
        let results = rounds(arguments, &comparison, &mut peers, rate)?;
        Some((rates, results))
    } else {
        None
    };
    let measured = Measured { saturated, at_rate };
    Ok((report::markdown(arguments, &comparison.lines, &peers, &measured), measured.failed()))
}

/// Of the medians of one line: a rate that every proxy can keep up, the same for all.
fn half_of_the_slowest(by_peer: &[Vec<Report>]) -> f64 {
    let reached = by_peer.iter().filter_map(|rounds| median_of(rounds, |round| Some(round.per_second)));
    (reached.min_by(f64::total_cmp).unwrap_or_default() / 2.0).max(1.0)
}

/// Asks each proxy for each line in every round; `more` are further arguments of the generator for a line.
fn rounds(
    arguments: &Arguments,
    comparison: &Comparison<'_>,
    peers: &mut [Peer],
    more: impl Fn(usize) -> Vec<String>,
) -> Result<Results> {
    let mut results: Results = vec![vec![Vec::new(); peers.len()]; comparison.lines.len()];
    for round in 0..arguments.rounds {
        println!("round {} of {}", round + 1, arguments.rounds);
        for (number, line) in comparison.lines.iter().enumerate() {
            let mut words = more(number);
            words.extend(["--seconds".to_owned(), arguments.seconds.to_string()]);
            words.extend(["--warm-up".to_owned(), warm_up(arguments, line).to_string()]);
            let limit = Duration::from_secs_f64(arguments.seconds + warm_up(arguments, line) + 15.0);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            for turn in 0..peers.len() {
                // No proxy is always the first, or always after the same one.
                let place = (turn + round) % peers.len();
                let index = if round % 2 == 0 { place } else { peers.len() - 1 - place };
                let peer = &mut peers[index];
                if !peer.is_measured(line) {
                    continue;
                }
                let report = comparison.ask(peer, line, &words, limit)?;
                let process = &mut peer.instance_mut(line).process;
                if !process.is_running() {
                    let log = process.last_words();
                    bail!("{} ended during {}:\n{log}", peer.name, line.name);
                }
                if let Some(error) = &report.first_error {
                    println!("{} on {}: {} errors, the first: {error}", peer.name, line.name, report.errors);
                }
                results[number][index].push(report);
            }
        }
    }
    Ok(results)
}

/// In seconds; at least a millisecond for each connection, so that all of them are established.
fn warm_up(arguments: &Arguments, line: &Line) -> f64 {
    arguments.warm_up.max(line.connections as f64 / 1e3)
}

impl Measured {
    /// All rounds.
    fn all(&self) -> impl Iterator<Item = &Results> {
        [Some(&self.saturated), self.at_rate.as_ref().map(|(_, results)| results)].into_iter().flatten()
    }

    /// Requests without a good answer.
    fn failed(&self) -> u64 {
        self.all().flatten().flatten().flatten().map(|report| report.errors).sum()
    }
}
