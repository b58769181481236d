//! The peers side by side: the same work for each, in rounds that take turns, and what it cost each of them.
#![allow(clippy::print_stdout)] // progress and the report are its output

mod lines;
mod peers;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use portcullis_bench::{
    load::Report,
    origin::SMALL_PATH,
    process::{Guard, run, sibling},
    scene::{HOST, loopback},
    tls::Identity,
};

use crate::{
    lines::{LINES, Line},
    peers::{Name, Peer},
};

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
    /// Two short rounds, to see that everything works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Proxies to leave out. Any other that cannot be started is an error.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Name>,
    /// The core of the proxies, as `taskset -c` takes it.
    #[arg(long, default_value = "0")]
    proxy_cores: String,
    /// The core of the generator and of the backend.
    #[arg(long, default_value = "1")]
    load_cores: String,
    /// The binary to measure; the one beside this program unless given.
    #[arg(long)]
    portcullis: Option<PathBuf>,
    /// Another Portcullis to measure beside it: that of an earlier commit, say.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Envoy's binary.
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    /// Where `compare.md` goes.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Every report, by line, then by proxy, then by round.
type Results = Vec<Vec<Vec<Report>>>;

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
    let identity = Identity::new(&[HOST])?;
    identity.write(scratch)?;
    let (_origin, origin) = start_origin(arguments, scratch)?;
    let mut peers = Vec::new();
    for name in Name::ALL {
        if name == Name::Baseline && arguments.baseline.is_none() {
            continue;
        }
        if arguments.without.contains(&name) {
            println!("without {name}");
            continue;
        }
        let peer = Peer::start(name, arguments, scratch, &identity, origin);
        let mut peer = peer.with_context(|| format!("start {name} (--without {name} leaves it out)"))?;
        wait_until_good(&mut peer, arguments, scratch)?;
        println!("{name}: {}", peer.version);
        peers.push(peer);
    }
    if peers.is_empty() {
        bail!("nothing to compare");
    }
    let results = measure(arguments, &mut peers, scratch)?;
    let failed = results.iter().flatten().flatten().map(|report| report.errors).sum();
    Ok((report::markdown(arguments, &peers, &results), failed))
}

fn start_origin(arguments: &Arguments, scratch: &Path) -> Result<(Guard, u16)> {
    let mut origin =
        Guard::start(&arguments.load_cores, &sibling("origin")?, &[], scratch.join("origin.log"))?;
    let deadline = Instant::now() + START;
    loop {
        let said = origin.last_words();
        if let Some((_, port)) =
            said.rsplit_once(':').filter(|_| said.ends_with(|c: char| c.is_ascii_digit()))
        {
            return Ok((origin, port.parse()?));
        }
        if !origin.is_running() || Instant::now() > deadline {
            bail!("the backend does not start: {said}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every protocol must answer once: a proxy that speaks only half of them is not measured by half.
fn wait_until_good(peer: &mut Peer, arguments: &Arguments, scratch: &Path) -> Result<()> {
    let deadline = Instant::now() + START;
    for line in LINES.iter().filter(|line| line.path == SMALL_PATH) {
        loop {
            let once = Line { connections: 1, streams: 1, ..*line };
            let seen = ask(peer, &once, arguments, scratch, &["--seconds", "0.2", "--requests", "1"])?;
            if seen.requests > 0 && seen.errors == 0 {
                break;
            }
            if !peer.process.is_running() || Instant::now() > deadline {
                let why = seen.first_error.unwrap_or_default();
                bail!(
                    "{} gives no good answer to {}: {why}\n{}",
                    peer.name,
                    line.name,
                    peer.process.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, peers: &mut [Peer], scratch: &Path) -> Result<Results> {
    let mut results: Results = vec![vec![Vec::new(); peers.len()]; LINES.len()];
    let (seconds, warm_up) = (arguments.seconds.to_string(), arguments.warm_up.to_string());
    for round in 0..arguments.rounds {
        println!("round {} of {}", round + 1, arguments.rounds);
        for (number, line) in LINES.iter().enumerate() {
            for turn in 0..peers.len() {
                // Nobody is always the first, or always behind the same one.
                let place = (turn + round) % peers.len();
                let index = if round % 2 == 0 { place } else { peers.len() - 1 - place };
                let peer = &mut peers[index];
                let report =
                    ask(peer, line, arguments, scratch, &["--seconds", &seconds, "--warm-up", &warm_up])?;
                if !peer.process.is_running() {
                    bail!("{} ended during {}:\n{}", peer.name, line.name, peer.process.last_words());
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

fn ask(peer: &Peer, line: &Line, arguments: &Arguments, scratch: &Path, more: &[&str]) -> Result<Report> {
    let address = loopback(if line.over_tls() { peer.https } else { peer.http });
    let mut all = line.arguments();
    all.extend(["--json".to_owned(), "--connect".to_owned(), address.to_string()]);
    all.extend(["--pid".to_owned(), peer.process.pid().to_string()]);
    all.extend(["--certificate".to_owned(), scratch.join("cert.pem").display().to_string()]);
    all.extend(more.iter().map(|&argument| argument.to_owned()));
    let limit = Duration::from_secs_f64(arguments.seconds + arguments.warm_up + 15.0);
    let printed = run(&arguments.load_cores, &sibling("load")?, &all, limit)?;
    serde_json::from_str(&printed).context("report of the generator")
}
