use super::testing::{decode_text, holds, object, problems, warns};
use crate::{
    ir::{Kind, Object},
    problem::Severity,
};

fn of(api_version: &str, kind: &str, metadata: &str, rest: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{{metadata}}}\n{rest}\n")
}

fn secret(metadata: &str) -> String {
    of("v1", "Secret", metadata, "")
}

#[test]
fn a_document_says_what_it_is() {
    let gateway = "gateway.networking.k8s.io";
    for (api_version, kind, want) in [
        ("v1", "Deployment", "Warning: : v1 Deployment is not a supported kind"),
        ("apps/v1", "Deployment", "Warning: : apps/v1 Deployment is not a supported kind"),
        (
            &format!("{gateway}/v1"),
            "Mesh",
            "Warning: : gateway.networking.k8s.io/v1 Mesh is not a supported kind",
        ),
        // Older releases served it as v1alpha3.
        (&format!("{gateway}/v1alpha3"), "BackendTLSPolicy", "Error: apiVersion:"),
        (
            "extensions/v1beta1",
            "Ingress",
            "Error: apiVersion: extensions/v1beta1 of Ingress is not served; use networking.k8s.io/v1",
        ),
        (
            "networking.k8s.io/v1beta1",
            "Ingress",
            "Error: apiVersion: networking.k8s.io/v1beta1 of Ingress is not served; use",
        ),
        (
            &format!("{gateway}/v1alpha2"),
            "HTTPRoute",
            "Error: apiVersion: gateway.networking.k8s.io/v1alpha2 of HTTPRoute is not",
        ),
        (&format!("{gateway}/v1beta1"), "GRPCRoute", "Error: apiVersion:"),
        // The standard channel of release 1.7 does not serve these versions.
        (&format!("{gateway}/v1alpha3"), "TLSRoute", "Error: apiVersion:"),
        (&format!("{gateway}/v1alpha2"), "TCPRoute", "Error: apiVersion:"),
        (&format!("{gateway}/v1alpha2"), "UDPRoute", "Error: apiVersion:"),
        ("discovery.k8s.io/v1beta1", "EndpointSlice", "Error: apiVersion:"),
        ("v2", "Service", "Error: apiVersion: v2 of Service is not served; use v1"),
        ("v1", "''", "Error: kind: is required"),
        ("''", "Service", "Error: apiVersion: is required"),
        ("1", "Service", "Error: apiVersion: is required, as a text"),
    ] {
        let decoded = decode_text(&of(api_version, kind, "name: a", "spec: {}"));
        let said: Vec<_> = decoded
            .problems
            .iter()
            .map(|p| format!("{:?}: {}: {}", p.severity, p.field, p.message))
            .collect();
        assert!(decoded.object.is_none() && decoded.key.is_none(), "{api_version} {kind}");
        assert!(said.len() == 1 && said[0].starts_with(want), "{api_version} {kind}: {said:?}");
    }
}

#[test]
fn v1beta1_has_the_shape_of_v1() {
    for (kind, spec) in [
        ("GatewayClass", "{controllerName: a.com/b}"),
        ("Gateway", "{gatewayClassName: a, listeners: [{name: a, port: 80, protocol: HTTP}]}"),
        ("HTTPRoute", "{}"),
    ] {
        let read =
            object(&of("gateway.networking.k8s.io/v1beta1", kind, "name: a", &format!("spec: {spec}")));
        assert_eq!(read.meta().key.kind.as_str(), kind);
    }
}

#[test]
fn a_name_has_the_form_of_its_kind() {
    let long = format!("name: {}", "a".repeat(254));
    holds(
        &[
            ("name: a.b-1", ""),
            ("name: A", "metadata.name: \"A\" must be a DNS name"),
            ("name: ''", "metadata.name: is required"),
            ("", "metadata.name: is required"),
            ("generateName: a-", "metadata.generateName: requires an API server"),
            ("name: 1", "metadata.name: has the wrong type: integer `1`, expected a string"),
            (&long, "metadata.name: must have at most 253 characters"),
            ("name: a, namespace: a-1", ""),
            ("name: a, namespace: a.b", "metadata.namespace: \"a.b\" must be a DNS label"),
            ("name: a, labels: {app: web, a.com/b: ''}", ""),
            ("name: a, labels: {'a b': c}", "metadata.labels.a b: \"a b\" must be a name"),
            ("name: a, labels: {a: 'b c'}", "metadata.labels.a: \"b c\" must have at most 63"),
            ("name: a, labels: {a: 1}", "metadata.labels.a: has the wrong type"),
            ("name: a, annotations: {A.com/B: 'any thing'}", ""),
            ("name: a, annotations: {'a b': c}", "metadata.annotations.a b:"),
            ("name: a, creationTimestamp: yesterday", "metadata.creationTimestamp:"),
        ],
        secret,
    );
    let service = |metadata: &str| of("v1", "Service", metadata, "spec: {ports: [{port: 80}]}");
    holds(&[("name: a-1", ""), ("name: 1-a", "metadata.name:"), ("name: a.b", "metadata.name:")], service);
    let namespace = |metadata: &str| of("v1", "Namespace", metadata, "");
    holds(&[("name: 1-a", ""), ("name: a.b", "metadata.name:")], namespace);
    let annotation = format!("name: a, annotations: {{a: {}}}", "x".repeat(256 * 1024));
    holds(&[(&annotation, "metadata.annotations: must have at most 256 KiB")], secret);
}

