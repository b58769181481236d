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

/// A Kubernetes Ingress and Gateway API controller with an L7 proxy inside.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// Where it cannot be read, or asks for what has no meaning, or for help.
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
            let why = format!(
                "--{flag} is for the objects of --manifests; a running instance has its own settings"
            );
            return Err(command.error(ErrorKind::MissingRequiredArgument, why));
        }
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the Ingress and Gateway API objects of a cluster, or of a folder.
    Run(Box<RunArgs>),
    /// Serve examples/quickstart, with echo backends in the same process.
    Demo(DemoArgs),
    /// A test backend that says what it received (HTTP/1, h2c, WebSocket, gRPC).
    Echo(EchoArgs),
    /// Say of each object whether it would be accepted, and why not. Exit code 1 when one is refused.
    Check(CheckArgs),
    /// Compare the Ingresses of ingress-nginx with what becomes of them here: each annotation is the same, different, refused,
    /// or without effect there either. Exit code 0 when nothing differs, 3 when something is different, 4 when something is
    /// refused.
    Migrate(MigrateArgs),
    /// Say what becomes of a request and why: listener, route, rule, steps, backend, endpoints. Nothing is sent.
    Explain(ExplainArgs),
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Folder of YAML or JSON objects, watched; subfolders too. When not given, the objects are those of the cluster
    /// that this process runs in, or that the kubeconfig names.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What has a meaning in a cluster alone.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub struct ClusterArgs {
    /// Namespace to watch; may be given several times. All of them when not given.
    #[arg(long, value_name = "NAMESPACE", env = "PORTCULLIS_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,
    /// Service through which everything comes in: its addresses are those of Ingresses and Gateways, and the ports of
    /// listeners are added to it. Addresses stay unknown when not given.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_SERVICE", value_parser = parse_namespaced)]
    pub service: Option<(String, String)>,
    /// Leave the Service's ports alone; a listener whose port it lacks says so.
    #[arg(long, env = "PORTCULLIS_NO_SERVICE_PORTS")]
    pub no_service_ports: bool,
    /// Do not read ConfigMaps, except the one of settings and our own. An object that names one as its certificate
    /// authority says that it is not read.
    #[arg(long, env = "PORTCULLIS_NO_CONFIG_MAPS")]
    pub no_config_maps: bool,
    /// Ports of this machine for Gateways with addresses of their own (addressing Dedicated): each of their listeners'
    /// ports gets one, which its Service leads to. Which one is recorded in the ConfigMap NAME-ports beside the Lease,
    /// and what each replica has bound in NAME-bound-ports. With `none` such Gateways are refused, and nothing is made
    /// for them.
    #[arg(
        long,
        value_name = "FIRST-LAST|none",
        default_value = "20000-29999",
        env = "PORTCULLIS_DEDICATED_PORTS"
    )]
    pub dedicated_ports: DedicatedPorts,
    /// Lease that decides which replica writes statuses.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "default/portcullis",
        env = "PORTCULLIS_LEASE",
        value_parser = parse_namespaced
    )]
    pub lease: (String, String),
    /// Carry requests also to loopback and to the addresses of this machine, except the ports that are bound here: for
    /// backends on the same node, where pods are on the nodes' network. Whoever may write EndpointSlices then reaches
    /// what else listens there. Always so with objects of a folder.
    #[arg(long, env = "PORTCULLIS_LOCAL_BACKENDS")]
    pub local_backends: bool,
    /// Name of this replica in the Lease; the machine's name when not given.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
    /// Name of this manager in `metadata.managedFields` of the objects that it writes.
    #[arg(long, value_name = "NAME", default_value = FIELD_MANAGER, env = "PORTCULLIS_FIELD_MANAGER", value_parser = parse_field_manager)]
    pub field_manager: String,
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Folder to serve instead of the built-in quickstart; an echo backend is started on every loopback address
    /// that its EndpointSlices name.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Added to every listener's port, since ports below 1024 need privileges.
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port_offset: u16,
    /// Where health and statuses are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    pub admin: SocketAddr,
}

