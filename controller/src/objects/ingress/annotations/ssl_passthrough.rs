//! TLS that is passed through to the backend of a host.

use super::family::{Denied, Family, Written};
use crate::{ir::ingress::SslPassthrough, objects::checks::Checks};

const PASSTHROUGH: &str = "ssl-passthrough";

impl Family for SslPassthrough {
    const NAMES: &'static [&'static str] = &[PASSTHROUGH];

    fn parse(written: Written<'_>, _: &mut Checks) -> Result<Self, Denied> {
        Ok(Self { is_on: written.required_switch(PASSTHROUGH)?.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed, family};

    #[test]
    fn it_is_a_switch() {
        for (value, want) in [("true", true), ("1", true), ("T", true), ("false", false), ("0", false)] {
            let (read, warnings) = family(&[(PASSTHROUGH, value)], |annotations| annotations.passthrough);
            assert_eq!((read.is_on, warnings), (want, 0), "{value}");
        }
        assert!(!family(&[], |annotations| annotations.passthrough).0.is_on);
    }

    #[test]
    fn another_value_closes_the_host() {
        for value in ["maybe", "", "yes", "true "] {
            assert_eq!(closed(&[(PASSTHROUGH, value)]), PASSTHROUGH, "{value}");
        }
    }

    #[test]
    fn protections_beside_it_hold_for_plain_http_alone() {
        let access = ("allowlist-source-range", "10.0.0.0/8");
        let count = |annotations: &[(&str, &str)]| family(annotations, |_| ()).1;
        for (annotations, want) in [
            (&[(PASSTHROUGH, "true"), access][..], 1),
            (&[(PASSTHROUGH, "true"), access, ("limit-rps", "0")], 1),
            (&[(PASSTHROUGH, "true"), access, ("limit-rps", "5")], 2),
            (&[(PASSTHROUGH, "true"), ("ssl-redirect", "true")], 0),
            (&[(PASSTHROUGH, "false"), access], 0),
        ] {
            assert_eq!(count(annotations), want, "{annotations:?}");
        }
    }
}
