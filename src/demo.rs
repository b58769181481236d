//! `portcullis demo`: serves a folder together with the backends that it points to.
//!
//! Every loopback address that an EndpointSlice or a Pod of the folder names gets an echo backend, which says the name of
//! its Service or XBackend. One at a port that is called `https` speaks TLS, with the certificate in the Secret that has the Service's
//! name. They follow the folder as the routes do.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use portcullis_controller::{
    ir::{Kind, ObjectKey, Secret},
    snapshot::Snapshot,
    source::{Delta, Extent, Folder, FolderOptions},
    translate::pods_of,
};
use portcullis_routing::Transport;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::{
    cli::{CarriersArg, DemoArgs, LogFormat, ObjectArgs, ServeArgs},
    echo::{self, Echo, Identity},
    run::Running,
    signals::Stop,
};

/// Where the example is looked for first, so that it can be edited while it is served.
const QUICKSTART: &str = "examples/quickstart";
/// The same, for a binary that stands alone.
const FILES: [(&str, &str); 4] = [
    ("backends.yaml", include_str!("../examples/quickstart/backends.yaml")),
    ("certificate.yaml", include_str!("../examples/quickstart/certificate.yaml")),
    ("gateway.yaml", include_str!("../examples/quickstart/gateway.yaml")),
    ("ingress.yaml", include_str!("../examples/quickstart/ingress.yaml")),
];

/// Serves until the process is told to stop.
///
/// # Errors
/// As [`crate::run::run`].
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let folder = Manifests::find(args.manifests.as_deref())?;
    let mut backends = Backends::start(folder.path()).await?;
    let serve = serve_args(&args);
    let running = Running::of_folder(folder.path(), &serve).await?;
    let following = tokio::spawn(async move { backends.follow().await });
    running.ready().await;
    if let Some((_, why)) = running.unbound().into_iter().next() {
        anyhow::bail!("{why}; --port-offset chooses other ports");
    }
    let invitation = invitation(folder.path(), &args, running.admin());
    // If standard output is closed, nobody reads it.
    let _ = std::io::stdout().write_all(invitation.as_bytes());
    running.until_stopped(stop, &serve).await;
    following.abort();
    Ok(())
}

/// The folder that is served.
#[derive(Debug)]
enum Manifests {
    There(PathBuf),
    /// Written for this run, and removed after it.
    Written(TempDir),
}

impl Manifests {
    fn find(asked_for: Option<&Path>) -> anyhow::Result<Self> {
        let quickstart = || Some(PathBuf::from(QUICKSTART)).filter(|path| path.is_dir());
        match asked_for.map(Path::to_owned).or_else(quickstart) {
            Some(path) => Ok(Self::There(path)),
            None => Self::write().context("the quickstart cannot be written to a temporary folder"),
        }
    }

    fn write() -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portcullis-quickstart-").tempdir()?;
        for (name, text) in FILES {
            std::fs::write(folder.path().join(name), text)?;
        }
        Ok(Self::Written(folder))
    }

    fn path(&self) -> &Path {
        match self {
            Self::There(path) => path,
            Self::Written(folder) => folder.path(),
        }
    }
}

/// The echo backends of a folder.
#[derive(Debug)]
struct Backends {
    deltas: mpsc::Receiver<Delta>,
    snapshot: Snapshot,
    running: BTreeMap<SocketAddr, (Wanted, Echo)>,
}

/// An echo backend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    identity: Identity,
    /// The certificate that it shows, if it speaks TLS.
    certificate: Option<Arc<Secret>>,
}

impl Backends {
    /// Reads the folder once and starts what it names.
    async fn start(path: &Path) -> anyhow::Result<Self> {
        let (sender, deltas) = mpsc::channel(1);
        Folder::open(FolderOptions::new(path))?.watch(sender)?;
        let (snapshot, running) = Default::default();
        let mut backends = Self { deltas, snapshot, running };
        while let Some(delta) = backends.deltas.recv().await {
            let complete = delta.extent == Extent::Complete;
            backends.take(delta).await;
            if complete {
                break;
            }
        }
        Ok(backends)
    }

    async fn follow(&mut self) {
        while let Some(delta) = self.deltas.recv().await {
            self.take(delta).await;
        }
    }

    async fn take(&mut self, delta: Delta) {
        delta.changes.into_iter().for_each(|change| self.snapshot.apply(change));
        let wanted = wanted(&self.snapshot);
        // Old backends are stopped first, so that an address can change hands.
        for (_, (_, echo)) in self.running.extract_if(.., |address, (is, _)| wanted.get(address) != Some(is))
        {
            echo.stop().await;
        }
        for (address, wanted) in wanted {
            let Entry::Vacant(vacant) = self.running.entry(address) else { continue };
            match wanted.start(address).await {
                Ok(echo) => {
                    info!(%address, service = wanted.identity.service.as_deref(), "echo backend");
                    vacant.insert((wanted, echo));
                }
                Err(error) => warn!(%address, "no echo backend: {error:#}"),
            }
        }
    }
}

impl Wanted {
    async fn start(&self, address: SocketAddr) -> anyhow::Result<Echo> {
        let identity = self.identity.clone();
        let Some(secret) = &self.certificate else { return Ok(Echo::bind(address, identity).await?) };
        let part = |name: &str| secret.data.get(name).map(Vec::as_slice).unwrap_or_default();
        let config = echo::tls::from_pem(part("tls.crt"), part("tls.key"));
        let config = config.with_context(|| secret.meta.key.to_string())?;
        Ok(Echo::bind_tls(address, identity, config).await?)
    }
}

