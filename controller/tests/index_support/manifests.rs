//! A manifest of each kind.

use std::sync::LazyLock;

use portcullis_controller::{ir::Kind, translate::service_name};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use super::{ADDRESSES, Bits, CLASSES, HOSTS, INGRESS_CLASSES, NAMES, NAMESPACES, PATHS, TIMES, UIDS};

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
        Kind::ReferenceGrant => grant(bits),
        Kind::Ingress => ingress(bits),
        Kind::IngressClass => ingress_class(bits),
        Kind::Service => service(bits),
        Kind::EndpointSlice => slice(bits),
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

/// Settings of the shared addresses, in the ConfigMap that is read or in another one. Policies may refer to either.
fn settings(bits: &mut Bits) -> Value {
    let mut data = json!({ "first-namespace-owns": bits.of(&["true", "true", "false", "wrong"]) });
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

fn gateway_class(bits: &mut Bits) -> Value {
    let ours = !bits.one_in(4);
    let mut spec = json!({ "controllerName": if ours { "portcullis.dev/gateway-controller" } else { "example.com/other" } });
    if bits.one_in(2) {
        spec["parametersRef"] = parameters_ref(bits);
        spec["parametersRef"]["namespace"] = bits.of(&NAMESPACES).into();
    }
    json!({ "spec": spec })
}

fn gateway(bits: &mut Bits) -> Value {
    let listeners: Vec<_> = (0..=bits.below(3)).map(|index| listener(index, bits)).collect();
    let mut spec = json!({ "gatewayClassName": bits.of(&["c", "c", "c", "d"]), "listeners": listeners });
    match bits.below(4) {
        0 => spec["infrastructure"] = json!({ "parametersRef": parameters_ref(bits) }),
        1 => {
            let routability = bits.of(&["", "", "Cluster", "example.com/other"]);
            spec["addresses"] = json!([{ "value": bits.of(&ADDRESSES), "routability": routability }]);
            if bits.one_in(2) {
                spec["addresses"][0].as_object_mut().unwrap().remove("value");
            }
        }
        2 => spec["tls"] = json!({ "backend": { "clientCertificateRef": reference("Secret", bits) } }),
        _ => {}
    }
    match bits.below(4) {
        0 => {}
        1 => spec["allowedListeners"] = json!({ "namespaces": { "from": "Same" } }),
        2 => {
            let selector = json!({ "matchLabels": { "team": "red" } });
            spec["allowedListeners"] = json!({ "namespaces": { "from": "Selector", "selector": selector } });
        }
        _ => spec["allowedListeners"] = json!({ "namespaces": { "from": "All" } }),
    }
    json!({ "metadata": { "uid": bits.of(&UIDS) }, "spec": spec })
}

fn listener_set(bits: &mut Bits) -> Value {
    let listeners: Vec<_> = (0..=bits.below(2)).map(|index| listener(index, bits)).collect();
    let parent = json!({ "name": bits.of(&NAMES), "namespace": bits.of(&NAMESPACES) });
    json!({ "spec": { "parentRef": parent, "listeners": listeners } })
}

fn parameters_ref(bits: &mut Bits) -> Value {
    let kind = if bits.one_in(8) { "Other" } else { "GatewayParameters" };
    json!({ "group": "portcullis.dev", "kind": kind, "name": bits.of(&NAMES) })
}

fn parameters(bits: &mut Bits) -> Value {
    let mut spec = json!({ "service": { "annotations": { "a": bits.of(&["b", "c"]) } } });
    match bits.below(6) {
        0 => {}
        1 => spec["addressing"] = "Shared".into(),
        2 => spec["addressing"] = "Wrong".into(),
        _ => spec["addressing"] = "Dedicated".into(),
    }
    json!({ "spec": spec })
}

/// The Service of a Gateway, or one that claims to be; with few ports of ours, so that claims meet.
fn gateway_service(bits: &mut Bits) -> Value {
    let ports = [80, 443, 8080].iter().map(|port| {
        let target = bits.of(&[20_000, 20_001, 20_002, 9_999]);
        json!({ "name": format!("port-{port}"), "port": port, "targetPort": target })
    });
    let ports: Vec<_> = ports.collect();
    let mut service = json!({
        "metadata": {
            "name": service_name(bits.of(&NAMES)),
            "labels": { "portcullis.dev/addressing": bits.of(&["Dedicated", "Dedicated", "Dedicated", "Shared"]) },
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "x", "uid": bits.of(&UIDS),
            }],
        },
        "spec": { "type": "LoadBalancer", "ports": ports },
    });
    if bits.one_in(2) {
        service["spec"]["clusterIPs"] = json!([bits.of(&ADDRESSES)]);
    }
    if bits.one_in(2) {
        service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": bits.of(&ADDRESSES) }] } });
    }
    service
}

