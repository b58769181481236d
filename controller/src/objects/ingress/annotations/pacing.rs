//! The rate of responses.

use super::family::{Denied, Family, Written};
use super::values;
use crate::{
    ir::ingress::Pacing,
    objects::{checks::Checks, names::quoted},
};

const RATE: &str = "limit-rate";
const AFTER: &str = "limit-rate-after";
const BUFFERING: &str = "proxy-buffering";

impl Family for Pacing {
    const NAMES: &'static [&'static str] = &[RATE, AFTER, BUFFERING];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        Ok(Self {
            rate: rate(written, checks)?,
            after: written.parse(AFTER, checks, values::kibibytes),
            buffering: written.parse(BUFFERING, checks, values::on_or_off),
        })
    }
}

/// The rate. An empty value is ignored, as for other limits. Without the rate that its owner wants, the paths are closed;
/// ingress-nginx sends responses without a limit.
fn rate(written: Written<'_>, checks: &mut Checks) -> Result<Option<u32>, Denied> {
    match written.value(RATE) {
        None => Ok(None),
        Some(text) if text.trim().is_empty() => {
            written.without_effect(RATE, "it is empty", checks);
            Ok(None)
        }
        Some(text) => {
            let rate = values::kibibytes(text);
            rate.map(Some).map_err(|why| Denied { name: RATE, why: format!("{} {why}", quoted(text)) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed, closed_by, family};

    #[test]
    fn an_invalid_rate_closes_the_paths_and_an_invalid_start_of_the_limit_has_no_effect() {
        for value in ["fast", "10k", "1.5", "10 "] {
            assert_eq!(closed(&[(RATE, value)]), RATE, "{value:?}");
            assert_eq!(closed_by(&[(RATE, "10"), (AFTER, value)]), None, "{value:?}");
            let (read, warnings) = family(&[(AFTER, value)], |all| all.pacing.after);
            assert_eq!((read, warnings), (None, 1), "{value:?}");
        }
    }

    #[test]
    fn rates_are_numbers() {
        for (value, want) in
            [("10", Some(10)), ("0", Some(0)), ("-5", Some(0)), ("99999999999", Some(u32::MAX)), ("", None)]
        {
            let (read, warnings) = family(&[(RATE, value), (AFTER, value)], |all| all.pacing);
            assert_eq!((read.rate, read.after), (want, want), "{value:?}");
            assert_eq!(warnings, if want.is_none() { 2 } else { 0 }, "{value:?}");
        }
        for (value, want, warned) in
            [("on", Some(true), 0), ("off", Some(false), 0), ("true", None, 1), ("On", None, 1)]
        {
            let read = family(&[(BUFFERING, value)], |all| all.pacing.buffering);
            assert_eq!(read, (want, warned), "{value:?}");
        }
    }
}
