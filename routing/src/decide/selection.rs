//! What a request says of the endpoint that it goes to.

use http::{HeaderName, HeaderValue};

use crate::{
    Affinity, Balance, HashBy, Headers, Spread, backend::stable_hash, balance::Client, template::Values,
};

/// What a request says of its endpoint, where the backend asks for it.
#[derive(Debug)]
pub(super) enum Selection {
    /// The hash of a text.
    Hash(u64),
    /// What its cookie or header says of its session.
    Session {
        sent: Option<Box<str>>,
        client: Client,
        /// What its answer says of a session that begins.
        begun: Option<HeaderValue>,
    },
}

impl Selection {
    pub(super) fn by_hash(hash: &HashBy, values: &Values<'_>) -> Self {
        // Requests with values that are too long have the same endpoint.
        Self::Hash(stable_hash(hash.text.fill(values).unwrap_or_default().as_bytes()))
    }

    pub(super) fn by_session(affinity: &Affinity, headers: &dyn Headers, is_tls: bool) -> Self {
        let sent = affinity.sent(headers).session.map(Into::into);
        Self::Session { sent, client: Client::of(headers, is_tls), begun: None }
    }

    pub(super) fn spread<'r>(&'r self, balance: &'r Balance) -> Spread<'r> {
        match (self, balance) {
            (Self::Hash(key), Balance::Hash(hash)) => Spread::Hash { key: *key, subset: hash.subset },
            (Self::Session { sent, .. }, Balance::Session(affinity)) => {
                Spread::Session { affinity, sent: sent.as_deref() }
            }
            _ => Spread::LessLoaded,
        }
    }

    /// Begins a session.
    pub(super) fn begin_session(
        &mut self,
        affinity: &Affinity,
        session: &str,
        expires: impl FnOnce(i64) -> String,
    ) {
        if let Self::Session { client, begun, .. } = self {
            *begun = affinity.begun(session, *client, expires);
        }
    }

    /// The header of the answer with which a session begins.
    pub(super) fn begun<'r>(&'r self, balance: &'r Balance) -> Option<(&'r HeaderName, &'r HeaderValue)> {
        match (self, balance) {
            (Self::Session { begun: Some(value), .. }, Balance::Session(affinity)) => {
                Some((affinity.begun_in(), value))
            }
            _ => None,
        }
    }
}
