//! The URL of a service in an annotation of an Ingress, with variables of nginx.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    Template,
    template::{FilledTooLong, Values},
};

/// The URL of a service, split before variables are expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// A name or an address. It can contain the request's host, which is one of the Ingress, and no other variable, since
    /// clients could select the service.
    pub host: Template,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub target: Template,
}

/// Characters that are not valid in a request target: they would end it in HTTP/1, or change its meaning.
const NOT_IN_TARGET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl ServiceUrl {
    /// The host for a request, without port.
    ///
    /// # Errors
    /// The values are too long.
    pub fn host_of(&self, values: &Values<'_>) -> Result<Box<str>, FilledTooLong> {
        self.host.fill(values).map(Into::into)
    }

    /// Path and query for a request.
    ///
    /// # Errors
    /// The values are too long.
    pub fn target_of(&self, values: &Values<'_>) -> Result<Box<str>, FilledTooLong> {
        let filled = self.target.fill(values)?;
        Ok(utf8_percent_encode(&filled, NOT_IN_TARGET).to_string().into())
    }

    /// Whether the host depends on the request.
    pub fn is_by_request(&self) -> bool {
        self.host.fixed().is_none()
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port, target } = self;
        write!(f, "{}://{host}:{port}{target}", if *tls { "https" } else { "http" })
    }
}