/// A listener of streams or datagrams, on ports that listeners of requests also use.
fn stream_listener(index: usize, bits: &mut Bits) -> Value {
    let protocol = bits.of(&["TLS", "TLS", "TCP", "UDP"]);
    let port = if protocol == "TLS" { bits.of(&[443, 443, 8443]) } else { bits.of(&[53, 53, 8080, 443]) };
    let mut listener = json!({
        "name": format!("l{index}"),
        "port": port,
        "protocol": protocol,
        "allowedRoutes": { "namespaces": { "from": bits.of(&["All", "All", "Same"]) } },
    });
    if protocol == "TLS" {
        listener["tls"] = match bits.below(2) {
            0 => json!({ "mode": "Passthrough" }),
            _ => json!({ "certificateRefs": [reference("Secret", bits)] }),
        };
        if bits.one_in(2) {
            listener["hostname"] = bits.of(&HOSTS).into();
        }
    }
    listener
}

fn listener(index: usize, bits: &mut Bits) -> Value {
    if bits.one_in(3) {
        return stream_listener(index, bits);
    }
    let tls = bits.one_in(3);
    let port = if tls { bits.of(&[443, 443, 8443, 80]) } else { bits.of(&[80, 80, 80, 8080]) };
    let from = match bits.below(4) {
        0 => json!({ "from": "Same" }),
        1 => json!({ "from": "Selector", "selector": { "matchLabels": { "team": "red" } } }),
        _ => json!({ "from": "All" }),
    };
    let mut listener = json!({
        "name": format!("l{index}"),
        "port": port + if bits.one_in(2) { index as u64 } else { 0 },
        "protocol": if tls { "HTTPS" } else { "HTTP" },
        "allowedRoutes": { "namespaces": from },
    });
    if bits.one_in(2) {
        listener["hostname"] = bits.of(&HOSTS).into();
    }
    // The API wants combinations of port, protocol and hostname to be unique in a Gateway.
    if index > 0 && listener.get("hostname").is_none() {
        listener["hostname"] = format!("l{index}.test").into();
    }
    if tls {
        listener["tls"] = json!({ "certificateRefs": [reference("Secret", bits)] });
    }
    if bits.one_in(3) {
        let filters: Vec<_> = (0..=bits.below(2)).map(|_| listener_filter(bits)).collect();
        listener["filters"] = json!({ "requests": filters });
    }
    listener
}

fn listener_filter(bits: &mut Bits) -> Value {
    if bits.one_in(8) {
        let extension = json!({ "group": "example.com", "kind": "Other", "name": bits.of(&NAMES) });
        return json!({ "type": "ExtensionRef", "extensionRef": extension });
    }
    let mut auth = json!({ "backendRef": reference("Service", bits) });
    match bits.of(&["HTTP", "HTTP", "GRPC"]) {
        "HTTP" => {
            auth["http"] = json!({ "allowedResponseHeaders": [bits.of(&["x", "x", "y", "Connection"])] })
        }
        _ => auth["grpc"] = json!({}),
    }
    auth["protocol"] = if auth.get("http").is_some() { "HTTP" } else { "GRPC" }.into();
    json!({ "type": "ExternalAuth", "externalAuth": auth })
}

fn reference(kind: &str, bits: &mut Bits) -> Value {
    let mut reference = json!({ "kind": kind, "name": bits.of(&NAMES) });
    if bits.one_in(2) {
        reference["namespace"] = bits.of(&NAMESPACES).into();
    }
    if kind == "Service" {
        reference["port"] = bits.of(&[80, 80, 81]).into();
    }
    reference
}

fn parents(bits: &mut Bits) -> Vec<Value> {
    let parent = |bits: &mut Bits| {
        let mut parent = json!({ "name": bits.of(&NAMES), "namespace": bits.of(&NAMESPACES) });
        if bits.one_in(3) {
            parent["sectionName"] = bits.of(&["l0", "l1"]).into();
        }
        if bits.one_in(4) {
            parent["kind"] = "ListenerSet".into();
        }
        parent
    };
    let first = parent(bits);
    let second = parent(bits);
    // Parents must be told apart.
    let told_apart = first["name"] != second["name"] || first["namespace"] != second["namespace"];
    if told_apart && bits.one_in(2) { vec![first, second] } else { vec![first] }
}

