//! The proxies: how each is started, and which version it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    Comparison,
    line::{Group, Line, MANY_WORKERS},
    manifests,
    name::Name,
    ports::Ports,
};
use crate::{
    machine::{said, said_all, version_and_commit},
    process::{Guard, Place, free_port, sibling},
    scene::{self, Portcullis, Serving, fill, loopback},
};

const NGINX: &str = include_str!("../../peers/nginx.conf");
const NGINX_INGRESS: &str = include_str!("../../peers/nginx-ingress.conf");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const ENVOY: &str = include_str!("../../peers/envoy.yaml");
const LOCK: &str = include_str!("../../../Cargo.lock");

/// A proxy that runs.
#[derive(Debug)]
pub struct Peer {
    pub name: Name,
    pub version: String,
    pub instance: Instance,
    /// The same with [`MANY_WORKERS`].
    many_workers: Option<Instance>,
    /// Names of lines that it should serve and does not: an older binary lacks a feature.
    unserved: Vec<&'static str>,
}

/// A process of a proxy.
#[derive(Debug)]
pub struct Instance {
    pub process: Guard,
    pub ports: Ports,
}

/// What a proxy needs to know.
struct Scene<'a> {
    shared: &'a Comparison<'a>,
    place: Place<'a>,
    ports: Ports,
}

impl Peer {
    fn new(name: Name, version: String, instance: Instance) -> Self {
        Self { name, version, instance, many_workers: None, unserved: Vec::new() }
    }

    /// Whether it is measured with this line.
    pub fn is_measured(&self, line: &Line) -> bool {
        line.is_for(self.name) && !self.unserved.contains(&line.name)
    }

    /// It is not measured with this line.
    pub fn leave_out(&mut self, line: &Line) {
        self.unserved.push(line.name);
    }

    /// The process that is measured with this line.
    pub fn instance(&self, line: &Line) -> &Instance {
        self.many_workers.as_ref().filter(|_| line.many_workers).unwrap_or(&self.instance)
    }

    /// The same, to check whether it is running.
    pub fn instance_mut(&mut self, line: &Line) -> &mut Instance {
        self.many_workers.as_mut().filter(|_| line.many_workers).unwrap_or(&mut self.instance)
    }
}

impl Comparison<'_> {
    /// Starts a proxy on the proxies' core, under another program if one is given. It need not be ready when this
    /// returns.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&self, name: Name, under: &[String]) -> Result<Peer> {
        let scene = self.scene(under)?;
        match name {
            Name::Portcullis | Name::Baseline => scene.portcullis(name),
            Name::Bare => scene.bare(),
            Name::Nginx => scene.nginx(),
            Name::Haproxy => scene.haproxy(),
            Name::Envoy => scene.envoy(),
        }
    }

    /// Starts the process of Portcullis for lines with many workers.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_many_workers(&self, peer: &mut Peer) -> Result<()> {
        let (binary, _) = self.portcullis(peer.name)?;
        peer.many_workers = Some(self.scene(&[])?.serving(&binary, peer.name, MANY_WORKERS)?);
        Ok(())
    }

    fn scene<'a>(&'a self, under: &'a [String]) -> Result<Scene<'a>> {
        let place = Place { cores: &self.setup.proxy_cores, under };
        Ok(Scene { shared: self, place, ports: Ports::free()? })
    }

    /// The binary that was given, or the one that was built here, and its version.
    fn portcullis(&self, name: Name) -> Result<(PathBuf, String)> {
        let given = match name {
            Name::Baseline => &self.setup.baseline,
            _ => &self.setup.portcullis,
        };
        match given {
            // The binary does not say which commit it is from.
            Some(given) => {
                Ok((given.clone(), format!("{} ({})", said(given, "--version")?, given.display())))
            }
            None => {
                let built = sibling("portcullis")?;
                let version = version_and_commit(&built)?;
                Ok((built, version))
            }
        }
    }
}

