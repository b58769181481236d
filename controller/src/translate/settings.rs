//! What translation is told beside the objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::HeaderValue;
use portcullis_routing::{ExternalNames, PortKey, Protocol};
use portcullis_tls::Certificate;

use super::{
    Allocation, ClassOwner, DedicatedPorts, Fetches, PortServices,
    ports::{self, PortUnavailable},
};
use crate::{
    Problem,
    ir::{Address, Ingress, LiveSettings, ObjectKey, gateway::LabelSelector},
    objects::{
        AnnotationsPrefix,
        live_settings::{self, LastGood},
    },
    snapshot::Snapshot,
};

/// The `controller` of the IngressClasses of ingress-nginx.
pub const NGINX_CONTROLLER: &str = "k8s.io/ingress-nginx";

/// The IngressClass of ingress-nginx where no such object was read.
pub(crate) const NGINX_CLASS: &str = "nginx";

/// Whether the Ingresses of ingress-nginx's classes are ours, beside those of our own class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NginxClasses {
    #[default]
    NotOurs,
    /// They are served, and their statuses are left to ingress-nginx.
    Served,
    /// They are served, and their statuses are written.
    Published,
}

/// The input of translation besides the objects. Addresses, provisioning errors, the allocation of ports, the releases
/// of CRDs and live settings change while the process runs; nothing else does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// GatewayClasses with this `controllerName` are ours.
    pub gateway_controller: Arc<str>,
    /// IngressClasses with this `controller` are ours.
    pub ingress_controller: Box<str>,
    /// The IngressClass that is ours even where no such object was read.
    pub ingress_class: Box<str>,
    /// Whether Ingresses of ingress-nginx's classes are ours, too.
    pub nginx_classes: NginxClasses,
    /// Whether an Ingress that names no class is ours where no IngressClass is the default one.
    pub watch_ingress_without_class: bool,
    /// Whether the rules of Ingresses have the labels of the metrics of ingress-nginx.
    pub ingress_labels: bool,
    /// Whether plain HTTP is redirected for the hosts of an Ingress that have TLS; its annotation overrides this.
    pub ssl_redirect: bool,
    /// Whether an annotation of an Ingress with our prefix or that of ingress-nginx that is on no list closes its
    /// paths, as one that protects and is not served does.
    pub strict_annotations: bool,
    /// Objects of namespaces whose labels this does not select are not served; `None` selects all.
    pub namespace_selector: Option<LabelSelector>,
    /// The namespaces that the source watches; empty for all. Nothing is known of objects in others.
    pub watched_namespaces: BTreeSet<Box<str>>,
    /// The Secret whose certificate is shown for Ingress hosts without one of their own.
    pub default_certificate: Option<ObjectKey>,
    /// The Service that answers for hosts that no Ingress names, for what no path of a host matches, and in place of answers
    /// with an error status (`custom-http-errors`).
    pub default_backend: Option<Arc<DefaultBackend>>,
    /// Shown where `default_certificate` names none or cannot be used. Without either, Ingress hosts that have no
    /// certificate are not served over TLS.
    pub fallback_certificate: Option<Arc<Certificate>>,
    /// Where Ingress hosts are served over plain HTTP.
    pub http_port: u16,
    /// Where Ingress hosts are served over TLS.
    pub https_port: u16,
    /// A further prefix of the annotations of Ingresses, for those who read objects.
    pub annotations_prefix: AnnotationsPrefix,
    /// What is added to a listener's port for the port that is bound.
    pub port_offset: u16,
    /// Whether clients connect to the ports that are bound, with no Service before them.
    pub direct: bool,
    /// Whether ConfigMaps that objects refer to may be read.
    pub config_maps: bool,
    /// Whether Pods that XBackends select may be read.
    pub pods: bool,
    /// How Gateways are served that ask for addresses of their own.
    pub dedicated: DedicatedPorts,
    /// Which port is bound for each port of such a Gateway.
    pub allocation: Arc<Allocation>,
    /// Where the names of ExternalName Services may lead.
    pub external_names: ExternalNames,
    /// The most memory that the compiled regular expressions of a namespace, those of its attached routes and of its Ingresses, may take, in bytes,
    /// including the caches of their searches.
    pub pattern_budget: usize,
    /// What can change while the process runs; keys of `settings_map` override it.
    pub live: Arc<LiveSettings>,
    /// The ConfigMap whose keys override [`Settings::live`].
    pub settings_map: Option<ObjectKey>,
    /// The ConfigMap of TCP services: ports that lead to Services without routes.
    pub tcp_services: Option<ObjectKey>,
    /// The ConfigMap of UDP services.
    pub udp_services: Option<ObjectKey>,
    /// The services in these ConfigMaps.
    pub port_services: Arc<PortServices>,
    /// Where clients reach us, as Gateways and Ingresses say in their status.
    pub addresses: Vec<Address>,
    /// Why Services of Gateways could not be brought to their desired state.
    pub provisioning_errors: BTreeMap<ObjectKey, Box<str>>,
    /// What the Gateway API's CRDs say about themselves; `None` where that is not known.
    pub bundle: Option<Bundle>,
}

/// The default backend of the operator (`--default-backend-service`).
#[derive(Clone, Debug)]
pub struct DefaultBackend {
    pub service: ObjectKey,
    /// Stands for it among the Ingresses of hosts that none of them names.
    pub(crate) ingress: Arc<Ingress>,
}

