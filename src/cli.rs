//! The command line.

mod migrate;
mod objects;

pub use migrate::{MigrateArgs, ReportOutput, Target};
pub use objects::ObjectArgs;

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use portcullis_controller::{
    cluster::FIELD_MANAGER,
    objects::{parse_count, parse_network},
    translate::DedicatedPorts,
};

/// A Kubernetes Ingress and Gateway API controller with a built-in L7 proxy.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses a command line, including the program's name.
    ///
    /// # Errors
    /// If it is invalid or requests help.
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        if let (Command::Explain(args), Some((name, matches))) = (&cli.command, matches.subcommand())
            && let (None, Some(flag)) = (&args.manifests, objects::first_given(matches))
        {
            let command = command.find_subcommand_mut(name).expect("it has been read");
            let why = format!("--{flag} requires --manifests; a running instance uses its own settings");
            return Err(command.error(ErrorKind::MissingRequiredArgument, why));
        }
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the Ingress and Gateway API objects of a cluster or a folder.
    Run(Box<RunArgs>),
    /// Serve examples/quickstart, with echo backends in the same process.
    Demo(DemoArgs),
    /// Run a test backend that responds with a description of each request (HTTP/1, h2c, WebSocket, gRPC).
    Echo(EchoArgs),
    /// Validate objects: which are accepted or rejected, and why. Exit code 1 if any object is rejected.
    Check(CheckArgs),
    /// Report how Portcullis would serve the Ingresses of ingress-nginx: each annotation is the same, different, refused, or
    /// without effect on both. Exit code 0 if nothing differs, 3 if something is different, 4 if something is refused.
    Migrate(MigrateArgs),
    /// Explain how a request is handled: listener, route, rule, steps, backend, endpoints. No request is sent.
    Explain(ExplainArgs),
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Folder of YAML or JSON objects to serve and watch, including subfolders. Without it, the objects are read from
    /// the cluster in which this process runs, or from the cluster of the kubeconfig.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Flags that have an effect only in a cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub struct ClusterArgs {
    /// Namespace to watch; can be repeated. Default: all namespaces.
    #[arg(long, value_name = "NAMESPACE", env = "PORTCULLIS_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,
    /// Service for all incoming traffic. Ingresses and Gateways report its addresses, and the ports of listeners are
    /// added to it. Without it, no addresses are reported.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_SERVICE", value_parser = parse_namespaced)]
    pub service: Option<(String, String)>,
    /// Service with the addresses that Ingresses and Gateways report, such as that of a load balancer in front. Default: the
    /// Service of --service. Its ports are not modified.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_PUBLISH_SERVICE", value_parser = parse_namespaced)]
    pub publish_service: Option<(String, String)>,
    /// Do not modify the ports of the Service. A listener reports in its status if its port is missing.
    #[arg(long, env = "PORTCULLIS_NO_SERVICE_PORTS")]
    pub no_service_ports: bool,
    /// Do not read ConfigMaps, except the settings ConfigMap and those of the controller. Objects that refer to a
    /// ConfigMap as a certificate authority report this in their status.
    #[arg(long, env = "PORTCULLIS_NO_CONFIG_MAPS")]
    pub no_config_maps: bool,
    /// Do not read Pods. XBackends that select Pods are then unusable, and routes to them report this in their status.
    #[arg(long, env = "PORTCULLIS_NO_PODS")]
    pub no_pods: bool,
    /// Local ports for Gateways with dedicated addresses (addressing Dedicated). Each port of their listeners is
    /// allocated one of these ports as the target port of its Service. Allocations are recorded in the ConfigMap
    /// NAME-ports in the namespace of the Lease, and the ports that each replica has bound in NAME-bound-ports. With
    /// `none`, such Gateways are rejected, and no Services are created.
    #[arg(
        long,
        value_name = "FIRST-LAST|none",
        default_value = "20000-29999",
        env = "PORTCULLIS_DEDICATED_PORTS"
    )]
    pub dedicated_ports: DedicatedPorts,
    /// Lease for the election of the replica that writes statuses.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "default/portcullis",
        env = "PORTCULLIS_LEASE",
        value_parser = parse_namespaced
    )]
    pub lease: (String, String),
    /// Also send requests to loopback and the addresses of this machine, except for the ports that this process has
    /// bound. Required for backends on the same node if pods use the host network. Any user with write access to
    /// EndpointSlices can then reach other processes on the machine. Always enabled with --manifests.
    #[arg(long, env = "PORTCULLIS_LOCAL_BACKENDS")]
    pub local_backends: bool,
    /// Name of this replica in the Lease. Default: the host name.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
    /// Field manager in `metadata.managedFields` of the objects that it writes.
    #[arg(long, value_name = "NAME", default_value = FIELD_MANAGER, env = "PORTCULLIS_FIELD_MANAGER", value_parser = parse_field_manager)]
    pub field_manager: String,
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Folder to serve instead of the built-in quickstart. An echo backend is started on every loopback address in its
    /// EndpointSlices.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Offset added to the port of every listener, because ports below 1024 require privileges.
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port_offset: u16,
    /// Address of the admin port (health, metrics, statuses).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    pub admin: SocketAddr,
}

