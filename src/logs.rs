//! Where log messages go: the standard error, so that the standard output is the commands' own.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::cli::LogFormat;

/// Messages of `info` and above; the proxy says each request to the target `access`. What pingora has to say is about
/// the faults of clients and backends, and the proxy says it once, where it stops; so does the controller with what the
/// client of the API server has to say.
const DEFAULT: &str = "info,access=off,pingora=off,kube=off,hickory=warn";

/// Begins to log. `RUST_LOG` chooses what; without it, everything of interest but the requests.
pub fn start(format: LogFormat, access_log: bool) {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter(std::env::var("RUST_LOG").ok(), access_log));
    // A test that set a subscriber of its own keeps it.
    let _ = match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
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
