//! Edits under load: nobody may notice, and the new table must be served soon.

use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use portcullis_bench::{
    client::{Http1, Target},
    histogram::Histogram,
    load::{self, Mode, Plan, Tally},
    scene::{self, HOST},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};

use crate::{Stage, kept, manifests, targets};

/// An edit that is not served after this has been lost.
const LOST: Duration = Duration::from_secs(5);

/// Between two looks at which table is served.
const LOOK: Duration = Duration::from_millis(1);

/// Clients that ask all the time, but leave the proxy room: a stall must come from the edit, not from the queue.
const CLIENTS: [(&str, Plan); 4] = [
    ("HTTP/1.1", plan(Mode::H1, 8, 1, 2)),
    ("HTTP/1.1 over TLS", plan(Mode::H1Tls, 8, 1, 2)),
    ("a new TLS connection for each request", plan(Mode::Handshake, 2, 1, 10)),
    ("HTTP/2 over TLS", plan(Mode::H2, 2, 8, 4)),
];

const fn plan(mode: Mode, connections: usize, streams: usize, pause_ms: u64) -> Plan {
    Plan { mode, connections, streams, pause: Duration::from_millis(pause_ms) }
}

/// The watched folder and what is about to be moved into it.
struct Folder {
    watched: PathBuf,
    /// On the same file system, so that a rename is all that the watcher sees.
    next: PathBuf,
}

/// Returns a part of the report, and how many requests failed.
pub(crate) async fn measure(stage: &Stage, edits: u32, seconds: f64) -> Result<(String, u64)> {
    let folder = Folder { watched: stage.scratch.join("edits"), next: stage.scratch.join("next.yaml") };
    scene::write_gateway(&folder.watched, &stage.identity, stage.origins[0])?;
    fs::write(folder.watched.join("other.yaml"), manifests::service("other", stage.origins[1]))?;
    fs::write(folder.route(), manifests::edited(0, "origin"))?;
    let portcullis = stage.start("edits", HOST).await?;
    let (http, https) = targets(&portcullis, HOST);

    let mut tallies = Vec::new();
    for (_, plan) in CLIENTS {
        let tally = Rc::new(Tally::default());
        let target = if plan.mode == Mode::H1 { &http } else { &https };
        load::start(plan, target, stage.identity.der()?, &tally)?;
        tally.measure(0);
        tallies.push(tally);
    }
    let mut observer = kept(&http).await?;
    println!("{edits} edits in {seconds} s");
    let (began, mut served) = (Instant::now(), Histogram::default());
    for edit in 1..=edits {
        sleep_until(began + Duration::from_secs_f64(seconds / f64::from(edits) * f64::from(edit))).await;
        served.record(folder.edit(edit, &mut observer, &http).await?);
    }
    let measured = began.elapsed();
    tallies.iter().for_each(|tally| tally.stop());

    let failed = tallies.iter().map(|tally| tally.errors()).sum();
    Ok((report(edits, &served, &tallies, measured), failed))
}

impl Folder {
    fn route(&self) -> PathBuf {
        self.watched.join("route.yaml")
    }

    /// Replaces the route (every fifth time, a neighbour comes or goes too) and returns how long it took from
    /// rename(2) to the first answer by the new table.
    async fn edit(&self, edit: u32, observer: &mut Http1<TcpStream>, target: &Target) -> Result<Duration> {
        if edit.is_multiple_of(5) {
            self.neighbour(edit.is_multiple_of(2))?;
        }
        let service = if edit.is_multiple_of(2) { "origin" } else { "other" };
        let wanted = edit.to_string();
        fs::write(&self.next, manifests::edited(edit, service))?;
        let began = Instant::now();
        fs::rename(&self.next, self.route())?;
        loop {
            let answer = observer.get().await.context("the connection that looks for the new table")?;
            target.check(answer)?;
            if observer.header("x-edit") == Some(wanted.as_str()) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > LOST {
                bail!("edit {edit} is not served after {LOST:?}");
            }
            sleep(LOOK).await;
        }
    }

    fn neighbour(&self, comes: bool) -> Result<()> {
        let path: &Path = &self.watched.join("neighbour.yaml");
        if comes {
            fs::write(path, manifests::route("neighbour", "neighbour.example.com", "other"))?;
        } else if path.exists() {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn report(edits: u32, served: &Histogram, tallies: &[Rc<Tally>], measured: Duration) -> String {
    let millis = |percent| served.percentile(percent).as_secs_f64() * 1e3;
    let mut text = format!(
        "## {edits} edits of a route under load, in {:.0} s\n\n\
         From rename(2) of the file to the first answer by the new table, seen by a kept connection that asks every \
         millisecond; the controller's own wait for further events is part of it: median {:.1} ms, p99 {:.1} ms, \
         longest {:.1} ms.\n\n\
         | clients on that route meanwhile | requests | failed | closed by the server |\n| --- | ---: | ---: | ---: |\n",
        measured.as_secs_f64(),
        millis(50.0),
        millis(99.0),
        served.max().as_secs_f64() * 1e3,
    );
    let mut first_errors = String::new();
    for ((name, _), tally) in CLIENTS.iter().zip(tallies) {
        let report = tally.report(measured);
        text += &format!("| {name} | {} | {} | {} |\n", report.requests, report.errors, report.reconnects);
        if let Some(error) = report.first_error {
            first_errors += &format!("\n{name}, the first failure: {error}\n");
        }
    }
    text + &first_errors
}
