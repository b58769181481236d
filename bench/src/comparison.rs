//! Several proxies before one backend: which of them, how they are started, and how each is asked the same.

mod line;
mod lines;
mod manifests;
mod name;
mod peers;
mod ports;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use regex_automata::meta::Regex;

pub use self::{
    line::{Beside, Group, Line, MANY_WORKERS, Unit},
    lines::LINES,
    name::Name,
    peers::{Instance, Peer},
    ports::{Port, Ports},
};
use crate::{
    load::Report,
    process::{Guard, run, sibling},
    scene::{HOST, loopback},
    tls::Identity,
};

/// Which proxies, of which binaries, on which cores.
#[derive(Clone, Debug, clap::Args)]
pub struct Setup {
    /// Proxies to leave out. Any other that cannot be started is an error.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub without: Vec<Name>,
    /// Measure only the lines whose name matches this regular expression, and the plain lines that they are compared
    /// with.
    #[arg(long, value_parser = |pattern: &str| Regex::new(pattern))]
    pub lines: Option<Regex>,
    /// The core of the proxies, as `taskset -c` takes it.
    #[arg(long, default_value = "0")]
    pub proxy_cores: String,
    /// The core of the generator and of the backend.
    #[arg(long, default_value = "1")]
    pub load_cores: String,
    /// The binary to measure; the one beside this program unless given.
    #[arg(long)]
    pub portcullis: Option<PathBuf>,
    /// Another Portcullis to measure beside it: that of an earlier commit, say.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// Envoy's binary.
    #[arg(long, default_value = "envoy")]
    pub envoy: PathBuf,
}

/// What all proxies of a comparison share.
#[derive(Debug)]
pub struct Comparison<'a> {
    setup: &'a Setup,
    /// Their settings and logs, and the certificate. They read paths from files, so it is absolute.
    scratch: &'a Path,
    identity: Identity,
    /// What is measured.
    pub lines: Vec<Line>,
    backend: Backend,
    /// Ends when this is dropped.
    _process: Guard,
}

/// The backend's ports.
#[derive(Clone, Copy, Debug)]
struct Backend {
    http: u16,
    tls: u16,
    udp: u16,
}

impl Setup {
    /// The proxies that are measured with any of these lines.
    pub fn names(&self, lines: &[Line]) -> impl Iterator<Item = Name> {
        let given = |name: &Name| *name != Name::Baseline || self.baseline.is_some();
        let measured = |name: &Name| lines.iter().any(|line| line.is_for(*name));
        let names = Name::ALL.into_iter().filter(given).filter(measured);
        names.filter(|name| !self.without.contains(name))
    }
}

impl<'a> Comparison<'a> {
    /// Starts the backend.
    ///
    /// # Errors
    /// Where it does not start, or the folder cannot be written, or no line is selected.
    pub fn new(setup: &'a Setup, scratch: &'a Path) -> Result<Self> {
        let lines = lines::matching(setup.lines.as_ref())?;
        // All processes inherit it: a thousand connections need two thousand files.
        rlimit::increase_nofile_limit(u64::MAX)?;
        let identity = Identity::new(&[HOST])?;
        identity.write(scratch)?;
        let (process, backend) = start_origin(&setup.load_cores, scratch)?;
        Ok(Self { setup, scratch, identity, lines, backend, _process: process })
    }

    /// Waits until this peer has answered a line once.
    ///
    /// # Errors
    /// Where it ends, or has given no good answer within `limit`.
    pub fn wait_until_good(&self, peer: &mut Peer, line: &Line, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let once = Line { connections: 1, streams: 1, ..*line };
        loop {
            let seen = self.ask(peer, &once, &["--seconds", "0.2", "--requests", "1"], limit)?;
            if seen.requests > 0 && seen.errors == 0 {
                return Ok(());
            }
            let process = &mut peer.instance_mut(line).process;
            if !process.is_running() || Instant::now() > deadline {
                let (why, log) = (seen.first_error.unwrap_or_default(), process.last_words());
                bail!("{} gives no good answer to {}: {why}\n{log}", peer.name, line.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs the generator against this peer, to its end or for `limit` at most.
    ///
    /// # Errors
    /// Where the generator fails. What the peer fails at is in the report.
    pub fn ask(&self, peer: &Peer, line: &Line, more: &[&str], limit: Duration) -> Result<Report> {
        let instance = peer.instance(line);
        let address = loopback(instance.ports.number(line.port));
        let mut all = line.arguments();
        all.extend(["--json".to_owned(), "--connect".to_owned(), address.to_string()]);
        all.extend(["--pid".to_owned(), instance.process.pid().to_string()]);
        all.extend(["--certificate".to_owned(), self.scratch.join("cert.pem").display().to_string()]);
        all.extend(more.iter().map(|&argument| argument.to_owned()));
        let printed = run(&self.setup.load_cores, &sibling("load")?, &all, limit)?;
        serde_json::from_str(&printed).context("report of the generator")
    }
}

fn start_origin(cores: &str, scratch: &Path) -> Result<(Guard, Backend)> {
    let path = |name: &str| scratch.join(name).display().to_string();
    let arguments = ["--certificate".into(), path("cert.pem"), "--key".into(), path("key.pem")];
    let mut origin = Guard::start(cores, &sibling("origin")?, &arguments, scratch.join("origin.log"))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let said = origin.last_words();
        if let Some(backend) = Backend::said(&said) {
            return Ok((origin, backend));
        }
        if !origin.is_running() || Instant::now() > deadline {
            bail!("the backend does not start: {said}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Backend {
    /// As the backend prints them; none before it is ready.
    fn said(text: &str) -> Option<Self> {
        if !text.ends_with("ready") {
            return None;
        }
        let port = |name: &str| {
            let mut words = text.lines().filter_map(|line| line.split_once(' '));
            let address: SocketAddr = words.find(|(of, _)| *of == name)?.1.parse().ok()?;
            Some(address.port())
        };
        Some(Self { http: port("http")?, tls: port("tls")?, udp: port("udp")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_the_backend_are_those_that_it_prints() {
        let text = "http 127.0.0.1:1\ntls 127.0.0.1:2\nudp 127.0.0.1:3\n";
        assert!(Backend::said(text).is_none(), "not ready");
        let Backend { http, tls, udp } = Backend::said(&format!("{text}ready")).unwrap();
        assert_eq!((http, tls, udp), (1, 2, 3));
    }
}
