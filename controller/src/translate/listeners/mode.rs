//! Derives from a listener's protocol what it speaks with clients, and which kinds of routes may attach to it.

use portcullis_routing::{ClientAuth, Protocol, RouteKind, TlsMode};

use crate::{
    ir::gateway::{GatewayListener, ListenerProtocol},
    translate::grants::GATEWAY_GROUP,
};

/// What a listener speaks with clients, and what it forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The protocol that the listener's port has to speak.
    pub protocol: Protocol,
    pub tls: TlsMode,
    pub traffic: Traffic,
}

/// What the rules of a listener forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is what it is called
pub enum Traffic {
    Requests,
    Streams,
    Datagrams,
}

impl Mode {
    /// Returns the mode of a listener; `None` if its protocol is not served.
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

    /// Returns whether the listener terminates TLS.
    pub(crate) fn ends_tls(&self) -> bool {
        matches!(self.tls, TlsMode::Terminate(_))
    }
}

/// Returns whether a listener's `tls.mode` is Passthrough.
pub(super) fn passes_through(listener: &GatewayListener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.passthrough)
}

/// Returns the kinds of routes that may attach to a listener, and those in `allowedRoutes.kinds` that its protocol does
/// not allow.
pub(super) fn kinds(listener: &GatewayListener) -> (Vec<RouteKind>, Vec<Box<str>>) {
    let served: &[RouteKind] = match &listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => &[RouteKind::Http, RouteKind::Grpc],
        ListenerProtocol::Tls if passes_through(listener) => &[RouteKind::Tls],
        // After TLS is terminated, the rest is a TCP connection.
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
