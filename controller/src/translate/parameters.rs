//! What a `parametersRef` leads to.

use super::Reader;
use crate::ir::{Gateway, GatewayClass, Kind, ObjectKey, gateway::Reference, parameters::Parameters};

/// Why a `parametersRef` leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidParameters {
    #[error("{kind} {name} is not a supported kind; use a GatewayParameters of group portcullis.dev")]
    Kind { kind: Box<str>, name: Box<str> },
    #[error("GatewayParameters {0} requires a namespace")]
    NoNamespace(Box<str>),
    #[error("{0} not found")]
    NotFound(ObjectKey),
    #[error("{0} is not valid: {1}")]
    Broken(ObjectKey, Box<str>),
    #[error(
        "{parameters} sets spec.service.{field}, which {class} does not allow its Gateways to set (spec.service.allowOverrides of \
         its GatewayParameters)"
    )]
    NotAllowed { parameters: ObjectKey, field: &'static str, class: ObjectKey },
}

/// What a GatewayClass asks for; nothing where it refers to no object.
pub(crate) fn of_class(reader: &Reader<'_>, class: &GatewayClass) -> Result<Parameters, InvalidParameters> {
    match &class.parameters {
        None => Ok(Parameters::default()),
        Some(to) => match &to.namespace {
            Some(namespace) => resolve(reader, to, namespace).cloned(),
            None if is_ours(to) => Err(InvalidParameters::NoNamespace(to.name.clone())),
            None => resolve(reader, to, "").cloned(),
        },
    }
}

/// What a Gateway asks for, and what its class does; or why one of them cannot be known, and whose reference that is.
pub(super) fn of_gateway(
    reader: &Reader<'_>,
    class: &GatewayClass,
    gateway: &Gateway,
) -> Result<Parameters, (ObjectKey, InvalidParameters)> {
    let of_class = of_class(reader, class).map_err(|why| (class.meta.key.clone(), why))?;
    let Some(to) = &gateway.parameters else { return Ok(of_class) };
    let own = resolve(reader, to, gateway.meta.namespace()).map_err(|why| (gateway.meta.key.clone(), why))?;
    match own.service.forbidden_by(&of_class.service) {
        None => Ok(own.over(&of_class)),
        Some(field) => {
            let parameters = ObjectKey::new(Kind::GatewayParameters, gateway.meta.namespace(), &to.name);
            let why = InvalidParameters::NotAllowed { parameters, field, class: class.meta.key.clone() };
            Err((gateway.meta.key.clone(), why))
        }
    }
}

fn resolve<'s>(
    reader: &Reader<'s>,
    to: &Reference,
    namespace: &str,
) -> Result<&'s Parameters, InvalidParameters> {
    if !is_ours(to) {
        let kind = match &*to.group {
            "" => to.kind.clone(),
            group => format!("{group}/{}", to.kind).into(),
        };
        return Err(InvalidParameters::Kind { kind, name: to.name.clone() });
    }
    let key = ObjectKey::new(Kind::GatewayParameters, namespace, &to.name);
    match reader.gateway_parameters(&key).map(|found| found.spec.as_ref()) {
        None => Err(InvalidParameters::NotFound(key)),
        Some(Err(why)) => Err(InvalidParameters::Broken(key, why.clone())),
        Some(Ok(parameters)) => Ok(parameters),
    }
}

fn is_ours(to: &Reference) -> bool {
    *to.group == *portcullis_crds::GROUP && &*to.kind == "GatewayParameters"
}
