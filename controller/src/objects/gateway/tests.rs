use crate::{
    ir::{
        Object,
        gateway::{AllowedNamespaces, Gateway, ListenerProtocol},
    },
    objects::{
        Decoded, decode_live,
        testing::{holds, object, problems, warns},
    },
    problem::Severity,
    yaml::documents,
};
use std::sync::Arc;

fn spec(part: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: public}}\nspec:\n  gatewayClassName: portcullis\n  {part}\n"
    )
}

fn listeners(part: &str) -> String {
    spec(&format!("listeners: [{part}]"))
}

fn rest(part: &str) -> String {
    spec(&format!("listeners: [{{name: a, port: 80, protocol: HTTP}}]\n  {part}"))
}

fn gateway(text: &str) -> Arc<Gateway> {
    let Object::Gateway(gateway) = object(text) else { panic!("no Gateway") };
    gateway
}

/// Reads what an API server has taken.
fn decode_admitted(text: &str) -> Decoded {
    let mut documents: Vec<_> = documents(text, "in.yaml").collect();
    decode_live(documents.remove(0).content.expect("is YAML"))
}

#[test]
fn listeners_are_told_apart() {
    let a = "{name: a, port: 80, protocol: HTTP}";
    for (others, want) in [
        ("", ""),
        ("{name: b, port: 81, protocol: HTTP}", ""),
        ("{name: b, port: 80, protocol: HTTP, hostname: a.com}", ""),
        ("{name: b, port: 80, protocol: UDP}", ""),
        ("{name: a, port: 81, protocol: HTTP}", "spec.listeners[1]: listener a is duplicated"),
        ("{name: b, port: 80, protocol: HTTP}", "spec.listeners[1]: another listener has the same port 80"),
    ] {
        holds(&[(&format!("{a}, {others}"), want)], listeners);
    }
    let host = |name| format!("{{name: {name}, port: 80, protocol: HTTP, hostname: a.com}}");
    holds(&[(&[host("b"), host("c")].join(", "), "spec.listeners[1]: another listener has")], listeners);
    let many = |count| {
        (0..count)
            .map(|i| format!("{{name: l{i}, port: {}, protocol: HTTP}}", i + 1))
            .collect::<Vec<_>>()
            .join(", ")
    };
    holds(
        &[
            (&many(64), ""),
            (&many(65), "spec.listeners: must have at most 64"),
            ("", "spec.listeners: must have at least 1 entry"),
        ],
        listeners,
    );
}

#[test]
fn a_listener_has_what_its_protocol_needs() {
    let certificate = "certificateRefs: [{name: c}]";
    for (part, want) in [
        ("protocol: HTTP".to_owned(), ""),
        ("protocol: example.com/bar".to_owned(), ""),
        ("protocol: HTTP, hostname: '*.a.com'".to_owned(), ""),
        (format!("protocol: HTTPS, tls: {{{certificate}}}"), ""),
        ("protocol: HTTPS".to_owned(), ""),
        ("protocol: HTTPS, tls: {options: {a.com/b: c}}".to_owned(), ""),
        ("protocol: TLS, tls: {mode: Passthrough}".to_owned(), ""),
        (format!("protocol: TLS, tls: {{{certificate}}}"), ""),
        ("protocol: HTTPS, tls: {}".to_owned(), "tls: must have certificateRefs or options"),
        ("protocol: HTTPS, tls: {mode: Terminate}".to_owned(), "tls: must have certificateRefs or options"),
        (
            "protocol: HTTPS, tls: {mode: Passthrough}".to_owned(),
            "tls.mode: must be Terminate for protocol HTTPS",
        ),
        ("protocol: TLS".to_owned(), "tls: is required for protocol TLS"),
        (format!("protocol: HTTP, tls: {{{certificate}}}"), "tls: must not be set for protocol HTTP"),
        (format!("protocol: TCP, tls: {{{certificate}}}"), "tls: must not be set for protocol TCP"),
        (format!("protocol: UDP, tls: {{{certificate}}}"), "tls: must not be set for protocol UDP"),
        ("protocol: TCP, hostname: a.com".to_owned(), "hostname: must not be set"),
        ("protocol: UDP, hostname: a.com".to_owned(), "hostname: must not be set"),
        ("protocol: HTTP, hostname: A.com".to_owned(), "hostname: \"A.com\" must be"),
        ("protocol: ''".to_owned(), "protocol: \"\" must be a protocol"),
        ("protocol: HTTPS, tls: {mode: Other}".to_owned(), "tls.mode: unknown variant"),
        ("protocol: HTTPS, tls: {certificateRefs: [{name: ''}]}".to_owned(), "tls.certificateRefs[0].name:"),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: a, namespace: A}]}".to_owned(),
            "tls.certificateRefs[0].namespace:",
        ),
        ("protocol: HTTPS, tls: {options: {'a b': c}}".to_owned(), "tls.options.a b:"),
    ] {
        let want = if want.is_empty() { String::new() } else { format!("spec.listeners[0].{want}") };
        holds(&[(&format!("{{name: a, port: 443, {part}}}"), &want)], listeners);
    }
    holds(
        &[
            ("{name: A, port: 80, protocol: HTTP}", "spec.listeners[0].name:"),
            ("{name: a, port: 0, protocol: HTTP}", "spec.listeners[0].port: must be between 1 and 65535"),
            ("{name: a, port: 65536, protocol: HTTP}", "spec.listeners[0].port:"),
            ("{name: a, port: 80}", "spec.listeners[0]: lacks the field `protocol`"),
        ],
        listeners,
    );
}

