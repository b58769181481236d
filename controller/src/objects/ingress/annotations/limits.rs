//! Limits of requests per client.

use std::sync::Arc;

use portcullis_routing::Networks;

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::Limits,
    objects::{checks::Checks, names::quoted},
};

const SECOND: &str = "limit-rps";
const MINUTE: &str = "limit-rpm";
const CONNECTIONS: &str = "limit-connections";
const MULTIPLIER: &str = "limit-burst-multiplier";
const ALLOW: &str = "limit-allowlist";
/// The former name of [`ALLOW`], which takes precedence.
const WHITELIST: &str = "limit-whitelist";

const DEFAULT_MULTIPLIER: u32 = 5;

impl Family for Limits {
    const NAMES: &'static [&'static str] = &[SECOND, MINUTE, CONNECTIONS, MULTIPLIER, ALLOW, WHITELIST];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let (second, minute) = (limit(written, SECOND, checks)?, limit(written, MINUTE, checks)?);
        let connections = limit(written, CONNECTIONS, checks)?;
        let multiplier = written.parse(MULTIPLIER, checks, |text| number(text).ok_or("is not a number"));
        let burst_multiplier = match multiplier {
            None => DEFAULT_MULTIPLIER,
            Some(0) if second.or(minute).is_some() => {
                let why = "must be positive: nginx rejects a configuration without a burst";
                return Err(Denied { name: MULTIPLIER, why: why.to_owned() });
            }
            Some(multiplier) => multiplier,
        };
        let exempt = networks(written, ALLOW)?;
        // Also if it is not used: its intention is unknown.
        let whitelist = networks(written, WHITELIST)?;
        Ok(Self { second, minute, connections, burst_multiplier, exempt: exempt.or(whitelist) })
    }
}

/// A limit; a value that is not positive means no limit. An empty value is ignored, as in ingress-nginx.
fn limit(written: Written<'_>, name: &'static str, checks: &mut Checks) -> Result<Option<u32>, Denied> {
    match written.value(name) {
        None => Ok(None),
        Some(text) if text.trim().is_empty() => {
            written.without_effect(name, "it is empty", checks);
            Ok(None)
        }
        Some(text) => match number(text) {
            Some(limit) => Ok(Some(limit).filter(|limit| *limit > 0)),
            None => Err(Denied { name, why: format!("{} is not a number", quoted(text)) }),
        },
    }
}

/// An integer in Go syntax; a negative one becomes 0.
fn number(text: &str) -> Option<u32> {
    let number: i64 = text.parse().ok()?;
    Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

fn networks(written: Written<'_>, name: &'static str) -> Result<Option<Arc<Networks>>, Denied> {
    let text = written.value(name).filter(|text| !text.trim().is_empty());
    let networks = text.map(values::networks).transpose().map_err(|why| Denied { name, why })?;
    Ok(networks.map(Arc::new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed, family};

    #[test]
    fn a_limit_is_a_positive_number() {
        for (annotations, want, warnings) in [
            (&[(SECOND, "5"), (MINUTE, "100")][..], (Some(5), Some(100), None, 5), 0),
            (&[(CONNECTIONS, "3")], (None, None, Some(3), 5), 0),
            (&[(SECOND, "0"), (MINUTE, "-1"), (CONNECTIONS, "0")], (None, None, None, 5), 0),
            (&[(SECOND, "")], (None, None, None, 5), 1),
            (&[(SECOND, "99999999999")], (Some(u32::MAX), None, None, 5), 0),
            (&[(SECOND, "5"), (MULTIPLIER, "2")], (Some(5), None, None, 2), 0),
            (&[(SECOND, "5"), (MULTIPLIER, "many")], (Some(5), None, None, 5), 1),
            (&[(CONNECTIONS, "5"), (MULTIPLIER, "0")], (None, None, Some(5), 0), 0),
        ] {
            let got = family(annotations, |annotations| {
                let Limits { second, minute, connections, burst_multiplier, .. } = annotations.limits;
                (second, minute, connections, burst_multiplier)
            });
            assert_eq!(got, (want, warnings), "{annotations:?}");
        }
    }

    #[test]
    fn networks_may_be_exempt() {
        for (annotations, want) in [
            (&[(SECOND, "5"), (ALLOW, "10.0.0.1")][..], Some("10.0.0.1")),
            (&[(SECOND, "5"), (WHITELIST, "10.0.0.1, 10.0.0.3")], Some("10.0.0.1,10.0.0.3")),
            (&[(SECOND, "5"), (ALLOW, "10.0.0.1"), (WHITELIST, "10.0.0.2")], Some("10.0.0.1")),
            (&[(SECOND, "5"), (ALLOW, "")], None),
        ] {
            let exempt = |limits: &Limits| limits.exempt.as_ref().map(|networks| networks.to_string());
            let (got, _) = family(annotations, |annotations| exempt(&annotations.limits));
            assert_eq!(got.as_deref(), want, "{annotations:?}");
        }
    }

    /// ingress-nginx omits such an Ingress, so that others of the host receive its requests, or rejects its whole
    /// configuration.
    #[test]
    fn a_limit_that_is_wrong_closes_the_paths() {
        for (annotations, by) in [
            (&[(SECOND, "many")][..], SECOND),
            (&[(MINUTE, "1.5")], MINUTE),
            (&[(CONNECTIONS, "5 ")], CONNECTIONS),
            (&[(SECOND, "5"), (MULTIPLIER, "0")], MULTIPLIER),
            (&[(MINUTE, "5"), (MULTIPLIER, "-2")], MULTIPLIER),
            (&[(SECOND, "5"), (ALLOW, "not-an-ip")], ALLOW),
            (&[(SECOND, "5"), (ALLOW, "10.0.0.1"), (WHITELIST, "10.0.0.1/99")], WHITELIST),
        ] {
            assert_eq!(closed(annotations), by, "{annotations:?}");
        }
    }
}
