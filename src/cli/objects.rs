//! The flags that select objects and determine their interpretation, shared by `run`, `check` and `explain`.

use std::sync::Arc;

use clap::{ArgMatches, Args, builder::TypedValueParser as _, parser::ValueSource};
use portcullis_controller::{
    DefaultBackend, NginxClasses, Settings,
    ir::{Kind, ObjectKey, gateway::LabelSelector},
    is_controller_name,
    objects::AnnotationsPrefix,
};
use portcullis_routing::ExternalNames;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Objects")]
pub struct ObjectArgs {
    /// Serve GatewayClasses with this `controllerName`. Two releases in one cluster need different names.
    #[arg(
        long,
        value_name = "DOMAIN/PATH",
        default_value = "portcullis.dev/gateway-controller",
        env = "PORTCULLIS_GATEWAY_CONTROLLER",
        value_parser = parse_controller
    )]
    pub gateway_controller: String,
    /// Serve IngressClasses with this `controller`. Two releases in one cluster need different names.
    #[arg(
        long,
        value_name = "DOMAIN/PATH",
        default_value = "portcullis.dev/ingress-controller",
        env = "PORTCULLIS_INGRESS_CONTROLLER",
        value_parser = parse_controller
    )]
    pub ingress_controller: String,
    /// Serve only objects in namespaces whose labels match this selector (kubectl's syntax: `team=shop,env!=test`). A
    /// change of labels takes effect immediately.
    #[arg(long, value_name = "SELECTOR", env = "PORTCULLIS_NAMESPACE_SELECTOR")]
    pub namespace_selector: Option<LabelSelector>,
    /// Name of an IngressClass to serve even if no such object exists.
    #[arg(long, value_name = "NAME", default_value = "portcullis", env = "PORTCULLIS_INGRESS_CLASS")]
    pub ingress_class: String,
    /// Also serve the Ingresses of ingress-nginx, beside ingress-nginx: those of IngressClasses with the controller
    /// k8s.io/ingress-nginx, and of the class `nginx`. Their statuses are not written.
    #[arg(long, env = "PORTCULLIS_INGRESS_NGINX")]
    pub ingress_nginx: bool,
    /// With --ingress-nginx: write the statuses of these Ingresses, so that external-dns and others find the addresses of
    /// Portcullis.
    #[arg(long, env = "PORTCULLIS_INGRESS_NGINX_STATUS", requires = "ingress_nginx")]
    pub ingress_nginx_status: bool,
    /// Serve Ingresses without a class, even if no IngressClass is the default.
    #[arg(long, env = "PORTCULLIS_WATCH_INGRESS_WITHOUT_CLASS")]
    pub watch_ingress_without_class: bool,
    /// Serve plain HTTP for Ingress hosts with TLS instead of redirecting to HTTPS.
    #[arg(long, env = "PORTCULLIS_NO_SSL_REDIRECT")]
    pub no_ssl_redirect: bool,
    /// Close the paths of an Ingress (503) if it has an unknown annotation with the prefix of ingress-nginx or
    /// Portcullis, as if the annotation protected them.
    #[arg(long, env = "PORTCULLIS_STRICT_ANNOTATIONS")]
    pub strict_annotations: bool,
    /// A further prefix of annotations of ingress-nginx. An annotation with this prefix takes precedence over the one with
    /// `nginx.ingress.kubernetes.io`, which is always read. Messages name both with the latter.
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "nginx.ingress.kubernetes.io",
        env = "PORTCULLIS_ANNOTATIONS_PREFIX",
        value_parser = AnnotationsPrefix::parse
    )]
    pub annotations_prefix: AnnotationsPrefix,
    /// Allowed targets of ExternalName Services: `none`; `external`: outside the cluster and in the Service's own
    /// namespace; `ingress`: for Ingresses, also in all other namespaces; `all`. With `external` and `ingress`, a
    /// ReferenceGrant permits targets in another namespace for routes.
    #[arg(
        long,
        value_name = "WHERE",
        default_value_t = ExternalNames::External,
        env = "PORTCULLIS_EXTERNAL_NAMES",
        value_parser = clap::builder::PossibleValuesParser::new(ExternalNames::ALL.map(ExternalNames::as_str))
            .try_map(|text| text.parse::<ExternalNames>())
    )]
    pub external_names: ExternalNames,
    /// ConfigMap with settings that take effect without a restart. Its keys take precedence over flags;
    /// docs/settings.md lists them.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_SETTINGS_CONFIGMAP", value_parser = super::parse_namespaced)]
    pub settings_configmap: Option<(String, String)>,
    /// ConfigMap of TCP services, as in ingress-nginx: each key is a port, each value NAMESPACE/SERVICE:PORT, with :PROXY to
    /// read the PROXY protocol of load balancers, and :PROXY after that (or ::PROXY) to send it to the Service. Changes take
    /// effect without a restart.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_TCP_SERVICES_CONFIGMAP", value_parser = super::parse_namespaced)]
    pub tcp_services_configmap: Option<(String, String)>,
    /// The same for UDP services.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_UDP_SERVICES_CONFIGMAP", value_parser = super::parse_namespaced)]
    pub udp_services_configmap: Option<(String, String)>,
    /// Service that answers, at its first port, for hosts that no Ingress names and for what no path of an Ingress's host
    /// matches. It also gives the error pages of Ingresses without a default-backend of their own.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PORTCULLIS_DEFAULT_BACKEND_SERVICE", value_parser = super::parse_namespaced)]
    pub default_backend_service: Option<(String, String)>,
}