#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Offset added to the port of every listener (and to ports 80 and 443 of Ingresses).
    #[arg(long, value_name = "N", default_value_t = 0, env = "PORTCULLIS_PORT_OFFSET")]
    pub port_offset: u16,
    /// Address for listeners to bind; can be repeated.
    #[arg(
        long,
        value_name = "IP",
        default_value = "0.0.0.0",
        env = "PORTCULLIS_BIND",
        value_delimiter = ','
    )]
    pub bind: Vec<IpAddr>,
    /// Address of the admin port (health, metrics, statuses).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080", env = "PORTCULLIS_ADMIN")]
    pub admin: SocketAddr,
    /// Number of worker threads. Default: the number of processors.
    #[arg(long, value_name = "N", env = "PORTCULLIS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Network (CIDR) of proxies that are trusted to set X-Forwarded-* headers; can be repeated.
    #[arg(long, value_name = "CIDR", env = "PORTCULLIS_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Network (CIDR) of load balancers that send a PROXY protocol header (version 1 or 2) on each connection; can be
    /// repeated.
    #[arg(long, value_name = "CIDR", env = "PORTCULLIS_PROXY_PROTOCOL", value_delimiter = ',', value_parser = parse_network)]
    pub proxy_protocol: Vec<(IpAddr, u8)>,
    /// DNS server for the names of ExternalName Services; can be repeated. Default: the servers in /etc/resolv.conf.
    #[arg(long, value_name = "IP:PORT", env = "PORTCULLIS_NAME_SERVER", value_delimiter = ',')]
    pub name_server: Vec<SocketAddr>,
    /// Idle timeout in both directions after a response of an HTTP/2 backend has begun, such as a gRPC watch.
    #[arg(long, value_name = "DURATION", default_value = "5m", env = "PORTCULLIS_STREAM_IDLE_TIMEOUT", value_parser = parse_limit)]
    pub stream_idle_timeout: Duration,
    /// Idle timeout of a stream in both directions. A stream is a TCP connection, or a TLS connection that is passed
    /// through, or terminated for a protocol other than HTTP.
    #[arg(long, value_name = "DURATION", default_value = "1h", env = "PORTCULLIS_TCP_IDLE_TIMEOUT", value_parser = parse_limit)]
    pub tcp_idle_timeout: Duration,
    /// Idle timeout of a UDP flow in both directions. After the timeout, the client's next datagram can be sent to
    /// another endpoint.
    #[arg(long, value_name = "DURATION", default_value = "1m", env = "PORTCULLIS_UDP_IDLE_TIMEOUT", value_parser = parse_limit)]
    pub udp_idle_timeout: Duration,
    /// Proxy implementation. `all`: Portcullis' own for HTTP/1 backends, pingora for HTTP/2 backends and upgrades
    /// (WebSocket). `pingora`: pingora for all requests; of pipelined requests, it processes only the first.
    #[arg(long, value_name = "CARRIERS", value_enum, default_value = "all", env = "PORTCULLIS_CARRIERS")]
    pub carriers: CarriersArg,
    /// Maximum number of concurrent client connections. When it is reached, an idle connection is closed for each new
    /// one; if none is idle, the new connection is closed. The default and the upper bound are derived from the limit of
    /// open files.
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CONNECTIONS", value_parser = parse_count)]
    pub max_connections: Option<usize>,
    /// The same limit per port. Default: three quarters of --max-connections.
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CONNECTIONS_PER_PORT", value_parser = parse_count)]
    pub max_connections_per_port: Option<usize>,
    /// The same limit per client (an IPv4 address or an IPv6 /64 network). Default: no limit. Does not apply to trusted
    /// proxies.
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CONNECTIONS_PER_CLIENT", value_parser = parse_count)]
    pub max_connections_per_client: Option<usize>,
    /// Directory for buffered request bodies (proxy-request-buffering of Ingresses) that do not fit into memory. The files
    /// are unlinked when they are created. Default: bodies are buffered in memory only.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Maximum total size of the files in --spool-dir.
    #[arg(long, value_name = "SIZE", default_value = "1Gi", env = "PORTCULLIS_SPOOL_SIZE", value_parser = parse_size)]
    pub spool_size: u64,
    /// Maximum total size of buffered request bodies in memory.
    #[arg(long, value_name = "SIZE", default_value = "64Mi", env = "PORTCULLIS_SPOOL_MEMORY", value_parser = parse_size)]
    pub spool_memory: u64,
    /// Secret with the certificate for Ingress hosts that have none. Default: a self-signed certificate.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_DEFAULT_CERTIFICATE", value_parser = parse_namespaced)]
    pub default_certificate: Option<(String, String)>,
    /// Also serve the metrics of Ingresses by the names and labels of ingress-nginx (nginx_ingress_controller_requests and
    /// others), for dashboards, alerts, Flagger and Argo Rollouts.
    #[arg(long, env = "PORTCULLIS_INGRESS_NGINX_METRICS")]
    pub ingress_nginx_metrics: bool,
    /// With --ingress-nginx-metrics: maximum number of label sets of requests. Each has about 90 series. Requests beyond it
    /// are counted by Ingress and class of the status alone. A namespace can have half of them.
    #[arg(
        long,
        value_name = "N",
        default_value = "1000",
        env = "PORTCULLIS_INGRESS_NGINX_METRICS_LIMIT",
        value_parser = parse_count
    )]
    pub ingress_nginx_metrics_limit: usize,
    /// After SIGTERM: time to continue accepting connections while not ready, so that load balancers can react.
    #[arg(long, value_name = "DURATION", default_value = "0s", env = "PORTCULLIS_PRE_STOP_DELAY", value_parser = parse_duration)]
    pub pre_stop_delay: Duration,
    /// After that: time for requests in flight to complete.
    #[arg(long, value_name = "DURATION", default_value = "30s", env = "PORTCULLIS_DRAIN_TIMEOUT", value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// Time between SIGTERM and SIGKILL (terminationGracePeriodSeconds of the pod). The time for requests in flight is
    /// limited so that the process ends before. Default: no limit.
    #[arg(long, value_name = "DURATION", env = "PORTCULLIS_TERMINATION_GRACE_PERIOD", value_parser = parse_duration)]
    pub termination_grace_period: Option<Duration>,
    /// Log format.
    #[arg(long, value_name = "FORM", default_value = "text", env = "PORTCULLIS_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Log every request.
    #[arg(long, env = "PORTCULLIS_ACCESS_LOG")]
    pub access_log: bool,
}

