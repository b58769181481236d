mod ports;
mod services;
mod slices;

use serde_json::json;

use super::*;
use crate::ir::parameters::{ServiceParameters, ServiceType, TrafficPolicy};

fn range() -> PortRange {
    "20000-20009".parse().unwrap()
}

fn gateway(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Gateway, "infra", name)
}

fn spec(name: &str, ports: &[u16]) -> DesiredService {
    DesiredService {
        uid: format!("uid-{name}").into(),
        class: "dedicated".into(),
        service: format!("svc-{name}").into(),
        parameters: ServiceParameters::default(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        address: None,
        cluster_address: None,
        ports: ports.iter().copied().map(PortKey::tcp).collect(),
    }
}

fn desired(all: &[(&str, DesiredService)]) -> DesiredServices {
    let mut desired = DesiredServices::default();
    for (name, spec) in all {
        desired.services.insert(gateway(name), spec.clone());
        desired.kept.insert(spec.uid.clone(), ("infra".into(), spec.service.clone()));
    }
    desired
}

/// The Service of a Gateway as the server has it.
fn service(name: &str, ports: &[(u16, u16)]) -> Value {
    let ports: BTreeMap<_, _> = ports.iter().map(|(port, ours)| (PortKey::tcp(*port), *ours)).collect();
    let mut service = place().identity.marked(manifests::service(&gateway(name), &spec(name, &[]), &ports));
    service["metadata"]["uid"] = format!("of-svc-{name}").into();
    service["spec"]["clusterIP"] = "10.96.0.1".into();
    service
}

/// The slice of ours with pods at these addresses, which are called after them.
fn own(family: &str, addresses: &[&str]) -> Value {
    let endpoints = addresses.iter().map(|address| {
        json!({
            "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-1", "zone": "a", "targetRef": {"kind": "Pod", "name": pod(address)},
        })
    });
    json!({
        "metadata": {"namespace": "portcullis", "name": format!("portcullis-{family}")}, "addressType": family,
        "endpoints": endpoints.collect::<Vec<_>>(), "ports": [{"name": "http", "port": 8080}],
    })
}

fn pod(address: &str) -> String {
    format!("pod-{}", address.replace([':', '.'], "-"))
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"namespace": "portcullis", "name": name, "resourceVersion": "7"}, "data": data})
}

/// The record with these lines: `a 80 20000`.
fn recorded(lines: &[&str]) -> Value {
    let ports: String = lines.iter().map(|line| format!("uid-{line}\n")).collect();
    config_map("ports", json!({"ports": ports, "released": ""}))
}

/// What these pods, by their addresses, have bound.
fn reported(pods: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<_, _> =
        pods.iter().map(|(address, ports)| (pod(address), json!(ports))).collect();
    config_map("bound", data.into())
}

fn identity(controller: &str) -> Identity {
    Identity { controller: controller.into(), field_manager: "portcullis".to_owned() }
}

fn place() -> Place {
    let name = |name: &str| ("portcullis".into(), name.into());
    Place {
        range: range(),
        record: name("ports"),
        reports: name("bound"),
        pod: "pod-own".into(),
        identity: identity("portcullis.dev/gateway-controller"),
        has_endpoints: true,
    }
}

fn planned(desired: &DesiredServices, live: &Live) -> Plan {
    let lost = BTreeMap::new();
    let now = Now { recorded: live.record().record.as_ref(), lost: &lost, bound: None, time: 1_000 };
    plan(desired, live, &place(), now)
}

/// `Service infra/svc-a 80->20000`, `EndpointSlice infra/svc-a-80-ipv4 port-80->20000 10.0.0.1`, `delete ...`,
/// `ConfigMap portcullis/ports at 7: uid-a 80 20000`.
fn texts(plan: &Plan) -> Vec<String> {
    let data = |fields: &Value| {
        let fields = fields["data"].as_object().unwrap().iter().filter(|(_, value)| **value != "");
        fields
            .map(|(name, value)| format!(" {name}={}", value.to_string().replace("\\n", ";")))
            .collect::<String>()
    };
    let text = |act: &Act| match &act.deed {
        Deed::Delete { uid } => format!("delete {} {uid}", act.target),
        Deed::Create(fields) => format!("create {}:{}", act.target, data(fields)),
        Deed::Merge(fields) => match fields["metadata"]["resourceVersion"].as_str() {
            Some(version) => format!("{} at {version}:{}", act.target, data(fields)),
            None => format!("{}:{}", act.target, data(fields)),
        },
        Deed::Apply(manifest) => {
            let ports = manifest["spec"]["ports"].as_array().or_else(|| manifest["ports"].as_array());
            let ports = ports.unwrap().iter().map(|port| match port.get("targetPort") {
                Some(target) => format!(" {}->{target}", port["port"]),
                None => format!(" {}->{}", port["name"].as_str().unwrap(), port["port"]),
            });
            let endpoints = manifest["endpoints"].as_array().into_iter().flatten();
            let endpoints = endpoints.map(|e| format!(" {}", e["addresses"][0].as_str().unwrap()));
            let urgent = if act.turn == Turn::LeaderFirst { " urgent" } else { "" };
            format!("{}{}{}{urgent}", act.target, ports.collect::<String>(), endpoints.collect::<String>())
        }
    };
    plan.acts.iter().map(text).collect()
}