impl ObjectArgs {
    fn default_backend(&self) -> Option<Arc<DefaultBackend>> {
        let (namespace, name) = self.default_backend_service.as_ref()?;
        Some(Arc::new(DefaultBackend::new(ObjectKey::new(Kind::Service, namespace, name))))
    }

    /// The settings that the flags give, with defaults for everything else.
    pub fn settings(&self) -> Settings {
        Settings {
            gateway_controller: self.gateway_controller.as_str().into(),
            ingress_controller: self.ingress_controller.as_str().into(),
            ingress_class: self.ingress_class.as_str().into(),
            namespace_selector: self.namespace_selector.clone(),
            nginx_classes: match (self.ingress_nginx, self.ingress_nginx_status) {
                (false, _) => NginxClasses::NotOurs,
                (true, false) => NginxClasses::Served,
                (true, true) => NginxClasses::Published,
            },
            watch_ingress_without_class: self.watch_ingress_without_class,
            ssl_redirect: !self.no_ssl_redirect,
            strict_annotations: self.strict_annotations,
            annotations_prefix: self.annotations_prefix.clone(),
            external_names: self.external_names,
            settings_map: self.settings_configmap.as_ref().map(config_map),
            tcp_services: self.tcp_services_configmap.as_ref().map(config_map),
            udp_services: self.udp_services_configmap.as_ref().map(config_map),
            default_backend: self.default_backend(),
            ..Settings::default()
        }
    }
}

fn config_map((namespace, name): &(String, String)) -> ObjectKey {
    ObjectKey::new(Kind::ConfigMap, namespace, name)
}

impl Default for ObjectArgs {
    fn default() -> Self {
        let Settings {
            gateway_controller,
            ingress_controller,
            ingress_class,
            nginx_classes,
            namespace_selector,
            watch_ingress_without_class,
            ssl_redirect,
            strict_annotations,
            external_names,
            ..
        } = Settings::default();
        Self {
            gateway_controller: gateway_controller.to_string(),
            ingress_controller: ingress_controller.to_string(),
            ingress_class: ingress_class.to_string(),
            ingress_nginx: nginx_classes != NginxClasses::NotOurs,
            ingress_nginx_status: nginx_classes == NginxClasses::Published,
            namespace_selector,
            watch_ingress_without_class,
            no_ssl_redirect: !ssl_redirect,
            strict_annotations,
            annotations_prefix: AnnotationsPrefix::default(),
            external_names,
            settings_configmap: None,
            tcp_services_configmap: None,
            udp_services_configmap: None,
            default_backend_service: None,
        }
    }
}

/// The first of these flags that is on the command line; those of the environment are for every command.
pub(super) fn first_given(matches: &ArgMatches) -> Option<String> {
    let all = ObjectArgs::augment_args(clap::Command::default());
    let mut given = all
        .get_arguments()
        .filter(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine));
    given.next()?.get_long().map(str::to_owned)
}

pub(super) fn parse_controller(text: &str) -> Result<String, String> {
    match is_controller_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not a domain and a path, such as example.com/gateway-controller")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        objects: ObjectArgs,
    }

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let line = Line::try_parse_from([&["portcullis"], flags].concat());
        line.map(|line| line.objects.settings()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_everything_is_as_by_default() {
        let (flags, default) = (settings(&[]).unwrap(), ObjectArgs::default().settings());
        assert_eq!(format!("{flags:?}"), format!("{default:?}"));
        assert_eq!(format!("{flags:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn a_controller_has_a_domain_and_a_path() {
        let named = settings(&["--gateway-controller=example.com/internal"]).unwrap();
        assert_eq!(&*named.gateway_controller, "example.com/internal");
        for wrong in ["internal", "example.com/", "Example.com/internal", "example.com/a b"] {
            for flag in ["--gateway-controller", "--ingress-controller"] {
                let refused = settings(&[&format!("{flag}={wrong}")]).unwrap_err();
                assert!(refused.contains("is not a domain and a path"), "{flag} {wrong}: {refused}");
            }
        }
    }
}
