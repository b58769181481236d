//! `portcullis check` as a process: what it prints and how it ends.

#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

#[test]
fn the_quickstart_would_be_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    let (code, text) = check(&[folder.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    for object in
        ["Ingress default/yourdomain", "Gateway shop/public", "HTTPRoute shop/shop", "GRPCRoute shop/greeter"]
    {
        assert!(text.contains(&format!("{object}: accepted")), "{object} in {text}");
    }
}

#[test]
fn what_is_refused_is_named_with_its_place_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("route.yaml");
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop}\n\
                 spec:\n  rules:\n  - matches: [{path: {type: PathPrefix, value: no-slash}}]\n";
    std::fs::write(&file, route).unwrap();
    let (code, text) = check(&[file.to_str().unwrap()]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("route.yaml:1: HTTPRoute shop/web: refused"), "{text}");
    assert!(text.contains("spec.rules[0].matches[0].path"), "{text}");

    let (code, text) = check(&["--format", "json", file.to_str().unwrap()]);
    assert_eq!(code, 1, "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["objects"][0]["object"], "HTTPRoute shop/web");
    assert_eq!(report["objects"][0]["verdict"], "refused");
}

#[test]
fn an_ingress_host_without_a_secret_is_served_over_tls_as_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: shop}\n\
        spec:\n  ingressClassName: portcullis\n  tls: [{hosts: [a.example]}]\n  rules:\n  - host: a.example\n    \
        http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n---\n\
        apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n";
    std::fs::write(folder.path().join("web.yaml"), manifests).unwrap();
    let (code, text) = check(&[folder.path().to_str().unwrap()]);
    assert!(text.contains("Ingress shop/web: accepted"), "{text}");
    assert!(!text.contains("plain HTTP only"), "{text}");
    assert_eq!(code, 0, "{text}");
}

#[test]
fn an_invalid_entry_of_tcp_services_is_named_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tcp, namespace: edge}\n\
        data: {'5432': 'shop/db:5432', '5433': 'shop/db', '443': 'shop/db:5432'}\n---\n\
        apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {ports: [{port: 5432}]}\n";
    std::fs::write(folder.path().join("tcp.yaml"), manifests).unwrap();
    let path = folder.path().to_str().unwrap();
    let (code, text) = check(&["--tcp-services-configmap", "edge/tcp", path]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("ConfigMap edge/tcp"), "{text}");
    for (port, is_named) in [("5432", false), ("5433", true), ("443", true)] {
        assert_eq!(text.contains(&format!("data.{port} is not served: ")), is_named, "{port}: {text}");
    }
}

#[test]
fn a_path_that_is_not_there_ends_with_1() {
    let (code, text) = check(&["/nowhere/at/all.yaml"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("/nowhere/at/all.yaml"), "{text}");
}

fn check(arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("check").args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}
