//! The process in a cluster: an API server in this process, and the binary as a pod would start it.

#![allow(clippy::unwrap_used)]

#[path = "../controller/tests/api_server/mod.rs"]
mod api_server;
mod support;

use std::{
    net::{IpAddr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use portcullis::echo::{Echo, Identity};
use serde_json::{Value, json};
use support::{OFFSET, bounded, client, loopback};
use tempfile::TempDir;

use api_server::{Answer, ApiServer, Fault, objects::*};

/// A running binary; killed with the test that started it.
struct Pod {
    child: Child,
    ip: IpAddr,
    _kubeconfig: TempDir,
}

impl Pod {
    /// Backends may be at the pod's own addresses: here all are.
    fn start(url: &str, name: &str, ip: IpAddr) -> Self {
        Self::start_with(url, name, ip, &["--local-backends"])
    }

    fn start_with(url: &str, name: &str, ip: IpAddr, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("config");
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}], "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--lease", "infra/portcullis", "--service", "infra/portcullis", "--identity", name])
            .args(["--port-offset", &OFFSET.to_string(), "--bind", &ip.to_string(), "--workers", "1"])
            .args(["--admin", &format!("{ip}:9080")])
            .args(flags)
            .env("KUBECONFIG", kubeconfig)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, ip, _kubeconfig: folder }
    }

    async fn readiness(&self) -> Option<(u16, Value)> {
        let url = format!("http://{}:9080/readyz", self.ip);
        let response = client().build().unwrap().get(url).send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.ok()?))
    }

    async fn until_said(&self, what: &str, fits: impl Fn(u16, &Value) -> bool) {
        until(what, async || self.readiness().await.is_some_and(|(status, said)| fits(status, &said))).await;
    }

    async fn status(&self, path: &str) -> u16 {
        let url = format!("http://{}{path}", SocketAddr::new(self.ip, 80 + OFFSET));
        client().build().unwrap().get(url).send().await.map_or(0, |response| response.status().as_u16())
    }

    /// Ends as a pod does that is deleted.
    async fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        bounded("the end of the process", async {
            while self.child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    bounded(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A Gateway and a route to a backend at an address, and the chart's Service.
fn shop(ip: IpAddr) -> ApiServer {
    let server = ApiServer::new();
    for plural in ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"] {
        server.apply("customresourcedefinitions", definition(plural, "v1.7.0"));
    }
    server.apply("gatewayclasses", class());
    server.apply("gateways", gateway("public"));
    server.apply("httproutes", route("web", "/"));
    server.apply("services", service("shop", "web"));
    server.apply(
        "endpointslices",
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 18080, "protocol": "TCP"}], "endpoints": [{"addresses": [ip.to_string()]}]}),
    );
    server.apply(
        "services",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "infra", "name": "portcullis"},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
    );
    server
}

