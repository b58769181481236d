//! Which port is bound for a listener: its own and an offset where Gateways share our addresses, one of a range
//! where a Gateway has addresses of its own, which the controller's record of ports says.

use std::{fmt, str::FromStr};

/// How Gateways are served that ask for addresses of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedicatedPorts {
    /// On ports of this range, as they are allocated.
    Of(PortRange),
    /// As all others are: nobody makes Services of a folder's Gateways.
    AsShared,
    /// Not at all: they are refused.
    Refused,
}

impl DedicatedPorts {
    /// The ports that are kept for them.
    pub fn range(self) -> PortRange {
        match self {
            Self::Of(range) => range,
            Self::AsShared | Self::Refused => PortRange::EMPTY,
        }
    }
}

/// A range, or `none`.
impl FromStr for DedicatedPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Refused),
            text => text.parse().map(Self::Of).map_err(|why: String| format!("{why}, and not none")),
        }
    }
}

/// Ports from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why no port can be bound for a listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortUnavailable {
    #[error("port {port} is unavailable: with the port offset {offset} it exceeds 65535")]
    PastTheLast { port: u16, offset: u16 },
    #[error(
        "port {port} is unavailable: it would be bound as {bound}, and {range} are reserved for Gateways with dedicated addresses (--dedicated-ports)"
    )]
    Reserved { port: u16, bound: u16, range: PortRange },
}

impl PortRange {
    /// No port at all.
    pub const EMPTY: Self = Self { first: 1, last: 0 };

    /// From the first to the last one, both of them too; `None` where there is none.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first > 0 && first <= last).then_some(Self { first, last })
    }

    pub fn contains(self, port: u16) -> bool {
        self.ports().contains(&port)
    }

    /// In their order.
    pub fn ports(self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let range = parts.and_then(|(first, last)| Self::new(first, last));
        range.ok_or_else(|| format!("{text:?} is not a range of ports such as 20000-29999"))
    }
}

/// The port that is bound for a listener's that shares our addresses.
pub(super) fn shared(port: u16, offset: u16, dedicated: DedicatedPorts) -> Result<u16, PortUnavailable> {
    let bound = port.checked_add(offset).ok_or(PortUnavailable::PastTheLast { port, offset })?;
    match dedicated {
        DedicatedPorts::Of(range) if range.contains(bound) => {
            Err(PortUnavailable::Reserved { port, bound, range })
        }
        _ => Ok(bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_first_and_a_last_port() {
        for (text, want) in [
            ("20000-29999", Some((20_000, 29_999))),
            ("1-1", Some((1, 1))),
            ("0-10", None),
            ("2-1", None),
            ("20000", None),
            ("20000-65536", None),
            ("-", None),
            ("", None),
        ] {
            let got = text.parse::<PortRange>().ok();
            assert_eq!(got, want.map(|(first, last)| PortRange { first, last }), "{text}");
            assert!(got.is_none_or(|range| range.to_string() == text), "{text}");
        }
        assert_eq!(PortRange::EMPTY.ports().count(), 0);
    }

    #[test]
    fn a_shared_port_is_none_of_the_others_and_exists() {
        let range = PortRange { first: 20_000, last: 20_009 };
        for (port, offset, dedicated, want) in [
            (80, 0, DedicatedPorts::AsShared, Ok(80)),
            (80, 8000, DedicatedPorts::Of(range), Ok(8080)),
            (57_535, 8000, DedicatedPorts::AsShared, Ok(65_535)),
            (57_536, 8000, DedicatedPorts::AsShared, Err("exceeds 65535")),
            (11_999, 8000, DedicatedPorts::Of(range), Ok(19_999)),
            (
                12_000,
                8000,
                DedicatedPorts::Of(range),
                Err("bound as 20000, and 20000-20009 are reserved for"),
            ),
            (12_009, 8000, DedicatedPorts::Of(range), Err("bound as 20009")),
            (12_010, 8000, DedicatedPorts::Of(range), Ok(20_010)),
            (12_000, 8000, DedicatedPorts::AsShared, Ok(20_000)),
            (12_000, 8000, DedicatedPorts::Of(PortRange::EMPTY), Ok(20_000)),
            (12_000, 8000, DedicatedPorts::Refused, Ok(20_000)),
        ] {
            match (shared(port, offset, dedicated), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{port} and {offset}"),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (got, want) => panic!("{port} and {offset}: {got:?}, not {want:?}"),
            }
        }
    }
}
