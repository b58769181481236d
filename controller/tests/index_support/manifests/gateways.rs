//! GatewayClasses, Gateways, ListenerSets and their parameters.

use portcullis_controller::translate::service_name;
use serde_json::{Value, json};

use super::super::{ADDRESSES, Bits, HOSTS, NAMES, NAMESPACES, UIDS};
use super::routes::reference;

pub(super) fn gateway_class(bits: &mut Bits) -> Value {
    let ours = !bits.one_in(4);
    let mut spec = json!({ "controllerName": if ours { "portcullis.dev/gateway-controller" } else { "example.com/other" } });
    if bits.one_in(2) {
        spec["parametersRef"] = parameters_ref(bits);
        spec["parametersRef"]["namespace"] = bits.of(&NAMESPACES).into();
    }
    json!({ "spec": spec })
}

pub(super) fn gateway(bits: &mut Bits) -> Value {
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

pub(super) fn listener_set(bits: &mut Bits) -> Value {
    let listeners: Vec<_> = (0..=bits.below(2)).map(|index| listener(index, bits)).collect();
    let parent = json!({ "name": bits.of(&NAMES), "namespace": bits.of(&NAMESPACES) });
    json!({ "spec": { "parentRef": parent, "listeners": listeners } })
}

pub(super) fn parameters_ref(bits: &mut Bits) -> Value {
    let kind = if bits.one_in(8) { "Other" } else { "GatewayParameters" };
    json!({ "group": "portcullis.dev", "kind": kind, "name": bits.of(&NAMES) })
}

pub(super) fn parameters(bits: &mut Bits) -> Value {
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
pub(super) fn gateway_service(bits: &mut Bits) -> Value {
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
pub(super) fn stream_listener(index: usize, bits: &mut Bits) -> Value {
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

pub(super) fn listener(index: usize, bits: &mut Bits) -> Value {
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

pub(super) fn listener_filter(bits: &mut Bits) -> Value {
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