impl DefaultBackend {
    pub fn new(service: ObjectKey) -> Self {
        let ingress = Arc::new(Ingress::of_default_backend(&service));
        Self { service, ingress }
    }
}

/// What the CRDs of the Gateway API say about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// The releases that they are of, all of the same one as a rule: `v1.7.0`.
    pub releases: BTreeSet<Box<str>>,
    /// Those of the experimental channel: `httproutes.gateway.networking.k8s.io`.
    pub experimental: BTreeSet<Box<str>>,
}

impl Settings {
    /// Whether settings depend on a ConfigMap: that of settings, one that it names, or one of TCP or UDP services.
    pub(crate) fn is_settings_map(&self, key: &ObjectKey) -> bool {
        let mut named = self.service_maps().map(|(map, _)| map).chain(self.live.ingress.headers.maps());
        self.settings_map.as_ref() == Some(key) || named.any(|map| map == key)
    }

    /// Checks that an object that an operator named can be read.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn check_watched(&self, key: &ObjectKey) -> Result<(), String> {
        let namespace = &key.namespace;
        match self.watched_namespaces.is_empty() || self.watched_namespaces.contains(namespace) {
            true => Ok(()),
            false => Err(format!(
                "{key} is not read, because namespace {namespace} is not watched: add {namespace} to --watch-namespace \
                 (watchNamespaces of the chart), or move the ConfigMap to a namespace that is watched"
            )),
        }
    }

    /// [`Settings::live`], overridden by the ConfigMap, and what is wrong with the ConfigMap and those that it names.
    pub fn with_settings_map(&self, snapshot: &Snapshot) -> (Arc<LiveSettings>, Vec<Problem>) {
        let mut last_good = LastGood::default();
        let (mut live, mut problems) = self.read_settings_map(snapshot, &mut last_good);
        problems.extend(self.read_header_maps(&mut live, snapshot, &mut last_good, Fetches::default()));
        (Arc::new(live), problems)
    }

    /// The same without the headers of the ConfigMaps that it names. Values that could be read earlier replace those that
    /// cannot be read now.
    pub(crate) fn read_settings_map(
        &self,
        snapshot: &Snapshot,
        last_good: &mut LastGood,
    ) -> (LiveSettings, Vec<Problem>) {
        let flags = || LiveSettings::clone(&self.live);
        let Some(key) = &self.settings_map else { return (flags(), Vec::new()) };
        match snapshot.config_maps.get(key) {
            Some(found) => live_settings::read(&self.live, found, last_good),
            None => {
                let message = "not found; the settings of the command line apply (--settings-configmap)";
                (flags(), vec![Problem::warning(key, "", message)])
            }
        }
    }

    /// The `Strict-Transport-Security` of an Ingress's answers over TLS, if they have one. `class` is the one of the
    /// Ingress.
    pub(crate) fn hsts(&self, class: ClassOwner) -> Option<Arc<HeaderValue>> {
        let hsts = &self.live.ingress.hsts;
        let is_nginx = class == ClassOwner::Nginx || &*self.ingress_controller == NGINX_CONTROLLER;
        hsts.is_on.unwrap_or(is_nginx).then(|| hsts.value()).flatten().map(Arc::new)
    }

    /// The port that is bound for a listener's that shares our addresses.
    pub fn bound(&self, port: PortKey) -> Result<PortKey, PortUnavailable> {
        let number = ports::shared(port.number, self.port_offset, self.dedicated)?;
        Ok(PortKey { number, ..port })
    }

    /// The port that is bound for the hosts of Ingresses over plain HTTP.
    pub fn bound_for_http(&self) -> Result<PortKey, PortUnavailable> {
        self.bound(PortKey::tcp(self.http_port))
    }

    /// The port that is bound for the hosts of Ingresses over TLS.
    pub fn bound_for_https(&self) -> Result<PortKey, PortUnavailable> {
        self.bound(PortKey::tcp(self.https_port))
    }

    /// The protocol that a port of the shared addresses always speaks, whichever listener names it first: none takes it
    /// from Ingresses, or from Gateways that are created later.
    pub fn always_speaks(&self, port: u16) -> Option<Protocol> {
        match port {
            port if port == self.http_port => Some(Protocol::Http),
            port if port == self.https_port => Some(Protocol::Tls),
            _ => None,
        }
    }

    /// What clients add to a listener's port to get here.
    pub fn offset_for_clients(&self) -> u16 {
        if self.direct { self.port_offset } else { 0 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gateway_controller: "portcullis.dev/gateway-controller".into(),
            ingress_controller: "portcullis.dev/ingress-controller".into(),
            ingress_class: "portcullis".into(),
            nginx_classes: NginxClasses::NotOurs,
            watch_ingress_without_class: false,
            ingress_labels: false,
            ssl_redirect: true,
            strict_annotations: false,
            namespace_selector: None,
            default_certificate: None,
            default_backend: None,
            watched_namespaces: BTreeSet::new(),
            fallback_certificate: None,
            http_port: 80,
            https_port: 443,
            annotations_prefix: AnnotationsPrefix::default(),
            port_offset: 0,
            direct: true,
            config_maps: true,
            pods: true,
            dedicated: DedicatedPorts::AsShared,
            allocation: Arc::default(),
            external_names: ExternalNames::External,
            pattern_budget: 64 << 20,
            live: Arc::default(),
            settings_map: None,
            tcp_services: None,
            udp_services: None,
            port_services: Arc::default(),
            addresses: Vec::new(),
            provisioning_errors: BTreeMap::new(),
            bundle: None,
        }
    }
}
