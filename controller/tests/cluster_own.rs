//! The addresses in a cluster that are ours.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod api_server;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use portcullis_controller::cluster::own;
use serde_json::json;
use tokio::{sync::watch, time::timeout};

use api_server::ApiServer;

fn slice(server: &ApiServer, namespace: &str, service: &str, name: &str, addresses: &[&str]) {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": false}}))
        .collect();
    server.apply(
        "endpointslices",
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints}),
    );
}

async fn told(own: &mut watch::Receiver<BTreeSet<IpAddr>>, want: &[&str]) {
    let want: BTreeSet<IpAddr> = want.iter().map(|ip| ip.parse().unwrap()).collect();
    let waited = timeout(Duration::from_secs(300), own.wait_for(|own| *own == want)).await.is_ok();
    assert!(waited, "never {want:?}, but {:?}", own.borrow());
}

#[tokio::test(start_paused = true)]
async fn our_service_and_the_pods_behind_it_are_followed() {
    let server = ApiServer::new();
    server.apply(
        "services",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "infra", "name": "portcullis"},
            "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ports": [{"port": 80}]}}),
    );
    slice(&server, "infra", "portcullis", "portcullis-1", &["10.0.0.7", "10.0.0.8"]);
    slice(&server, "infra", "other", "other-1", &["10.0.0.1"]);
    slice(&server, "shop", "portcullis", "portcullis-1", &["10.0.0.2"]);
    let (to, mut own) = watch::channel(BTreeSet::new());
    let client = server.client();
    tokio::spawn(async move { own::follow(client, "infra", "portcullis", to).await });
    told(&mut own, &["10.96.0.9", "fd00::9", "10.0.0.7", "10.0.0.8"]).await;
    slice(&server, "infra", "portcullis", "portcullis-1", &["10.0.0.8", "10.0.0.9"]);
    told(&mut own, &["10.96.0.9", "fd00::9", "10.0.0.8", "10.0.0.9"]).await;
    server.delete("endpointslices", "infra", "portcullis-1");
    told(&mut own, &["10.96.0.9", "fd00::9"]).await;
}
