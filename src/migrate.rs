//! `portcullis migrate`: compares the Ingresses of ingress-nginx with their behavior here.
//!
//! ```text
//! cluster.rs   lists the objects of a cluster
//! compare.rs   sends the same requests to two addresses
//! ```
//!
//! The interpretation of objects is in `portcullis_controller::migrate`.

mod cluster;
mod compare;

pub use compare::Side;

use std::io::{self, Write};

use anyhow::bail;
use portcullis_controller::{
    Settings,
    migrate::{self, Objects, Report, Verdict},
};

use crate::{
    cli::{MigrateArgs, ReportOutput},
    settings,
};

/// Exit codes. 1 is for errors, 2 for an invalid command line.
const SAME: u8 = 0;
const DIFFERENT: u8 = 3;
const REFUSED: u8 = 4;

/// Reads, compares, and prints. Returns the exit code.
///
/// # Errors
/// Where the cluster cannot be read, the standard output cannot be written, or requests could not be compared.
pub async fn run(args: &MigrateArgs) -> anyhow::Result<u8> {
    let objects = match args.paths.is_empty() {
        false => Objects::of_files(&args.paths, args.annotations_prefix.clone()),
        true => cluster::read(args).await?,
    };
    let settings = settings::of(&args.objects())?;
    if let Some(sides) = &args.compare {
        return compare(&objects, &settings, sides, args).await;
    }
    if args.to.is_some() {
        let translated = migrate::to_gateway_api(&objects, &settings, &args.gateway_class);
        io::stdout().lock().write_all(translated.manifests.as_bytes())?;
        let mut lines = translated.without_equivalent.iter().map(|line| migrate::printable(line));
        lines.try_for_each(|line| writeln!(io::stderr(), "{line}"))?;
        return Ok(match translated.without_equivalent.is_empty() {
            _ if !objects.unreadable().is_empty() => REFUSED,
            true => SAME,
            false => DIFFERENT,
        });
    }
    let report = migrate::report(&objects, &settings);
    print(&report, args.output, &mut io::stdout().lock())?;
    Ok(exit_code(&report))
}

/// Sends the requests to both addresses. Returns the exit code.
///
/// # Errors
/// Where something was not compared that `--max-requests` did not leave out.
async fn compare(
    objects: &Objects,
    settings: &Settings,
    sides: &[Side],
    args: &MigrateArgs,
) -> anyhow::Result<u8> {
    if !objects.unreadable().is_empty() {
        let unreadable: Vec<_> = objects.unreadable().iter().map(|what| migrate::printable(what)).collect();
        bail!("nothing was compared, because not everything can be read: {}", unreadable.join("; "));
    }
    let requests = migrate::requests(objects, settings);
    if requests.is_empty() {
        bail!("nothing was compared: there is no Ingress of ingress-nginx with a host");
    }
    let counts = compare::run(&requests, sides, args, &mut io::stdout()).await?;
    if counts.unanswered > 0 {
        bail!("{} requests were not compared: neither address answered", counts.unanswered);
    }
    Ok(if counts.differing + counts.not_sent > 0 { DIFFERENT } else { SAME })
}

fn exit_code(report: &Report) -> u8 {
    match report.verdict() {
        _ if !report.unreadable.is_empty() => REFUSED,
        Verdict::Same | Verdict::NoEffectThere => SAME,
        Verdict::Different => DIFFERENT,
        Verdict::Refused => REFUSED,
    }
}

fn print(report: &Report, output: ReportOutput, to: &mut impl Write) -> anyhow::Result<()> {
    match output {
        ReportOutput::Text => write!(to, "{report}")?,
        ReportOutput::Json => {
            serde_json::to_writer_pretty(&mut *to, report)?;
            writeln!(to)?;
        }
        ReportOutput::Markdown => write!(to, "{}", report.markdown())?,
    }
    Ok(())
}