#[test]
fn routes_are_allowed_from_namespaces() {
    let from =
        |part: &str| listeners(&format!("{{name: a, port: 80, protocol: HTTP, allowedRoutes: {{{part}}}}}"));
    for (part, want) in [
        ("", "Same"),
        ("namespaces: {}", "Same"),
        ("namespaces: {from: All}", "All"),
        ("namespaces: {from: Selector, selector: {}}", "Selector"),
        ("namespaces: {from: Selector}", "None"),
    ] {
        let gateway = gateway(&from(part));
        let name = match &gateway.listeners[0].allowed.namespaces {
            AllowedNamespaces::Same => "Same",
            AllowedNamespaces::All => "All",
            AllowedNamespaces::None => "None",
            AllowedNamespaces::Selector(_) => "Selector",
        };
        assert_eq!(name, want, "{part}");
    }
    let at = "spec.listeners[0].allowedRoutes";
    for (part, want) in [
        ("kinds: [{kind: HTTPRoute}]", ""),
        ("kinds: [{kind: ''}]", ".kinds[0].kind:"),
        ("kinds: [{kind: A, group: A}]", ".kinds[0].group:"),
        (
            "kinds: [{kind: A}, {kind: A}, {kind: A}, {kind: A}, {kind: A}, {kind: A}, {kind: A}, {kind: A}, {kind: A}]",
            ".kinds: must have at most 8",
        ),
        ("namespaces: {from: Some}", ".namespaces.from: unknown variant"),
        ("namespaces: {from: None}", ".namespaces.from: unknown variant"),
        ("namespaces: {selector: {matchLabels: {'a b': c}}}", ".namespaces.selector.matchLabels.a b:"),
        ("namespaces: {selector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}", ""),
        (
            "namespaces: {selector: {matchExpressions: [{key: a, operator: In}]}}",
            ".namespaces.selector.matchExpressions[0].values: is required",
        ),
        (
            "namespaces: {selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
            ".namespaces.selector.matchExpressions[0].values: must be empty",
        ),
        (
            "namespaces: {selector: {matchExpressions: [{key: a, operator: Like}]}}",
            ".namespaces.selector.matchExpressions[0].operator:",
        ),
    ] {
        let want = if want.is_empty() { String::new() } else { format!("{at}{want}") };
        holds(&[(part, &want)], from);
    }
}