#[derive(Clone, Debug, Args)]
pub struct EchoArgs {
    /// Address to listen on; can be repeated.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:8080",
        env = "PORTCULLIS_ECHO_LISTEN",
        value_delimiter = ','
    )]
    pub listen: Vec<SocketAddr>,
    /// Value of `service` in responses.
    #[arg(long, value_name = "NAME", env = "SERVICE_NAME")]
    pub name: Option<String>,
    /// Value of `pod` in responses.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod: Option<String>,
    /// Value of `namespace` in responses.
    #[arg(long, value_name = "NAME", env = "NAMESPACE")]
    pub namespace: Option<String>,
    /// PEM certificate chain; enables TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Use TLS with a self-signed certificate for this name, generated at startup; can be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert", value_delimiter = ',')]
    pub tls_self_signed: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Files and folders to validate.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: ReportFormat,
}

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// URL of the request. Its scheme and port select the listeners. For streams and datagrams, use tcp://host:port,
    /// tls://name:port or udp://host:port.
    #[arg(value_name = "URL")]
    pub url: String,
    /// Method of the request.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// Header of the request; can be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Folder of objects to use instead of a running instance. Required for the flags in the group Objects.
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    pub manifests: Option<PathBuf>,
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Admin address of the running instance to query if --manifests is not set.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    pub admin: SocketAddr,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: ReportFormat,
}

