//! What a request costs, in figures that need no clock: user instructions, and system calls.
//!
//! Each is counted over a few requests and over many, and the difference is divided: the cost of a proxy's start and
//! end, and of a connection, cancels out.
#![allow(clippy::print_stdout)] // progress and the report are its output

mod counter;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use portcullis_bench::comparison::{Comparison, Line, Name, Setup};

use crate::counter::{Counter, PerRequest};

/// The lines of `compare` that are counted.
const COUNTED: [&str; 18] = [
    "small GET",
    "small GET, browser",
    "ten header edits, rewrite, CORS",
    "small GET, TLS to the backend",
    "small GET, TLS",
    "small GET, h2 (TLS) to h1",
    "100 KiB",
    "gRPC, h2 (TLS) to h2c",
    "Ingress",
    "Ingress, limit-rps",
    "Ingress, whitelist-source-range",
    "Ingress, custom-headers, upstream-vhost",
    "Ingress, rewrite-target",
    "Ingress, host of 100 regular expressions",
    "Ingress, auth-url",
    "TCP connection and a GET",
    "TLS passthrough, connection and a GET",
    "UDP, 512 B and back",
];

/// How long a proxy may take to give its first good answer, and to end: valgrind makes it fifty times slower.
const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(60);

/// How long the requests of one run may take.
const ASKED: Duration = Duration::from_secs(300);

#[derive(Debug, Parser)]
struct Arguments {
    /// Requests of the short run.
    #[arg(long, default_value_t = 200)]
    few: u64,
    /// Requests of the long run.
    #[arg(long, default_value_t = 4200)]
    many: u64,
    /// Connections that ask at the same time, each one request after the other. With one, each request wakes a sleeping
    /// proxy twice; with more, one wake-up serves several.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[command(flatten)]
    setup: Setup,
    /// Where `instructions.md` goes.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// What was counted, by counter, then by line, then by proxy: nothing where a line is not for it.
type Results = [Vec<Vec<PerRequest>>; 2];

/// A proxy that was counted, and its version.
type Counted = (Name, String);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.many <= arguments.few {
        bail!("--many must be more than --few: their difference is what is counted");
    }
    fs::create_dir_all(&arguments.folder)?;
    let folder = arguments.folder.canonicalize()?;
    let scratch = folder.join(format!("instructions-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let text = count(&arguments, &scratch).with_context(|| format!("logs are in {}", scratch.display()))?;
    fs::remove_dir_all(&scratch)?;
    let path = folder.join("instructions.md");
    fs::write(&path, &text)?;
    println!("\n{text}\nwritten to {}", path.display());
    Ok(())
}

/// Returns the report.
fn count(arguments: &Arguments, scratch: &Path) -> Result<String> {
    let comparison = Comparison::new(&arguments.setup, scratch)?;
    let lines = counted(&comparison.lines, arguments.connections);
    if lines.is_empty() {
        bail!("--lines matches none of these:\n  {}", COUNTED.join("\n  "));
    }
    let mut results = [vec![Vec::new(); lines.len()], vec![Vec::new(); lines.len()]];
    let mut peers: Vec<Counted> = Vec::new();
    // Envoy takes minutes to start under valgrind.
    for name in arguments.setup.names(&lines).filter(|name| *name != Name::Envoy) {
        let run = Run { comparison: &comparison, name, scratch };
        for (by_line, counter) in results.iter_mut().zip(Counter::BOTH) {
            println!("{name}: {counter}");
            for (of_line, line) in by_line.iter_mut().zip(&lines) {
                if !line.is_for(name) {
                    of_line.push(PerRequest::new());
                    continue;
                }
                let counted = run.per_request(counter, line, arguments.few, arguments.many);
                of_line.push(counted.with_context(|| format!("{counter} of {name} on {}", line.name))?);
            }
        }
        let version = run.version()?;
        println!("{name}: {version}");
        peers.push((name, version));
    }
    Ok(report::markdown(arguments, &lines, &peers, &results))
}

/// The lines of these that are counted, with one request at a time on each connection.
fn counted(lines: &[Line], connections: usize) -> Vec<Line> {
    let counted = lines.iter().filter(|line| COUNTED.contains(&line.name));
    counted.map(|line| Line { connections, streams: 1, ..*line }).collect()
}

/// One proxy, started anew for each count.
struct Run<'a> {
    comparison: &'a Comparison<'a>,
    name: Name,
    scratch: &'a Path,
}

impl Run<'_> {
    fn per_request(&self, counter: Counter, line: &Line, few: u64, many: u64) -> Result<PerRequest> {
        let of_few = self.counted(counter, line, few)?;
        let of_many = self.counted(counter, line, many)?;
        Ok(counter::per_request(&of_few, &of_many, many - few))
    }

    /// Everything from the start of the process to its end, these requests among it.
    fn counted(&self, counter: Counter, line: &Line, requests: u64) -> Result<counter::Counts> {
        let folder = self.scratch.join(format!("{}-{}-{requests}", self.name, line.name.replace(' ', "-")));
        let folder = counter.folder(&folder)?;
        let mut peer = self.comparison.start(self.name, &counter.under(&folder))?;
        self.comparison.wait_until_good(&mut peer, line, START)?;
        let (number, seconds) = (requests.to_string(), ASKED.as_secs().to_string());
        let asked = ["--requests", &number, "--seconds", &seconds];
        let report = self.comparison.ask(&peer, line, &asked, ASKED + START)?;
        if report.requests != requests || report.errors > 0 {
            let why = report.first_error.unwrap_or_default();
            bail!("{} good answers to {requests} requests, {} errors: {why}", report.requests, report.errors);
        }
        peer.instance.process.end(END)?;
        counter.read(&folder)
    }

    fn version(&self) -> Result<String> {
        Ok(self.comparison.start(self.name, &[])?.version)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_bench::comparison::LINES;

    use super::*;

    #[test]
    fn what_is_counted_is_a_line_of_compare() {
        let lines = counted(&LINES, 1);
        assert_eq!(lines.iter().map(|line| line.name).collect::<Vec<_>>(), COUNTED);
        assert!(lines.iter().all(|line| line.connections * line.streams == 1));
    }
}