fn hostnames(bits: &mut Bits) -> Value {
    match bits.below(3) {
        0 => json!([]),
        1 => json!([bits.of(&HOSTS)]),
        _ => json!(["h.test", "*.test"]),
    }
}

fn http_route(bits: &mut Bits) -> Value {
    let rules: Vec<_> = (0..=bits.below(2))
        .map(|_| {
            let backends: Vec<_> = (0..bits.below(3)).map(|_| reference("Service", bits)).collect();
            let mut one =
                json!({ "path": { "type": bits.of(&["PathPrefix", "Exact"]), "value": bits.of(&PATHS) } });
            if bits.one_in(4) {
                one["path"]["type"] = "RegularExpression".into();
            }
            if bits.one_in(4) {
                let value = bits.of(&["a+", "b+", "(", "\\p{nothing}"]);
                one["headers"] = json!([{ "type": "RegularExpression", "name": "x", "value": value }]);
            }
            json!({ "matches": [one], "backendRefs": backends })
        })
        .collect();
    json!({ "spec": { "parentRefs": parents(bits), "hostnames": hostnames(bits), "rules": rules } })
}

fn grpc_route(bits: &mut Bits) -> Value {
    let rules = json!([{
        "matches": [{ "method": { "service": bits.of(&["s.A", "s.B"]), "method": "M" } }],
        "backendRefs": [reference("Service", bits)],
    }]);
    json!({ "spec": { "parentRefs": parents(bits), "hostnames": hostnames(bits), "rules": rules } })
}

/// One Gateway with listeners of streams and datagrams, in one of a few variants.
pub(crate) fn stream_gateway(bits: &mut Bits) -> Value {
    let tls = match bits.below(3) {
        0 => {
            json!({ "name": "l2", "port": 443, "protocol": "HTTPS", "tls": { "certificateRefs": [{ "name": "x" }] } })
        }
        1 => {
            let mut tls =
                json!({ "name": "l2", "port": 443, "protocol": "TLS", "tls": { "mode": "Passthrough" } });
            tls["hostname"] = bits.of(&HOSTS).into();
            tls
        }
        _ => {
            json!({ "name": "l2", "port": 8443, "protocol": "TLS", "tls": { "certificateRefs": [{ "name": "x" }] } })
        }
    };
    let port = bits.of(&[53, 53, 54]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "namespace": "a", "name": "x", "uid": "uid-1" },
        "spec": { "gatewayClassName": "c", "listeners": [
            { "name": "l0", "port": port, "protocol": "TCP" },
            { "name": "l1", "port": 53, "protocol": "UDP" },
            tls,
        ] },
    })
}

/// A route that claims the streams of the Gateway of [`stream_gateway`], if it is in that Gateway's namespace.
pub(crate) fn stream_route(bits: &mut Bits) -> Value {
    let kind = bits.of(&[Kind::TlsRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute]);
    let mut route = manifest_of(kind, bits);
    route["metadata"]["namespace"] = bits.of(&["a", "a", "a", "b"]).into();
    route["spec"]["parentRefs"] = json!([{ "namespace": "a", "name": "x" }]);
    if bits.one_in(4) {
        route["spec"]["parentRefs"][0]["sectionName"] = bits.of(&["l0", "l1", "l2"]).into();
    }
    route
}

fn tls_route(bits: &mut Bits) -> Value {
    let hostnames = if bits.one_in(2) { json!([bits.of(&HOSTS)]) } else { json!(["h.test", "*.test"]) };
    let mut route = port_route(bits);
    route["spec"]["hostnames"] = hostnames;
    route
}

fn port_route(bits: &mut Bits) -> Value {
    let backends: Vec<_> = (0..=bits.below(2)).map(|_| reference("Service", bits)).collect();
    json!({ "spec": { "parentRefs": parents(bits), "rules": [{ "backendRefs": backends }] } })
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
        0 => add("nginx.ingress.kubernetes.io/auth-url", "http://auth.test"),
        1 => add("nginx.ingress.kubernetes.io/auth-tls-secret", "a/x"),
        2 => add("nginx.ingress.kubernetes.io/no-such-annotation", ""),
        _ => {}
    }
    if bits.one_in(8) {
        add("nginx.ingress.kubernetes.io/use-regex", "true");
    }
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
