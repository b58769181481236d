//! What ingress-nginx was seen to do, played against Portcullis: each recorded case is a trial.
//!
//! `tests/ingress-nginx/README.md` says what the cases are, when two controllers are equal, and how the list of those
//! that differ is kept.
//!
//! ```text
//! cases, fixtures -> batch (one proxy process, its objects in a folder)
//!                    case -> backends at its own addresses
//!                         -> player (a client of raw HTTP) -> proxy -> backends, which note what they receive
//!                         -> compare -> differs.yaml -> passed, failed
//! ```

#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../proxy/tests/support/any_certificate.rs"]
mod any_certificate;
mod backends;
mod batch;
mod case;
mod compare;
mod differs;
mod dns;
mod net;
mod objects;
mod pki;
mod player;
mod proxy;
mod report;
mod selftest;
mod wire;

use std::{process::ExitCode, sync::Arc};

use batch::{Place, World};
use case::Recorded;
use compare::Difference;
use differs::Differs;
use libtest_mimic::{Arguments, Failed, Trial};
use report::Report;
use tokio::runtime::Handle;

/// Cases that are played at a time; most of them wait most of the time.
const AT_ONCE: usize = 8;

/// A case whose outcome is not as the list has it is played so often before that is said: a machine may be so busy that
/// an answer comes too late. The report names what was played again.
const PLAYS: u32 = 3;

/// What every trial needs.
#[derive(Debug)]
struct Run {
    differs: Differs,
    report: Report,
    /// The list is written anew instead of held against the outcomes.
    update: bool,
    /// Differences are printed of cases on the list, too.
    show: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = Arc::new(World::new());
    let run = Arc::new(Run {
        differs: Differs::load(&world.cases),
        report: Report::default(),
        update: std::env::var_os("UPDATE_DIFFERS").is_some(),
        show: std::env::var_os("SHOW_DIFFERS").is_some(),
    });
    let mut trials = selftest::trials(&world, runtime.handle());
    trials.extend(self::trials(&world, &run, runtime.handle()));
    let conclusion = libtest_mimic::run(&arguments, trials);
    print!("{}", run.report.table());
    if run.update {
        run.differs.update(&world.cases, &run.report.differing());
    }
    conclusion.exit_code()
}

fn trials(world: &Arc<World>, run: &Arc<Run>, runtime: &Handle) -> Vec<Trial> {
    let trial = |(recorded, place): (&Recorded, Place)| {
        let (run, runtime) = (Arc::clone(run), runtime.clone());
        let (name, counts) = (format!("{}::{}", recorded.family, recorded.case.id), recorded.counts());
        let (id, family) = (recorded.case.id.clone(), recorded.family.clone());
        let play = move || runtime.block_on(run.play(&id, counts.then_some(family.as_str()), place));
        Trial::test(name, play).with_ignored_flag(recorded.case.informative)
    };
    world.cases.iter().zip(world.places()).map(trial).collect()
}

impl Run {
    /// Whether the outcome of a case is as the list has it; with a family, it is counted.
    async fn play(&self, id: &str, family: Option<&str>, place: Place) -> Result<(), Failed> {
        let mut differences = place.play().await;
        let mut plays = 1;
        while self.differs.objection(id, !differences.is_empty()).is_some() && plays < PLAYS {
            differences = place.play_again().await;
            plays += 1;
        }
        if plays > 1 {
            self.report.again(id, plays);
        }
        if let Some(family) = family {
            let equal_but_headers = differences.iter().all(|(_, difference)| difference.header);
            self.report.note(id, family, differences.is_empty(), equal_but_headers);
        }
        let text = text(&place, &differences);
        if self.show && !differences.is_empty() {
            println!("{id} differs\n{text}");
        }
        match self.differs.objection(id, !differences.is_empty()) {
            Some(objection) if !self.update => Err(format!("{id} {objection}\n{text}").into()),
            _ => Ok(()),
        }
    }
}

/// The differences by request, to be read.
fn text(place: &Place, differences: &[(usize, Difference)]) -> String {
    let mut out = String::new();
    let mut last = None;
    for (index, difference) in differences {
        if last.replace(index) != Some(index) {
            out += &format!("  request {index}: {}\n", place.request(*index));
        }
        out += &format!("    {difference}\n");
    }
    out
}
