//! What an operator can change while the process runs.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use portcullis_routing::{
    HostPattern,
    log_format::{Escape, LogFormat},
    step::MapKeys,
};
use portcullis_tls::Offer;

use super::gateway::LabelSelector;
pub use super::ingress_settings::{
    Denied, GlobalAccess, GlobalAuth, GlobalErrors, HeaderSettings, HeadersOfMap, Hsts, IngressSettings,
    LimitSettings, PacingDefaults,
};

/// Settings that take effect without a restart: those of the command line, overridden by the keys of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSettings {
    /// For the data plane.
    pub proxy: ProxySettings,
    /// For translation.
    pub entrance: SharedEntrance,
    /// For the translation of Ingresses.
    pub ingress: IngressSettings,
}

/// The settings of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Peers whose `X-Forwarded-*` are believed, as `address/prefix length`.
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Load balancers that begin each connection with a PROXY protocol header.
    pub proxy_protocol: Vec<(IpAddr, u8)>,
    /// What ingress-nginx calls these.
    pub forwarding: Forwarding,
    /// `client-header-timeout`; `None` is the proxy's own limit, here and in the next two.
    pub header_timeout: Option<Duration>,
    /// `keep-alive`.
    pub keepalive_timeout: Option<Duration>,
    /// `large-client-header-buffers`, as bytes in all.
    pub max_header_bytes: Option<usize>,
    /// `client-body-timeout`; `None` is the proxy's own limit.
    pub body_timeout: Option<Duration>,
    /// `keep-alive-requests`; `None` is no limit.
    pub max_requests: Option<NonZeroU32>,
    /// `generate-request-id`, negated.
    pub without_request_ids: bool,
    /// `worker-shutdown-timeout`: how long requests in flight may take when the process stops; `None` is the command line's,
    /// `Duration::MAX` no limit.
    pub drain_timeout: Option<Duration>,
    /// `use-http2`, negated.
    pub without_http2: bool,
    /// `ssl-protocols`, `ssl-ciphers` and `ssl-ecdh-curve`.
    pub offer: Offer,
    /// `enable-underscores-in-headers`: whether backends of Ingresses receive headers with `_` in their name.
    pub underscores_in_headers: bool,
    /// `ignore-invalid-headers`, negated: whether they receive headers of any name.
    pub all_header_names: bool,
    /// Connections of clients; `None` is as many as the process can hold.
    pub max_connections: Option<usize>,
    /// The same for each port; `None` is three quarters of all.
    pub max_connections_per_port: Option<usize>,
    /// The same for each client; `None` is no limit.
    pub max_connections_per_client: Option<usize>,
    /// Whether each request is logged.
    pub access_log: bool,
    pub log: LogSettings,
}

/// Keys of ingress-nginx about the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// `disable-access-log`.
    pub is_off: bool,
    /// `disable-http-access-log`: requests are not logged, but streams are.
    pub is_off_for_requests: bool,
    /// `skip-access-log-urls`.
    pub skipped: Option<Arc<MapKeys>>,
    /// `log-format-upstream`.
    pub format: Option<Box<str>>,
    /// `log-format-escape-json`.
    pub escapes_as_json: bool,
    /// `log-format-escape-none`.
    pub escapes_nothing: bool,
}

impl LogSettings {
    /// The format of lines; `None` is ours. It was read before, so that it is one.
    pub fn format(&self) -> Option<LogFormat> {
        let escape = match (self.escapes_as_json, self.escapes_nothing) {
            (true, _) => Escape::Json,
            (false, true) => Escape::None,
            (false, false) => Escape::Default,
        };
        LogFormat::parse(self.format.as_deref()?, escape).ok()
    }
}

