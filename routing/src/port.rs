//! A port, of this machine or of a Service.

use std::{fmt, str::FromStr};

/// A port, with its transport: TCP 53 and UDP 53 are two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// TCP or UDP.
    pub transport: Transport,
    /// Its number.
    pub number: u16,
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl PortKey {
    /// Returns the TCP port of this number.
    pub const fn tcp(number: u16) -> Self {
        Self { transport: Transport::Tcp, number }
    }

    /// Returns the UDP port of this number.
    pub const fn udp(number: u16) -> Self {
        Self { transport: Transport::Udp, number }
    }
}

/// A number alone means TCP, as in `kubectl`: `443`, `53/udp`.
impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => self.number.fmt(f),
            Transport::Udp => write!(f, "{}/udp", self.number),
        }
    }
}

/// Why a text is no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port such as 443 or 53/udp")]
pub struct InvalidPort(String);

impl FromStr for PortKey {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let (number, transport) = match text.strip_suffix("/udp") {
            Some(number) => (number, Transport::Udp),
            None => (text, Transport::Tcp),
        };
        let number = number.parse().map_err(|_| InvalidPort(text.to_owned()))?;
        Ok(Self { transport, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_both_transports_are_two_and_are_read_as_they_are_written() {
        for (text, port) in [("53", PortKey::tcp(53)), ("53/udp", PortKey::udp(53)), ("0", PortKey::tcp(0))] {
            assert_eq!(text.parse(), Ok(port));
            assert_eq!(port.to_string(), text);
        }
        assert_ne!(PortKey::tcp(53), PortKey::udp(53));
        for text in ["", "/udp", "53/tcp", "53/UDP", "65536", "-1"] {
            assert_eq!(text.parse::<PortKey>(), Err(InvalidPort(text.to_owned())));
        }
    }
}
