//! `portcullis check`: prints what would become of manifests.

use std::io::{self, Write};

use portcullis_controller::check::{Report, check};

use crate::{
    cli::{CheckArgs, ReportFormat},
    settings,
};

/// Checks and prints; says whether all of it would be served.
///
/// # Errors
/// Where the standard output cannot be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<bool> {
    let report = check(&args.paths, &settings::of(&args.objects)?);
    print(&report, args.format, &mut io::stdout().lock())?;
    Ok(report.is_ok())
}

fn print(report: &Report, format: ReportFormat, to: &mut impl Write) -> anyhow::Result<()> {
    match format {
        ReportFormat::Text => write!(to, "{report}")?,
        ReportFormat::Json => {
            serde_json::to_writer_pretty(&mut *to, report)?;
            writeln!(to)?;
        }
    }
    Ok(())
}
