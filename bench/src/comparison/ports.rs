//! The ports of a proxy.

use anyhow::Result;

use crate::process::{free_port, free_udp_port};

/// One of a proxy's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Http,
    Https,
    /// Forwards connections to the backend's HTTP port.
    Tcp,
    /// The same for bulk transfers, if they need other options.
    Bulk,
    /// Forwards TLS connections by their server name, without terminating TLS.
    Passthrough,
    /// Forwards datagrams.
    Udp,
}

/// Their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub http: u16,
    pub https: u16,
    pub tcp: u16,
    pub bulk: u16,
    pub passthrough: u16,
    pub udp: u16,
}

impl Ports {
    /// Ports of the loopback address that are free now.
    ///
    /// # Errors
    /// Where there are none.
    pub(super) fn free() -> Result<Self> {
        let tcp = free_port()?;
        Ok(Self {
            http: free_port()?,
            https: free_port()?,
            tcp,
            bulk: tcp,
            passthrough: free_port()?,
            udp: free_udp_port()?,
        })
    }

    pub(super) fn number(&self, port: Port) -> u16 {
        match port {
            Port::Http => self.http,
            Port::Https => self.https,
            Port::Tcp => self.tcp,
            Port::Bulk => self.bulk,
            Port::Passthrough => self.passthrough,
            Port::Udp => self.udp,
        }
    }
}
