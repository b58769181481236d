use std::sync::Arc;

use crate::{
    ir::{
        Ingress, Object,
        ingress::{IngressPath, PathKind},
    },
    objects::testing::{holds, object, warns},
};

fn document(annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, annotations: {{{annotations}}}}}\nspec: {{{spec}}}"
    )
}

fn spec(part: &str) -> String {
    document("", part)
}

const BACKEND: &str = "backend: {service: {name: web, port: {number: 80}}}";

fn path(part: &str) -> String {
    spec(&format!("rules: [{{http: {{paths: [{{{part}, {BACKEND}}}]}}}}]"))
}

fn ingress(text: &str) -> Arc<Ingress> {
    let Object::Ingress(ingress) = object(text) else { panic!("no Ingress") };
    ingress
}

#[test]
fn a_path_has_a_type_and_its_form() {
    holds(
        &[
            ("path: /a, pathType: Prefix", ""),
            ("path: /a/, pathType: Exact", ""),
            ("path: '/a(/|$)(.*)', pathType: ImplementationSpecific", ""),
            ("pathType: ImplementationSpecific", ""),
            ("path: /a", "spec.rules[0].http.paths[0].pathType: is required"),
            ("path: /a, pathType: prefix", "spec.rules[0].http.paths[0].pathType: \"prefix\" is not one of"),
            ("path: a, pathType: Prefix", "spec.rules[0].http.paths[0].path: must begin with '/'"),
            ("path: a, pathType: Exact", "spec.rules[0].http.paths[0].path: must begin with '/'"),
            ("pathType: Prefix", "spec.rules[0].http.paths[0].path: must begin with '/'"),
            (
                "path: a, pathType: ImplementationSpecific",
                "spec.rules[0].http.paths[0].path: must begin with '/'",
            ),
            ("path: /a//b, pathType: Prefix", "spec.rules[0].http.paths[0].path: must not contain '//'"),
            ("path: /a/./b, pathType: Exact", "spec.rules[0].http.paths[0].path: must not contain '/./'"),
            ("path: /a/../b, pathType: Exact", "spec.rules[0].http.paths[0].path: must not contain '/../'"),
            ("path: /a%2fb, pathType: Exact", "spec.rules[0].http.paths[0].path: must not contain '%2f'"),
            ("path: /a%2Fb, pathType: Exact", "spec.rules[0].http.paths[0].path: must not contain '%2F'"),
            ("path: /a/.., pathType: Exact", "spec.rules[0].http.paths[0].path: must not end with '/..'"),
            ("path: /a/., pathType: Exact", "spec.rules[0].http.paths[0].path: must not end with '/.'"),
        ],
        path,
    );
    for (part, want) in [
        ("path: /a/, pathType: Prefix", (PathKind::Prefix, "/a/")),
        ("path: /a/, pathType: Exact", (PathKind::Exact, "/a/")),
        ("pathType: ImplementationSpecific", (PathKind::Prefix, "/")),
        ("path: '/a b', pathType: Prefix", (PathKind::Prefix, "/a b")),
    ] {
        let read = ingress(&path(part));
        let IngressPath { kind, text, .. } = &read.rules[0].paths[0];
        assert_eq!((*kind, &**text), want, "{part}");
    }
    let odd = path("path: //a, pathType: ImplementationSpecific");
    assert!(ingress(&odd).rules[0].paths.is_empty());
    let encoded = path("path: /a%20b, pathType: Prefix");
    warns(
        &[
            (&odd, "spec.rules[0].http.paths[0].path: no request has a path like"),
            (&encoded, "spec.rules[0].http.paths[0].path: '%' is literal"),
        ],
        str::to_owned,
    );
}

#[test]
fn hosts_are_names() {
    let rule = |host: &str| {
        spec(&format!("rules: [{{{host}}}], defaultBackend: {{service: {{name: a, port: {{number: 1}}}}}}"))
    };
    for (host, want) in [
        ("example.com", ""),
        ("*.example.com", ""),
        ("", ""),
        ("10.0.0.1", "must be a DNS name, not an IP address"),
        ("::1", "must be a DNS name, not an IP address"),
        ("Example.com", "\"Example.com\" must be a DNS name"),
        ("*", "\"*\" must be '*.' and a DNS name"),
        ("a.*.com", "\"a.*.com\" must be '*.'"),
        ("*.*.com", "\"*.*.com\" must be '*.'"),
        ("example.com:80", "\"example.com:80\" must be"),
    ] {
        let want = |at: &str| if want.is_empty() { String::new() } else { format!("{at}: {want}") };
        holds(&[(&format!("host: '{host}'"), &want("spec.rules[0].host"))], rule);
        if !host.is_empty() {
            let tls = |host: &str| {
                spec(&format!(
                    "tls: [{{hosts: ['{host}'], secretName: a}}], defaultBackend: {{service: {{name: a, port: {{number: 1}}}}}}"
                ))
            };
            holds(&[(host, &want("spec.tls[0].hosts[0]"))], tls);
        }
    }
    let wildcard = ingress(&rule("host: '*.example.com'"));
    assert_eq!(format!("{:?}", wildcard.rules[0].host), "WildcardLabel(\"example.com\")");
}

