//! The ConfigMap of settings that take effect without a restart, as it is edited in a cluster.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

mod api_server;

use portcullis_controller::{
    Controller, Handle, Publication, Settings,
    ir::{Kind, ObjectKey, live_settings::ProxySettings},
    source::cluster::{self, ClusterOptions, Outlets, Progress},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use api_server::{Answer, ApiServer, Fault, objects::*, until};

struct Running {
    publications: watch::Receiver<Option<Publication>>,
    handle: Handle,
    progress: watch::Receiver<Progress>,
}

impl Running {
    fn of(server: &ApiServer) -> Self {
        let settings_map = Some(ObjectKey::new(Kind::ConfigMap, "edge", "settings"));
        let (to_deltas, deltas) = mpsc::channel(64);
        let (to_seen, mut seen) = mpsc::channel(64);
        let (to_progress, progress) = watch::channel(Progress::default());
        let outlets = Outlets { deltas: to_deltas, seen: to_seen, progress: to_progress };
        // Only these namespaces; that of the ConfigMap is not among them.
        let namespaces = vec!["infra".to_owned(), "shop".to_owned()];
        let options =
            ClusterOptions { settings_map: settings_map.clone(), namespaces, ..ClusterOptions::default() };
        tokio::spawn(async move { while seen.recv().await.is_some() {} });
        let (controller, handle) = Controller::of(deltas, Settings { settings_map, ..Settings::default() });
        tokio::spawn(cluster::watch(server.client(), options, handle.demand(), outlets));
        let (to, publications) = watch::channel(None);
        tokio::spawn(controller.run(move |publication| drop(to.send_replace(Some(publication)))));
        Self { publications, handle, progress }
    }

    fn proxy(&self) -> Option<ProxySettings> {
        self.publications.borrow().as_ref().map(|publication| publication.live.proxy.clone())
    }

    fn unreadable(&self) -> Option<String> {
        self.progress.borrow().unreadable.get("configmaps").cloned()
    }

    fn problems(&self) -> Vec<String> {
        self.handle.problems().borrow().iter().map(ToString::to_string).collect()
    }
}

fn settings(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "edge", "name": name}, "data": data})
}

fn cluster() -> ApiServer {
    let server = ApiServer::new();
    server.apply("gatewayclasses", class());
    server.apply("gateways", gateway("public"));
    server
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_published_and_a_wrong_one_is_told() {
    let server = cluster();
    server.apply("configmaps", settings("settings", json!({"access-log": "true"})));
    server.apply("configmaps", settings("other", json!({"access-log": "false"})));
    let running = Running::of(&server);
    let first = until("the first publication", || running.proxy()).await;
    assert!(first.access_log, "the first one has them already");

    server.apply("configmaps", settings("settings", json!({"max-connections": "10", "access-log": "si"})));
    let want = ProxySettings { max_connections: Some(10), access_log: true, ..ProxySettings::default() };
    until("the edit", || (running.proxy()? == want).then_some(())).await;
    let problem = "ConfigMap edge/settings: data.access-log: \"si\" is neither true nor false; the last valid value applies, \
                   \"true\"";
    assert_eq!(running.problems(), [problem]);

    // After it is deleted, its settings stay in force.
    server.delete("configmaps", "edge", "settings");
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(running.proxy(), Some(want));
    assert_eq!(running.unreadable(), Some("not found (--settings-configmap)".to_owned()));
    server.apply("configmaps", settings("settings", json!({"max-connections": "20"})));
    until("it is there again", || (running.proxy()?.max_connections == Some(20)).then_some(())).await;
    until("nothing is missing", || running.unreadable().is_none().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_as_long_as_it_is_missing() {
    let server = cluster();
    let running = Running::of(&server);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(running.proxy(), None);
    assert_eq!(running.unreadable(), Some("not found (--settings-configmap)".to_owned()));
    server.apply("configmaps", settings("settings", json!({"max-connections": "10"})));
    until("the first publication", || running.proxy()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_it_is_what_is_so_after_the_api_server_was_away() {
    const MISSING: &str = "not found (--settings-configmap)";
    let outage = async |server: &ApiServer, running: &Running, meanwhile: &str| {
        server.is_down(true);
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let told = running.unreadable().unwrap_or_default();
        assert!(told != MISSING && !told.is_empty(), "{meanwhile}: {told:?}");
        server.is_down(false);
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    };
    let server = cluster();
    let running = Running::of(&server);
    until("it is missing", || (running.unreadable()? == MISSING).then_some(())).await;
    outage(&server, &running, "missing from the beginning").await;
    assert_eq!(running.unreadable().as_deref(), Some(MISSING));

    server.apply("configmaps", settings("settings", json!({"max-connections": "10"})));
    until("the first publication", || running.proxy()).await;
    assert_eq!(running.unreadable(), None);
    outage(&server, &running, "it is there").await;
    assert_eq!(running.unreadable(), None);

    server.delete("configmaps", "edge", "settings");
    until("it is missing again", || (running.unreadable()? == MISSING).then_some(())).await;
    outage(&server, &running, "deleted").await;
    assert_eq!(running.unreadable().as_deref(), Some(MISSING));
    server.apply("configmaps", settings("settings", json!({"max-connections": "20"})));
    until("nothing is missing", || running.unreadable().is_none().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_as_long_as_it_may_not_be_read() {
    let server = cluster();
    server.apply("configmaps", settings("settings", json!({"max-connections": "10"})));
    ["list", "watch"].into_iter().for_each(|verb| server.deny(verb, "configmaps"));
    let running = Running::of(&server);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(running.proxy(), None);
    ["list", "watch"].into_iter().for_each(|verb| server.allow(verb, "configmaps"));
    let first = until("the first publication", || running.proxy()).await;
    assert_eq!(first.max_connections, Some(10));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_before_the_headers_of_the_settings_are_read() {
    let server = cluster();
    server.apply("configmaps", settings("settings", json!({"add-headers": "shop/headers"})));
    let metadata = json!({"namespace": "shop", "name": "headers"});
    let headers =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"X-A": "a"}});
    server.apply("configmaps", headers);
    server.fault(Fault {
        method: "GET",
        path: "/configmaps/headers",
        times: usize::MAX,
        answer: Answer::Status(500),
    });
    let running = Running::of(&server);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(running.proxy(), None);
    server.heal();
    let headers = until("the first publication", || {
        let publication = running.publications.borrow();
        Some(publication.as_ref()?.live.ingress.headers.add.headers.clone())
    });
    assert_eq!(headers.await.len(), 1, "the first one has them already");
    assert_eq!(running.problems(), [""; 0]);
}
