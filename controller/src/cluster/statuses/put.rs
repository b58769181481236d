//! One write of a status.

use std::{sync::Arc, time::Duration};

use kube::{Client, core::Status};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    ir::{KeyParts, ObjectKey},
    kinds::{Resource, StatusShape},
};

/// How long one may take.
const CALL: Duration = Duration::from_secs(5);

/// The names under which we write.
#[derive(Clone, Debug)]
pub struct ControllerNames {
    pub gateway: Arc<str>,
    pub ingress: Box<str>,
    /// The name in `metadata.managedFields`.
    pub field_manager: Box<str>,
}

impl ControllerNames {
    /// The one that writes statuses of this shape.
    pub(super) fn of(&self, shape: StatusShape) -> &str {
        match shape {
            StatusShape::Conditions
            | StatusShape::Listeners
            | StatusShape::Parents
            | StatusShape::Ancestors => &self.gateway,
            StatusShape::LoadBalancer => &self.ingress,
        }
    }
}

/// What to write.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: ObjectKey,
    pub(super) resource_version: Box<str>,
    pub(super) status: Value,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Written,
    /// The object has changed since it was read.
    Conflict,
    Gone,
    /// A retry would end the same way.
    Refused(String),
    /// We lack the permission.
    Forbidden(String),
    /// A retry may succeed, after this time at least.
    Failed(String, Option<Duration>),
}

pub(super) async fn put(client: &Client, field_manager: &str, write: Write) -> Outcome {
    let request = match request(field_manager, &write) {
        Ok(request) => request,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    match timeout(CALL, client.request::<Value>(request)).await {
        Ok(Ok(_)) => Outcome::Written,
        Ok(Err(kube::Error::Api(status))) => refused(*status),
        Ok(Err(error)) => Outcome::Failed(error.to_string(), None),
        Err(_) => Outcome::Failed(format!("no response within {CALL:?}"), None),
    }
}

/// A PUT of the status, or a merge patch for an Ingress: in a PUT to the `/status` of a kind without a CRD, the API server
/// replaces the metadata too, which would remove labels, annotations, owner references and finalizers.
fn request(field_manager: &str, write: &Write) -> http::Result<http::Request<Vec<u8>>> {
    let KeyParts { kind, namespace, name, .. } = &*write.key;
    let resource = kind.resource();
    let Resource { plural, api_version, .. } = resource;
    let scope = if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
    let path = format!("/apis/{api_version}/{scope}{plural}/{name}/status?fieldManager={field_manager}");
    if resource.status_shape() == Some(StatusShape::LoadBalancer) {
        let metadata = json!({ "resourceVersion": write.resource_version });
        let body = json!({ "metadata": metadata, "status": load_balancer_patch(&write.status) });
        let request =
            http::Request::patch(path).header(http::header::CONTENT_TYPE, "application/merge-patch+json");
        return request.body(body.to_string().into_bytes());
    }
    let mut metadata = json!({ "name": name, "resourceVersion": write.resource_version });
    if !namespace.is_empty() {
        metadata["namespace"] = (&**namespace).into();
    }
    // The schema requires `spec`; the server ignores it here.
    let object = json!({
        "apiVersion": api_version,
        "kind": kind.as_str(),
        "metadata": metadata,
        "spec": {},
        "status": write.status,
    });
    let request = http::Request::put(path).header(http::header::CONTENT_TYPE, "application/json");
    request.body(object.to_string().into_bytes())
}

/// The merge patch to a status of [`StatusShape::LoadBalancer`]: its list is replaced, or removed.
fn load_balancer_patch(status: &Value) -> Value {
    json!({ "loadBalancer": { "ingress": status["loadBalancer"]["ingress"] } })
}

fn refused(status: Status) -> Outcome {
    let after = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|s| *s > 0);
    match status.code {
        409 => Outcome::Conflict,
        404 => Outcome::Gone,
        400 | 413 | 422 => Outcome::Refused(status.message),
        403 => Outcome::Forbidden(status.message),
        // Priority and fairness names the delay in the header alone; it is always one second.
        429 => Outcome::Failed(status.message, after.or(Some(1)).map(|s| Duration::from_secs(s.into()))),
        _ => Outcome::Failed(status.message, after.map(|s| Duration::from_secs(s.into()))),
    }
}
