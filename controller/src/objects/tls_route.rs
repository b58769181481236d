//! Reads TLSRoutes.

use std::net::IpAddr;

use portcullis_routing::RouteKind;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    parent_refs, part,
    routes::{hostnames, stream_rules},
    typed, wire,
};
use crate::ir::{Meta, Route};

/// Reads a TLSRoute.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<Route> {
    let spec: wire::TlsRouteSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let at_hostnames = at.field("hostnames");
    for (i, hostname) in spec.hostnames.iter().enumerate() {
        let is_ip = hostname.parse::<IpAddr>().is_ok();
        checks.require(
            !is_ip,
            &at_hostnames.index(i),
            "must not be an IP address; server names are DNS names",
        );
    }
    part::not_served(spec.use_default_gateways.as_ref(), checks, &at.field("useDefaultGateways"));
    Some(Route {
        meta,
        kind: RouteKind::Tls,
        parents: parent_refs::read(spec.parent_refs, checks, &at.field("parentRefs")),
        hostnames: hostnames(&spec.hostnames, 1..=1024, checks, &at_hostnames),
        rules: stream_rules(spec.rules, checks, &at.field("rules")),
        patterns: Box::default(),
        refused: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Object,
        objects::testing::{holds, object, warns},
    };

    const RULES: &str = "rules: [{backendRefs: [{name: db, port: 5432}]}]";

    fn spec(part: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {{name: db}}\nspec: {{{part}}}\n"
        )
    }

    fn with_hostnames(hostnames: &str) -> String {
        spec(&format!("hostnames: {hostnames}, {RULES}"))
    }

    #[test]
    fn hostnames_are_server_names() {
        let many = |count: usize| {
            let all: Vec<_> = (0..count).map(|i| format!("h{i}.example")).collect();
            format!("[{}]", all.join(", "))
        };
        for (hostnames, want) in [
            ("[a.example]", ""),
            ("['*.example', a.example]", ""),
            (&many(1024), ""),
            (&many(1025), "spec.hostnames: must have at most 1024 entries, has 1025"),
            ("[]", "spec.hostnames: must have at least 1 entry, has 0"),
            ("[10.0.0.1]", "spec.hostnames[0]: must not be an IP address"),
            ("['fd00::1']", "spec.hostnames[0]: must not be an IP address"),
            ("[a.example, A.example]", "spec.hostnames[1]: \"A.example\" must be a DNS name"),
            ("['a.*']", "spec.hostnames[0]:"),
        ] {
            holds(&[(hostnames, want)], with_hostnames);
        }
        holds(&[(RULES, "spec: lacks the field `hostnames`")], spec);
    }

    #[test]
    fn a_route_has_one_rule_with_backends() {
        let document = |rules: &str| spec(&format!("hostnames: [a.example], {rules}"));
        let backends = |count: usize| {
            format!("rules: [{{backendRefs: [{}]}}]", vec!["{name: db, port: 1}"; count].join(", "))
        };
        holds(
            &[
                (RULES, ""),
                ("rules: [{name: a, backendRefs: [{name: db, port: 1, weight: 0}]}]", ""),
                (&backends(16), ""),
                (&backends(17), "spec.rules[0].backendRefs: must have at most 16 entries, has 17"),
                ("rules: [{backendRefs: []}]", "spec.rules[0].backendRefs: must have at least 1 entry"),
                ("rules: [{}]", "spec.rules[0]: lacks the field `backendRefs`"),
                ("rules: []", "spec.rules: must have at least 1 entry"),
                (
                    "rules: [{backendRefs: [{name: db, port: 1}]}, {backendRefs: [{name: db, port: 1}]}]",
                    "spec.rules: must have at most 1 entry, has 2",
                ),
                ("rules: [{name: 'A b', backendRefs: [{name: db, port: 1}]}]", "spec.rules[0].name:"),
                ("rules: [{backendRefs: [{name: db}]}]", "spec.rules[0].backendRefs[0].port: is required"),
                (
                    "rules: [{backendRefs: [{name: db, port: 1, weight: 1000001}]}]",
                    "spec.rules[0].backendRefs[0].weight: must be between 0 and 1000000",
                ),
            ],
            document,
        );
        warns(
            &[
                (
                    "rules: [{backendRefs: [{name: db, port: 1, filters: []}]}]",
                    "spec.rules[0].backendRefs[0].filters: is not a field of this kind",
                ),
                (&format!("{RULES}, useDefaultGateways: All"), "spec.useDefaultGateways: is not served"),
            ],
            document,
        );
        let Object::Route(route) = object(&document(RULES)) else { panic!("no route") };
        assert_eq!((route.rules.len(), route.rules[0].backends[0].weight), (1, 1));
    }
}
