//! Reads TCPRoutes and UDPRoutes, which have the same fields: both take all traffic of a listener's port.

use portcullis_routing::RouteKind;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    parent_refs, part,
    routes::stream_rules,
    typed, wire,
};
use crate::ir::{Meta, Route};

/// Reads a TCPRoute or UDPRoute.
pub(crate) fn read(kind: RouteKind, document: &Value, meta: Meta, checks: &mut Checks) -> Option<Route> {
    let spec: wire::PortRouteSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    part::not_served(spec.use_default_gateways.as_ref(), checks, &at.field("useDefaultGateways"));
    Some(Route {
        meta,
        kind,
        parents: parent_refs::read(spec.parent_refs, checks, &at.field("parentRefs")),
        hostnames: Box::default(),
        rules: stream_rules(spec.rules, checks, &at.field("rules")),
        patterns: Box::default(),
        refused: None,
    })
}

#[cfg(test)]
mod tests {
    use portcullis_routing::RouteKind;

    use crate::{
        ir::Object,
        objects::testing::{holds, object, warns},
    };

    const RULES: &str = "rules: [{backendRefs: [{name: dns, port: 53}]}]";

    #[test]
    fn a_route_of_a_port_has_one_rule_and_no_hostnames() {
        for (kind, want) in [("TCPRoute", RouteKind::Tcp), ("UDPRoute", RouteKind::Udp)] {
            let spec = |part: &str| {
                format!(
                    "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: dns}}\nspec: {{{part}}}\n"
                )
            };
            holds(
                &[
                    (RULES, ""),
                    ("", "spec: lacks the field `rules`"),
                    ("rules: []", "spec.rules: must have at least 1 entry"),
                    ("rules: [{backendRefs: []}]", "spec.rules[0].backendRefs: must have at least 1 entry"),
                    (
                        "rules: [{backendRefs: [{name: dns, port: 0}]}]",
                        "spec.rules[0].backendRefs[0].port: must be between 1 and 65535",
                    ),
                    (
                        "rules: [{backendRefs: [{name: a, port: 1}]}, {backendRefs: [{name: a, port: 1}]}]",
                        "spec.rules: must have at most 1 entry, has 2",
                    ),
                ],
                spec,
            );
            warns(
                &[(
                    &format!("{RULES}, hostnames: [a.example]"),
                    "spec.hostnames: is not a field of this kind",
                )],
                spec,
            );
            let Object::Route(route) = object(&spec(RULES)) else { panic!("no route") };
            assert_eq!((route.kind, route.hostnames.len()), (want, 0));
        }
    }
}
