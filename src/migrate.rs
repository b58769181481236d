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

use portcullis_controller::migrate::{self, Objects, Report, Verdict};

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
/// If the cluster cannot be read, or standard output cannot be written.
pub async fn run(args: &MigrateArgs) -> anyhow::Result<u8> {
    let objects = match args.paths.is_empty() {
        false => Objects::of_files(&args.paths),
        true => cluster::read(args).await?,
    };
    let settings = settings::of(&args.objects())?;
    if let Some(sides) = &args.compare {
        let requests = migrate::requests(&objects, &settings);
        let differ = compare::run(&requests, sides, args, &mut io::stdout()).await?;
        return Ok(if differ { DIFFERENT } else { SAME });
    }
    if args.to.is_some() {
        let translated = migrate::to_gateway_api(&objects, &settings, &args.gateway_class);
        io::stdout().lock().write_all(translated.manifests.as_bytes())?;
        translated.without_equivalent.iter().try_for_each(|what| writeln!(io::stderr(), "{what}"))?;
        return Ok(if translated.without_equivalent.is_empty() { SAME } else { DIFFERENT });
    }
    let report = migrate::report(&objects, &settings);
    print(&report, args.output, &mut io::stdout().lock())?;
    Ok(exit_code(&report))
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
