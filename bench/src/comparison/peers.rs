//! The proxies: how each is started, and which version it is.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::Comparison;
use crate::{
    machine::{said, said_all, version_and_commit},
    process::{Guard, Place, free_port, sibling},
    scene::{self, Portcullis, fill, loopback},
};

const NGINX: &str = include_str!("../../peers/nginx.conf");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const ENVOY: &str = include_str!("../../peers/envoy.yaml");
const ROUTE: &str = include_str!("../../peers/portcullis.yaml");
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    Portcullis,
    /// Another binary of it. It takes part where one is given, so there is nothing to leave out.
    #[value(skip)]
    Baseline,
    Bare,
    Nginx,
    Haproxy,
    Envoy,
}

/// A proxy that runs.
#[derive(Debug)]
pub struct Peer {
    pub name: Name,
    pub process: Guard,
    pub http: u16,
    pub https: u16,
    pub version: String,
}

/// What a proxy needs to know.
struct Scene<'a> {
    shared: &'a Comparison<'a>,
    place: Place<'a>,
    http: u16,
    https: u16,
}

impl Name {
    pub const ALL: [Self; 6] =
        [Self::Portcullis, Self::Baseline, Self::Bare, Self::Nginx, Self::Haproxy, Self::Envoy];
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portcullis => "portcullis",
            Self::Baseline => "baseline",
            Self::Bare => "bare",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        })
    }
}

impl Comparison<'_> {
    /// Starts a proxy on the proxies' core, under another program if one is given. It need not be ready when this
    /// returns.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&self, name: Name, under: &[String]) -> Result<Peer> {
        let place = Place { cores: &self.setup.proxy_cores, under };
        let scene = Scene { shared: self, place, http: free_port()?, https: free_port()? };
        match name {
            Name::Portcullis => scene.portcullis(name, self.setup.portcullis.as_deref()),
            Name::Baseline => scene.portcullis(name, self.setup.baseline.as_deref()),
            Name::Bare => scene.bare(),
            Name::Nginx => scene.nginx(),
            Name::Haproxy => scene.haproxy(),
            Name::Envoy => scene.envoy(),
        }
    }
}

impl Scene<'_> {
    /// With the binary that was given, or the one that was built here.
    fn portcullis(&self, name: Name, given: Option<&Path>) -> Result<Peer> {
        let (binary, version) = match given {
            // The binary does not say which commit it is from.
            Some(given) => (given.to_owned(), format!("{} ({})", said(given, "--version")?, given.display())),
            None => {
                let built = sibling("portcullis")?;
                let version = version_and_commit(&built)?;
                (built, version)
            }
        };
        // A folder for each, since Portcullis watches it.
        let folder = self.shared.scratch.join(format!("{name}-manifests"));
        scene::write_gateway(&folder, &self.shared.identity, self.shared.origin)?;
        fs::write(folder.join("route.yaml"), ROUTE)?;
        let log = self.shared.scratch.join(format!("{name}.log"));
        let started = Portcullis::start(&binary, self.place, &folder, log)?;
        Ok(Peer {
            name,
            process: started.process,
            http: started.http.port(),
            https: started.https.port(),
            version,
        })
    }

    fn bare(&self) -> Result<Peer> {
        let path = |name: &str| self.shared.scratch.join(name).display().to_string();
        let arguments = [
            ("--http", loopback(self.http).to_string()),
            ("--https", loopback(self.https).to_string()),
            ("--origin", loopback(self.shared.origin).to_string()),
            ("--certificate", path("cert.pem")),
            ("--key", path("key.pem")),
        ];
        let arguments: Vec<String> =
            arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let version = ["pingora-proxy", "rustls", "tikv-jemallocator"].map(locked).join(", ");
        self.started(Name::Bare, &sibling("bare")?, &arguments, version)
    }

    fn nginx(&self) -> Result<Peer> {
        let file = self.configuration("nginx.conf", NGINX)?;
        let nginx = PathBuf::from("nginx");
        let arguments = ["-p".into(), self.shared.scratch.display().to_string(), "-c".into(), file];
        let version = format!("{}, {}", said(&nginx, "-v")?, openssl(&said_all(&nginx, "-V")?));
        self.started(Name::Nginx, &nginx, &arguments, version)
    }

    fn haproxy(&self) -> Result<Peer> {
        let file = self.configuration("haproxy.cfg", HAPROXY)?;
        let haproxy = PathBuf::from("haproxy");
        let version = format!("{}, {}", said(&haproxy, "-v")?, openssl(&said_all(&haproxy, "-vv")?));
        // -db: no daemon, one process.
        self.started(Name::Haproxy, &haproxy, &["-db".into(), "-f".into(), file], version)
    }

    fn envoy(&self) -> Result<Peer> {
        let file = self.configuration("envoy.yaml", ENVOY)?;
        let envoy = self.shared.setup.envoy.clone();
        let arguments =
            ["-c", &file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
        let version = said(&envoy, "--version")?;
        // "PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
        let version = version.rsplit_once("version: ").map_or(version.as_str(), |(_, version)| version);
        let version = format!("envoy {version}");
        self.started(Name::Envoy, &envoy, &arguments.map(str::to_owned), version)
    }

    fn started(&self, name: Name, program: &Path, arguments: &[String], version: String) -> Result<Peer> {
        let log = self.shared.scratch.join(format!("{name}.log"));
        let process = Guard::start(self.place, program, arguments, log)?;
        Ok(Peer { name, process, http: self.http, https: self.https, version })
    }

    fn configuration(&self, name: &str, template: &str) -> Result<String> {
        let values = [
            ("HTTP", self.http.to_string()),
            ("HTTPS", self.https.to_string()),
            ("ORIGIN", self.shared.origin.to_string()),
            ("DIR", self.shared.scratch.display().to_string()),
        ];
        let path = self.shared.scratch.join(name);
        fs::write(&path, fill(template, &values)?)?;
        Ok(path.display().to_string())
    }
}

/// The OpenSSL in use, from a text that may also name the one at build time.
fn openssl(text: &str) -> String {
    let lines = || text.lines().filter(|line| line.contains("OpenSSL "));
    let line = lines().find(|line| line.to_ascii_lowercase().contains("running")).or_else(|| lines().next());
    let version = |line: &str| {
        let (_, rest) = line.rsplit_once("OpenSSL ")?;
        let version: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        Some(format!("OpenSSL {version}"))
    };
    line.and_then(version).unwrap_or_else(|| "OpenSSL of unknown version".to_owned())
}

/// A crate and its version, from the lock file that this was built with.
fn locked(name: &str) -> String {
    let mut lines = LOCK.lines().skip_while(|line| *line != format!("name = \"{name}\""));
    let version = lines.nth(1).and_then(|line| line.split('"').nth(1)).unwrap_or("of unknown version");
    format!("{name} {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, want) in [
            (
                "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.22 25 Aug 2026 (running with OpenSSL 3.0.19 27 Jan 2026)",
                "OpenSSL 3.0.19",
            ),
            (
                "Built with OpenSSL version : OpenSSL 3.0.22\nRunning on OpenSSL version : OpenSSL 3.0.19 27 Jan",
                "OpenSSL 3.0.19",
            ),
            ("built with OpenSSL 3.0.11 19 Sep 2023\nTLS SNI support enabled", "OpenSSL 3.0.11"),
            ("nothing", "OpenSSL of unknown version"),
        ] {
            assert_eq!(openssl(text), want, "{text}");
        }
        assert!(locked("pingora-proxy").starts_with("pingora-proxy 0."), "{}", locked("pingora-proxy"));
        assert_eq!(locked("none"), "none of unknown version");
    }
}
