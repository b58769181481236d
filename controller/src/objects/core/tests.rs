use crate::{
    ir::{Object, core::TransportProtocol, ingress::PortRef},
    objects::testing::{decode_text, holds, object, warns},
};

fn service(part: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{{part}}}")
}

fn slice(part: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\n{part}"
    )
}

fn secret(part: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: web}}\n{part}")
}

#[test]
fn a_service_has_ports() {
    holds(
        &[
            ("ports: [{port: 80}]", ""),
            (
                "ports: [{port: 80, name: http, targetPort: web, protocol: TCP, appProtocol: kubernetes.io/h2c}]",
                "",
            ),
            ("ports: [{port: 53, name: a, protocol: UDP}, {port: 53, name: b, protocol: TCP}]", ""),
            ("type: NodePort, ports: [{port: 80, nodePort: 30080}]", ""),
            ("type: LoadBalancer, ports: [{port: 80}]", ""),
            ("type: ExternalName, externalName: a.example.com", ""),
            ("type: ExternalName, externalName: a.example.com.", ""),
            ("clusterIP: None", ""),
            ("", "spec.ports: is required"),
            ("type: Other, ports: [{port: 80}]", "spec.type: \"Other\" is not one of"),
            ("type: ExternalName", "spec.externalName:"),
            ("type: ExternalName, externalName: 'a b'", "spec.externalName:"),
            ("type: NodePort, clusterIP: None, ports: [{port: 80}]", "spec.clusterIP: must not be None"),
            ("ports: [{port: 0}]", "spec.ports[0].port: must be between 1 and 65535"),
            ("ports: [{port: '80'}]", "spec.ports[0].port: has the wrong type"),
            ("ports: [{}]", "spec.ports[0].port: must be between"),
            ("ports: [{port: 80}, {port: 81}]", "spec.ports[0].name: is required if there are several"),
            ("ports: [{port: 80, name: a}, {port: 81, name: a}]", "spec.ports[1].name: is duplicated"),
            (
                "ports: [{port: 80, name: a}, {port: 80, name: b}]",
                "spec.ports[1]: another port has the same number",
            ),
            ("ports: [{port: 80, name: A}]", "spec.ports[0].name:"),
            (
                "ports: [{port: 80, protocol: tcp}]",
                "spec.ports[0].protocol: \"tcp\" is not one of TCP, UDP, SCTP",
            ),
            ("ports: [{port: 80, targetPort: 65536}]", "spec.ports[0].targetPort:"),
            (
                "ports: [{port: 80, targetPort: '8080'}]",
                "spec.ports[0].targetPort: \"8080\" must be a port's name",
            ),
            ("ports: [{port: 80, appProtocol: 'a b'}]", "spec.ports[0].appProtocol:"),
        ],
        service,
    );
    for (spec, want) in [
        ("ports: [{port: 80}]", &[][..]),
        ("ports: [{port: 80}], clusterIP: None, clusterIPs: [None]", &[]),
        ("ports: [{port: 80}], clusterIP: 10.96.0.1", &["10.96.0.1"]),
        (
            "ports: [{port: 80}], clusterIP: 'fd00::1', clusterIPs: ['fd00::1', 10.96.0.1]",
            &["10.96.0.1", "fd00::1"],
        ),
    ] {
        let Object::Service(read) = object(&service(spec)) else { panic!("no Service") };
        assert_eq!(read.cluster_ips.iter().map(|ip| ip.to_string()).collect::<Vec<_>>(), want, "{spec}");
    }
    let Object::Service(read) = object(&service("ports: [{port: 80}]")) else { panic!("no Service") };
    assert_eq!(
        (&read.ports[0].target, read.ports[0].protocol),
        (&PortRef::Number(80), TransportProtocol::Tcp)
    );
}

