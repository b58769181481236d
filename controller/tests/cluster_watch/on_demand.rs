//! What is fetched on demand: the Secrets and ConfigMaps that translation reads.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_controller::source::Demand;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;

fn data_of(reading: &Reading, name: &str) -> Option<Vec<String>> {
    let secret = reading.snapshot.secrets.get(&ObjectKey::new(Kind::Secret, "infra", name))?;
    Some(secret.data.keys().map(ToString::to_string).collect())
}

#[tokio::test(start_paused = true)]
async fn secrets_are_read_as_far_as_listeners_refer_to_them() {
    let server = shop();
    let megabyte = "x".repeat(900_000);
    let large: Vec<_> = PAIR.into_iter().chain([("other", megabyte.as_str())]).collect();
    server.apply("secrets", secret("infra", "tls", "kubernetes.io/tls", &large));
    server.apply("secrets", secret("infra", "opaque", "Opaque", &large));
    server.apply("secrets", secret("infra", "unused", "kubernetes.io/tls", &PAIR));
    server.apply("secrets", secret("infra", "unused-opaque", "Opaque", &PAIR));
    server.apply("secrets", secret("infra", "release", "helm.sh/release.v1", &large));
    server.apply("gateways", secure_gateway("one", "tls"));
    server.apply("gateways", secure_gateway("two", "opaque"));
    let mut reading = Reading::of(&server);
    reading.settled().await;
    assert_eq!(reading.complete, 1);
    let pair = Some(vec!["tls.crt".to_owned(), "tls.key".to_owned()]);
    assert_eq!((data_of(&reading, "tls"), data_of(&reading, "opaque")), (pair.clone(), pair.clone()));
    assert_eq!(reading.snapshot.secrets.len(), 2);
    let read: Vec<_> = server.asked("GET", "/secrets/").into_iter().map(|r| r.path).collect();
    assert!(read.iter().all(|path| path.ends_with("/opaque") || path.ends_with("/tls")), "{read:?}");

    // A Secret that had no references, one that did not exist, and one that changes.
    server.apply("gateways", secure_gateway("two", "unused"));
    assert_eq!(
        reading.settled().await,
        ["+Gateway infra/two", "+Secret infra/unused", "released Secret infra/opaque"]
    );
    server.apply("gateways", secure_gateway("two", "late"));
    reading.settled().await;
    server.apply("secrets", secret("infra", "late", "Opaque", &PAIR));
    assert_eq!(reading.settled().await, ["+Secret infra/late"]);
    server.apply("secrets", secret("infra", "late", "Opaque", &PAIR[..1]));
    assert_eq!(reading.settled().await, ["+Secret infra/late"]);
    assert_eq!(data_of(&reading, "late"), Some(vec!["tls.crt".to_owned()]));
    server.delete("secrets", "infra", "late");
    assert_eq!(reading.settled().await, ["-Secret infra/late"]);
}