fn generation_said(server: &ApiServer) -> Value {
    let route = server.get("httproutes", "shop", "web").unwrap();
    route["status"]["parents"][0]["conditions"][0]["observedGeneration"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_ready_when_it_serves_and_says_so_once() {
    let ip = loopback();
    let server = shop(ip);
    let _echo = Echo::bind(SocketAddr::new(ip, 18080), Identity::default()).await.unwrap();
    let url = server.listen().await;
    server.deny("watch", "grpcroutes");
    server.fault(Fault {
        method: "GET",
        path: "/httproutes?",
        times: usize::MAX,
        answer: Answer::Status(500),
    });
    let pod = Pod::start(&url, "pod-1", ip);
    let names = |list: &Value, text: &str| {
        list.as_array().unwrap().iter().any(|said| said.as_str().unwrap().starts_with(text))
    };
    pod.until_said("what is missing", |status, said| {
        status == 503
            && names(&said["missing"], "httproutes, not read yet: ")
            && names(&said["degraded"], "grpcroutes: forbidden: ")
    })
    .await;
    assert_eq!(pod.status("/").await, 0, "no listener before everything is read");
    assert!(server.status_writes().is_empty());
    server.heal();
    pod.until_said("readiness", |status, _| status == 200).await;
    assert_eq!(pod.status("/").await, 200);

    until("a status of the route", async || generation_said(&server) == 1).await;
    let has_conditions = || {
        server
            .get("gateways", "infra", "public")
            .is_some_and(|gateway| gateway["status"]["conditions"].is_array())
    };
    until("a status of the Gateway", async || has_conditions()).await;
    let gateway = server.get("gateways", "infra", "public").unwrap()["status"].clone();
    let said = |kind: &str| {
        gateway["conditions"].as_array().unwrap().iter().any(|c| c["type"] == kind && c["status"] == "True")
    };
    assert!(said("Accepted") && said("Programmed"), "{gateway}");
    assert_eq!(gateway["addresses"][0]["value"], "192.0.2.1");
    until("the listener's port on the Service", async || {
        let service = server.get("services", "infra", "portcullis").unwrap();
        let has = |port: &Value| port["port"] == 80 && port["targetPort"] == 80 + OFFSET;
        service["spec"]["ports"].as_array().unwrap().iter().any(has)
    })
    .await;

    // The next one finds nothing to say, neither that something is pending nor that it is no longer.
    pod.stop().await;
    assert_eq!(server.get("leases", "infra", "portcullis").unwrap()["spec"]["holderIdentity"], Value::Null);
    let before = server.status_writes();
    let of = |part: &str| before.iter().filter(|write| write.path.contains(part)).count();
    assert_eq!((of("/gatewayclasses/"), of("/gateways/"), of("/httproutes/")), (1, 1, 1));
    let pod = Pod::start(&url, "pod-2", ip);
    pod.until_said("readiness", |status, _| status == 200).await;
    server.apply("httproutes", route("web", "/other"));
    until("a status of the other generation", async || generation_said(&server) == 2).await;
    let paths: Vec<_> =
        server.status_writes().into_iter().skip(before.len()).map(|write| write.path).collect();
    assert!(paths.iter().all(|path| path.contains("/httproutes/web/")), "{paths:?}");
    assert!(server.all("events").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_goes_on_serving_without_an_api_server_and_starts_when_there_is_one() {
    let ip = loopback();
    let server = shop(ip);
    let _echo = Echo::bind(SocketAddr::new(ip, 18080), Identity::default()).await.unwrap();
    let url = server.listen().await;
    server.is_down(true);
    let mut pod = Pod::start(&url, "pod-1", ip);
    pod.until_said("what is missing", |status, said| status == 503 && said["degraded"].is_array()).await;
    server.is_down(false);
    pod.until_said("readiness", |status, _| status == 200).await;
    server.is_down(true);
    pod.until_said("trouble", |status, said| status == 200 && said["degraded"].is_array()).await;
    assert_eq!(pod.status("/").await, 200);
    server.apply("httproutes", route("web", "/other"));
    server.is_down(false);
    until("the other path", async || pod.status("/").await == 404 && pod.status("/other").await == 200).await;
    assert!(pod.child.try_wait().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_leads_neither_to_the_pod_itself_nor_to_its_machine() {
    let ip = loopback();
    let server = shop(ip);
    let _echo = Echo::bind(SocketAddr::new(ip, 18080), Identity::default()).await.unwrap();
    let url = server.listen().await;
    let own = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "shop", "name": "admin-1", "labels": {"kubernetes.io/service-name": "admin"}},
        "ports": [{"name": "http", "port": 9080, "protocol": "TCP"}], "endpoints": [{"addresses": [ip.to_string()]}]});
    server.apply("endpointslices", own);
    server.apply("services", service("shop", "admin"));
    let mut admin = route("admin", "/metrics");
    admin["spec"]["rules"][0]["backendRefs"][0]["name"] = "admin".into();
    server.apply("httproutes", admin);
    for (flags, to_the_machine) in [(&[][..], 503), (&["--local-backends"], 200)] {
        let pod = Pod::start_with(&url, "pod-1", ip, flags);
        pod.until_said("readiness", |status, _| status == 200).await;
        assert_eq!(pod.status("/").await, to_the_machine, "{flags:?}");
        assert_eq!(pod.status("/metrics").await, 503, "{flags:?}");
        pod.stop().await;
    }
}
