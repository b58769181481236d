//! Who may send requests to an Ingress, by name and password.

use std::sync::Arc;

use http::header;
use portcullis_routing::{
    Step,
    step::{BasicAuth, Check, HeaderModifier, Satisfy},
};

use crate::{
    ir::{Ingress, Kind, ObjectKey, ingress::Passwords},
    translate::{
        Fault, Reader,
        users::{UsersError, UsersPool},
    },
};

/// The check of an Ingress's passwords, if it has one.
///
/// # Errors
/// Why they cannot be verified, which closes the Ingress.
pub(super) fn of(
    ingress: &Ingress,
    reader: &Reader<'_>,
    pool: &UsersPool,
) -> Result<Option<Arc<BasicAuth>>, Fault> {
    let auth = &ingress.annotations.basic_auth;
    let Some(Passwords { secret: (namespace, name), form, challenge }) = &auth.passwords else {
        return Ok(None);
    };
    let own = ingress.meta.namespace();
    let namespace = namespace.as_deref().unwrap_or(own);
    // Asked before the Secret is: another namespace's Secrets are not even fetched.
    if namespace != own && !reader.settings().live.ingress.allow_cross_namespace {
        let why = "is in another namespace, which the setting allow-cross-namespace-resources does not allow";
        return Err(format!("auth-secret: Secret {namespace}/{name} {why}").into());
    }
    let key = ObjectKey::new(Kind::Secret, namespace, name);
    let users = pool.read(reader, &key, *form).map_err(|error| {
        let is_missing = matches!(error, UsersError::NotFound(_));
        Fault::of_reference(format!("auth-secret: {error}"), is_missing)
    })?;
    Ok(Some(Arc::new(BasicAuth { challenge: challenge.clone(), users, satisfy: auth.satisfy })))
}

/// The steps of the check. Backends do not get the password.
pub(super) fn steps(auth: Option<&Arc<BasicAuth>>) -> impl Iterator<Item = Step> {
    let check = auth.map(|auth| Step::Check(Check::Basic(Arc::clone(auth))));
    let without = auth.and_then(|_| HeaderModifier::new([], [], [header::AUTHORIZATION]).ok());
    check.into_iter().chain(without.map(Step::RequestHeaders))
}

/// The end of the checks of which one is enough.
pub(super) fn end(satisfy: Satisfy) -> Option<Step> {
    (satisfy == Satisfy::Any).then_some(Step::Satisfy)
}