#[test]
fn an_endpoint_has_addresses_of_its_family() {
    holds(
        &[
            ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\nports: [{port: 80}]", ""),
            ("addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]", ""),
            ("addressType: IPv6\nendpoints: [{addresses: ['::1']}]", ""),
            ("addressType: IPv4\nendpoints: []", ""),
            ("addressType: FQDN\nendpoints: [{addresses: [a.com]}]", ""),
            (
                "addressType: IPv4\nendpoints: [{addresses: ['::1']}]",
                "endpoints[0].addresses[0]: \"::1\" is not an IPv4 address",
            ),
            (
                "addressType: IPv6\nendpoints: [{addresses: [10.0.0.1]}]",
                "endpoints[0].addresses[0]: \"10.0.0.1\" is not an IPv6",
            ),
            ("addressType: FQDN\nendpoints: [{addresses: [A]}]", "endpoints[0].addresses[0]:"),
            (
                "addressType: IPv4\nendpoints: [{addresses: []}]",
                "endpoints[0].addresses: must have at least 1 entry",
            ),
            ("addressType: ipv4\nendpoints: []", "addressType: \"ipv4\" is not one of"),
            (
                "addressType: IPv4\nendpoints: []\nports: [{port: 1}, {port: 2}]",
                "ports[1]: port name \"\" is duplicated",
            ),
            ("addressType: IPv4\nendpoints: []\nports: [{port: 1, name: A}]", "ports[0].name:"),
            ("addressType: IPv4\nendpoints: []\nports: [{port: 0}]", "ports[0].port:"),
            ("addressType: IPv4\nendpoints: []\nports: [{port: 1, protocol: X}]", "ports[0].protocol:"),
        ],
        slice,
    );
    let many =
        format!("addressType: IPv4\nendpoints: [{}]", vec!["{addresses: [10.0.0.1]}"; 1001].join(", "));
    holds(&[(&many, "endpoints: must have at most 1000 entries, has 1001")], slice);
    warns(
        &[
            (
                "addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.1]}]",
                "endpoints[1].addresses: is duplicated",
            ),
            (
                "addressType: IPv4\nendpoints: [{addresses: [169.254.169.254]}]",
                "endpoints[0].addresses[0]: 169.254.169.254 is a link-local address: no requests are sent to it",
            ),
            (
                "addressType: IPv6\nendpoints: [{addresses: ['64:ff9b::a9fe:a9fe']}]",
                "endpoints[0].addresses[0]: 64:ff9b::a9fe:a9fe is a link-local address",
            ),
            ("addressType: FQDN\nendpoints: []", "addressType: FQDN is not supported"),
            ("addressType: IPv4\nendpoints: []\nports: [{name: a}]", "ports[0].port: is missing"),
            ("addressType: IPv4\nendpoints: []\nsubsets: []", "subsets: is not a field"),
        ],
        slice,
    );
}

#[test]
fn an_endpoint_without_conditions_is_ready() {
    for (conditions, want) in [
        ("{}", (true, true, false)),
        ("{ready: null}", (true, true, false)),
        ("{ready: false}", (false, false, false)),
        ("{ready: false, serving: true, terminating: true}", (false, true, true)),
    ] {
        let text = slice(&format!(
            "addressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], conditions: {conditions}}}]"
        ));
        let Object::EndpointSlice(slice) = object(&text) else { panic!("no slice") };
        let endpoint = &slice.endpoints[0];
        assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), want, "{conditions}");
    }
}

#[test]
fn a_secret_has_its_keys() {
    holds(
        &[
            ("data: {a: YQ==}", ""),
            ("type: kubernetes.io/tls\ndata: {tls.crt: YQ==, tls.key: YQ==}", ""),
            ("type: kubernetes.io/tls\nstringData: {tls.crt: a, tls.key: b}", ""),
            ("type: kubernetes.io/tls\ndata: {tls.crt: YQ==}", "data.tls.key: is required by the type"),
            ("type: kubernetes.io/tls", "data.tls.crt: is required by the type"),
            ("data: {a: 'no base64!'}", "data.a:"),
            ("data: {'a/b': YQ==}", "data.a/b: \"a/b\" must be a key"),
        ],
        secret,
    );
    let large = format!("stringData: {{a: {}}}", "x".repeat((1 << 20) + 1));
    holds(&[(&large, "data: must have at most 1 MiB of data")], secret);
    let Object::Secret(read) = object(&secret("data: {a: YQ==, b: YQ==}\nstringData: {b: c}")) else {
        panic!("no Secret")
    };
    assert_eq!(&*read.kind, "Opaque");
    assert_eq!((&*read.data["a"], &*read.data["b"]), (&b"a"[..], &b"c"[..]), "stringData wins");
}

#[test]
fn what_a_secret_holds_is_in_no_message() {
    for text in
        ["data: {a: 'hunter2!'}", "data: hunter2", "stringData: {a: [hunter2]}", "data: {tls.key: [hunter2]}"]
    {
        let decoded = decode_text(&secret(text));
        assert!(decoded.object.is_none(), "{text}");
        assert!(!format!("{:?}", decoded.problems).contains("hunter2"), "{text}: {:?}", decoded.problems);
    }
}

#[test]
fn a_config_map_has_texts() {
    let document = |part: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\n{part}");
    holds(
        &[
            ("data: {a: b}\nbinaryData: {c: YQ==}", ""),
            ("data: {a: 1}", "data.a: has the wrong type: integer `1`, expected a string (put it in quotes)"),
            ("data: {'a/b': c}", "data.a/b:"),
            ("data: {a: b}\nbinaryData: {a: YQ==}", "binaryData.a: must not be a key of data as well"),
        ],
        document,
    );
}
