//! A manifest of each kind.

mod gateways;
mod hosts;
mod patterns;
mod routes;
mod sharing;

use std::sync::LazyLock;

use portcullis_controller::ir::Kind;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use super::{Bits, CLASSES, HOSTS, INGRESS_CLASSES, NAMES, NAMESPACES, PATHS, TIMES};
pub(crate) use gateways::stream_gateway;
use gateways::{gateway, gateway_class, gateway_service, listener_set, parameters};
pub(crate) use hosts::{beside_hosts, host_ingress, own_ingress_class};
pub(crate) use patterns::with_patterns;
pub(crate) use routes::stream_route;
use routes::{grpc_route, http_route, port_route, tls_route};
use sharing::of_services;
pub(crate) use sharing::{sharing_ingress, sharing_services};

pub(super) fn manifest_of(kind: Kind, bits: &mut Bits) -> Value {
    let mut manifest = match kind {
        Kind::GatewayClass => gateway_class(bits),
        Kind::Gateway => gateway(bits),
        Kind::ListenerSet => listener_set(bits),
        Kind::GatewayParameters => parameters(bits),
        Kind::HttpRoute => http_route(bits),
        Kind::GrpcRoute => grpc_route(bits),
        Kind::TlsRoute => tls_route(bits),
        Kind::TcpRoute | Kind::UdpRoute => port_route(bits),
        Kind::BackendTlsPolicy => backend_tls_policy(bits),
        Kind::XBackend => x_backend(bits),
        Kind::ReferenceGrant => grant(bits),
        Kind::Ingress => ingress(bits),
        Kind::IngressClass => ingress_class(bits),
        Kind::Service => service(bits),
        Kind::EndpointSlice => slice(bits),
        Kind::Pod => pod(bits),
        Kind::Secret => secret(bits),
        Kind::Namespace => json!({}),
        Kind::ConfigMap => settings(bits),
        Kind::ClusterTrustBundle => trust_bundle(bits),
    };
    manifest["apiVersion"] = kind.resource().api_version.into();
    manifest["kind"] = kind.as_str().into();
    let metadata = manifest.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
    match kind {
        Kind::GatewayClass => metadata["name"] = bits.of(&CLASSES).into(),
        Kind::IngressClass => metadata["name"] = bits.of(&INGRESS_CLASSES).into(),
        Kind::ClusterTrustBundle => metadata["name"] = bits.of(&NAMES).into(),
        Kind::Namespace => {
            metadata["name"] = bits.of(&NAMESPACES).into();
            metadata["labels"] = json!({ "team": bits.of(&["red", "blue"]) });
        }
        _ => {
            // The Service of a Gateway has a name of its own.
            if metadata.get("name").is_none() {
                metadata["name"] = bits.of(&NAMES).into();
            }
            metadata["namespace"] = bits.of(&NAMESPACES).into();
        }
    }
    if bits.one_in(2) {
        metadata["creationTimestamp"] = bits.of(&TIMES).into();
    }
    manifest
}

/// Settings of the shared addresses, or TCP and UDP services, in a ConfigMap that is read as such or in another one. Policies
/// may refer to any.
fn settings(bits: &mut Bits) -> Value {
    let mut data = json!({
        "first-namespace-owns": bits.of(&["true", "true", "false", "wrong"]),
        "force-ssl-redirect": bits.of(&["true", "false"]),
    });
    if bits.one_in(2) {
        let hostnames = |bits: &mut Bits| bits.of(&["'*'", "'*', h.test", "'*.test'", "h.test, '*.h.test'"]);
        let (of_red, of_all) = (hostnames(bits), hostnames(bits));
        data["shared-hostnames"] = format!(
            "[{{namespaceSelector: {{matchLabels: {{team: red}}}}, hostnames: [{of_red}]}}, \
             {{namespaceSelector: {{}}, hostnames: [{of_all}]}}]"
        )
        .into();
    }
    for limit in ["max-listeners-per-namespace", "max-ports-per-namespace", "max-certificates-per-namespace"]
    {
        if bits.one_in(4) {
            data[limit] = bits.of(&["0", "1", "2"]).into();
        }
    }
    if bits.one_in(4) {
        data["max-connections"] = "7".into();
    }
    // The ConfigMap may be one of TCP or UDP services instead.
    for port in ["53", "443", "8080", "9000"] {
        if bits.one_in(3) {
            let services = ["a/x:80", "b/y:81:PROXY", "a/x:http::PROXY", "a/y:80", "wrong"];
            data[port] = bits.of(&services).into();
        }
    }
    match bits.below(4) {
        0 => {}
        1 => data["ca.crt"] = "no certificate".into(),
        n => data["ca.crt"] = PAIRS[n % 2].0.clone().into(),
    }
    json!({ "data": data })
}

fn trust_bundle(bits: &mut Bits) -> Value {
    let certificates = bits.of(&[&*PAIRS[0].0, &*PAIRS[1].0, "no certificate"]);
    json!({ "spec": { "trustBundle": certificates } })
}