/// The schema of the CRD takes any text in a selector.
#[test]
fn a_selector_that_an_api_server_took_and_that_cannot_be_used_selects_nothing() {
    for selector in [
        "matchLabels: {'a b': c}",
        "matchLabels: {a: 'b c'}",
        "matchLabels: {a: b, c: '-'}",
        "matchExpressions: [{key: 'a b', operator: Exists}]",
        "matchExpressions: [{key: a, operator: Like}]",
        "matchExpressions: [{key: a, operator: In}]",
        "matchExpressions: [{key: a, operator: Exists, values: [b]}]",
        "matchLabels: {a: b}, matchExpressions: [{key: a, operator: NotIn, values: []}]",
    ] {
        let namespaces = format!("namespaces: {{from: Selector, selector: {{{selector}}}}}");
        let text = listeners(&format!(
            "{{name: a, port: 80, protocol: HTTP, allowedRoutes: {{{namespaces}}}}}, {{name: b, port: 81, protocol: HTTP}}"
        ));
        let decoded = decode_admitted(&format!("{text}  allowedListeners: {{{namespaces}}}\n"));
        let said = problems(&decoded, Severity::Warning);
        for at in [
            "spec.listeners[0].allowedRoutes.namespaces.selector.",
            "spec.allowedListeners.namespaces.selector.",
        ] {
            assert!(said.contains(at), "{selector}\nsays: {said}");
        }
        let Some(Object::Gateway(gateway)) = decoded.object else { panic!("{:#?}", decoded.problems) };
        assert_eq!(gateway.allowed_listeners, AllowedNamespaces::None, "{selector}");
        let allowed = gateway.listeners.iter().map(|listener| &listener.allowed.namespaces);
        assert_eq!(
            allowed.collect::<Vec<_>>(),
            [&AllowedNamespaces::None, &AllowedNamespaces::Same],
            "{selector}"
        );
    }
}

#[test]
fn addresses_have_a_type() {
    let many = (0..17).map(|i| format!("{{value: 10.0.0.{i}}}")).collect::<Vec<_>>().join(", ");
    let list = |part: &str| rest(&format!("addresses: [{part}]"));
    holds(
        &[
            ("{value: 10.0.0.1}, {value: 10.0.0.2}", ""),
            ("{}, {}", ""),
            ("{type: Hostname, value: a.com}, {type: Hostname, value: b.com}", ""),
            ("{type: a.com/thing, value: x}, {type: a.com/thing, value: x}", ""),
            ("{value: 10.0.0.1}, {type: IPAddress, value: 10.0.0.1}", "spec.addresses[1]: is duplicated"),
            (
                "{type: Hostname, value: a.com}, {type: Hostname, value: a.com}",
                "spec.addresses[1]: is duplicated",
            ),
            ("{type: Hostname, value: A.com}", "spec.addresses[0].value:"),
            ("{type: Thing, value: x}", "spec.addresses[0].type: must be"),
            (&many, "spec.addresses: must have at most 16"),
        ],
        list,
    );
    assert_eq!(&*gateway(&list("{value: 10.0.0.1}")).addresses[0].kind, "IPAddress");
}

/// The pattern of the CRD is not anchored at every end of its alternatives.
#[test]
fn a_type_of_address_that_an_api_server_took_is_kept_as_one_that_is_not_served() {
    for kind in ["Hostnames", "my-IPAddress", "_NamedAddress_"] {
        let decoded = decode_admitted(&rest(&format!("addresses: [{{type: {kind}, value: x}}]")));
        let Some(Object::Gateway(gateway)) = decoded.object else { panic!("{:#?}", decoded.problems) };
        assert_eq!(&*gateway.addresses[0].kind, kind);
    }
    for protocol in ["_example.com/own", "A/b"] {
        let text = listeners(&format!("{{name: a, port: 80, protocol: {protocol}}}"));
        let decoded = decode_admitted(&text);
        let Some(Object::Gateway(gateway)) = decoded.object else { panic!("{:#?}", decoded.problems) };
        assert_eq!(gateway.listeners[0].protocol, ListenerProtocol::Other(protocol.into()));
    }
}