#[tokio::test(start_paused = true)]
async fn passwords_and_headers_are_kept_and_long_values_are_not() {
    let server = shop();
    let long = "x".repeat(100_000);
    let mut protected = ingress("web", "a.example.com");
    let prefix = "nginx.ingress.kubernetes.io";
    protected["metadata"]["annotations"] = json!({
        format!("{prefix}/auth-type"): "basic",
        format!("{prefix}/auth-secret"): "users",
        format!("{prefix}/custom-headers"): "shop/headers",
    });
    server.apply("ingresses", protected);
    let users = [("auth", long.as_str()), ("alice", "$apr1$a$b"), ("backup", long.as_str())];
    server.apply("secrets", secret("shop", "users", "Opaque", &users));
    let mut headers = config_map("headers");
    headers["metadata"]["namespace"] = "shop".into();
    headers["data"] = json!({ "X-A": "a", "X-Long": long, "ca.crt": long });
    server.apply("configmaps", headers);
    let mut reading = Reading::of(&server);
    reading.settled().await;
    let secret = &reading.snapshot.secrets[&ObjectKey::new(Kind::Secret, "shop", "users")];
    let kept: Vec<_> = secret.data.iter().map(|(name, value)| (&**name, value.len())).collect();
    assert_eq!(kept, [("alice", 9), ("auth", 100_000)]);
    let map = &reading.snapshot.config_maps[&ObjectKey::new(Kind::ConfigMap, "shop", "headers")];
    let kept: Vec<_> = map.data.iter().map(|(name, value)| (&**name, value.len())).collect();
    // The key of a value that is too long stays, so that the path is closed.
    assert_eq!(kept, [("X-A", 1), ("X-Long", 1), ("ca.crt", 100_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_list_is_read_with_its_authorities() {
    let server = shop();
    let long = "x".repeat(100_000);
    let files: Vec<_> = PAIR.into_iter().chain([("ca.crt", "roots"), ("ca.crl", &*long)]).collect();
    for (name, kind) in [("tls", "kubernetes.io/tls"), ("opaque", "Opaque")] {
        server.apply("secrets", secret("shop", name, kind, &files));
        let mut verified = ingress(name, &format!("{name}.example.com"));
        verified["metadata"]["annotations"] =
            json!({ "nginx.ingress.kubernetes.io/auth-tls-secret": format!("shop/{name}") });
        server.apply("ingresses", verified);
    }
    let mut reading = Reading::of(&server);
    reading.settled().await;
    for name in ["tls", "opaque"] {
        let secret = &reading.snapshot.secrets[&ObjectKey::new(Kind::Secret, "shop", name)];
        assert!(secret.data.contains_key("ca.crl"), "{name}: {:?}", secret.data.keys());
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_made_again_with_another_type_stays() {
    for (before, after) in [("kubernetes.io/tls", "Opaque"), ("Opaque", "kubernetes.io/tls")] {
        for pause in [0, 1] {
            let server = shop();
            server.apply("secrets", secret("infra", "site", before, &PAIR));
            server.apply("gateways", secure_gateway("one", "site"));
            let mut reading = Reading::of(&server);
            reading.settled().await;
            assert!(data_of(&reading, "site").is_some(), "{before}");
            server.delete("secrets", "infra", "site");
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let more: Vec<_> = PAIR.into_iter().chain([("ca.crt", "roots")]).collect();
            server.apply("secrets", secret("infra", "site", after, &more));
            reading.for_a_while(10).await;
            let data = data_of(&reading, "site").map(|names| names.len());
            assert_eq!(data, Some(3), "{before} made again as {after}, {pause} s later");
            server.delete("secrets", "infra", "site");
            assert_eq!(reading.settled().await, ["-Secret infra/site"], "{after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_when_the_api_server_says_so_and_not_because_of_a_refusal() {
    let server = shop();
    server.apply("secrets", secret("infra", "opaque", "Opaque", &PAIR));
    server.apply("gateways", secure_gateway("one", "opaque"));
    let mut reading = Reading::of(&server);
    reading.settled().await;
    // What stands in between answers for the API server.
    server.fault(Fault { method: "GET", path: "/secrets/opaque", times: 10, answer: Answer::Status(404) });
    server.apply("secrets", secret("infra", "opaque", "Opaque", &PAIR[..1]));
    assert_eq!(reading.for_a_while(60).await, ["+Secret infra/opaque"]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_cannot_be_read_yet_is_waited_for() {
    let server = shop();
    server.apply("secrets", secret("infra", "opaque", "Opaque", &PAIR));
    server.apply("gateways", secure_gateway("one", "opaque"));
    server.fault(Fault { method: "GET", path: "/secrets/opaque", times: 20, answer: Answer::Status(500) });
    let mut reading = Reading::of(&server);
    reading.for_a_while(5).await;
    assert_eq!(reading.complete, 0);
    reading.for_a_while(120).await;
    assert_eq!(reading.complete, 1);
    assert!(data_of(&reading, "opaque").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_ingress_and_the_settings_name_secrets_too() {
    let server = shop();
    let mut secured = ingress("new", "new.example.com");
    secured["spec"]["tls"] = json!([{"secretName": "site"}]);
    server.apply("ingresses", secured);
    for (namespace, name) in [("shop", "site"), ("infra", "default"), ("infra", "other")] {
        server.apply("secrets", secret(namespace, name, "Opaque", &PAIR));
    }
    let default_certificate = Some(ObjectKey::new(Kind::Secret, "infra", "default"));
    let mut reading =
        Reading::with(&server, ClusterOptions { default_certificate, ..ClusterOptions::default() });
    reading.settled().await;
    let names: Vec<_> = reading.snapshot.secrets.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["Secret infra/default", "Secret shop/site"]);
}

/// The Secrets that were asked for one by one.
fn fetched(server: &ApiServer) -> BTreeSet<String> {
    server.asked("GET", "/secrets/").into_iter().map(|request| request.path).collect()
}

fn fetches(server: &ApiServer, secrets: &[&str]) -> bool {
    let paths = secrets.iter().map(|secret| {
        let (namespace, name) = secret.split_once('/').unwrap();
        format!("/api/v1/namespaces/{namespace}/secrets/{name}")
    });
    fetched(server) == paths.collect()
}

#[tokio::test(start_paused = true)]
async fn objects_of_other_controllers_cause_no_reads() {
    let server = shop();
    let class_of = |controller: &str| {
        let mut theirs = class();
        theirs["metadata"]["name"] = "theirs".into();
        theirs["spec"]["controllerName"] = controller.into();
        theirs
    };
    server.apply("gatewayclasses", class_of("example.com/controller"));
    let mut theirs = secure_gateway("theirs", "site");
    theirs["spec"]["gatewayClassName"] = "theirs".into();
    server.apply("gateways", theirs);
    let mut ingress = ingress("theirs", "theirs.example.com");
    ingress["spec"]["ingressClassName"] = "nginx".into();
    ingress["spec"]["tls"] = json!([{"secretName": "site"}]);
    server.apply("ingresses", ingress);
    for (namespace, kind) in [("infra", "Opaque"), ("shop", "kubernetes.io/tls")] {
        server.apply("secrets", secret(namespace, "site", kind, &PAIR));
    }
    let mut reading = Reading::of(&server);
    reading.settled().await;
    assert_eq!((reading.complete, reading.snapshot.secrets.len()), (1, 0));
    assert!(fetches(&server, &[]), "{:?}", fetched(&server));
    // The class becomes ours, and is another's again.
    server.apply("gatewayclasses", class_of(OURS));
    assert_eq!(reading.settled().await, ["+GatewayClass theirs", "+Secret infra/site"]);
    server.apply("gatewayclasses", class_of("example.com/controller"));
    assert_eq!(reading.settled().await, ["+GatewayClass theirs", "released Secret infra/site"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_another_namespace_is_read_once_a_grant_permits_it() {
    let server = shop();
    let mut crossing = secure_gateway("crossing", "site");
    crossing["spec"]["listeners"][0]["tls"]["certificateRefs"][0]["namespace"] = "vault".into();
    server.apply("gateways", crossing);
    server.apply("secrets", secret("vault", "site", "Opaque", &PAIR));
    let mut reading = Reading::of(&server);
    reading.settled().await;
    assert_eq!(reading.complete, 1);
    assert!(fetches(&server, &[]), "{:?}", fetched(&server));
    let mut grant = grant();
    grant["metadata"] = json!({"namespace": "vault", "name": "gateways"});
    grant["spec"]["from"][0]["kind"] = "Gateway".into();
    grant["spec"]["to"][0]["kind"] = "Secret".into();
    server.apply("referencegrants", grant);
    assert_eq!(reading.settled().await, ["+ReferenceGrant vault/gateways", "+Secret vault/site"]);
    server.delete("referencegrants", "vault", "gateways");
    assert_eq!(reading.settled().await, ["-ReferenceGrant vault/gateways", "released Secret vault/site"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_a_namespace_that_is_not_watched_is_not_read() {
    let server = shop();
    for namespace in ["infra", "vault"] {
        server.apply("secrets", secret(namespace, "site", "Opaque", &PAIR));
    }
    server.apply("gateways", secure_gateway("one", "site"));
    let options = ClusterOptions {
        namespaces: vec!["infra".to_owned()],
        default_certificate: Some(ObjectKey::new(Kind::Secret, "vault", "site")),
        ..ClusterOptions::default()
    };
    let mut reading = Reading::with(&server, options);
    reading.settled().await;
    assert_eq!(reading.complete, 1);
    assert!(fetches(&server, &["infra/site"]), "{:?}", fetched(&server));
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_told_as_missing() {
    let server = shop();
    server.apply("gateways", secure_gateway("one", "late"));
    let mut reading = Reading::of(&server);
    assert!(reading.settled().await.contains(&"-Secret infra/late".to_owned()));
    assert_eq!(reading.complete, 1);
    server.apply("gateways", secure_gateway("two", "later"));
    assert_eq!(reading.settled().await, ["+Gateway infra/two", "-Secret infra/later"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_no_problem_once_it_is_not_read() {
    let server = shop();
    let mut broken = secret("infra", "broken", "Opaque", &PAIR);
    broken["data"]["tls.crt"] = "not base64".into();
    server.apply("secrets", broken);
    server.apply("gateways", secure_gateway("one", "broken"));
    let mut reading = Reading::of(&server);
    reading.settled().await;
    assert_eq!((reading.complete, reading.refused.len()), (1, 1), "{:?}", reading.refused);
    server.delete("gateways", "infra", "one");
    assert_eq!(reading.settled().await, ["-Gateway infra/one", "released Secret infra/broken"]);
    assert_eq!(reading.refused, [""; 0]);
}

/// A source, what it tells, and what it is told to fetch.
fn by_hand(server: &ApiServer) -> (JoinHandle<()>, mpsc::Receiver<Delta>, watch::Sender<Demand>) {
    let (to_deltas, deltas) = mpsc::channel(64);
    let (demand, demanded) = watch::channel(Demand::default());
    let (seen, progress) = (mpsc::channel(1).0, watch::Sender::default());
    let outlets = Outlets { deltas: to_deltas, seen, progress };
    let source = tokio::spawn(cluster::watch(server.client(), ClusterOptions::default(), demanded, outlets));
    (source, deltas, demand)
}

/// Waits until a delta says so much, and returns its sequence.
async fn told(deltas: &mut mpsc::Receiver<Delta>, extent: Extent) -> Option<u64> {
    let next = async {
        loop {
            match deltas.recv().await {
                Some(delta) if delta.extent == extent => return delta.sequence,
                Some(delta) => assert_ne!(delta.extent, Extent::Complete),
                None => panic!("the source has ended"),
            }
        }
    };
    timeout(Duration::from_secs(60), next).await.ok()
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_once_nothing_more_is_wanted() {
    let server = shop();
    for name in ["first", "second"] {
        server.apply("secrets", secret("infra", name, "Opaque", &PAIR));
    }
    let (_source, mut deltas, demand) = by_hand(&server);
    let wants = |sequence, names: &[&str]| {
        let keys = names.iter().map(|name| ObjectKey::new(Kind::Secret, "infra", name));
        demand.send_replace(Demand { sequence, objects: Arc::new(keys.collect()) });
    };
    let mut asked = told(&mut deltas, Extent::References).await.unwrap();
    // Before the answer nothing is complete, and what changes is told all the same.
    wants(asked - 1, &[]);
    server.apply("httproutes", route("a", "/other"));
    let change = timeout(Duration::from_secs(1), deltas.recv()).await.unwrap().unwrap();
    assert_eq!((change.changes.len(), change.extent), (1, Extent::Partial));
    assert_eq!(told(&mut deltas, Extent::Complete).await, None);
    assert!(fetches(&server, &[]), "{:?}", fetched(&server));
    // What is fetched leads to more.
    for wanted in [&["first"][..], &["first", "second"]] {
        wants(asked, wanted);
        asked = told(&mut deltas, Extent::References).await.unwrap();
        assert_eq!(fetched(&server).len(), wanted.len());
    }
    wants(asked, &["first", "second"]);
    assert!(told(&mut deltas, Extent::Complete).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_source_ends_with_the_controller() {
    let server = shop();
    let (source, mut deltas, demand) = by_hand(&server);
    told(&mut deltas, Extent::References).await.unwrap();
    drop(demand);
    assert!(timeout(Duration::from_secs(1), source).await.is_ok(), "nobody says what to fetch");
    let (source, mut deltas, _demand) = by_hand(&server);
    told(&mut deltas, Extent::References).await.unwrap();
    drop(deltas);
    server.apply("httproutes", route("a", "/another"));
    assert!(timeout(Duration::from_secs(1), source).await.is_ok(), "nobody listens");
}

fn policy(name: &str, config_map: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": { "namespace": "infra", "name": name },
        "spec": {
            "targetRefs": [{ "group": "", "kind": "Service", "name": "web" }],
            "validation": {
                "hostname": "web.example.com",
                "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": config_map }],
            },
        },
    })
}

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "infra", "name": name },
        "data": { "ca.crt": "roots", "max-connections": "7" },
    })
}

#[tokio::test(start_paused = true)]
async fn config_maps_are_read_as_far_as_policies_refer_to_them() {
    let server = shop();
    for name in ["ca", "settings", "unused"] {
        server.apply("configmaps", config_map(name));
    }
    server.apply("backendtlspolicies", policy("one", "ca"));
    // A policy that names the settings neither reduces them nor takes them away when it goes.
    server.apply("backendtlspolicies", policy("two", "settings"));
    let settings_map = Some(ObjectKey::new(Kind::ConfigMap, "infra", "settings"));
    let mut reading = Reading::with(&server, ClusterOptions { settings_map, ..ClusterOptions::default() });
    reading.settled().await;
    assert_eq!(reading.complete, 1);
    let keys = |reading: &Reading, name: &str| {
        let map = reading.snapshot.config_maps.get(&ObjectKey::new(Kind::ConfigMap, "infra", name))?;
        Some(map.data.keys().map(ToString::to_string).collect::<Vec<_>>())
    };
    let all = Some(vec!["ca.crt".to_owned(), "max-connections".to_owned()]);
    assert_eq!((keys(&reading, "ca"), keys(&reading, "settings")), (all.clone(), all.clone()));
    assert_eq!(reading.snapshot.config_maps.len(), 2);
    let read: Vec<_> = server.asked("GET", "/configmaps/").into_iter().map(|r| r.path).collect();
    assert!(!read.is_empty() && read.iter().all(|path| path.ends_with("/configmaps/ca")), "{read:?}");
    server.delete("backendtlspolicies", "infra", "one");
    server.delete("backendtlspolicies", "infra", "two");
    let mut told = reading.settled().await;
    told.sort();
    let gone = ["-BackendTLSPolicy infra/one", "-BackendTLSPolicy infra/two", "released ConfigMap infra/ca"];
    assert_eq!(told, gone);
    assert_eq!(keys(&reading, "settings"), all);
}

#[tokio::test(start_paused = true)]
async fn config_maps_are_not_watched_before_one_is_wanted() {
    let server = shop();
    server.apply("configmaps", config_map("ca"));
    ["list", "watch", "get"].into_iter().for_each(|verb| server.deny(verb, "configmaps"));
    let log = Log::begin();
    let mut reading = Reading::of(&server);
    reading.for_a_while(60).await;
    assert_eq!((reading.complete, reading.unread(), reading.unreadable()), (1, vec![], "{}".to_owned()));
    assert_eq!(
        (server.asked("GET", "configmaps").len(), log.lines(&["WARN"]).len()),
        (0, 0),
        "nobody refers to one"
    );

    server.apply("backendtlspolicies", policy("one", "ca"));
    reading.for_a_while(60).await;
    assert!(reading.unreadable().contains("configmaps"), "{}", reading.unreadable());
    assert_eq!(reading.refused.len(), 1, "{:?}", reading.refused);
    assert!(
        reading.refused[0].contains("ConfigMap infra/ca")
            && reading.refused[0].contains("no permission to read")
    );
    assert_eq!(reading.unread(), [""; 0], "what is served does not wait for it");

    ["list", "watch", "get"].into_iter().for_each(|verb| server.allow(verb, "configmaps"));
    reading.for_a_while(60).await;
    let held = |reading: &Reading| {
        reading.snapshot.config_maps.contains_key(&ObjectKey::new(Kind::ConfigMap, "infra", "ca"))
    };
    assert!(held(&reading), "it is permitted by now");
    let mut changed = config_map("ca");
    changed["data"]["ca.crt"] = "others".into();
    server.apply("configmaps", changed);
    assert_eq!(reading.settled().await, ["+ConfigMap infra/ca"]);
}
