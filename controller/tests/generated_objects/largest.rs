//! Objects as large as the API takes, with references to themselves, to other namespaces and to unknown kinds: each gets
//! its conditions, and nobody else's change.

use portcullis_controller::{
    Bindings,
    ir::{Kind, ObjectKey},
    status::Statuses,
};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use crate::{
    cases::{Case, Drawn},
    demands,
    schema::SCHEMAS,
    world::{Source, World},
};

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

#[test]
fn the_largest_objects_get_their_conditions_and_others_keep_theirs() -> Result<(), TestCaseError> {
    let small = vec![small_route()];
    let large = [gateway(), http_route(8), grpc_route(), tls_route(), policy(), listener_set()];
    for drawn in &large {
        assert!(drawn.is_admitted, "{}: {:#?}", drawn.document["metadata"], drawn.faults());
    }
    for source in [Source::Folder, Source::ApiServer] {
        let before = World::of(&Case { objects: small.clone(), order: 1 }, source).full(None).statuses;
        let objects = small.iter().chain(&large).cloned().collect();
        let world = World::of(&Case { objects, order: 1 }, source);
        let after = world.full(None).statuses;
        demands::hold(&world, &after)?;
        assert_eq!(world.incremental(1), world.full(Some(&Bindings::new())).statuses);
        for (key, report) in before.iter() {
            assert_eq!(Some(report), after.get(key), "{key}");
        }
        for (key, want) in [
            (key(Kind::Gateway), "Accepted True Accepted"),
            // At the route itself, which is not a parent, there is nothing to say.
            (key(Kind::HttpRoute), "Accepted True Accepted, ResolvedRefs False InvalidKind"),
            (key(Kind::GrpcRoute), "Accepted True Accepted, ResolvedRefs False RefNotPermitted"),
            (key(Kind::TlsRoute), "Accepted True Accepted, ResolvedRefs False BackendNotFound"),
            (key(Kind::ListenerSet), "Accepted False ListenersNotValid"),
        ] {
            assert_eq!(said(&after, &key, want.matches(", ").count() + 1), want, "{key}");
        }
    }
    Ok(())
}

/// The rules have 64 matches at most, and 128 in all of them.
#[test]
fn a_route_with_too_many_matches_is_refused_and_says_so() -> Result<(), TestCaseError> {
    let route = http_route(64);
    assert!(!route.is_admitted);
    let world = World::of(&Case { objects: vec![gateway(), route], order: 1 }, Source::Folder);
    let statuses = world.full(None).statuses;
    demands::hold(&world, &statuses)?;
    let want = "Accepted False UnsupportedValue, ResolvedRefs Unknown UnsupportedValue";
    assert_eq!(said(&statuses, &key(Kind::HttpRoute), 2), want);
    Ok(())
}

fn key(kind: Kind) -> ObjectKey {
    ObjectKey::new(kind, "c", "large")
}

/// The first conditions of an object, or at its first parent or ancestor.
fn said(statuses: &Statuses, key: &ObjectKey, count: usize) -> String {
    let report = statuses.get(key).unwrap_or_else(|| panic!("{key} has no status"));
    let conditions = report.status.conditions();
    let conditions = conditions[0].1.iter().take(count);
    let conditions = conditions.map(|c| format!("{} {} {}", c.kind.as_str(), c.status.as_str(), c.reason));
    conditions.collect::<Vec<_>>().join(", ")
}

fn drawn(kind: Kind, name: &str, spec: &Value) -> Drawn {
    let schema = SCHEMAS.iter().find(|schema| schema.kind == kind).unwrap();
    let namespace = if name == "large" { "c" } else { "a" };
    let document = json!({
        "apiVersion": GATEWAY_API,
        "kind": kind.as_str(),
        "metadata": { "name": name, "namespace": namespace, "generation": 1, "creationTimestamp": "2025-01-01T00:00:00Z" },
        "spec": spec,
    });
    Drawn { schema, is_admitted: schema.root.admits(&document), document }
}

fn small_route() -> Drawn {
    let rules = json!([{ "backendRefs": [{ "name": "x", "port": 80 }] }]);
    let spec = json!({ "parentRefs": [{ "name": "own" }], "hostnames": ["small.test"], "rules": rules });
    drawn(Kind::HttpRoute, "small", &spec)
}

/// 64 listeners, none of which is at odds with those of the backdrop.
fn gateway() -> Drawn {
    let listeners: Vec<_> = (0..64)
        .map(|n| match n % 4 {
            0 => json!({ "name": format!("l{n}"), "port": 9000 + n, "protocol": "HTTP" }),
            1 => json!({ "name": format!("l{n}"), "port": 9000 + n, "protocol": "TCP" }),
            2 => {
                let tls = json!({ "mode": "Passthrough" });
                json!({ "name": format!("l{n}"), "port": 9000 + n, "protocol": "TLS", "tls": tls })
            }
            _ => json!({ "name": format!("l{n}"), "port": 9000 + n, "protocol": "UDP" }),
        })
        .collect();
    let allowed = json!({ "namespaces": { "from": "Same" } });
    let spec = json!({ "gatewayClassName": "c", "listeners": listeners, "allowedListeners": allowed });
    drawn(Kind::Gateway, "large", &spec)
}

