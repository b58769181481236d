//! ListenerSet.

use gateway_api::experimental::listenersets::ListenerSetParentRef;
use serde::Deserialize;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    gateway::{Listener, listeners},
    gateway_class::reference,
    part::Part,
    typed,
};
use crate::{
    ir::{Kind, ListenerSet, Meta, ObjectKey, gateway::Reference},
    kinds::GATEWAY_API,
};

/// `spec`. A listener of a ListenerSet has the fields of a Gateway's listener.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListenerSetSpec {
    parent_ref: ListenerSetParentRef,
    listeners: Vec<Part<Listener>>,
}

/// Reads a ListenerSet.
pub(super) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<ListenerSet> {
    let spec: ListenerSetSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let at_parent = at.field("parentRef");
    let parent = reference(with_defaults(spec.parent_ref), checks, &at_parent);
    let gateway = key(&parent, &meta);
    if gateway.is_none() {
        let message =
            format!("{} {} is not a supported kind of parent; use a Gateway", parent.kind, parent.name);
        checks.warning(&at_parent, message);
    }
    let listeners = listeners(&spec.listeners, checks, &at.field("listeners"));
    Some(ListenerSet { meta, gateway, listeners, refused: None })
}

/// Returns the Gateway that the `spec` of a ListenerSet names, if that can be read.
pub(super) fn gateway(spec: &Value, meta: &Meta) -> Option<ObjectKey> {
    let parent = ListenerSetParentRef::deserialize(spec.get("parentRef")?).ok()?;
    key(&with_defaults(parent), meta)
}

fn with_defaults(parent: ListenerSetParentRef) -> Reference {
    Reference {
        group: parent.group.map_or_else(|| GATEWAY_API.into(), Into::into),
        kind: parent.kind.map_or_else(|| Kind::Gateway.as_str().into(), Into::into),
        namespace: parent.namespace.map(Into::into),
        name: parent.name.into(),
    }
}

fn key(parent: &Reference, meta: &Meta) -> Option<ObjectKey> {
    let is_gateway = &*parent.group == GATEWAY_API && &*parent.kind == Kind::Gateway.as_str();
    let namespace = parent.namespace.as_deref().unwrap_or(meta.namespace());
    is_gateway.then(|| ObjectKey::new(Kind::Gateway, namespace, &parent.name))
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Object,
        objects::testing::{holds, object, warns},
    };

    const LISTENER: &str = "{name: web, port: 80, protocol: HTTP}";

    fn spec(part: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{name: more}}\nspec: {{{part}}}\n"
        )
    }

    #[test]
    fn its_parent_is_a_gateway() {
        let with = |parent: &str| spec(&format!("parentRef: {parent}, listeners: [{LISTENER}]"));
        for (parent, want) in [
            ("{name: public}", Some("Gateway default/public")),
            ("{name: public, namespace: infra}", Some("Gateway infra/public")),
            (
                "{name: public, group: gateway.networking.k8s.io, kind: Gateway}",
                Some("Gateway default/public"),
            ),
            ("{name: public, group: '', kind: Service}", None),
        ] {
            let Object::ListenerSet(set) = object(&with(parent)) else { panic!("{parent}") };
            assert_eq!(set.gateway.as_ref().map(ToString::to_string).as_deref(), want, "{parent}");
        }
        warns(
            &[(
                "{name: public, kind: Mesh}",
                "spec.parentRef: Mesh public is not a supported kind of parent",
            )],
            with,
        );
    }

    #[test]
    fn its_listeners_are_those_of_a_gateway() {
        let with = |listeners: &str| spec(&format!("parentRef: {{name: public}}, listeners: {listeners}"));
        let many: Vec<_> =
            (1..=65).map(|port| format!("{{name: l{port}, port: {port}, protocol: TCP}}")).collect();
        let many = format!("[{}]", many.join(", "));
        holds(
            &[
                ("[]", "spec.listeners: must have at least 1 entry, has 0"),
                (&many, "spec.listeners: must have at most 64 entries, has 65"),
                ("[{name: web, port: 0, protocol: HTTP}]", "spec.listeners[0].port: must be between 1 and"),
                (&format!("[{LISTENER}, {LISTENER}]"), "spec.listeners"),
                ("[{name: db, port: 53, protocol: UDP, hostname: a.example}]", "spec.listeners[0].hostname"),
            ],
            with,
        );
    }
}
