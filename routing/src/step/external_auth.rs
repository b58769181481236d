//! ExternalAuth: a service authorizes requests.

use std::sync::Arc;

use http::HeaderName;

use crate::{Backend, BackendError};

/// A service that authorizes each request (HTTPExternalAuthFilter).
#[derive(Clone, Debug)]
pub struct ExternalAuth {
    /// The service. If it is unusable, all requests are rejected.
    pub backend: Result<Arc<Backend>, BackendError>,
    /// The protocol.
    pub protocol: AuthProtocol,
    /// The maximum size of a request body that is sent to the service, in bytes; requests with larger bodies are rejected. 0:
    /// bodies are not sent.
    pub body: u32,
}

/// Equal if they use the same service in the same way: each backend is one value as long as it is in use.
impl PartialEq for ExternalAuth {
    fn eq(&self, other: &Self) -> bool {
        let is_same_backend = match (&self.backend, &other.backend) {
            (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.as_ref().err() == other.as_ref().err(),
        };
        is_same_backend && self.protocol == other.protocol && self.body == other.body
    }
}

impl Eq for ExternalAuth {}

/// The protocol of an authorization service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthProtocol {
    /// A request with the same method; the response is 200 if the client's request is allowed.
    Http(HttpAuth),
    /// A call of Envoy's `envoy.service.auth.v3.Authorization/Check`.
    Grpc {
        /// The headers of the request that are sent to the service; all of them if this is empty.
        request_headers: Box<[HeaderName]>,
    },
}

/// Requests to an authorization service over HTTP (HTTPAuthConfig).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAuth {
    /// The prefix of the path of the client's request; empty, or beginning with a slash.
    pub path_prefix: Box<str>,
    /// The headers of the request that are sent to the service, in addition to Host and Authorization.
    pub request_headers: Box<[HeaderName]>,
    /// The headers of the service's response that are sent to the backend; all of them if this is empty.
    pub answer_headers: Box<[HeaderName]>,
}
