//! Portcullis on a folder of its own, and the text that every proxy is told its ports by.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    process::{Guard, Place, free_port},
    tls::Identity,
};

/// The host that every measurement asks for.
pub const HOST: &str = "bench.example.com";

/// Ports of the listeners in `peers/portcullis-streams.yaml`.
pub const TCP: u16 = 90;
pub const PASSTHROUGH: u16 = 444;
pub const UDP: u16 = 53;

/// A GatewayClass, a Gateway with HTTP on 80 and HTTPS on 443, its certificate, and the Service `origin`.
const GATEWAY: &str = include_str!("../peers/portcullis-gateway.yaml");

/// Portcullis, serving a folder.
#[derive(Debug)]
pub struct Portcullis {
    /// The process.
    pub process: Guard,
    /// Where it speaks HTTP.
    pub http: SocketAddr,
    /// Where it speaks HTTPS.
    pub https: SocketAddr,
    /// What is added to the port of every listener.
    pub offset: u16,
    /// The admin port.
    pub admin: SocketAddr,
}

/// What Portcullis serves, and how.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    /// The folder of objects.
    pub manifests: &'a Path,
    /// Worker threads.
    pub workers: usize,
    /// The ConfigMap of its settings, as namespace/name.
    pub settings: Option<&'a str>,
}

impl<'a> Serving<'a> {
    /// With one worker and the default settings.
    pub fn new(manifests: &'a Path) -> Self {
        Self { manifests, workers: 1, settings: None }
    }
}

impl Portcullis {
    /// Starts it. It need not be ready when this returns.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start<'a>(
        binary: &Path,
        place: impl Into<Place<'a>>,
        serving: Serving<'_>,
        log: PathBuf,
    ) -> Result<Self> {
        let offset = free_offset()?;
        let admin = loopback(free_port()?);
        let arguments = [
            ("--manifests", serving.manifests.display().to_string()),
            ("--port-offset", offset.to_string()),
            ("--admin", admin.to_string()),
            ("--workers", serving.workers.to_string()),
            ("--bind", Ipv4Addr::LOCALHOST.to_string()),
        ];
        let settings = serving.settings.map(|name| ("--settings-configmap", name.to_owned()));
        let mut all = vec!["run".to_owned()];
        all.extend(arguments.into_iter().chain(settings).flat_map(|(name, value)| [name.to_owned(), value]));
        let process = Guard::start(place, binary, &all, log)?;
        Ok(Self { process, http: loopback(80 + offset), https: loopback(443 + offset), offset, admin })
    }
}

/// Writes what is common to all folders: the Gateway, its certificate, and the Service `origin` at this port.
///
/// # Errors
/// Where the folder cannot be written.
pub fn write_gateway(folder: &Path, identity: &Identity, origin: u16) -> Result<()> {
    let text = fill(
        GATEWAY,
        &[
            ("CERTIFICATE", BASE64_STANDARD.encode(&identity.certificate)),
            ("KEY", BASE64_STANDARD.encode(&identity.key)),
            ("ORIGIN", origin.to_string()),
        ],
    )?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("gateway.yaml"), text).with_context(|| folder.display().to_string())
}

/// Replaces each `@NAME@`.
///
/// # Errors
/// Where one is left.
pub fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    let mut parts = text.split('@').skip(1);
    if let Some(name) =
        parts.find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase()))
    {
        bail!("nothing given for @{name}@");
    }
    Ok(text)
}

/// This port of the loopback address.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// An offset at which the ports of all listeners are free. Each call returns another one, since a process that was just
/// started has not bound its ports yet.
fn free_offset() -> Result<u16> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Below the ports that the kernel hands out to clients.
    let offsets: Vec<u16> = (12_000..32_000).step_by(500).collect();
    let free = |offset: u16| {
        let mut tcp = [80, 443, TCP, PASSTHROUGH].into_iter().map(|port| loopback(port + offset));
        tcp.all(|address| TcpListener::bind(address).is_ok())
            && UdpSocket::bind(loopback(UDP + offset)).is_ok()
    };
    let mut attempts = offsets.iter().map(|_| offsets[NEXT.fetch_add(1, Ordering::Relaxed) % offsets.len()]);
    attempts.find(|offset| free(*offset)).context("no offset at which all ports are free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_not_given_twice_in_a_row() {
        // A port of the first one is in use.
        let _used = TcpListener::bind(loopback(12_000 + TCP));
        let first = free_offset().unwrap();
        assert_ne!(free_offset().unwrap(), first);
    }

    #[test]
    fn every_placeholder_is_filled() {
        let values = [("PORT", "80".to_owned())];
        assert_eq!(
            fill("listen @PORT@; mail a@b.example @PORT@", &values).unwrap(),
            "listen 80; mail a@b.example 80"
        );
        assert_eq!(fill("listen @OTHER@", &values).unwrap_err().to_string(), "nothing given for @OTHER@");
    }
}