/// 64 listeners, each with a certificate that is not there.
fn listener_set() -> Drawn {
    let listeners: Vec<_> = (0..64)
        .map(|n| {
            let tls = json!({ "certificateRefs": [{ "name": "absent" }] });
            json!({ "name": format!("l{n}"), "port": 10_000 + n, "protocol": "HTTPS", "tls": tls })
        })
        .collect();
    drawn(Kind::ListenerSet, "large", &json!({ "parentRef": { "name": "large" }, "listeners": listeners }))
}

/// As many references as there may be; the first is to a Gateway that is there, or to its listener that is named.
fn parents(kind: Kind, section: Option<&str>) -> Value {
    let mut large = json!({ "name": "large" });
    section.into_iter().for_each(|section| large["sectionName"] = section.into());
    let mut parents = vec![
        large,
        json!({ "kind": kind.as_str(), "name": "large" }),
        json!({ "group": "unknown.test", "kind": "Unknown", "name": "large" }),
        json!({ "name": "absent", "namespace": "b" }),
    ];
    parents.extend((parents.len()..32).map(|n| json!({ "name": format!("absent-{n}") })));
    parents.into()
}

/// 16 backends: one of each way in which a reference may be broken, the first of them the route itself.
fn backends(first: Value) -> Value {
    let others = [
        json!({ "name": "x", "namespace": "a", "port": 80 }),
        json!({ "group": "unknown.test", "kind": "Unknown", "name": "x" }),
        json!({ "name": "absent", "port": 80 }),
    ];
    let backends = [first].into_iter().chain((0..15).map(|n| others[n % 3].clone()));
    backends.collect()
}

fn itself(kind: Kind) -> Value {
    json!({ "group": "gateway.networking.k8s.io", "kind": kind.as_str(), "name": "large" })
}

fn http_route(matches: usize) -> Drawn {
    let rules: Vec<_> = (0..16)
        .map(|rule| {
            let matches = (0..matches).map(|n| {
                let headers: Vec<_> =
                    (0..16).map(|h| json!({ "name": format!("h{h}"), "value": "v" })).collect();
                json!({ "path": { "value": format!("/{rule}/{n}") }, "headers": headers })
            });
            json!({ "matches": matches.collect::<Value>(), "backendRefs": backends(itself(Kind::HttpRoute)) })
        })
        .collect();
    let hostnames: Vec<_> = (0..16).map(|n| format!("h{n}.large.test")).collect();
    let spec =
        json!({ "parentRefs": parents(Kind::HttpRoute, Some("l0")), "hostnames": hostnames, "rules": rules });
    drawn(Kind::HttpRoute, "large", &spec)
}

fn grpc_route() -> Drawn {
    let rules: Vec<_> = (0..16)
        .map(|rule| {
            let matches = (0..8).map(|n| json!({ "method": { "service": format!("s{rule}.S{n}") } }));
            let first = json!({ "name": "x", "namespace": "a", "port": 80 });
            json!({ "matches": matches.collect::<Value>(), "backendRefs": backends(first) })
        })
        .collect();
    let spec = json!({ "parentRefs": parents(Kind::GrpcRoute, None), "hostnames": ["g.large.test"], "rules": rules });
    drawn(Kind::GrpcRoute, "large", &spec)
}

fn tls_route() -> Drawn {
    let most = SCHEMAS.iter().find(|schema| schema.kind == Kind::TlsRoute).unwrap();
    let most = most.root.properties["spec"].properties["hostnames"].most.unwrap();
    let hostnames: Vec<_> = (0..most).map(|n| format!("t{n}.large.test")).collect();
    let rules = json!([{ "backendRefs": backends(json!({ "name": "absent", "port": 80 })) }]);
    let spec = json!({ "parentRefs": parents(Kind::TlsRoute, None), "hostnames": hostnames, "rules": rules });
    drawn(Kind::TlsRoute, "large", &spec)
}

/// For 16 Services, with authorities of which one alone is there.
fn policy() -> Drawn {
    let targets: Vec<_> =
        (0..16).map(|n| json!({ "group": "", "kind": "Service", "name": format!("s{n}") })).collect();
    let authorities: Vec<_> =
        (0..8).map(|n| json!({ "group": "", "kind": "ConfigMap", "name": format!("c{n}") })).collect();
    let validation = json!({ "hostname": "h.test", "caCertificateRefs": authorities });
    drawn(Kind::BackendTlsPolicy, "large", &json!({ "targetRefs": targets, "validation": validation }))
}
