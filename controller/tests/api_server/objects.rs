//! Objects as users write them.

use serde_json::{Value, json};

pub const OURS: &str = "portcullis.dev/gateway-controller";
const GATEWAY: &str = "gateway.networking.k8s.io/v1";

pub fn class() -> Value {
    json!({"apiVersion": GATEWAY, "kind": "GatewayClass", "metadata": {"name": "portcullis"}, "spec": {"controllerName": OURS}})
}

pub fn gateway(name: &str) -> Value {
    json!({"apiVersion": GATEWAY, "kind": "Gateway", "metadata": {"namespace": "infra", "name": name},
        "spec": {"gatewayClassName": "portcullis", "listeners": [
            {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]}})
}

/// A Gateway with a listener that shows the certificate in a Secret.
pub fn secure_gateway(name: &str, secret: &str) -> Value {
    let mut gateway = gateway(name);
    gateway["spec"]["listeners"] = json!([{"name": "https", "port": 443, "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"group": "", "kind": "Secret", "name": secret}]}}]);
    gateway
}

/// A route of the namespace `shop` at the Gateway `infra/public`.
pub fn route(name: &str, path: &str) -> Value {
    json!({"apiVersion": GATEWAY, "kind": "HTTPRoute", "metadata": {"namespace": "shop", "name": name},
        "spec": {"parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "public"}],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [
                {"group": "", "kind": "Service", "name": "web", "port": 80, "weight": 1}]}]}})
}

pub fn grant() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"namespace": "shop", "name": "all"},
        "spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "infra"}],
            "to": [{"group": "", "kind": "Service"}]}})
}

pub fn service(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": "ClusterIP", "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]}})
}

pub fn ingress(name: &str, host: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "shop", "name": name},
        "spec": {"ingressClassName": "portcullis", "rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}})
}

/// A Secret with these data, of any type.
pub fn secret(namespace: &str, name: &str, kind: &str, data: &[(&str, &str)]) -> Value {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let data: serde_json::Map<_, _> =
        data.iter().map(|(name, text)| ((*name).to_owned(), encode(text).into())).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "type": kind, "data": data})
}

/// A CRD of the Gateway API, of a release.
pub fn definition(plural: &str, release: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.gateway.networking.k8s.io"), "annotations": {"gateway.networking.k8s.io/bundle-version": release}},
        "spec": {"group": "gateway.networking.k8s.io"}})
}

/// The same CRD in its experimental channel.
pub fn experimental(mut definition: Value) -> Value {
    definition["metadata"]["annotations"]["gateway.networking.k8s.io/channel"] = "experimental".into();
    definition
}
