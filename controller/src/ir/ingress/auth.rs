//! External authentication, as annotations and settings have it.

use std::time::Duration;

use http::{HeaderName, Method};
use portcullis_routing::step::CacheTime;

/// What an Ingress says of external authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalAuth {
    /// `auth-url` and its options; it takes the place of the global one.
    pub own: Option<Box<(ServiceTarget, AuthOptions)>>,
    /// `enable-global-auth: "false"`: the global one does not hold.
    pub without_global: bool,
}

/// A URL with variables, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    pub tls: bool,
    pub host: Box<str>,
    pub port: u16,
    /// Path and query; begins with a slash, or with a variable that does.
    pub target: Box<str>,
}

/// How a service is asked. Texts have variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthOptions {
    pub method: Option<Method>,
    pub sign_in: Option<Box<str>>,
    /// The parameter of the sign-in URL that says where to return to; `None` is `rd`.
    pub sign_in_parameter: Option<Box<str>>,
    pub answer_headers: Box<[HeaderName]>,
    pub redirect: Option<Box<str>>,
    pub always_set_cookie: bool,
    pub cache_key: Option<Box<str>>,
    /// `None` is the default.
    pub cache_times: Option<Box<[CacheTime]>>,
    /// A ConfigMap of the same namespace with further headers.
    pub set_headers: Option<Box<str>>,
}

impl AuthOptions {
    /// How long answers are kept.
    pub fn cache_times(&self) -> Box<[CacheTime]> {
        let default = || {
            let statuses = Some([200, 202, 401].into());
            [CacheTime { statuses, time: Duration::from_secs(5 * 60) }].into()
        };
        self.cache_times.clone().unwrap_or_else(default)
    }
}

/// Names of variables that are the same for all requests of a path.
pub const CONSTANTS: [&str; 6] =
    ["namespace", "ingress_name", "service_name", "service_port", "location_path", "server_name"];
