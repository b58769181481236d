//! Access control by the client's address.

use std::{fmt, net::IpAddr, sync::Arc};

use super::Satisfy;
use crate::networks::Networks;

/// The networks from which clients are allowed (`allowlist-source-range`) or denied (`denylist-source-range`) access to a
/// rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    /// Clients in these networks are denied, even if they are in [`Self::allow`].
    pub deny: Option<Arc<Networks>>,
    /// Only clients in these networks are allowed; `None` allows all clients.
    pub allow: Option<Arc<Networks>>,
    /// How this check is combined with the other checks of the rule.
    pub satisfy: Satisfy,
}

/// The result of a list for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is allowed.
    Admitted,
    /// It is denied.
    Refused,
    /// The list does not apply to it.
    Unnamed,
}

impl AccessList {
    /// The result for a client, as in nginx: denied networks take precedence, and if there are allowed ones, all other clients
    /// are denied.
    pub fn standing(&self, client: IpAddr) -> Standing {
        if self.deny.as_ref().is_some_and(|networks| networks.hold(client)) {
            return Standing::Refused;
        }
        match &self.allow {
            None => Standing::Unnamed,
            Some(networks) if networks.hold(client) => Standing::Admitted,
            Some(_) => Standing::Refused,
        }
    }
}

impl fmt::Display for AccessList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("clients")?;
        self.deny.iter().try_for_each(|networks| write!(f, " not {networks}"))?;
        self.allow.iter().try_for_each(|networks| write!(f, " only {networks}"))?;
        f.write_str(if self.satisfy == Satisfy::Any { " or another check" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_networks_come_first_and_allowed_ones_deny_the_rest() {
        let set = |networks: &[(&str, u8)]| {
            Arc::new(networks.iter().map(|(ip, length)| (ip.parse().unwrap(), *length)).collect())
        };
        let (office, host) = (set(&[("10.0.0.0", 8)]), set(&[("10.0.0.1", 32)]));
        for (deny, allow, client, want) in [
            (None, None, "10.0.0.1", Standing::Unnamed),
            (Some(Arc::clone(&host)), None, "10.0.0.1", Standing::Refused),
            (Some(Arc::clone(&host)), None, "10.0.0.2", Standing::Unnamed),
            (None, Some(Arc::clone(&office)), "10.0.0.1", Standing::Admitted),
            (None, Some(Arc::clone(&office)), "11.0.0.1", Standing::Refused),
            (None, Some(Arc::clone(&office)), "::1", Standing::Refused),
            (Some(Arc::clone(&host)), Some(Arc::clone(&office)), "10.0.0.1", Standing::Refused),
            (Some(Arc::clone(&host)), Some(office), "10.0.0.2", Standing::Admitted),
            (None, Some(Arc::default()), "10.0.0.1", Standing::Refused),
            (Some(host), None, "10.0.0.1", Standing::Refused),
        ] {
            let list = AccessList { deny, allow, satisfy: Satisfy::All };
            assert_eq!(list.standing(client.parse().unwrap()), want, "{list}: {client}");
        }
    }
}
