//! What fields are likely to say, so that objects meet: few names, and among them those of the backdrop.

use serde_json::Value;

pub(crate) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
/// Of everything; `own` are a Gateway and its parts in the backdrop.
pub(crate) const NAMES: [&str; 4] = ["own", "x", "y", "absent"];
pub(crate) const CLASSES: [&str; 3] = ["c", "d", "e"];
pub(crate) const OURS: &str = "portcullis.dev/gateway-controller";
/// Of labels, annotations and options.
pub(crate) const KEYS: [&str; 5] = ["team", "a.test/b", "portcullis.dev/addressing", "kubernetes.io/x", "A"];

const HOSTS: [&str; 6] = ["h.test", "*.test", "g.h.test", "*.h.test", "x.test", "192.0.2.1"];
const KINDS: [&str; 15] = [
    "Gateway",
    "Gateway",
    "ListenerSet",
    "Service",
    "Service",
    "Secret",
    "ConfigMap",
    "ClusterTrustBundle",
    "GatewayParameters",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "XBackend",
    "Unknown",
];
const GROUPS: [&str; 6] =
    ["", "", "gateway.networking.k8s.io", "portcullis.dev", "certificates.k8s.io", "unknown.test"];

/// The texts that the field at the end of this path is likely to have.
pub(crate) fn texts(path: &[&str]) -> &'static [&'static str] {
    let (last, before) = (path.last().copied().unwrap_or_default(), path.iter().rev().nth(1).copied());
    match (before.unwrap_or_default(), last) {
        ("listeners", "name") | (_, "sectionName") => &["l0", "l1", "l2", "l3", "web", "absent"],
        ("headers" | "set" | "add", "name") | (_, "remove") => {
            &["x-a", "X-A", "host", "content-length", "connection", ":path", "transfer-encoding"]
        }
        ("rules" | "queryParams", "name") => &["r0", "r1", "r2", "r3"],
        ("parentRefs" | "parentRef", "name") => &["own", "own", "own", "x", "y", "absent"],
        ("backendRefs" | "backendRef", "name") => &["x", "x", "y", "absent"],
        ("parentRefs" | "parentRef", "kind") => {
            &["Gateway", "Gateway", "Gateway", "ListenerSet", "Service", "Unknown"]
        }
        ("parentRefs" | "parentRef", "group") => &[
            "gateway.networking.k8s.io",
            "gateway.networking.k8s.io",
            "gateway.networking.k8s.io",
            "",
            "unknown.test",
        ],
        ("backendRefs" | "backendRef" | "targetRefs", "kind") => {
            &["Service", "Service", "XBackend", "XBackend", "Gateway", "Unknown"]
        }
        ("backendRefs" | "backendRef" | "targetRefs", "group") => {
            &["", "", "gateway.networking.x-k8s.io", "gateway.networking.k8s.io", "unknown.test"]
        }
        ("certificateRefs" | "clientCertificateRef", "kind") => &["Secret", "Secret", "Secret", "ConfigMap"],
        ("certificateRefs" | "clientCertificateRef" | "caCertificateRefs", "group") => {
            &["", "", "", "certificates.k8s.io"]
        }
        ("caCertificateRefs", "kind") => &["ConfigMap", "ConfigMap", "Secret", "ClusterTrustBundle"],
        ("header", "name") => &["x-session", "X-Session", "host", "connection", "set-cookie"],
        ("parametersRef", "kind") => &["GatewayParameters", "GatewayParameters", "ConfigMap"],
        ("parametersRef", "group") => &["portcullis.dev", "portcullis.dev", ""],
        (_, "name") => &NAMES,
        (_, "namespace") => &NAMESPACES,
        (_, "kind") => &KINDS,
        (_, "group") => &GROUPS,
        (_, "gatewayClassName") => &["c", "c", "c", "c", "d", "e", "absent"],
        (_, "controllerName") => &[OURS, OURS, OURS, "example.com/other"],
        (_, "protocol") => &["HTTP", "HTTP", "HTTPS", "HTTPS", "TLS", "TCP", "UDP", "example.com/own"],
        (_, "hostname" | "hostnames") => &HOSTS,
        ("addresses", "type") => &["IPAddress", "IPAddress", "Hostname", "NamedAddress", "example.com/own"],
        ("addresses", "value") => &["192.0.2.1", "192.0.2.2", "2001:db8::1", "h.test"],
        ("cookie", "path") => &["/", "/p", "/;a", "/\u{e9}", ""],
        ("spec", "type") => &["EndpointSelector", "EndpointSelector", "ExternalHostname"],
        ("path", "value" | "replaceFullPath" | "replacePrefixMatch") => {
            &["/", "/p", "/p/", "/p/q", "/%41", "/r", "/(a|b)*", "[", "(?i)/P", "/a{1000}{1000}"]
        }
        ("headers" | "queryParams", "value") => &["v", "w", "(", "a+", ""],
        (_, "service") => &["s.A", "s.B", "(", "s\\..*"],
        ("method", "method") => &["M", "N", "["],
        (_, "allowOrigins") => &["*", "https://h.test", "https://*.test", "http://h.test:8080"],
        (_, "allowMethods") => &["*", "GET", "PUT"],
        (_, "allowHeaders" | "exposeHeaders" | "allowedHeaders" | "allowedResponseHeaders") => {
            &["*", "x-a", "X-A", "authorization"]
        }
        (_, "uri") => &["spiffe://h.test/b", "https://h.test"],
        (_, "wellKnownCACertificates") => &["System", "System", "example.com/own"],
        (_, "key") => &["team", "a.test/b", "kubernetes.io/metadata.name"],
        (_, "operator") => &["In", "NotIn", "Exists", "DoesNotExist", "Unknown"],
        (_, "values" | "matchLabels") => &["red", "blue", "a", ""],
        (_, "request" | "backendRequest" | "backoff" | "absoluteTimeout" | "idleTimeout") => {
            &["0s", "1s", "10ms", "99999h99999h99999h99999h", "1h1m1s1ms"]
        }
        (_, "loadBalancerSourceRanges") => &["192.0.2.0/24", "::/0", "192.0.2.0", "x"],
        _ => &[],
    }
}

