//! Log messages go to standard error; standard output belongs to the commands. Nothing waits for the reader of the log: messages
//! and the access log have a queue each, so that neither fills the other's.

mod queue;

use std::{
    io::{self, IsTerminal, Write as _},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tracing::Metadata;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt};

use self::queue::{Line, Queue};
use crate::cli::LogFormat;

/// Messages of `info` and above; the proxy says each request to the target `access`. What pingora has to say is about
/// the faults of clients and backends, and the proxy says it once, where it stops; so does the controller with what the
/// client of the API server has to say.
const DEFAULT: &str = "info,access=off,pingora=off,kube=off,hickory=warn";

/// The target of the access log.
const ACCESS: &str = "access";
/// Bytes that may wait for a reader.
const MESSAGES_BYTES: usize = 2 << 20;
const ACCESS_BYTES: usize = 8 << 20;
/// How long a process that ends waits for its log to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Changes what is logged.
static FILTER: OnceLock<Box<dyn Fn(bool) + Send + Sync>> = OnceLock::new();
/// Those of this process.
static QUEUES: OnceLock<Queues> = OnceLock::new();

struct Queues {
    messages: Queue,
    access: Queue,
}

/// Begins to log. `RUST_LOG` chooses what; without it, everything of interest but the requests.
///
/// # Errors
/// Where no thread can be started.
pub fn start(format: LogFormat, access_log: bool) -> io::Result<()> {
    let queues = Queues {
        messages: Queue::start("log", MESSAGES_BYTES, io::stderr())?,
        access: Queue::start("access-log", ACCESS_BYTES, io::stderr())?,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(QUEUES.get_or_init(|| queues));
    let chosen = std::env::var("RUST_LOG").ok();
    let (filtered, handle) = reload::Layer::new(filter(chosen.clone(), access_log));
    let registry = tracing_subscriber::registry().with(filtered);
    // A test that set a subscriber of its own keeps it.
    let started = match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    if started.is_ok() {
        let _ = FILTER.set(Box::new(move |access_log| {
            let _ = handle.reload(filter(chosen.clone(), access_log));
        }));
    }
    Ok(())
}

/// Logs each request from now on, or no more than `RUST_LOG` asks for.
pub fn set_access_log(access_log: bool) {
    if let Some(set) = FILTER.get() {
        set(access_log);
    }
}

/// Writes a line of the access log as it is.
pub fn write_access_line(line: &str) {
    if let Some(Queues { access, .. }) = QUEUES.get() {
        let _ = access.line().write_all(line.as_bytes());
    }
}

/// Waits until the log is written, or until nobody has read it for a second.
pub fn flush() {
    if let Some(Queues { messages, access }) = QUEUES.get() {
        let end = Instant::now() + FLUSH_TIMEOUT;
        messages.flush(end);
        access.flush(end);
    }
}

/// Lines that were dropped because they were not read in time, by log.
pub fn dropped() -> [(&'static str, u64); 2] {
    let queues = QUEUES.get();
    [
        ("messages", queues.map_or(0, |queues| queues.messages.dropped())),
        ("access", queues.map_or(0, |queues| queues.access.dropped())),
    ]
}

impl<'q> MakeWriter<'q> for &'static Queues {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        self.messages.line()
    }

    fn make_writer_for(&'q self, metadata: &Metadata<'_>) -> Line<'q> {
        if metadata.target() == ACCESS { self.access.line() } else { self.messages.line() }
    }
}

/// A text that is no filter counts as none.
fn filter(chosen: Option<String>, access_log: bool) -> EnvFilter {
    let chosen = chosen.filter(|text| !text.is_empty()).and_then(|text| EnvFilter::try_new(text).ok());
    let filter = chosen.unwrap_or_else(|| EnvFilter::new(DEFAULT));
    match access_log {
        true => filter.add_directive("access=info".parse().expect("a target and a level")),
        false => filter,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn requests_are_logged_where_they_are_asked_for() {
        for (chosen, access_log, requests, others) in [
            (None, false, false, true),
            (None, true, true, true),
            (Some("warn"), false, false, false),
            (Some("warn"), true, true, false),
            (Some("debug"), false, true, true),
            (Some("no=such=filter"), false, false, true),
            (Some(""), false, false, true),
        ] {
            let subscriber =
                tracing_subscriber::registry().with(filter(chosen.map(str::to_owned), access_log));
            tracing::subscriber::with_default(subscriber, || {
                let logged = tracing::enabled!(target: "access", Level::INFO);
                assert_eq!(logged, requests, "requests with {chosen:?}, {access_log}");
                assert_eq!(tracing::enabled!(Level::INFO), others, "others with {chosen:?}, {access_log}");
            });
        }
    }
}
