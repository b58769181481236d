//! The load balancing algorithm of a Service.

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::{Balancing, LoadBalance},
    objects::{checks::Checks, names::quoted},
};

const LOAD_BALANCE: &str = "load-balance";

/// Values that ingress-nginx accepts, but uses internally for `upstream-hash-by` and `affinity`.
const SET_BY_OTHERS: [&str; 4] = ["chash", "chashsubset", "sticky_balanced", "sticky_persistent"];

impl Family for Balancing {
    const NAMES: &'static [&'static str] = &[LOAD_BALANCE];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let Some(text) = written.value(LOAD_BALANCE).map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        if SET_BY_OTHERS.contains(&text) {
            let why = format!("use upstream-hash-by or affinity instead of {text}");
            written.without_effect(LOAD_BALANCE, &why, checks);
            return Ok(Self::default());
        }
        match LoadBalance::parse(text) {
            Some(load_balance) => Ok(Self { load_balance: Some(load_balance) }),
            None => Err(Denied {
                name: LOAD_BALANCE,
                why: format!("{} is neither round_robin nor ewma", quoted(text)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    #[test]
    fn requests_are_spread_in_turn_or_by_latency() {
        for (value, want, warnings) in [
            ("round_robin", Some(LoadBalance::RoundRobin), 0),
            (" ewma ", Some(LoadBalance::Ewma), 0),
            ("", None, 0),
            ("chash", None, 1),
            ("sticky_balanced", None, 1),
        ] {
            let read = family(&[(LOAD_BALANCE, value)], |annotations| annotations.balancing.load_balance);
            assert_eq!(read, (want, warnings), "{value:?}");
        }
        for value in ["ip_hash", "EWMA", "least_conn"] {
            assert!(refused(&[(LOAD_BALANCE, value)]).contains("is neither round_robin nor ewma"), "{value}");
        }
    }
}
