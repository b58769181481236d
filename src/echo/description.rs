//! What a request looked like when it arrived.

use std::{collections::BTreeMap, net::SocketAddr};

use http::{HeaderMap, request::Parts};
use serde::{Deserialize, Serialize};

use super::Identity;
use crate::server::{Peer, TlsDescription};

/// The JSON that an echo backend answers with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The method.
    pub method: String,
    /// The path as it came, without query.
    pub path: String,
    /// The query as it came, without `?`.
    pub query: Option<String>,
    /// `HTTP/1.1` and so on.
    pub protocol: String,
    /// The `Host`, or HTTP/2's `:authority`.
    pub host: Option<String>,
    /// All headers, their names in lower case.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body.
    pub body: BodyDescription,
    /// Who sent it.
    pub remote_address: SocketAddr,
    /// TLS that ended here; null over plain connections.
    pub tls: Option<TlsDescription>,
    /// Who answers.
    #[serde(flatten)]
    pub identity: Identity,
}

/// What a body held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyDescription {
    /// Its length.
    pub bytes: u64,
    /// The text, where it is UTF-8 and not long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Description {
    pub(super) fn of(head: &Parts, body: BodyDescription, peer: &Peer, identity: &Identity) -> Self {
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            protocol: format!("{:?}", head.version),
            host: host(head),
            headers: headers(&head.headers),
            body,
            remote_address: peer.remote,
            tls: peer.tls.clone(),
            identity: identity.clone(),
        }
    }
}

/// HTTP/2 has the host in `:authority`, HTTP/1 in a header.
pub(super) fn host(head: &Parts) -> Option<String> {
    let authority = head.uri.authority().map(ToString::to_string);
    authority.or_else(|| head.headers.get(http::header::HOST).map(|v| lossy(v.as_bytes())))
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        named.entry(name.to_string()).or_default().push(lossy(value.as_bytes()));
    }
    named
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