/// Of Pods or of a hostname, with or without TLS and persistence.
fn x_backend(bits: &mut Bits) -> Value {
    let mut spec = json!({ "port": { "number": bits.of(&[80, 81]) } });
    match bits.one_in(4) {
        true => {
            spec["type"] = "ExternalHostname".into();
            spec["externalHostname"] = json!({ "hostname": "h.test" });
        }
        false => {
            spec["type"] = "EndpointSelector".into();
            spec["endpointSelector"] = json!({ "matchLabels": { "team": bits.of(&["red", "blue"]) } });
            if bits.one_in(2) {
                spec["sessionPersistence"] = json!({ "cookie": { "name": bits.of(&["a", "b"]) } });
            }
        }
    }
    if bits.one_in(2) {
        let authority = json!({ "group": "", "kind": "ConfigMap", "name": bits.of(&NAMES) });
        let validation = json!({ "hostname": "h.test", "caCertificateRefs": [authority] });
        spec["tls"] = json!({ "mode": "ServerOnly", "validation": validation });
        if bits.one_in(2) {
            spec["tls"]["mode"] = "ClientAndServer".into();
            spec["tls"]["clientCertificateRef"] =
                json!({ "name": bits.of(&NAMES), "namespace": bits.of(&NAMESPACES) });
        }
    }
    json!({ "spec": spec })
}

fn pod(bits: &mut Bits) -> Value {
    let ready = bits.of(&["True", "True", "False"]);
    let mut pod = json!({
        "metadata": { "labels": { "team": bits.of(&["red", "blue"]) } },
        "spec": {},
        "status": {
            "podIP": bits.of(&["10.0.1.1", "10.0.1.2"]),
            "conditions": [{ "type": "Ready", "status": ready }],
        },
    });
    if bits.one_in(4) {
        pod["metadata"]["deletionTimestamp"] = TIMES[0].into();
    }
    pod
}

/// For one or two targets, which may have been chosen by others too.
fn backend_tls_policy(bits: &mut Bits) -> Value {
    let mut target = || {
        let mut target = json!({ "group": "", "kind": "Service", "name": bits.of(&NAMES) });
        if let Some(section) = bits.of(&[None, Some("web"), Some("more"), Some("absent")]) {
            target["sectionName"] = section.into();
        }
        target
    };
    let targets = [target(), target()];
    let targets = &targets[..1 + bits.below(2)];
    let reference = |bits: &mut Bits| {
        let (group, kind) = match bits.below(8) {
            0 => ("", "Secret"),
            1 | 2 => ("certificates.k8s.io", "ClusterTrustBundle"),
            _ => ("", "ConfigMap"),
        };
        json!({ "group": group, "kind": kind, "name": bits.of(&NAMES) })
    };
    let mut validation = json!({ "hostname": bits.of(&HOSTS.map(|host| host.trim_start_matches("*."))) });
    match bits.below(6) {
        0 => validation["wellKnownCACertificates"] = "System".into(),
        1 => validation["wellKnownCACertificates"] = "example.com/own".into(),
        2 => validation["caCertificateRefs"] = json!([reference(bits), reference(bits)]),
        _ => validation["caCertificateRefs"] = json!([reference(bits)]),
    }
    if bits.one_in(3) {
        validation["subjectAltNames"] = json!([{ "type": "URI", "uri": "spiffe://a.test/b" }]);
    }
    json!({ "spec": { "targetRefs": targets, "validation": validation } })
}

fn grant(bits: &mut Bits) -> Value {
    let (from, to) = bits.of(&[
        ("HTTPRoute", "Service"),
        ("GRPCRoute", "Service"),
        ("TLSRoute", "Service"),
        ("UDPRoute", "Service"),
        ("Gateway", "Service"),
        ("ListenerSet", "Service"),
        ("Gateway", "Secret"),
        ("ListenerSet", "Secret"),
    ]);
    let mut target = json!({ "group": "", "kind": to });
    if bits.one_in(2) {
        target["name"] = bits.of(&NAMES).into();
    }
    json!({ "spec": {
        "from": [{ "group": "gateway.networking.k8s.io", "kind": from, "namespace": bits.of(&NAMESPACES) }],
        "to": [target],
    } })
}