/// Proxy implementation for requests to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CarriersArg {
    /// Portcullis' own for HTTP/1 backends, pingora for everything else.
    All,
    /// pingora for all requests.
    Pingora,
}

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per message.
    Text,
    /// One JSON object per message.
    Json,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Human-readable.
    Text,
    /// JSON, for programs.
    Json,
}

/// Parses a duration in the format of the Gateway API: `1m30s`, `500ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    portcullis_controller::ir::route::parse_duration(text)
        .ok_or_else(|| format!("{text:?} is not a duration such as 30s, 1m30s or 500ms"))
}

/// Parses a duration greater than zero.
pub fn parse_limit(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text)?;
    if limit.is_zero() { Err(format!("{text:?} is not greater than zero")) } else { Ok(limit) }
}

/// Reads a number of bytes, with `Ki`, `Mi` or `Gi` behind it or nothing.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    number.ok_or_else(|| format!("{text:?} is not a number of bytes such as 512Mi or 1Gi"))
}

fn parse_namespaced(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAMESPACE/NAME")),
    }
}

/// `metav1.PatchOptions`: at most 128 printable characters. Letters, digits and `-._/` need no escape in a URL.
fn parse_field_manager(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    match (1..=128).contains(&text.len()) && text.chars().all(is_fine) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not a name of at most 128 letters, digits and -._/")),
    }
}

/// The command-line reference in Markdown.
pub fn reference() -> String {
    clap_markdown::help_markdown::<Cli>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_objects_are_for_the_objects_of_a_folder() {
        for (flags, refused) in [
            (&["explain", "a.example"][..], None),
            (&["explain", "a.example", "--ingress-class=web"], Some("--ingress-class")),
            (
                &["explain", "a.example", "--no-ssl-redirect", "--admin=127.0.0.1:1"],
                Some("--no-ssl-redirect"),
            ),
            (&["explain", "a.example", "--ingress-class=web", "--manifests=."], None),
            (&["check", ".", "--ingress-class=web"], None),
        ] {
            let read = Cli::read([&["portcullis"], flags].concat()).map_err(|error| error.to_string());
            match (read, refused) {
                (Ok(_), None) => {}
                (Err(error), Some(flag)) => {
                    assert!(error.contains(&format!("{flag} requires --manifests")), "{error}");
                }
                (read, _) => panic!("{flags:?}: {read:?}"),
            }
        }
    }

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (text, want) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("64Mi", Some(64 << 20)),
            ("1Gi", Some(1 << 30)),
            ("3Ki", Some(3 << 10)),
            ("1G", None),
            ("Mi", None),
            ("-1", None),
            ("99999999999999Gi", None),
        ] {
            assert_eq!(parse_size(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn the_reference_in_docs_agrees_with_the_command_line() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == reference(),
            "docs/cli.md is out of date: UPDATE_GOLDEN=1 cargo test --lib rewrites it"
        );
    }
}
