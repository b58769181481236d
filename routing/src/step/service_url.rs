//! The URL of a service that an Ingress names, with variables of nginx.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{Template, template::Values};

/// The URL of a service, in the parts that variables cannot move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl {
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// A name or an address. It may have the request's host in it, which is one of the Ingress, and no other variable:
    /// the client would choose who is asked.
    pub host: Template,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub target: Template,
}

/// What cannot stand in a request's target: HTTP/1 would end it there, or read something else.
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
    pub fn host_of(&self, values: &Values<'_>) -> Box<str> {
        self.host.fill(values).into()
    }

    /// Path and query for a request.
    pub fn target_of(&self, values: &Values<'_>) -> Box<str> {
        utf8_percent_encode(&self.target.fill(values), NOT_IN_TARGET).to_string().into()
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