#[test]
fn infrastructure_has_limits() {
    let many = |count| (0..count).map(|i| format!("k{i}: v")).collect::<Vec<_>>().join(", ");
    for (part, want) in [
        (format!("labels: {{{}}}, annotations: {{{}}}", many(8), many(16)), ""),
        (format!("labels: {{{}}}", many(9)), "spec.infrastructure.labels: must have at most 8"),
        (format!("annotations: {{{}}}", many(17)), "spec.infrastructure.annotations: must have at most 16"),
        ("labels: {a: 'b c'}".to_owned(), "spec.infrastructure.labels.a:"),
        ("labels: {'a b': c}".to_owned(), "spec.infrastructure.labels.a b:"),
        ("annotations: {'a b': c}".to_owned(), "spec.infrastructure.annotations.a b:"),
        ("parametersRef: {group: '', kind: ConfigMap, name: a}".to_owned(), ""),
        (
            "parametersRef: {kind: ConfigMap, name: a}".to_owned(),
            "spec.infrastructure.parametersRef: lacks the field `group`",
        ),
        (
            "parametersRef: {group: '', kind: ConfigMap, name: ''}".to_owned(),
            "spec.infrastructure.parametersRef.name:",
        ),
    ] {
        holds(&[(&part, want)], |part| rest(&format!("infrastructure: {{{part}}}")));
    }
}

#[test]
fn what_is_not_served_yet_says_so() {
    let refs = "caCertificateRefs: [{group: '', kind: ConfigMap, name: a}]";
    let port = |port: u16| format!("{{port: {port}, tls: {{validation: {{{refs}}}}}}}");
    warns(
        &[
            (
                "allowedListeners: {namespaces: {from: Selector}}",
                "spec.allowedListeners.namespaces.selector: is missing",
            ),
            ("defaultScope: All", "spec.defaultScope: is not served"),
        ],
        rest,
    );
    holds(
        &[
            ("allowedListeners: {namespaces: {from: None}}", ""),
            (
                "allowedListeners: {namespaces: {from: Some}}",
                "spec.allowedListeners.namespaces.from: unknown variant",
            ),
            (&format!("tls: {{frontend: {{default: {{validation: {{{refs}}}}}}}}}"), ""),
            (
                &format!("tls: {{frontend: {{default: {{validation: {{mode: Maybe, {refs}}}}}}}}}"),
                "spec.tls.frontend.default.validation.mode: unknown variant",
            ),
            (&format!("tls: {{frontend: {{default: {{}}, perPort: [{}, {}]}}}}", port(1), port(2)), ""),
            (
                &format!("tls: {{frontend: {{default: {{}}, perPort: [{}, {}]}}}}", port(1), port(1)),
                "spec.tls.frontend.perPort[1]: port 1 is duplicated",
            ),
            (
                "tls: {frontend: {default: {validation: {caCertificateRefs: []}}}}",
                "spec.tls.frontend.default.validation.caCertificateRefs: must have at least 1 entry",
            ),
            (
                "tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: A, name: ''}]}}}}",
                "spec.tls.frontend.default.validation.caCertificateRefs[0].name:",
            ),
            ("tls: {backend: {clientCertificateRef: {name: a}}}", ""),
            (
                "tls: {backend: {clientCertificateRef: {name: ''}}}",
                "spec.tls.backend.clientCertificateRef.name:",
            ),
            ("tls: {frontend: {perPort: []}}", "spec.tls.frontend: lacks the field `default`"),
        ],
        rest,
    );
}

#[test]
fn an_address_is_reached_from_where_it_says() {
    let of = |routability: &str| format!("addresses: [{{value: 192.0.2.1, routability: {routability}}}]");
    let at = "spec.addresses[0].routability";
    let wrong = format!("{at}: must be empty, Cluster, or a value with a domain before it");
    for (routability, want) in [
        ("''", ""),
        ("Cluster", ""),
        ("example.com/private", ""),
        ("example.com/", &*wrong),
        ("Private", &*wrong),
        ("k8s.io/private", &*wrong),
        ("networking.k8s.io/private", &*wrong),
        ("Example.com/private", &*wrong),
    ] {
        holds(&[(&of(routability), want)], rest);
    }
    let twice = "addresses: [{value: 192.0.2.1}, {value: 192.0.2.1, routability: Cluster}]";
    holds(&[(twice, "spec.addresses[1]: is duplicated")], rest);
}