#[test]
fn metadata_has_defaults() {
    let read = object(&secret("name: a"));
    let meta = read.meta();
    assert_eq!((&*meta.key.namespace, meta.created, meta.generation), ("default", 0, 1));
    let read = object(&secret("name: a, creationTimestamp: '2026-01-02T03:04:05Z'"));
    assert_eq!(read.meta().created, 1_767_323_045);
    let read = object(&secret("name: a, creationTimestamp: null, namespace: ''"));
    assert_eq!((&*read.meta().key.namespace, read.meta().created), ("default", 0));
    let read = object(&of("v1", "Namespace", "name: shop", ""));
    let Object::Namespace(namespace) = &read else { panic!("{read:?}") };
    assert_eq!(&*namespace.labels["kubernetes.io/metadata.name"], "shop");
    assert_eq!(&*read.meta().key.namespace, "");
    warns(&[("name: a, namespace: b", "metadata.namespace: GatewayClass has no namespace")], |metadata| {
        of("gateway.networking.k8s.io/v1", "GatewayClass", metadata, "spec: {controllerName: a.com/b}")
    });
}

#[test]
fn a_version_is_of_the_content() {
    let version = |metadata: &str, rest: &str| object(&of("v1", "ConfigMap", metadata, rest)).meta().version;
    let first = version("name: a", "data: {a: b}");
    assert_eq!(first, version("name: a, resourceVersion: '7', generation: 3", "data: {a: b}"));
    assert_ne!(first, version("name: a", "data: {a: c}"));
    assert_ne!(first, version("name: a, labels: {a: b}", "data: {a: b}"));
    let uid = |metadata: &str| object(&secret(metadata)).meta().uid().into_owned();
    assert_eq!(uid("name: a"), uid("name: a, namespace: default, labels: {a: b}"));
    assert_ne!(uid("name: a"), uid("name: b"));
}

#[test]
fn a_refused_object_keeps_its_name() {
    let decoded = decode_text(&of(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        "name: web, namespace: shop",
        "spec: 7",
    ));
    let key = decoded.key.unwrap();
    assert_eq!((key.kind, &*key.namespace, &*key.name), (Kind::HttpRoute, "shop", "web"));
    assert!(decoded.object.is_none());
    assert_eq!(&*decoded.problems[0].object, "HTTPRoute shop/web");
    let nameless = decode_text(&secret("labels: {}"));
    assert_eq!((nameless.key, &*nameless.problems[0].object), (None, "Secret without a name"));
}

#[test]
fn a_field_beside_the_spec_is_named() {
    let route = |rest: &str| of("gateway.networking.k8s.io/v1", "HTTPRoute", "name: a", rest);
    warns(
        &[
            ("spec: {}\nrules: []", "rules: is not a field of this kind"),
            ("spec: {}\nstatuss: {}", "statuss: is not a field of this kind"),
        ],
        route,
    );
    let quiet = decode_text(&route("spec: {}\nstatus: {parents: []}"));
    assert_eq!(problems(&quiet, Severity::Warning), "");
    holds(&[("specs: {}", "spec: is required")], route);
    warns(&[("name: a, lables: {}", "metadata.lables: is not a field")], secret);
    let once = decode_text(&secret("name: a, lables: {}"));
    assert_eq!(once.problems.len(), 1, "{:?}", once.problems);
}

#[test]
fn problems_say_their_line() {
    let decoded = decode_text(
        "# a route\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: web\nspec:\n  rules:\n  - matches:\n    - path:\n        value: web\n    backendRefs:\n    - name: web\n",
    );
    let said: Vec<_> = decoded.problems.iter().map(|p| (&*p.field, p.place.as_ref().unwrap().line)).collect();
    assert_eq!(
        said,
        [("spec.rules[0].matches[0].path.value", 10), ("spec.rules[0].backendRefs[0].port", 12)]
    );
}
