//! Session persistence of the Gateway API, on the mechanism of Ingresses' session affinity.
//!
//! Persistence of an XBackend comes before that of the rule that refers to it.

use std::sync::Arc;

use portcullis_routing::{
    Affinity, Backend, BackendObject, Balance,
    balance::{SameSite, SessionCookie, SessionToken},
};

use super::Reader;
use crate::ir::{
    Kind, ObjectKey, Route,
    x_backend::{PersistenceToken, SessionPersistence, XBackend},
};

/// How the requests of a rule are spread over the endpoints of one of its backends.
pub(super) fn balance(
    reader: &Reader<'_>,
    route: &Route,
    of_rule: Option<&SessionPersistence>,
    backend: &Backend,
) -> Balance {
    let key = &backend.key;
    // Nearly always there are no sessions, and no key has to be made to find that out.
    if of_rule.is_none() && key.kind == BackendObject::Service {
        return Balance::default();
    }
    let kind = match key.kind {
        BackendObject::Service => Kind::Service,
        BackendObject::XBackend => Kind::XBackend,
    };
    let key = ObjectKey::new(kind, &key.namespace, &key.service);
    let x_backend = (kind == Kind::XBackend).then(|| reader.x_backend(&key)).flatten();
    if let Some(of_backend) = x_backend.and_then(persistence_of) {
        return session(of_backend, backend.key.to_string(), backend, uid(reader, &key));
    }
    match of_rule {
        Some(of_rule) => {
            // One for each backend, since each of them has sessions of its own.
            let name = format!("{} {}", route.meta.key, backend.key);
            session(of_rule, name, backend, uid(reader, &key))
        }
        None => Balance::default(),
    }
}

fn persistence_of(backend: &XBackend) -> Option<&SessionPersistence> {
    backend.spec.as_ref().ok()?.persistence.as_ref()
}

/// The identity of the object, which no client knows.
fn uid(reader: &Reader<'_>, key: &ObjectKey) -> String {
    let uid = match key.kind {
        Kind::XBackend => reader.x_backend(key).map(|backend| backend.meta.uid()),
        _ => reader.service(&key.namespace, &key.name).map(|service| service.meta.uid()),
    };
    uid.unwrap_or_default().into_owned()
}

/// `owner` is what the name of a cookie without a name is made of.
fn session(persistence: &SessionPersistence, owner: String, backend: &Backend, secret: String) -> Balance {
    let SessionPersistence { token, lifetime } = persistence;
    let token = match token {
        PersistenceToken::Header(name) => SessionToken::Header(name.clone()),
        PersistenceToken::Cookie { name, path, is_permanent } => {
            let name = name.clone().unwrap_or_else(|| {
                let digits = Affinity::backend_of(&owner);
                format!("portcullis-{}", digits.get(..16).unwrap_or(&digits)).into()
            });
            let max_age = lifetime.filter(|_| *is_permanent);
            let cookie = SessionCookie {
                max_age: max_age.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
                path: path.clone(),
                // GEP-1619, "Secure, HttpOnly, SameSite". Secure follows the client's connection.
                same_site: Some(SameSite::Strict),
                ..SessionCookie::default()
            };
            SessionToken::Cookie { name, set: Some(cookie) }
        }
    };
    Balance::Session(Arc::new(Affinity {
        token,
        lifetime: *lifetime,
        is_persistent: true,
        changes_on_failure: true,
        backend: Affinity::backend_of(&backend.key.to_string()),
        key: Affinity::key_of(&secret),
    }))
}