/// The numbers that the field at the end of this path is likely to have.
pub(crate) fn numbers(path: &[&str]) -> &'static [i64] {
    match path.last().copied().unwrap_or_default() {
        "port" if path.contains(&"listeners") => &[80, 80, 443, 443, 8080, 53],
        "port" => &[80, 80, 443, 81, 53],
        "weight" => &[0, 1, 9],
        "statusCode" | "codes" => &[301, 302, 500, 503],
        _ => &[0, 1, 2],
    }
}

/// How many of a hundred objects have an optional field that much depends on.
pub(crate) fn weight(path: &[&str], name: &str) -> Option<u32> {
    Some(match (path.last().copied().unwrap_or_default(), name) {
        ("spec", "parentRefs" | "rules" | "listeners") => 95,
        ("rules", "backendRefs") => 80,
        ("port", "number") => 95,
        ("spec", "endpointSelector" | "sessionPersistence") => 50,
        ("rules", "matches") => 60,
        ("backendRefs", "port") => 90,
        ("parentRefs" | "backendRefs" | "certificateRefs" | "parametersRef", "group" | "kind") => 25,
        ("parentRefs", "namespace") => 40,
        ("parentRefs", "sectionName" | "port") => 15,
        ("spec", "infrastructure" | "addresses" | "tls") => 12,
        ("spec", "allowedListeners" | "hostnames") => 50,
        ("listeners", "hostname") => 40,
        ("listeners", "tls") => 60,
        ("listeners", "allowedRoutes") => 60,
        ("allowedRoutes", "kinds") => 25,
        _ => return None,
    })
}

/// Makes a listener one that the rules of its list admit, most of which are about one entry at a time.
pub(crate) fn mend(path: &[&str], drawn: &mut Value) {
    if path.last() != Some(&"listeners") || !drawn["protocol"].is_string() {
        return;
    }
    let protocol = drawn["protocol"].as_str().unwrap_or_default().to_owned();
    let fields = drawn.as_object_mut().unwrap();
    if matches!(&*protocol, "HTTP" | "TCP" | "UDP") {
        fields.remove("tls");
    }
    if matches!(&*protocol, "TCP" | "UDP") {
        fields.remove("hostname");
    }
    if protocol == "TLS" && !fields.contains_key("tls") {
        fields.insert("tls".to_owned(), serde_json::json!({ "mode": "Passthrough" }));
    }
    if let ("HTTPS", Some(tls)) = (&*protocol, fields.get_mut("tls")) {
        tls["mode"] = "Terminate".into();
        if tls.get("certificateRefs").is_none() {
            tls["certificateRefs"] = serde_json::json!([{ "name": "x" }]);
        }
    }
    if !matches!(&*protocol, "HTTP" | "HTTPS") {
        fields.remove("filters");
    }
}

/// Makes a value one of many, where it is a name or a port.
pub(crate) fn numbered(value: &mut Value, index: usize) {
    match value {
        Value::String(text) if text.chars().all(|c| c.is_ascii_alphanumeric()) => {
            *text = format!("{text}n{index}")
        }
        Value::Number(_) => *value = (1 + index).into(),
        _ => {}
    }
}
