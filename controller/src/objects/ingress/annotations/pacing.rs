//! The rate of responses.

use super::family::{Denied, Family, Written};
use super::values;
use crate::{ir::ingress::Pacing, objects::checks::Checks};

const RATE: &str = "limit-rate";
const AFTER: &str = "limit-rate-after";
const BUFFERING: &str = "proxy-buffering";

impl Family for Pacing {
    const NAMES: &'static [&'static str] = &[RATE, AFTER, BUFFERING];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        Ok(Self {
            rate: written.parse(RATE, checks, values::kibibytes),
            after: written.parse(AFTER, checks, values::kibibytes),
            buffering: written.parse(BUFFERING, checks, values::on_or_off),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed_by, family};

    #[test]
    fn rates_are_numbers_and_others_have_no_effect() {
        for (value, want) in [
            ("10", Some(10)),
            ("0", Some(0)),
            ("-5", Some(0)),
            ("99999999999", Some(u32::MAX)),
            ("fast", None),
            ("10k", None),
            ("1.5", None),
            ("", None),
        ] {
            let (read, warnings) = family(&[(RATE, value), (AFTER, value)], |all| all.pacing);
            assert_eq!((read.rate, read.after), (want, want), "{value:?}");
            assert_eq!(warnings, if want.is_none() { 2 } else { 0 }, "{value:?}");
            assert_eq!(closed_by(&[(RATE, value)]), None, "{value:?}: as in ingress-nginx");
        }
        for (value, want, warned) in
            [("on", Some(true), 0), ("off", Some(false), 0), ("true", None, 1), ("On", None, 1)]
        {
            let read = family(&[(BUFFERING, value)], |all| all.pacing.buffering);
            assert_eq!(read, (want, warned), "{value:?}");
        }
    }
}
