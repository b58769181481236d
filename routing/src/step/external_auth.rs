//! ExternalAuth: a service is asked whether a request may go on.

use std::sync::Arc;

use http::HeaderName;

use crate::{Backend, BackendError};

/// A service that is asked about each request (HTTPExternalAuthFilter).
#[derive(Clone, Debug)]
pub struct ExternalAuth {
    /// The service. If it cannot be used, no request goes on.
    pub backend: Result<Arc<Backend>, BackendError>,
    /// How it is asked.
    pub protocol: AuthProtocol,
    /// The largest body of a request that it is sent with it, in bytes; requests with larger ones are refused. 0: it is sent
    /// none.
    pub body: u32,
}

/// Equal if they ask the same service in the same way: each backend is one value as long as it is in use.
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

/// How an authorization service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthProtocol {
    /// By a request of the same method, whose answer is 200 if the client's request may go on.
    Http(HttpAuth),
    /// By a call of Envoy's `envoy.service.auth.v3.Authorization/Check`.
    Grpc {
        /// The headers of the request that are passed on; all of them if this is empty.
        request_headers: Box<[HeaderName]>,
    },
}

/// How an authorization service is asked by HTTP (HTTPAuthConfig).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAuth {
    /// What stands before the path of the client's request; empty, or beginning with a slash.
    pub path_prefix: Box<str>,
    /// The headers of the request that are passed on beside Host and Authorization.
    pub request_headers: Box<[HeaderName]>,
    /// The headers of the service's answer that the backend gets; all of them if this is empty.
    pub answer_headers: Box<[HeaderName]>,
}
