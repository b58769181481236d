//! Timeouts and retries.

use std::time::Duration;

use portcullis_routing::{Failures, OwnTimeouts, Repeats};

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::{NextUpstream, Upstream},
    objects::checks::Checks,
};

const CONNECT: &str = "proxy-connect-timeout";
const SEND: &str = "proxy-send-timeout";
const READ: &str = "proxy-read-timeout";
const NEXT: &str = "proxy-next-upstream";
const TRIES: &str = "proxy-next-upstream-tries";
const NEXT_TIMEOUT: &str = "proxy-next-upstream-timeout";

impl Family for Upstream {
    const NAMES: &'static [&'static str] = &[CONNECT, SEND, READ, NEXT, TRIES, NEXT_TIMEOUT];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let mut limit = |name| written.parse(name, checks, seconds);
        let timeouts = OwnTimeouts { connect: limit(CONNECT), send: limit(SEND), read: limit(READ) };
        let next_timeout = limit(NEXT_TIMEOUT);
        Ok(Self {
            timeouts,
            next: written.parse(NEXT, checks, next_upstream),
            tries: written.parse(TRIES, checks, tries),
            next_timeout,
        })
    }
}

/// Whole seconds. The maximum is a year.
pub(in crate::objects) fn seconds(text: &str) -> Result<Duration, &'static str> {
    const YEAR: u64 = 366 * 24 * 3600;
    let seconds = values::count(text).ok_or("is not a whole number of seconds")?;
    Ok(Duration::from_secs(seconds.min(YEAR)))
}

/// A number of attempts.
pub(in crate::objects) fn tries(text: &str) -> Result<u32, &'static str> {
    let tries = values::count(text).ok_or("is not a whole number")?;
    Ok(u32::try_from(tries).unwrap_or(u32::MAX))
}

/// Values of nginx's `proxy_next_upstream`.
pub(in crate::objects) fn next_upstream(text: &str) -> Result<NextUpstream, &'static str> {
    let none = Failures { error: false, timeout: false, invalid: false };
    let mut next = NextUpstream { failures: none, codes: Box::default(), repeats: Repeats::Idempotent };
    let (mut codes, mut is_off, mut words) = (Vec::new(), false, 0);
    for word in text.split_ascii_whitespace() {
        words += 1;
        match word {
            "error" => next.failures.error = true,
            "timeout" => next.failures.timeout = true,
            "invalid_header" => next.failures.invalid = true,
            "non_idempotent" => next.repeats = Repeats::All,
            "off" => is_off = true,
            word => codes.push(status(word).ok_or("has an unknown value")?),
        }
    }
    if words == 0 {
        return Err("is empty");
    }
    codes.sort_unstable();
    codes.dedup();
    match is_off {
        true => Ok(NextUpstream { failures: none, ..next }),
        false => Ok(NextUpstream { codes: codes.into(), ..next }),
    }
}

fn status(word: &str) -> Option<u16> {
    let status = word.strip_prefix("http_")?.parse().ok()?;
    [403, 404, 429, 500, 502, 503, 504].contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::family;

    fn upstream(annotations: &[(&str, &str)]) -> (Upstream, usize) {
        family(annotations, |annotations| annotations.upstream.clone())
    }

    #[test]
    fn times_are_whole_seconds() {
        for (value, want) in [
            ("1", Some(1)),
            ("3600", Some(3600)),
            ("0", Some(0)),
            ("99999999999", Some(31_622_400)),
            ("1s", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("abc", None),
        ] {
            let want = want.map(Duration::from_secs);
            for (name, of) in [
                (CONNECT, (|u| u.timeouts.connect) as fn(&Upstream) -> Option<Duration>),
                (SEND, |u| u.timeouts.send),
                (READ, |u| u.timeouts.read),
                (NEXT_TIMEOUT, |u| u.next_timeout),
            ] {
                let (read, warnings) = upstream(&[(name, value)]);
                assert_eq!((of(&read), warnings), (want, usize::from(want.is_none())), "{name}: {value:?}");
            }
        }
    }

    #[test]
    fn conditions_are_words() {
        let none = Failures { error: false, timeout: false, invalid: false };
        for (value, failures, codes, repeats) in [
            ("error timeout", Failures { error: true, timeout: true, ..none }, &[][..], Repeats::Idempotent),
            ("invalid_header", Failures { invalid: true, ..none }, &[], Repeats::Idempotent),
            ("http_503 http_500  http_503", none, &[500, 503], Repeats::Idempotent),
            ("error non_idempotent", Failures { error: true, ..none }, &[], Repeats::All),
            ("off", none, &[], Repeats::Idempotent),
            ("error off http_502", none, &[], Repeats::Idempotent),
        ] {
            let want = NextUpstream { failures, codes: codes.into(), repeats };
            let (read, warnings) = upstream(&[(NEXT, value)]);
            assert_eq!((read.next, warnings), (Some(want), 0), "{value}");
        }
        for value in ["http_418", "error;timeout", "errors", "", "http_5xx"] {
            let (read, warnings) = upstream(&[(NEXT, value)]);
            assert_eq!((read.next, warnings), (None, 1), "{value}");
        }
        assert_eq!(upstream(&[(TRIES, "5")]).0.tries, Some(5));
        assert_eq!(upstream(&[(TRIES, "x")]), (Upstream::default(), 1));
    }
}