#[test]
fn a_backend_is_a_service_or_a_resource() {
    let backend = |part: &str| spec(&format!("defaultBackend: {{{part}}}"));
    let resource = "resource: {apiGroup: a.com, kind: Bucket, name: a}";
    holds(
        &[
            ("service: {name: web, port: {number: 80}}", ""),
            ("service: {name: web, port: {name: http}}", ""),
            (resource, ""),
            (
                &format!("{resource}, service: {{name: web, port: {{number: 80}}}}"),
                "spec.defaultBackend: must not have both service and resource",
            ),
            ("", "spec.defaultBackend: must have a service or a resource"),
            ("service: {name: web}", "spec.defaultBackend.service.port: must have a name or a number"),
            (
                "service: {name: web, port: {}}",
                "spec.defaultBackend.service.port: must have a name or a number",
            ),
            (
                "service: {name: web, port: {name: http, number: 80}}",
                "spec.defaultBackend.service.port: must not have both",
            ),
            (
                "service: {name: web, port: {number: 65536}}",
                "spec.defaultBackend.service.port.number: must be between",
            ),
            ("service: {name: web, port: {name: HTTP}}", "spec.defaultBackend.service.port.name:"),
            ("service: {name: Web, port: {number: 80}}", "spec.defaultBackend.service.name:"),
            ("service: {port: {number: 80}}", "spec.defaultBackend.service.name:"),
            ("resource: {kind: '', name: a}", "spec.defaultBackend.resource.kind: is required"),
            ("resource: {kind: A, name: ''}", "spec.defaultBackend.resource.name: is required"),
        ],
        backend,
    );
    warns(&[(resource, "spec.defaultBackend.resource: is not supported")], backend);
}

#[test]
fn an_ingress_has_something_to_do() {
    holds(
        &[
            ("", "spec: must have defaultBackend or rules"),
            ("rules: []", "spec: must have defaultBackend or rules"),
            (
                "rules: [{host: a.com, http: {paths: []}}]",
                "spec.rules[0].http.paths: must have at least 1 entry",
            ),
            ("rules: [{host: a.com}]", ""),
            ("rules: [{host: a.com}], tls: [{}]", ""),
            ("rules: [{host: a.com}], tls: [{secretName: A}]", "spec.tls[0].secretName:"),
            ("rules: [{host: a.com}], tls: [{hosts: ['']}]", "spec.tls[0].hosts[0]: must not be empty"),
            ("rules: [{host: a.com}], ingressClassName: A", "spec.ingressClassName:"),
        ],
        spec,
    );
}

#[test]
fn annotations_are_read_or_named() {
    let with =
        |annotations: &str| document(annotations, "rules: [{host: a.com}], ingressClassName: portcullis");
    holds(
        &[
            ("kubernetes.io/ingress.class: portcullis", ""),
            (
                "kubernetes.io/ingress.class: nginx",
                "metadata.annotations.kubernetes.io/ingress.class: must be the same",
            ),
        ],
        with,
    );
    let unserved = "nginx.ingress.kubernetes.io/enable-rewrite-log";
    warns(
        &[
            (&format!("{unserved}: 'true'"), &format!("metadata.annotations.{unserved}: is not served")),
            (
                "nginx.ingress.kubernetes.io/ssl-redirect: 'on'",
                "metadata.annotations.nginx.ingress.kubernetes.io/ssl-redirect: \"on\"",
            ),
        ],
        with,
    );
    let legacy = document("kubernetes.io/ingress.class: nginx", "rules: [{host: a.com}]");
    assert_eq!(ingress(&legacy).legacy_class.as_deref(), Some("nginx"));
}

#[test]
fn an_ingress_class_names_its_controller() {
    holds(
        &[
            ("controller: portcullis.dev/ingress-controller", ""),
            ("controller: a.com/b, parameters: {kind: A, name: a, scope: Namespace, namespace: ns}", ""),
            ("{}", "spec"),
            ("controller: ''", "spec.controller: is required"),
            ("controller: abc", "spec.controller:"),
            (
                "controller: a.com/b, parameters: {kind: A, name: a, namespace: ns}",
                "spec.parameters.namespace: must not",
            ),
            (
                "controller: a.com/b, parameters: {kind: A, name: a, scope: Namespace}",
                "spec.parameters.namespace: is required",
            ),
            (
                "controller: a.com/b, parameters: {kind: A, name: a, scope: Other}",
                "spec.parameters.scope: must be",
            ),
            ("controller: a.com/b, parameters: {name: a}", "spec.parameters.kind: is required"),
        ],
        |part| {
            let spec = if part == "{}" { part.to_owned() } else { format!("{{{part}}}") };
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: a}}\nspec: {spec}"
            )
        },
    );
}
