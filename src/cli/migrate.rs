//! The flags of `portcullis migrate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::TypedValueParser as _};
use portcullis_controller::objects::AnnotationsPrefix;
use portcullis_routing::ExternalNames;

use super::{ObjectArgs, parse_namespaced};
use crate::migrate::Side;

#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// Files and folders with the objects of ingress-nginx. Default: read Ingresses, IngressClasses, Services and the
    /// ConfigMap of ingress-nginx from the cluster of the kubeconfig. Nothing is written.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Namespace of the cluster to read; can be repeated. Default: all namespaces.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', conflicts_with = "paths")]
    pub namespace: Vec<String>,
    /// The `controller` of the IngressClasses of ingress-nginx.
    #[arg(long, value_name = "DOMAIN/PATH", default_value = "k8s.io/ingress-nginx", value_parser = super::objects::parse_controller)]
    pub ingress_controller: String,
    /// Name of the IngressClass of ingress-nginx, even if no such object exists.
    #[arg(long, value_name = "NAME", default_value = "nginx")]
    pub ingress_class: String,
    /// Include Ingresses without a class, even if no IngressClass is the default.
    #[arg(long)]
    pub watch_ingress_without_class: bool,
    /// A further prefix of the annotations of ingress-nginx (its flag of this name).
    #[arg(long, value_name = "DOMAIN", default_value = "nginx.ingress.kubernetes.io", value_parser = AnnotationsPrefix::parse)]
    pub annotations_prefix: AnnotationsPrefix,
    /// ConfigMap of ingress-nginx. Default: the ConfigMap with the usual name (ingress-nginx-controller).
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced)]
    pub settings_configmap: Option<(String, String)>,
    /// ConfigMap of TCP services of ingress-nginx. Default: the ConfigMap with a usual name (tcp-services, ingress-nginx-tcp).
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced)]
    pub tcp_services_configmap: Option<(String, String)>,
    /// ConfigMap of UDP services of ingress-nginx. Default: the ConfigMap with a usual name (udp-services, ingress-nginx-udp).
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced)]
    pub udp_services_configmap: Option<(String, String)>,
    /// Allowed targets of ExternalName Services, as for `portcullis run`.
    #[arg(
        long,
        value_name = "WHERE",
        default_value_t = ExternalNames::External,
        value_parser = clap::builder::PossibleValuesParser::new(ExternalNames::ALL.map(ExternalNames::as_str))
            .try_map(|text| text.parse::<ExternalNames>())
    )]
    pub external_names: ExternalNames,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: ReportOutput,
    /// Print equivalent objects of another API instead of the report. Features without an equivalent are listed in
    /// comments and on standard error.
    #[arg(long, value_name = "API", conflicts_with = "compare")]
    pub to: Option<Target>,
    /// Name of the GatewayClass of the Gateways that `--to gateway-api` prints.
    #[arg(long, value_name = "NAME", default_value = "portcullis")]
    pub gateway_class: String,
    /// Send GET and HEAD requests for every host and path to two addresses, and print the differences between the responses:
    /// status, Location, some headers, and the body. An address is IP:PORT for plain HTTP, or https://IP:PORT.
    #[arg(long, value_names = ["OLD=ADDR", "NEW=ADDR"], num_args = 2)]
    pub compare: Option<Vec<Side>>,
    /// Maximum number of requests that `--compare` sends to each address.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_requests: u32,
    /// Number of requests per second that `--compare` sends to each address.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportOutput {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
    /// For an issue or a wiki.
    Markdown,
}

/// What objects are translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Gateways, HTTPRoutes, GRPCRoutes, TCPRoutes and UDPRoutes.
    GatewayApi,
}

impl MigrateArgs {
    /// The settings that make the objects of ingress-nginx ours.
    pub fn objects(&self) -> ObjectArgs {
        ObjectArgs {
            ingress_controller: self.ingress_controller.clone(),
            ingress_class: self.ingress_class.clone(),
            watch_ingress_without_class: self.watch_ingress_without_class,
            settings_configmap: self.settings_configmap.clone(),
            tcp_services_configmap: self.tcp_services_configmap.clone(),
            udp_services_configmap: self.udp_services_configmap.clone(),
            external_names: self.external_names,
            ..ObjectArgs::default()
        }
    }
}