fn ingress(bits: &mut Bits) -> Value {
    let backend = |bits: &mut Bits| {
        let port =
            if bits.one_in(4) { json!({ "name": "web" }) } else { json!({ "number": bits.of(&[80, 81]) }) };
        json!({ "service": { "name": bits.of(&NAMES), "port": port } })
    };
    let mut spec = json!({});
    let rules: Vec<_> = (0..bits.below(3))
        .map(|_| {
            let path = json!({
                "path": bits.of(&PATHS),
                "pathType": bits.of(&["Prefix", "Exact"]),
                "backend": backend(bits),
            });
            let mut rule = json!({ "http": { "paths": [path] } });
            if !bits.one_in(4) {
                rule["host"] = bits.of(&HOSTS).into();
            }
            rule
        })
        .collect();
    if rules.is_empty() || bits.one_in(3) {
        spec["defaultBackend"] = backend(bits);
    }
    if !rules.is_empty() {
        spec["rules"] = rules.into();
    }
    match bits.below(4) {
        0 => spec["tls"] = json!([{ "hosts": ["h.test"], "secretName": bits.of(&NAMES) }]),
        1 => spec["tls"] = json!([{ "hosts": [bits.of(&HOSTS)] }]),
        _ => {}
    }
    match bits.below(5) {
        0 => {}
        1 => spec["ingressClassName"] = "other".into(),
        _ => spec["ingressClassName"] = "portcullis".into(),
    }
    json!({ "metadata": { "annotations": annotations(bits) }, "spec": spec })
}

/// What closes paths and hosts, and what changes whether it does.
fn annotations(bits: &mut Bits) -> Value {
    let mut annotations = json!({});
    let mut add = |name: &str, value: &str| annotations[name] = value.into();
    match bits.below(10) {
        0 => add("nginx.ingress.kubernetes.io/enable-modsecurity", "true"),
        1 => add("nginx.ingress.kubernetes.io/auth-tls-secret", "a/x"),
        2 => add("nginx.ingress.kubernetes.io/no-such-annotation", ""),
        3 => {
            add("nginx.ingress.kubernetes.io/auth-url", "http://auth.test");
            add("nginx.ingress.kubernetes.io/auth-proxy-set-headers", "a/x");
        }
        4 => add("nginx.ingress.kubernetes.io/ssl-passthrough", "true"),
        _ => {}
    }
    if bits.one_in(8) {
        add("nginx.ingress.kubernetes.io/use-regex", "true");
    }
    of_services(bits, &mut add);
    if bits.one_in(8) {
        add("portcullis.dev/unsupported", "ignore");
    }
    annotations
}

fn ingress_class(bits: &mut Bits) -> Value {
    let annotations = if bits.one_in(2) {
        json!({ "ingressclass.kubernetes.io/is-default-class": "true" })
    } else {
        json!({})
    };
    let controller = bits.of(&["portcullis.dev/ingress-controller", "example.com/other"]);
    json!({ "metadata": { "annotations": annotations }, "spec": { "controller": controller } })
}

fn service(bits: &mut Bits) -> Value {
    if bits.one_in(2) {
        return gateway_service(bits);
    }
    let port = |number: u64, name: &str, bits: &mut Bits| {
        let mut port = json!({ "name": name, "port": number });
        if bits.one_in(4) {
            port["appProtocol"] = bits.of(&["kubernetes.io/h2c", "kubernetes.io/ws", "https"]).into();
        }
        port
    };
    let first = port(80, "web", bits);
    let cluster_ip = bits.of(&["10.96.0.1", "10.96.0.2", "None"]);
    let mut service = match bits.below(5) {
        0 => json!({ "spec": { "type": "ExternalName", "externalName": "elsewhere.test" } }),
        1 => {
            let udp = json!({ "name": "udp", "port": 80, "protocol": "UDP" });
            json!({ "spec": { "clusterIP": cluster_ip, "ports": [first, udp] } })
        }
        2 => json!({ "spec": { "clusterIP": cluster_ip, "ports": [first, port(81, "more", bits)] } }),
        _ => json!({ "spec": { "clusterIP": cluster_ip, "ports": [first] } }),
    };
    if bits.one_in(4) {
        service["metadata"]["annotations"]["portcullis.dev/proxy-protocol"] =
            bits.of(&["v1", "v2", "v3"]).into();
    }
    service
}

fn slice(bits: &mut Bits) -> Value {
    let endpoints: Vec<_> = (0..bits.below(3))
        .map(|_| {
            let ready = !bits.one_in(3);
            json!({
                "addresses": [format!("10.0.0.{}", 1 + bits.below(3))],
                "conditions": { "ready": ready, "serving": true, "terminating": !ready },
            })
        })
        .collect();
    json!({
        "metadata": { "labels": { "kubernetes.io/service-name": bits.of(&NAMES) } },
        "addressType": "IPv4",
        "ports": [
            { "name": bits.of(&["web", "more"]), "port": 8080 },
            { "name": "udp", "port": 8080, "protocol": bits.of(&["UDP", "UDP", "TCP"]) },
        ],
        "endpoints": endpoints,
    })
}

/// Certificate and key in PEM.
static PAIRS: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
    [["h.test", "*.test"], ["g.h.test", "x.test"]].map(|names| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names.map(String::from)).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    })
});

fn secret(bits: &mut Bits) -> Value {
    let (certificate, key) = match bits.below(4) {
        0 => (PAIRS[0].0.clone(), PAIRS[1].1.clone()), // of two that do not belong together
        n => PAIRS[n % 2].clone(),
    };
    json!({ "type": "kubernetes.io/tls", "stringData": { "tls.crt": certificate, "tls.key": key } })
}