#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Added to every listener's port (and to 80 and 443 of Ingresses).
    #[arg(long, value_name = "N", default_value_t = 0, env = "PORTCULLIS_PORT_OFFSET")]
    pub port_offset: u16,
    /// Address that listeners bind; may be given several times.
    #[arg(
        long,
        value_name = "IP",
        default_value = "0.0.0.0",
        env = "PORTCULLIS_BIND",
        value_delimiter = ','
    )]
    pub bind: Vec<IpAddr>,
    /// Where health and statuses are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080", env = "PORTCULLIS_ADMIN")]
    pub admin: SocketAddr,
    /// Worker threads; as many as there are processors when not given.
    #[arg(long, value_name = "N", env = "PORTCULLIS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Network (CIDR) of peers whose X-Forwarded-* headers are believed; may be given several times.
    #[arg(long, value_name = "CIDR", env = "PORTCULLIS_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Network (CIDR) of load balancers that begin each connection with a PROXY protocol header (version 1 or 2); may
    /// be given several times.
    #[arg(long, value_name = "CIDR", env = "PORTCULLIS_PROXY_PROTOCOL", value_delimiter = ',', value_parser = parse_network)]
    pub proxy_protocol: Vec<(IpAddr, u8)>,
    /// DNS server that is asked for the addresses of ExternalName Services; may be given several times. Those of
    /// /etc/resolv.conf when not given.
    #[arg(long, value_name = "IP:PORT", env = "PORTCULLIS_NAME_SERVER", value_delimiter = ',')]
    pub name_server: Vec<SocketAddr>,
    /// How long an answer of an HTTP/2 backend that has begun may be silent in both directions, as that of a gRPC watch
    /// may be.
    #[arg(long, value_name = "DURATION", default_value = "5m", env = "PORTCULLIS_STREAM_IDLE_TIMEOUT", value_parser = parse_limit)]
    pub stream_idle_timeout: Duration,
    /// How long a stream may be idle in both directions. A stream is a TCP connection, or a TLS connection that is
    /// passed through or terminated here for a protocol other than HTTP.
    #[arg(long, value_name = "DURATION", default_value = "1h", env = "PORTCULLIS_TCP_IDLE_TIMEOUT", value_parser = parse_limit)]
    pub tcp_idle_timeout: Duration,
    /// How long a client's flow of datagrams may be idle in both directions. After that, the client's next datagram may
    /// go to another endpoint.
    #[arg(long, value_name = "DURATION", default_value = "1m", env = "PORTCULLIS_UDP_IDLE_TIMEOUT", value_parser = parse_limit)]
    pub udp_idle_timeout: Duration,
    /// What carries requests. `all`: Portcullis itself carries those to HTTP/1 backends, pingora those to HTTP/2
    /// backends and upgrades (WebSocket). `pingora`: pingora carries all of them; of pipelined requests it answers only
    /// the first.
    #[arg(long, value_name = "CARRIERS", value_enum, default_value = "all", env = "PORTCULLIS_CARRIERS")]
    pub carriers: CarriersArg,
    /// Connections that clients may hold at a time. When the limit is reached, a new connection closes an idle one; if
    /// none is idle, it is closed itself. The default, and the maximum, is what the limit of open files allows.
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CONNECTIONS", value_parser = parse_count)]
    pub max_connections: Option<usize>,
    /// The same limit for each port; three quarters of --max-connections by default.
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CONNECTIONS_PER_PORT", value_parser = parse_count)]
    pub max_connections_per_port: Option<usize>,
    /// The same limit for each client (an IPv4 address or a /64 network of IPv6); none by default. It does not apply
    /// to trusted proxies.
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CONNECTIONS_PER_CLIENT", value_parser = parse_count)]
    pub max_connections_per_client: Option<usize>,
    /// Secret with the certificate for Ingress hosts that have none of their own; a self-signed one is made when not
    /// given.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_DEFAULT_CERTIFICATE", value_parser = parse_namespaced)]
    pub default_certificate: Option<(String, String)>,
    /// After SIGTERM: how long to go on accepting while not ready, so that load balancers notice.
    #[arg(long, value_name = "DURATION", default_value = "0s", env = "PORTCULLIS_PRE_STOP_DELAY", value_parser = parse_duration)]
    pub pre_stop_delay: Duration,
    /// After that: how long requests in flight may take to end.
    #[arg(long, value_name = "DURATION", default_value = "30s", env = "PORTCULLIS_DRAIN_TIMEOUT", value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// Form of the log.
    #[arg(long, value_name = "FORM", default_value = "text", env = "PORTCULLIS_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Log every request.
    #[arg(long, env = "PORTCULLIS_ACCESS_LOG")]
    pub access_log: bool,
}

#[derive(Clone, Debug, Args)]
pub struct EchoArgs {
    /// Address to listen on; may be given several times.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:8080",
        env = "PORTCULLIS_ECHO_LISTEN",
        value_delimiter = ','
    )]
    pub listen: Vec<SocketAddr>,
    /// Name to answer with as `service`.
    #[arg(long, value_name = "NAME", env = "SERVICE_NAME")]
    pub name: Option<String>,
    /// Name to answer with as `pod`.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod: Option<String>,
    /// Name to answer with as `namespace`.
    #[arg(long, value_name = "NAME", env = "NAMESPACE")]
    pub namespace: Option<String>,
    /// PEM certificate chain; with it, TLS is spoken.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Speak TLS with a self-signed certificate for this name, made at start; may be given several times.
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert", value_delimiter = ',')]
    pub tls_self_signed: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Files and folders.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Form of the report.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: ReportFormat,
}

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The request's URL; its scheme and port decide which listeners are asked.
    #[arg(value_name = "URL")]
    pub url: String,
    /// The request's method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// A header of the request; may be given several times.
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Folder of objects to explain the request by; they need not be served. The flags under Objects need it.
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    pub manifests: Option<PathBuf>,
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Admin port of the running instance that is asked when no folder is given.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    pub admin: SocketAddr,
    /// Form of the explanation.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: ReportFormat,
}

/// What carries requests to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CarriersArg {
    /// Portcullis itself, where it can.
    All,
    /// pingora alone.
    Pingora,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line a message.
    Text,
    /// One JSON object a message.
    Json,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Reads a duration as the Gateway API writes them: `1m30s`, `500ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    portcullis_controller::ir::route::parse_duration(text)
        .ok_or_else(|| format!("{text:?} is not a duration such as 30s, 1m30s or 500ms"))
}

/// Reads a duration longer than zero.
pub fn parse_limit(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text)?;
    if limit.is_zero() { Err(format!("{text:?} would leave no time at all")) } else { Ok(limit) }
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

/// The reference of the command line, in Markdown.
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
                    assert!(error.contains(&format!("{flag} is for the objects of --manifests")), "{error}");
                }
                (read, _) => panic!("{flags:?}: {read:?}"),
            }
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
