//! Every way in which a request ends without a backend's answer, and its HTTP status.

use http::StatusCode;

/// Why a request got no answer of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The request is malformed (Host, path, framing).
    BadRequest,
    /// No listener or no rule takes it.
    NoRoute,
    /// The TLS connection was made for another listener's name (RFC 9110, 15.5.20).
    Misdirected,
    /// The client's address is not admitted, or the rule asks for TLS settings of its own and TLS was terminated with those
    /// of a Gateway.
    Forbidden,
    /// The client has not said who it is, or has said it with a wrong password.
    Unauthenticated,
    /// The client has sent too many requests.
    Limited,
    /// The service that authorizes requests has denied this one.
    Unauthorized,
    /// The service that authorizes requests gave no usable answer.
    CheckFailed,
    /// CONNECT or another method that is not served.
    MethodNotAllowed,
    /// The request's head took too long.
    HeaderTimeout,
    /// The request's head is too large.
    HeaderTooLarge,
    /// The request's body is larger than the rule permits.
    ContentTooLarge,
    /// The rule has no backend, or the one chosen is broken.
    BrokenBackend,
    /// A protection of the rule is not served, so the rule is closed.
    Closed,
    /// The backend could not be reached, or broke off.
    BadGateway,
    /// The backend has no endpoint.
    NoEndpoints,
    /// No request may be carried to the backend's address.
    RefusedAddress,
    /// The proxy is at a limit of its own.
    Overloaded,
    /// The backend, or the request as a whole, took too long.
    Timeout,
}

impl Rejection {
    /// The status that the client sees.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::Unauthorized => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BrokenBackend | Self::CheckFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Closed | Self::Limited | Self::NoEndpoints | Self::RefusedAddress | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}
