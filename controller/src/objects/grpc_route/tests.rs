use portcullis_routing::PathMatch;

use crate::{
    ir::{Object, route::WrittenMatch},
    objects::testing::{holds, object, warns},
};

fn spec(part: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: greeter}}\nspec: {{{part}}}\n"
    )
}

fn method(part: &str) -> String {
    spec(&format!("rules: [{{matches: [{{method: {{{part}}}}}]}}]"))
}

#[test]
fn a_method_is_a_path() {
    for (part, want) in [
        ("service: a.B, method: C", "Exact(\"/a.B/C\")"),
        ("service: a.B", "Prefix(\"/a.B\")"),
        ("method: C", "GrpcMethod(\"C\")"),
        ("type: RegularExpression, service: 'a.*'", "/(?:a.*)/[^/]+"),
        ("type: RegularExpression, method: 'C|D'", "/[^/]+/(?:C|D)"),
    ] {
        let Object::Route(route) = object(&method(part)) else { panic!("no route") };
        let got = match route.rules[0].matches[0].as_ref().unwrap() {
            WrittenMatch::Plain(plain) => format!("{:?}", plain.path),
            WrittenMatch::WithPatterns(written) => match &written.path {
                PathMatch::Regex(regex) => regex.source.text().to_string(),
                path => format!("{path:?}"),
            },
        };
        assert_eq!(got, want, "{part}");
    }
    for text in [spec("rules: [{}]"), spec("rules: [{matches: [{}]}]")] {
        let Object::Route(route) = object(&text) else { panic!("no route") };
        let [Ok(WrittenMatch::Plain(one))] = &*route.rules[0].matches else { panic!("{text}") };
        assert_eq!(format!("{:?}", one.path), "Prefix(\"\")");
    }
    let Object::Route(route) = object(&spec("")) else { panic!("no route") };
    assert!(route.rules.is_empty(), "a GRPCRoute has no default rules");
}

#[test]
fn a_method_is_named_as_in_protobuf() {
    let want = "spec.rules[0].matches[0].method";
    for (part, wrong) in [
        ("service: _a.b1.C_d, method: _E1", ""),
        ("service: .a.B", ""),
        ("type: Exact, service: a.B", ""),
        ("service: a/B", ".service: \"a/B\" is not a valid gRPC service name"),
        ("service: a..B", ".service:"),
        ("service: 1a", ".service:"),
        ("method: a.b", ".method: \"a.b\" is not a valid gRPC method name"),
        ("method: 1a", ".method:"),
        ("type: Exact", ": must have a service, a method or both"),
        ("", ": must have a service, a method or both"),
        ("type: Prefix, service: a", ".type: unknown variant"),
    ] {
        let want = if wrong.is_empty() { String::new() } else { format!("{want}{wrong}") };
        holds(&[(part, &want)], method);
    }
    let long = format!("type: RegularExpression, service: {}", "a".repeat(1025));
    holds(&[(&long, "spec.rules[0].matches[0].method.service: must have at most 1024")], method);
    let broken = method("type: RegularExpression, method: 'a)|(b'");
    warns(&[(&broken, "spec.rules[0].matches[0].method.method: not a regular")], str::to_owned);
}

#[test]
fn what_is_of_http_alone_is_refused() {
    holds(
        &[
            ("rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}]}]", ""),
            (
                "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}}}]}]",
                "",
            ),
            ("rules: [{filters: [{type: CORS, cors: {}}]}]", "spec.rules[0].filters[0].type: must be"),
            (
                "rules: [{filters: [{type: URLRewrite, urlRewrite: {}}]}]",
                "spec.rules[0].filters[0].type: must be",
            ),
            (
                "rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}]}]",
                "spec.rules[0].filters[0].type:",
            ),
            (
                "rules: [{backendRefs: [{name: a, port: 1, filters: [{type: CORS, cors: {}}]}]}]",
                "spec.rules[0].backendRefs[0].filters[0].type: must be",
            ),
        ],
        spec,
    );
    warns(&[("rules: [{timeouts: {request: 1s}}]", "spec.rules[0].timeouts: is not a field")], spec);
}

#[test]
fn rules_have_limits() {
    let many = |count: usize, item: &str| vec![item; count].join(", ");
    for (part, want) in [
        ("rules: []".to_owned(), ""),
        (format!("rules: [{}]", many(17, "{}")), "spec.rules: must have at most 16"),
        (
            format!("rules: [{{matches: [{}]}}]", many(65, "{}")),
            "spec.rules[0].matches: must have at most 64",
        ),
        (
            format!("rules: [{0}, {0}, {{matches: [{{}}]}}]", format!("{{matches: [{}]}}", many(64, "{}"))),
            "spec.rules: must have at most 128 matches",
        ),
        ("rules: [{name: a}, {name: a}]".to_owned(), "spec.rules[1].name: must be unique"),
        (
            "rules: [{matches: [{headers: [{name: a, value: b}, {name: a, value: b}]}]}]".to_owned(),
            "spec.rules[0].matches[0].headers[1]: a is duplicated",
        ),
        ("parentRefs: [{name: a}, {name: a}]".to_owned(), "spec.parentRefs[1]: must differ"),
        ("hostnames: [A]".to_owned(), "spec.hostnames[0]:"),
    ] {
        holds(&[(&part, want)], spec);
    }
}