impl Scene<'_> {
    fn portcullis(&self, name: Name) -> Result<Peer> {
        let (binary, version) = self.shared.portcullis(name)?;
        Ok(Peer::new(name, version, self.serving(&binary, name, 1)?))
    }

    fn serving(&self, binary: &Path, name: Name, workers: usize) -> Result<Instance> {
        let called = format!("{name}-{workers}");
        // A folder for each, since Portcullis watches it.
        let folder = self.shared.scratch.join(format!("{called}-manifests"));
        let ingresses = self.shared.lines.iter().any(|line| line.group == Group::Ingress);
        manifests::write(&folder, &self.shared.identity, &self.shared.backend, ingresses)?;
        // An older binary as the baseline may not have the flag: it is used only if it is needed.
        let settings = ingresses.then_some(manifests::SETTINGS);
        let serving = Serving { manifests: &folder, workers, settings };
        let log = self.shared.scratch.join(format!("{called}.log"));
        let started = Portcullis::start(binary, self.place, serving, log)?;
        let at = |port: u16| port + started.offset;
        let ports = Ports {
            http: started.http.port(),
            https: started.https.port(),
            tcp: at(scene::TCP),
            bulk: at(scene::TCP),
            passthrough: at(scene::PASSTHROUGH),
            udp: at(scene::UDP),
        };
        Ok(Instance { process: started.process, ports })
    }

    fn bare(&self) -> Result<Peer> {
        let path = |name: &str| self.shared.scratch.join(name).display().to_string();
        let arguments = [
            ("--http", loopback(self.ports.http).to_string()),
            ("--https", loopback(self.ports.https).to_string()),
            ("--origin", loopback(self.shared.backend.http).to_string()),
            ("--certificate", path("cert.pem")),
            ("--key", path("key.pem")),
        ];
        let arguments: Vec<String> =
            arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let version = ["pingora-proxy", "rustls", "tikv-jemallocator"].map(locked).join(", ");
        self.started(Name::Bare, &sibling("bare")?, &arguments, version)
    }

    fn nginx(&self) -> Result<Peer> {
        let nginx = PathBuf::from("nginx");
        let built = said_all(&nginx, "-V")?;
        let more = [("MODULES", stream_module(&built)), ("LOCATIONS", manifests::regex_locations())];
        self.configuration("nginx-ingress.conf", NGINX_INGRESS, &more)?;
        let file = self.configuration("nginx.conf", NGINX, &more)?;
        let arguments = ["-p".into(), self.shared.scratch.display().to_string(), "-c".into(), file];
        let version = format!("{}, {}", said(&nginx, "-v")?, openssl(&built));
        self.started(Name::Nginx, &nginx, &arguments, version)
    }

    fn haproxy(mut self) -> Result<Peer> {
        // The option for bulk transfers makes short connections slower.
        self.ports.bulk = free_port()?;
        let file = self.configuration("haproxy.cfg", HAPROXY, &[])?;
        let haproxy = PathBuf::from("haproxy");
        let version = format!("{}, {}", said(&haproxy, "-v")?, openssl(&said_all(&haproxy, "-vv")?));
        // -db: no daemon, one process.
        self.started(Name::Haproxy, &haproxy, &["-db".into(), "-f".into(), file], version)
    }

    fn envoy(&self) -> Result<Peer> {
        let file = self.configuration("envoy.yaml", ENVOY, &[])?;
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
        Ok(Peer::new(name, version, Instance { process, ports: self.ports }))
    }

    /// Writes a file with these ports and `more` values.
    fn configuration(&self, name: &str, template: &str, more: &[(&str, String)]) -> Result<String> {
        let (ports, backend) = (self.ports, &self.shared.backend);
        let mut values = vec![
            ("HTTP", ports.http.to_string()),
            ("HTTPS", ports.https.to_string()),
            ("TCP", ports.tcp.to_string()),
            ("BULK", ports.bulk.to_string()),
            ("PASSTHROUGH", ports.passthrough.to_string()),
            ("UDP", ports.udp.to_string()),
            ("ORIGIN", backend.http.to_string()),
            ("ORIGINTLS", backend.tls.to_string()),
            ("ORIGINUDP", backend.udp.to_string()),
            ("DIR", self.shared.scratch.display().to_string()),
        ];
        values.extend_from_slice(more);
        let path = self.shared.scratch.join(name);
        fs::write(&path, fill(template, &values)?)?;
        Ok(path.display().to_string())
    }
}

/// The directive that loads nginx's stream module, from the text of `nginx -V`; none where it is built in.
fn stream_module(built: &str) -> String {
    let folder = || built.split_whitespace().find_map(|word| word.strip_prefix("--modules-path="));
    match built.contains("--with-stream=dynamic") {
        true => format!("load_module {}/ngx_stream_module.so;", folder().unwrap_or("modules")),
        false => String::new(),
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
        for (text, want) in [
            (
                "--modules-path=/usr/lib/nginx/modules --with-stream=dynamic",
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;",
            ),
            ("--with-stream --with-stream_ssl_preread_module", ""),
        ] {
            assert_eq!(stream_module(text), want, "{text}");
        }
        assert!(locked("pingora-proxy").starts_with("pingora-proxy 0."), "{}", locked("pingora-proxy"));
        assert_eq!(locked("none"), "none of unknown version");
    }
}
