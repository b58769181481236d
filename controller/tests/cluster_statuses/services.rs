//! ConfigMaps of TCP and UDP services, as they are edited in a cluster.

use portcullis_controller::ir::ObjectKey;
use portcullis_routing::PortKey;

use super::*;

fn map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "edge", "name": name, "uid": name }, "data": data })
}

fn settings() -> Settings {
    let map = |name| Some(ObjectKey::new(Kind::ConfigMap, "edge", name));
    Settings { tcp_services: map("tcp"), udp_services: map("udp"), ..in_cluster() }
}

/// The ports of the last table other than those of requests.
fn ports(replica: &Replica) -> Vec<PortKey> {
    let table = replica.table.lock().unwrap().clone().unwrap();
    let requests = [PortKey::tcp(80), PortKey::tcp(443)];
    table.ports.keys().filter(|port| !requests.contains(port)).copied().collect()
}

/// What is reported about a ConfigMap.
fn said(replica: &Replica, name: &str) -> Vec<String> {
    let key = ObjectKey::new(Kind::ConfigMap, "edge", name);
    let statuses = replica.handle.statuses();
    let statuses = statuses.borrow();
    statuses
        .get(&key)
        .iter()
        .flat_map(|report| &report.messages)
        .map(|message| message.text.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn services_follow_their_config_maps_and_the_services_that_these_name() {
    let server = shop(0);
    server.apply("configmaps", map("tcp", json!({ "5432": "shop/web:80", "x": "shop/web:80" })));
    server.apply("configmaps", map("other", json!({ "5433": "shop/web:80" })));
    let replica = Replica::with(&server, true, settings()).ready().await;
    let problems = || replica.handle.problems().borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
    let missing = "ConfigMap edge/udp: not found; no ports are served for it (--udp-services-configmap)";
    assert_eq!((ports(&replica), problems()), (vec![PortKey::tcp(5432)], vec![missing.to_owned()]));
    assert_eq!(said(&replica, "tcp"), ["data.x is not served: \"x\" is not a port number from 1 to 65535"]);
    let mut events = events(&server);
    events.retain(|event| event.contains("ConfigMap"));
    assert_eq!(events, ["Warning ConfigMap tcp NotServed"]);

    // UDP 5432 is another port.
    server.apply("configmaps", map("tcp", json!({ "5432": "shop/web:80", "5434": "shop/absent:80" })));
    server.apply("configmaps", map("udp", json!({ "5432": "shop/web:80" })));
    sleep(Duration::from_secs(5)).await;
    let all = vec![PortKey::tcp(5432), PortKey::tcp(5434), PortKey::udp(5432)];
    assert_eq!((ports(&replica), problems()), (all, vec![]));
    assert_eq!(said(&replica, "tcp"), ["data.5434: Service shop/absent not found; connections are closed"]);
    assert_eq!(said(&replica, "udp").len(), 1, "the Service has no UDP port");

    server.apply("services", service("shop", "absent"));
    server.delete("configmaps", "edge", "udp");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(ports(&replica), [PortKey::tcp(5432), PortKey::tcp(5434)]);
    assert_eq!((said(&replica, "tcp"), problems()), (vec![], vec![missing.to_owned()]));
    assert!(server.status_writes().iter().all(|write| !write.path.contains("configmaps")));
}
