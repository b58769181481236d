//! Where figures come from: the machine and its software, without which they say nothing.

use std::{fs, path::Path, process::Command, thread::available_parallelism};

use anyhow::{Context as _, Result};

/// CPU, cores, load, kernel, distribution and compiler, as a Markdown list.
pub fn describe() -> String {
    let unknown = || "unknown".to_owned();
    let tool =
        |program: &str, argument: &str| said(Path::new(program), argument).unwrap_or_else(|_| unknown());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "- CPU: {}, {} cores; load at the end {}\n- kernel {}, {}\n- {}\n",
        value_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        available_parallelism().map_or(0, usize::from),
        load.split(' ').next().unwrap_or_default(),
        tool("uname", "-r"),
        value_of("/etc/os-release", "PRETTY_NAME").unwrap_or_else(unknown),
        tool("rustc", "--version"),
    )
}

/// The first line of what a program says.
///
/// # Errors
/// Where it cannot be run.
pub fn said(program: &Path, argument: &str) -> Result<String> {
    let all = said_all(program, argument)?;
    Ok(all.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned())
}

/// All that a program says, on either output: nginx says its version on the standard error.
///
/// # Errors
/// Where it cannot be run.
pub fn said_all(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.with_context(|| format!("{} is not installed", program.display()))?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// What a program says of its version, with the commit of the repository that this is run in, if it is one.
///
/// # Errors
/// Where it cannot be run.
pub fn version_and_commit(program: &Path) -> Result<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok();
    let commit = output.filter(|output| output.status.success());
    let commit = commit
        .map_or_else(String::new, |output| format!(" ({})", String::from_utf8_lossy(&output.stdout).trim()));
    Ok(format!("{}{commit}", said(program, "--version")?))
}

fn value_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once([':', '='])?.1.trim().trim_matches('"').to_owned())
}
