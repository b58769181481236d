//! Child processes: pinned to a core, never left behind, and what they cost as the kernel counts it.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A child ends by itself within this time after SIGTERM, or is killed.
const TERM: Duration = Duration::from_secs(3);

/// Where a child runs, and the program that it runs under, if any: one that counts what it does.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Cores, as `taskset -c` takes them.
    pub cores: &'a str,
    /// A program and its arguments that ends by starting another, in the same process.
    pub under: &'a [String],
}

/// A child process. It ends when this is dropped, and when this process ends in any other way.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    /// What it wrote to its standard error and output.
    pub log: PathBuf,
}

impl Guard {
    /// Starts a program at this place; what it writes goes to `log`.
    ///
    /// Call it on the main thread: the child gets SIGTERM when the thread that started it ends.
    ///
    /// # Errors
    /// Where it cannot be started, or `setpriv` and `taskset` (util-linux) are missing.
    pub fn start<'a>(
        place: impl Into<Place<'a>>,
        program: &Path,
        arguments: &[String],
        log: PathBuf,
    ) -> Result<Self> {
        let file = fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = pinned(place.into(), program, arguments);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Its process id: the wrappers replace themselves with the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it and its children with SIGTERM, and waits until it is gone.
    ///
    /// # Errors
    /// Where it takes longer than `limit`.
    pub fn end(mut self, limit: Duration) -> Result<()> {
        if !self.terminate(limit) {
            bail!("process {} does not end within {limit:?} after SIGTERM", self.pid());
        }
        Ok(())
    }

    /// Returns whether it is gone.
    fn terminate(&mut self, limit: Duration) -> bool {
        if self.is_running() {
            signal("-TERM", &family(self.pid()));
        }
        let deadline = Instant::now() + limit;
        while self.is_running() && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
        !self.is_running()
    }

    /// The last lines that it wrote.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let family = family(self.pid());
        if !self.terminate(TERM) {
            signal("-KILL", &family);
            drop(self.child.wait());
        }
    }
}

/// Runs a program on these cores to its end and returns what it printed.
///
/// # Errors
/// Where it fails, or has not ended within `limit`.
pub fn run(cores: &str, program: &Path, arguments: &[String], limit: Duration) -> Result<String> {
    let mut command = pinned(cores.into(), program, arguments);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{} did not end within {limit:?}", program.display());
        }
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns whether a file of `/proc` could not be read because the process or thread ended after it was listed: strace, for
/// example, starts a process that ends at once.
fn has_ended(error: &io::Error) -> bool {
    /// No such process.
    const ESRCH: i32 = 3;
    error.raw_os_error() == Some(ESRCH) || error.kind() == ErrorKind::NotFound
}

/// CPU time that a process and its children have used, user and system.
///
/// The scheduler's own count in nanoseconds: the ticks of `/proc/PID/stat` are 10 ms, a hundredth of a short round.
///
/// # Errors
/// Where there is no such process, or the kernel does not count.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for member in family(pid) {
        let tasks = match fs::read_dir(format!("/proc/{member}/task")) {
            Err(error) if member != pid && has_ended(&error) => continue,
            tasks => tasks.with_context(|| format!("process {member}"))?,
        };
        for task in tasks {
            let path = task?.path().join("schedstat");
            match fs::read_to_string(&path) {
                Ok(text) => nanos += first_number(&text).context("schedstat")?,
                Err(error) if has_ended(&error) => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Memory of a process and its children: resident now and at most so far, KiB.
///
/// # Errors
/// Where there is no such process.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let (mut now, mut most) = (0, 0);
    for member in family(pid) {
        let status = match fs::read_to_string(format!("/proc/{member}/status")) {
            Err(error) if member != pid && has_ended(&error) => continue,
            status => status.with_context(|| format!("process {member}"))?,
        };
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).and_then(first_number);
        now += field("VmRSS:").context("VmRSS")?;
        most += field("VmHWM:").context("VmHWM")?;
    }
    Ok((now, most))
}

/// A port of the loopback address that is free now.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A UDP port of the loopback address that is free now.
///
/// # Errors
/// Where there is none.
pub fn free_udp_port() -> Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The program beside this one.
///
/// # Errors
/// Where it was not built.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is missing: build it first (bench/compare does)", path.display());
    }
    Ok(path)
}

impl<'a> From<&'a str> for Place<'a> {
    fn from(cores: &'a str) -> Self {
        Self { cores, under: &[] }
    }
}

fn pinned(place: Place<'_>, program: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", place.cores]);
    command.args(place.under).arg(program).args(arguments);
    command
}

/// A process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        next += 1;
        // A process that has just ended has no children to name.
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    family
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    drop(Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status());
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_counted_with_its_children_and_ends_with_its_guard() {
        let folder = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let script = "sleep 60 & echo ready; wait".to_owned();
        let mut guard =
            Guard::start("0", Path::new("sh"), &["-c".into(), script], folder.join("log")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while guard.last_words() != "ready" && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        let pid = guard.pid();
        assert_eq!(guard.last_words(), "ready");
        assert_eq!(family(pid).len(), 2, "the shell and its sleep");
        assert!(cpu(pid).unwrap() > Duration::ZERO);
        let (now, most) = memory(pid).unwrap();
        assert!(now > 0 && most >= now, "{now} KiB now, {most} KiB at most");
        assert!(guard.is_running());
        drop(guard);
        assert!(cpu(pid).is_err(), "the process is gone");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_program_that_fails_or_stays_is_an_error() {
        let sh = |script: &str, limit| run("0", Path::new("sh"), &["-c".into(), script.into()], limit);
        assert_eq!(sh("echo out", Duration::from_secs(20)).unwrap(), "out\n");
        assert!(
            sh("echo why >&2; exit 3", Duration::from_secs(20)).unwrap_err().to_string().ends_with("why")
        );
        assert!(
            sh("exec sleep 60", Duration::from_millis(50)).unwrap_err().to_string().contains("did not end")
        );
    }
}
