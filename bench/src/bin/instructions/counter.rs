//! The programs that count, and how their output is read.

use std::{
    collections::BTreeMap,
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long strace may take to write its summary after the proxy has ended.
const SUMMARY: Duration = Duration::from_secs(20);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// User instructions of all threads and processes, by callgrind.
    Instructions,
    /// System calls of them, by strace.
    SystemCalls,
}

/// Counts by what was counted: each system call by its name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The same, for one request.
pub(crate) type PerRequest = BTreeMap<String, f64>;

impl Counter {
    pub(crate) const BOTH: [Self; 2] = [Self::Instructions, Self::SystemCalls];

    /// A folder for what it writes. Workers of nginx write there too, as a user of their own.
    pub(crate) fn folder(self, name: &Path) -> Result<PathBuf> {
        let folder = name.join(self.to_string().replace(' ', "-"));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777))?;
        Ok(folder)
    }

    /// The command under which the proxy is started. Both programs keep its process id.
    pub(crate) fn under(self, folder: &Path) -> Vec<String> {
        let log = |name: &str| folder.join(name).display().to_string();
        let words: Vec<String> = match self {
            Self::Instructions => vec![
                "valgrind".into(),
                "--tool=callgrind".into(),
                "--callgrind-out-file=/dev/null".into(),
                format!("--log-file={}", log("%p")),
            ],
            // -D: the tracer is the grandchild, so that signals reach the proxy.
            Self::SystemCalls => ["strace", "-D", "-f", "-c", "-o"]
                .map(String::from)
                .into_iter()
                .chain([log("summary")])
                .collect(),
        };
        words
    }

    /// What it has counted, once the proxy has ended.
    pub(crate) fn read(self, folder: &Path) -> Result<Counts> {
        match self {
            Self::Instructions => {
                let mut sum = 0;
                for log in fs::read_dir(folder)? {
                    sum += collected(&fs::read_to_string(log?.path())?)?;
                }
                Ok(Counts::from([("instructions".to_owned(), sum)]))
            }
            Self::SystemCalls => {
                let path = folder.join("summary");
                let deadline = Instant::now() + SUMMARY;
                loop {
                    let text = fs::read_to_string(&path).unwrap_or_default();
                    if let Some(counts) = summary(&text) {
                        return Ok(counts);
                    }
                    if Instant::now() > deadline {
                        bail!("strace wrote no summary to {}: {text}", path.display());
                    }
                    sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instructions => "instructions",
            Self::SystemCalls => "system calls",
        })
    }
}

/// The difference, for each of the requests between. What occurs less than once in twenty requests is left out: it does
/// not belong to a request.
pub(crate) fn per_request(few: &Counts, many: &Counts, requests: u64) -> PerRequest {
    let each = |(name, count): (&String, &u64)| {
        let before = few.get(name).copied().unwrap_or_default();
        (name.clone(), (*count as f64 - before as f64) / requests as f64)
    };
    many.iter().map(each).filter(|(_, each)| *each >= 0.05).collect()
}

/// "==123== Collected : 4567"
fn collected(log: &str) -> Result<u64> {
    let line = log.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = line.with_context(|| format!("callgrind counted nothing: {log}"))?;
    count.trim().parse().context("callgrind's count")
}

/// The table of `strace -c`; none before it is whole.
fn summary(text: &str) -> Option<Counts> {
    let rows = text.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    // "% time, seconds, usecs/call, calls, errors if there are any, name"
    let mut counts: Counts = rows
        .filter_map(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            Some(((*words.last()?).to_owned(), words.get(3)?.parse().ok()?))
        })
        .collect();
    counts.remove("total").map(|_| counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_counters_write_is_read() {
        let log = "==7== Events    : Ir\n==7== Collected : 231045\n==7== \n==7== I   refs:      231,045\n";
        assert_eq!(collected(log).unwrap(), 231_045);
        assert!(collected("==7== Command: x\n").is_err());

        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000003           1       400           writev
 40.00    0.000002           1       300       100 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000005           1       700       100 total
";
        assert_eq!(summary(text).unwrap(), counts([("read", 300), ("writev", 400)]));
        let half = &text[..text.find("100.00").unwrap()];
        assert_eq!(summary(half), None, "not whole yet");
    }

    #[test]
    fn what_does_not_grow_with_requests_falls_out() {
        let few = counts([("read", 120), ("mmap", 50), ("futex", 9)]);
        let many = counts([("read", 320), ("mmap", 51), ("futex", 7), ("sendto", 50)]);
        let want = PerRequest::from([("read".to_owned(), 2.0), ("sendto".to_owned(), 0.5)]);
        assert_eq!(per_request(&few, &many, 100), want);
    }

    fn counts<const N: usize>(counts: [(&str, u64); N]) -> Counts {
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