/// Which backends the EndpointSlices and the Pods of XBackends name. An address that two of them name answers for the
/// first one.
fn wanted(snapshot: &Snapshot) -> BTreeMap<SocketAddr, Wanted> {
    let mut wanted = BTreeMap::new();
    for slice in snapshot.endpoint_slices.values() {
        let key = &slice.meta.key;
        let service = slice.service.as_deref().unwrap_or(&key.name);
        let identity = identity(&key.namespace, service, &key.name);
        let secret = snapshot.secrets.get(&ObjectKey::new(Kind::Secret, &key.namespace, service));
        let addresses = slice.endpoints.iter().map(|endpoint| &endpoint.address);
        for address in addresses.filter(|address| address.is_loopback()) {
            // The echo backend serves TCP only.
            let ports = slice.ports.iter().filter_map(|port| Some((&*port.name, port.port?)));
            for (name, port) in ports.filter(|(_, port)| port.transport == Transport::Tcp) {
                let certificate = secret.filter(|_| name == "https").cloned();
                let echo = || Wanted { identity: identity.clone(), certificate };
                wanted.entry(SocketAddr::new(*address, port.number)).or_insert_with(echo);
            }
        }
    }
    for backend in snapshot.x_backends.values() {
        let Ok(spec) = &backend.spec else { continue };
        for pod in pods_of(snapshot, backend) {
            let Some(address) = pod.address.filter(|address| address.is_loopback()) else { continue };
            let identity = identity(backend.meta.namespace(), backend.meta.name(), pod.meta.name());
            let echo = || Wanted { identity, certificate: None };
            wanted.entry(SocketAddr::new(address, spec.port)).or_insert_with(echo);
        }
    }
    wanted
}

fn identity(namespace: &str, service: &str, pod: &str) -> Identity {
    Identity { pod: Some(pod.to_owned()), ..Identity::of_service(namespace, service) }
}

/// On loopback only: everybody knows the key of the example's certificate.
fn serve_args(args: &DemoArgs) -> ServeArgs {
    ServeArgs {
        objects: ObjectArgs::default(),
        port_offset: args.port_offset,
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        admin: args.admin,
        workers: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        name_server: Vec::new(),
        stream_idle_timeout: Duration::from_secs(300),
        tcp_idle_timeout: Duration::from_secs(3600),
        udp_idle_timeout: Duration::from_secs(60),
        carriers: CarriersArg::All,
        max_connections: None,
        max_connections_per_port: None,
        max_connections_per_client: None,
        spool_dir: None,
        spool_size: 0,
        spool_memory: 64 << 20,
        default_certificate: None,
        ingress_nginx_metrics: false,
        ingress_nginx_metrics_limit: 0,
        pre_stop_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(5),
        termination_grace_period: None,
        log_format: LogFormat::Text,
        access_log: false,
    }
}

fn invitation(folder: &Path, args: &DemoArgs, admin: SocketAddr) -> String {
    let folder = folder.display();
    let status = format!("  curl -s http://{admin}/status\n");
    if args.manifests.is_some() {
        return format!("\nServing {folder}. The statuses of its objects:\n\n{status}\n");
    }
    let (http, https) = (80 + u32::from(args.port_offset), 443 + u32::from(args.port_offset));
    format!(
        "
Serving {folder}. In another terminal:

  # An Ingress with TLS: foo.yourdomain.com goes to the service foo, yourdomain.com/bar/ to the service bar.
  curl -sk --resolve foo.yourdomain.com:{https}:127.0.0.1 https://foo.yourdomain.com:{https}/hello
  curl -sk --resolve yourdomain.com:{https}:127.0.0.1 https://yourdomain.com:{https}/bar/hello
  curl -si -H 'Host: foo.yourdomain.com' http://127.0.0.1:{http}/hello

  # A Gateway with HTTPRoutes: one request in ten goes to the second version, unless a header asks for it.
  curl -s -H 'Host: shop.example.com' http://127.0.0.1:{http}/
  curl -s -H 'Host: shop.example.com' -H 'x-version: next' http://127.0.0.1:{http}/
  curl -si -H 'Host: shop.example.com' http://127.0.0.1:{http}/old/offer

  # A GRPCRoute (src/echo/echo.proto has the service).
  grpcurl -plaintext -authority grpc.example.com -proto src/echo/echo.proto -d '{{\"message\": \"hello\"}}' \\
    127.0.0.1:{http} portcullis.echo.v1.Echo/Echo

  # The statuses of the objects.
{status}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_quickstart_is_the_one_in_examples() {
        let written = Manifests::write().unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(QUICKSTART);
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let built_in: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, built_in);
        assert_eq!(std::fs::read_dir(written.path()).unwrap().count(), FILES.len());
    }

    #[tokio::test]
    async fn backends_follow_the_loopback_addresses_of_the_slices() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("slices.yaml");
        let (first, second) = (free_port(), free_port());
        std::fs::write(&file, slice("foo", "127.0.0.1", first) + &slice("far", "192.0.2.1", second)).unwrap();
        let mut backends = Backends::start(folder.path()).await.unwrap();
        assert_eq!(services(&backends), [(first, "foo".to_owned())]);

        std::fs::write(&file, slice("bar", "127.0.0.1", second)).unwrap();
        let changed = async {
            while services(&backends) != [(second, "bar".to_owned())] {
                let delta = backends.deltas.recv().await.unwrap();
                backends.take(delta).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), changed).await.expect("the edit is followed");
    }

    fn services(backends: &Backends) -> Vec<(u16, String)> {
        let services = backends.running.iter();
        services.map(|(address, (is, _))| (address.port(), is.identity.service.clone().unwrap())).collect()
    }

    fn slice(service: &str, address: &str, port: u16) -> String {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: {service}-1, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             ports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: [{address}]}}]\n---\n"
        )
    }

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }
}
