//! How long requests in flight may take when the process stops.

use std::time::Duration;

use tracing::warn;

use crate::cli::ServeArgs;

/// The timeout and its upper bound from the command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainTimeout {
    /// Applies unless the settings have one.
    flag: Duration,
    /// The rest of the grace period after the pre-stop delay; `None` is no limit.
    most: Option<Duration>,
}

/// The part of the grace period that is left for the rest of the shutdown.
const REST: Duration = Duration::from_secs(1);

impl DrainTimeout {
    pub(super) fn of(args: &ServeArgs) -> Self {
        let rest = |grace: Duration| grace.saturating_sub(args.pre_stop_delay).saturating_sub(REST);
        Self { flag: args.drain_timeout, most: args.termination_grace_period.map(rest) }
    }

    /// The timeout with these settings.
    pub(super) fn with(self, settings: Option<Duration>) -> Duration {
        let wanted = settings.unwrap_or(self.flag);
        self.most.map_or(wanted, |most| wanted.min(most))
    }

    /// Warns if the timeout is longer than the grace period allows.
    pub(super) fn warn(self, settings: Option<Duration>) {
        let timeout = self.with(settings);
        if timeout < settings.unwrap_or(self.flag) {
            let source = if settings.is_some() { "worker-shutdown-timeout" } else { "--drain-timeout" };
            warn!(
                ?timeout,
                "{source} is limited by the grace period of the pod; a longer terminationGracePeriodSeconds allows more"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_flight_have_to_complete_within_the_grace_period() {
        let seconds = Duration::from_secs;
        let flag = seconds(30);
        for (most, settings, want) in [
            (None, None, flag),
            (None, Some(seconds(240)), seconds(240)),
            (None, Some(Duration::MAX), Duration::MAX),
            (Some(seconds(39)), None, flag),
            (Some(seconds(39)), Some(seconds(10)), seconds(10)),
            (Some(seconds(39)), Some(seconds(240)), seconds(39)),
            (Some(seconds(39)), Some(Duration::MAX), seconds(39)),
            (Some(seconds(20)), None, seconds(20)),
        ] {
            assert_eq!(DrainTimeout { flag, most }.with(settings), want, "{most:?} {settings:?}");
        }
    }
}
