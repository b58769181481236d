//! Several proxies before one backend: which of them, how they are started, and how each is asked the same.

mod lines;
mod peers;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub use self::{
    lines::{LINES, Line},
    peers::{Name, Peer},
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
    origin: u16,
    /// Ends when this is dropped.
    _backend: Guard,
}

impl Setup {
    /// Who takes part.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        let given = |name: &Name| *name != Name::Baseline || self.baseline.is_some();
        Name::ALL.into_iter().filter(given).filter(|name| !self.without.contains(name))
    }
}

impl<'a> Comparison<'a> {
    /// Starts the backend.
    ///
    /// # Errors
    /// Where it does not start, or the folder cannot be written.
    pub fn new(setup: &'a Setup, scratch: &'a Path) -> Result<Self> {
        let identity = Identity::new(&[HOST])?;
        identity.write(scratch)?;
        let (backend, origin) = start_origin(&setup.load_cores, scratch)?;
        Ok(Self { setup, scratch, identity, origin, _backend: backend })
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

    /// Runs the generator against this peer, to its end or for `limit` at most.
    ///
    /// # Errors
    /// Where the generator fails. What the peer fails at is in the report.
    pub fn ask(&self, peer: &Peer, line: &Line, more: &[&str], limit: Duration) -> Result<Report> {
        let address = loopback(if line.mode.over_tls() { peer.https } else { peer.http });
        let mut all = line.arguments();
        all.extend(["--json".to_owned(), "--connect".to_owned(), address.to_string()]);
        all.extend(["--pid".to_owned(), peer.process.pid().to_string()]);
        all.extend(["--certificate".to_owned(), self.scratch.join("cert.pem").display().to_string()]);
        all.extend(more.iter().map(|&argument| argument.to_owned()));
        let printed = run(&self.setup.load_cores, &sibling("load")?, &all, limit)?;
        serde_json::from_str(&printed).context("report of the generator")
    }
}

fn start_origin(cores: &str, scratch: &Path) -> Result<(Guard, u16)> {
    let mut origin = Guard::start(cores, &sibling("origin")?, &[], scratch.join("origin.log"))?;
    let deadline = Instant::now() + Duration::from_secs(20);
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
