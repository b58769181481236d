//! What a listener of a protocol speaks with clients, and which kinds of routes it takes.

use portcullis_routing::{ClientAuth, Protocol, RouteKind, TlsMode};

use crate::{
    ir::gateway::{GatewayListener, ListenerProtocol},
    translate::grants::GATEWAY_GROUP,
};

/// What a listener speaks with clients, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// What its port has to speak.
    pub protocol: Protocol,
    pub tls: TlsMode,
    pub traffic: Traffic,
}

/// What the rules of a listener take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is what it is called
pub enum Traffic {
    Requests,
    Streams,
    Datagrams,
}

impl Mode {
    /// `None` where the protocol is not served.
    pub(super) fn of(listener: &GatewayListener) -> Option<Self> {
        let ends = TlsMode::Terminate(ClientAuth::Unasked);
        let (protocol, tls, traffic) = match &listener.protocol {
            ListenerProtocol::Http => (Protocol::Http, TlsMode::None, Traffic::Requests),
            ListenerProtocol::Https => (Protocol::Tls, ends, Traffic::Requests),
            ListenerProtocol::Tls if passes_through(listener) => {
                (Protocol::Tls, TlsMode::Passthrough, Traffic::Streams)
            }
            ListenerProtocol::Tls => (Protocol::Tls, ends, Traffic::Streams),
            ListenerProtocol::Tcp => (Protocol::Tcp, TlsMode::None, Traffic::Streams),
            ListenerProtocol::Udp => (Protocol::Udp, TlsMode::None, Traffic::Datagrams),
            ListenerProtocol::Other(_) => return None,
        };
        Some(Self { protocol, tls, traffic })
    }

    /// Whether TLS ends at the listener.
    pub(crate) fn ends_tls(&self) -> bool {
        matches!(self.tls, TlsMode::Terminate(_))
    }
}

/// Whether a listener asks for TLS to be passed on as it is.
pub(super) fn passes_through(listener: &GatewayListener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.passthrough)
}

/// The kinds of routes that may attach to a listener, and those asked for that it does not take.
pub(super) fn kinds(listener: &GatewayListener) -> (Vec<RouteKind>, Vec<Box<str>>) {
    let served: &[RouteKind] = match &listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => &[RouteKind::Http, RouteKind::Grpc],
        ListenerProtocol::Tls if passes_through(listener) => &[RouteKind::Tls],
        // What is left when TLS has ended is a connection like any other.
        ListenerProtocol::Tls => &[RouteKind::Tls, RouteKind::Tcp],
        ListenerProtocol::Tcp => &[RouteKind::Tcp],
        ListenerProtocol::Udp => &[RouteKind::Udp],
        ListenerProtocol::Other(_) => return (Vec::new(), Vec::new()),
    };
    if listener.allowed.kinds.is_empty() {
        return (served.to_vec(), Vec::new());
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (group, kind) in &listener.allowed.kinds {
        let found = served.iter().find(|k| &**group == GATEWAY_GROUP && k.to_string() == **kind);
        match found {
            Some(kind) if known.contains(kind) => {}
            Some(kind) => known.push(*kind),
            None if &**group == GATEWAY_GROUP => unknown.push(kind.clone()),
            None => unknown.push(format!("{group}/{kind}").into()),
        }
    }
    (known, unknown)
}