/// Keys of ingress-nginx about the addresses of clients. They add to the settings of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// `use-forwarded-headers`: whether `X-Forwarded-*` are believed.
    pub use_forwarded_headers: bool,
    /// `enable-real-ip`: whether the client's address is believed, and nothing else.
    pub enable_real_ip: bool,
    /// `use-proxy-protocol`: whether connections begin with a PROXY protocol header.
    pub use_proxy_protocol: bool,
    /// `proxy-real-ip-cidr`: the peers that are believed; `None` is everybody, as in ingress-nginx.
    pub networks: Option<Vec<(IpAddr, u8)>>,
    /// `forwarded-for-header`, if it is not `X-Forwarded-For`.
    pub header: Option<HeaderName>,
    /// `compute-full-forwarded-for`: whether backends get the whole list of addresses.
    pub whole_list: bool,
}

const EVERYBODY: [(IpAddr, u8); 2] =
    [(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)];

impl Forwarding {
    /// Whether everybody is believed.
    pub fn trusts_everybody(&self) -> bool {
        self.networks.is_none()
            && (self.use_forwarded_headers || self.enable_real_ip || self.use_proxy_protocol)
    }

    fn networks(&self, is_on: bool) -> &[(IpAddr, u8)] {
        match (&self.networks, is_on) {
            (_, false) => &[],
            (Some(networks), true) => networks,
            (None, true) => &EVERYBODY,
        }
    }
}

impl ProxySettings {
    /// Peers whose `X-Forwarded-*` are believed.
    pub fn trusted(&self) -> Vec<(IpAddr, u8)> {
        let forwarding = &self.forwarding;
        [&self.trusted_proxies, forwarding.networks(forwarding.use_forwarded_headers)].concat()
    }

    /// Peers that are believed as to the client's address alone.
    pub fn trusted_for_address(&self) -> Vec<(IpAddr, u8)> {
        let Forwarding { enable_real_ip, use_forwarded_headers, use_proxy_protocol, .. } = self.forwarding;
        // With the PROXY protocol, the address is that of its header.
        self.forwarding.networks(enable_real_ip && !use_forwarded_headers && !use_proxy_protocol).to_vec()
    }

    /// Load balancers that begin each connection with a PROXY protocol header.
    pub fn proxy_protocol(&self) -> Vec<(IpAddr, u8)> {
        let forwarding = &self.forwarding;
        [&self.proxy_protocol, forwarding.networks(forwarding.use_proxy_protocol)].concat()
    }

    /// Load balancers that begin each connection to a port with such a header, if its TCP service requires it (`PROXY`).
    pub fn port_proxies(&self) -> Vec<(IpAddr, u8)> {
        self.forwarding.networks(true).to_vec()
    }

    /// Whether requests are logged. Setting a log format turns the access log on, since it is always on in ingress-nginx.
    pub fn has_access_log(&self) -> bool {
        (self.access_log || self.log.format.is_some()) && !self.log.is_off
    }

    /// Whether backends get the client's address alone in `X-Forwarded-For`, in place of the list.
    pub fn forwards_client_alone(&self) -> bool {
        self.forwarding.use_forwarded_headers && !self.forwarding.whole_list
    }
}

/// What namespaces may take of the addresses that Ingresses and Gateways share. Nothing is forbidden by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedEntrance {
    /// Which namespaces may serve which hostnames; `None` is every namespace every hostname.
    pub hostnames: Option<Vec<HostnameGrant>>,
    /// Whether an exact hostname belongs to the namespace of the oldest object that serves it.
    pub first_namespace_owns: bool,
    /// Listeners of Gateways, for each namespace.
    pub max_listeners: Option<usize>,
    /// Ports of such listeners, for each namespace.
    pub max_ports: Option<usize>,
    /// Secrets with certificates that Gateways and Ingresses show, for each namespace.
    pub max_certificates: Option<usize>,
}

/// Hostnames that some namespaces may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostnameGrant {
    /// `None` selects no namespace: the entry is wrong, and its hostnames must not fall to a less specific one.
    pub namespaces: Option<LabelSelector>,
    pub hostnames: Vec<HostPattern>,
}
