//! Access control by the client's address.

use std::sync::Arc;

use portcullis_routing::Networks;

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{ir::ingress::Access, objects::checks::Checks};

const ALLOW: &str = "allowlist-source-range";
/// The former name of [`ALLOW`], which takes precedence.
const WHITELIST: &str = "whitelist-source-range";
const DENY: &str = "denylist-source-range";

impl Family for Access {
    const NAMES: &'static [&'static str] = &[ALLOW, WHITELIST, DENY];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let deny = networks(written, DENY, checks)?;
        let allow = networks(written, ALLOW, checks)?;
        // Also if it is not used: its intention is unknown.
        let whitelist = networks(written, WHITELIST, checks)?;
        Ok(Self { allow: allow.or(whitelist), deny })
    }
}

/// The networks of a list. An empty list is ignored, as in ingress-nginx.
///
/// # Errors
/// If an entry is not a network: without it, the list would allow or deny other clients than intended.
fn networks(
    written: Written<'_>,
    name: &'static str,
    checks: &mut Checks,
) -> Result<Option<Arc<Networks>>, Denied> {
    match written.value(name) {
        None => Ok(None),
        Some(text) if text.trim().is_empty() => {
            written.without_effect(name, "it is empty", checks);
            Ok(None)
        }
        Some(text) => match values::networks(text) {
            Ok(networks) => Ok(Some(Arc::new(networks))),
            Err(why) => Err(Denied { name, why }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed, family};

    fn access(annotations: &[(&str, &str)]) -> ([Option<String>; 2], usize) {
        let text = |networks: &Option<Arc<Networks>>| networks.as_ref().map(|networks| networks.to_string());
        family(annotations, |annotations| [&annotations.access.allow, &annotations.access.deny].map(text))
    }

    #[test]
    fn a_list_is_of_networks_and_addresses() {
        for (annotations, allow, deny, warnings) in [
            (&[(ALLOW, "10.0.0.0/8")][..], Some("10.0.0.0-10.255.255.255"), None, 0),
            (
                &[(WHITELIST, "10.0.0.1, 10.0.0.8/30,fd00::1")],
                Some("10.0.0.1,10.0.0.8-10.0.0.11,fd00::1"),
                None,
                0,
            ),
            (&[(ALLOW, "10.0.0.1"), (WHITELIST, "10.0.0.2")], Some("10.0.0.1"), None, 0),
            (&[(ALLOW, ""), (WHITELIST, "10.0.0.2")], Some("10.0.0.2"), None, 1),
            (&[(DENY, "10.0.0.1"), (ALLOW, "10.0.0.2")], Some("10.0.0.2"), Some("10.0.0.1"), 0),
            (&[(DENY, " ")], None, None, 1),
        ] {
            let want = ([allow, deny].map(|text| text.map(String::from)), warnings);
            assert_eq!(access(annotations), want, "{annotations:?}");
        }
    }

    /// A tenant's typing error must not allow access: neither to the rest of the list, nor to the paths.
    #[test]
    fn an_entry_that_is_wrong_closes_the_paths() {
        for (name, value) in [
            (ALLOW, "10.0.0.0/8,nonsense"),
            (ALLOW, "10.0.0.0/8,"),
            (ALLOW, "10.0.0.0/33"),
            (ALLOW, "10.0.0.0/+8"),
            (ALLOW, "10.0.0"),
            (ALLOW, "10.0.0.0-10.0.0.9"),
            (ALLOW, "all"),
            (ALLOW, "fe80::1%eth0"),
            (WHITELIST, "10.0.0.0/8;allow all"),
            (DENY, "nonsense"),
        ] {
            assert_eq!(closed(&[(name, value)]), name, "{value}");
        }
        assert_eq!(closed(&[(ALLOW, "10.0.0.1"), (WHITELIST, "x")]), WHITELIST);
    }
}
