//! Events: of transitions and of remarks.

use super::*;

#[tokio::test(start_paused = true)]
async fn events_tell_what_changes_and_only_then() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    assert_eq!(events(&server), [""; 0], "all is well from the beginning");
    server.delete("services", "shop", "web");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events(&server), ["Warning HTTPRoute r0 BackendNotFound"]);
    drop(replica);
    let _replica = Replica::start(&server, true).ready().await;
    assert_eq!(events(&server).len(), 1, "a restart changes nothing");
    server.apply("services", service("shop", "web"));
    sleep(Duration::from_secs(5)).await;
    let mut now = events(&server);
    now.sort();
    assert_eq!(now, ["Normal HTTPRoute r0 ResolvedRefs", "Warning HTTPRoute r0 BackendNotFound"]);
}

#[tokio::test(start_paused = true)]
async fn an_ingress_has_events_too() {
    let server = shop(1);
    server.apply("ingresses", ingress("first", "a.example.com"));
    let replica = Replica::start(&server, true).ready().await;
    let mut second = ingress("second", "a.example.com");
    second["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    server.apply("ingresses", second);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events(&server), ["Warning Ingress second NotServed"]);
    let note = server.all("events")[0]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("shop/first"), "{note}");
    drop(replica);
    let before = events(&server).len();
    let _replica = Replica::start(&server, false).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events(&server).len(), before, "whoever does not lead tells nothing");
}

#[tokio::test(start_paused = true)]
async fn what_is_remarked_about_accepted_objects_is_told_once() {
    let server = shop(0);
    let mut closed = ingress("closed", "a.example.com");
    closed["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/enable-modsecurity": "true"});
    let mut theirs = ingress("theirs", "b.example.com");
    theirs["metadata"]["annotations"] = closed["metadata"]["annotations"].clone();
    theirs["spec"]["ingressClassName"] = "nginx".into();
    let mut marked = gateway("public");
    marked["metadata"]["annotations"] = json!({"portcullis.dev/no-such": ""});
    let mut odd = route("odd", "/");
    odd["spec"]["useDefaultGateways"] = "All".into();
    for (plural, object) in
        [("ingresses", &closed), ("ingresses", &theirs), ("gateways", &marked), ("httproutes", &odd)]
    {
        server.apply(plural, object.clone());
    }
    let told = [
        "Warning Gateway public NoEffect",
        "Warning HTTPRoute odd NoEffect",
        "Warning Ingress closed NotServed",
    ];
    let sorted = || {
        let mut events = events(&server);
        events.sort();
        events
    };
    // Whoever becomes the leader tells what was there before, the next one nothing that was told.
    for _ in 0..3 {
        let replica = Replica::start(&server, false).ready().await;
        replica.leads.send_replace(true);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(sorted(), told);
        server.end_watches();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(sorted(), told);
    }
    let note = server.all("events").iter().map(|event| event["note"].to_string()).collect::<String>();
    assert!(note.contains("its paths are closed (503)") && note.contains("enable-modsecurity"), "{note}");

    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(5)).await;
    let report = replica.handle.report();
    let objects = report["objects"].as_array().unwrap();
    let messages = &objects.iter().find(|o| o["metadata"]["name"] == "closed").unwrap()["messages"];
    let levels: Vec<_> = messages.as_array().unwrap().iter().map(|message| &message["level"]).collect();
    assert_eq!(levels, ["refused", "warning"], "{messages}");
    let counted: Vec<_> =
        replica.handle.remarks().into_iter().map(|((kind, topic), n)| (kind, topic, n)).collect();
    let want = [
        (Kind::Gateway, Topic::UnknownAnnotation, 1),
        (Kind::HttpRoute, Topic::NotServed, 1),
        (Kind::Ingress, Topic::Protection("enable-modsecurity"), 1),
        (Kind::Ingress, Topic::Closed, 1),
    ];
    assert_eq!(counted, want);
    // That it is well again is told to whoever saw that it was not.
    server.apply("ingresses", ingress("closed", "a.example.com"));
    sleep(Duration::from_secs(60)).await;
    assert!(sorted().contains(&"Normal Ingress closed Accepted".to_owned()), "{:?}", sorted());
}

#[tokio::test(start_paused = true)]
async fn remarks_wait_for_their_turn_and_none_is_left_out() {
    let server = shop(0);
    for number in 0..200 {
        let mut closed = ingress(&format!("i{number}"), &format!("{number}.example.com"));
        closed["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/enable-modsecurity": "true"});
        server.apply("ingresses", closed);
    }
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(10)).await;
    assert!(events(&server).len() < 40, "{}", events(&server).len());
    sleep(Duration::from_secs(300)).await;
    assert_eq!(events(&server).len(), 200);
}

#[tokio::test(start_paused = true)]
async fn events_are_few_and_nobody_waits_for_them() {
    let server = shop(500);
    server.delete("services", "shop", "web");
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    let told = server.asked("POST", "/events").len();
    assert!((50..150).contains(&told), "{told} events for 500 routes");
    assert_eq!(writes_of(&server, "/httproutes/"), 500);
    // Where they cannot be written, everything else is.
    let server = shop(10);
    server.delete("services", "shop", "web");
    server.fault(Fault { method: "POST", path: "/events", times: usize::MAX, answer: Answer::Stall });
    server.apply("gateways", gateway("public"));
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(writes_of(&server, "/httproutes/"), 10);
}

/// A route of this namespace.
fn route_of(namespace: &str, name: &str) -> Value {
    let mut route = route(name, "/");
    route["metadata"]["namespace"] = namespace.into();
    route
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_changes_all_the_time_leaves_statuses_of_others_their_turn() {
    let server = shop(150);
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(30)).await;
    for round in 0..10 {
        // In the middle of more than is written meanwhile, and more than was saved for bursts.
        if round == 4 {
            server.apply("httproutes", route_of("zoo", "quiet"));
        }
        for number in 0..150 {
            server.apply("httproutes", route(&format!("r{number}"), &format!("/{number}/{round}")));
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(writes_of(&server, "/zoo/httproutes/quiet/"), 1);
    let noisy = writes_of(&server, "/shop/httproutes/");
    assert!(noisy < 150 + 10 * 150, "{noisy} writes: all of the noise was written too");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_many_events_leaves_others_their_turn() {
    let server = shop(500);
    server.delete("services", "shop", "web");
    for namespace in ["aquarium", "zoo"] {
        server.apply("httproutes", route_of(namespace, &format!("of-{namespace}")));
    }
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    let events = events(&server);
    assert!(events.len() < 150, "{} events", events.len());
    for name in ["of-aquarium", "of-zoo"] {
        assert!(events.contains(&format!("Warning HTTPRoute {name} BackendNotFound")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_objects_that_nobody_here_serves() {
    let server = shop(1);
    // Mistakes in a folder; in a cluster they may be another controller's.
    let mut gateway = gateway("strange");
    gateway["spec"]["gatewayClassName"] = "missing".into();
    server.apply("gateways", gateway);
    server.apply(
        "listenersets",
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "ListenerSet",
            "metadata": {"namespace": "shop", "name": "strange"},
            "spec": {"parentRef": {"name": "missing"}, "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]}}),
    );
    for (name, class) in [("missing-class", Some("missing")), ("without-class", None)] {
        let mut strange = ingress(name, "a.example.com");
        match class {
            Some(class) => strange["spec"]["ingressClassName"] = class.into(),
            None => drop(strange["spec"].as_object_mut().unwrap().remove("ingressClassName")),
        }
        server.apply("ingresses", strange);
    }
    let log = Log::begin();
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(events(&server), [""; 0]);
    assert!(replica.handle.remarks().is_empty(), "{:?}", replica.handle.remarks());
    let report = replica.handle.report().to_string();
    for name in ["strange", "missing-class", "without-class"] {
        assert!(!report.contains(name), "{name} in {report}");
        assert_eq!(writes_of(&server, &format!("/{name}/")), 0, "{name}");
        assert!(log.lines(&[name]).is_empty(), "{:?}", log.lines(&[name]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_backend_that_cannot_be_used_is_an_event_of_its_service() {
    let server = shop(1);
    let named = ObjectKey::new(Kind::Service, "infra", "errs");
    let default_backend = Some(Arc::new(DefaultBackend::new(named)));
    let settings = Settings { default_backend, ..in_cluster() };
    let replica = Replica::with(&server, true, settings).ready().await;
    sleep(Duration::from_secs(5)).await;
    // The Gateway has one, too: it waits for an address.
    let of_service = || -> Vec<_> {
        let all = server.all("events").into_iter();
        all.filter(|event| event["regarding"]["kind"] == "Service").collect()
    };
    let is_reported = || {
        let problems = replica.handle.problems().borrow().clone();
        problems.iter().any(|problem| *problem.object == *"Service infra/errs")
    };
    let [event] = &of_service()[..] else { panic!("{:?}", events(&server)) };
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("--default-backend-service") && note.contains("not found"), "{note}");
    assert!(is_reported());
    server.apply("services", service("infra", "errs"));
    sleep(Duration::from_secs(5)).await;
    assert!(!is_reported());
    assert_eq!(of_service().len(), 1, "nothing is reported of a Service that can be used");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_setting_is_an_event_of_its_config_map() {
    let server = shop(0);
    let map = |data: Value| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "edge", "name": "settings" },
                "data": data })
    };
    let of_map = || -> Vec<_> {
        let all = server.all("events").into_iter();
        all.filter(|event| event["regarding"]["kind"] == "ConfigMap").collect()
    };
    server.apply("configmaps", map(json!({ "max-connections": "1000" })));
    let settings_map = Some(ObjectKey::new(Kind::ConfigMap, "edge", "settings"));
    let replica = Replica::with(&server, true, Settings { settings_map, ..in_cluster() }).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(of_map().len(), 0, "{:?}", of_map());
    for _ in 0..2 {
        server.apply("configmaps", map(json!({ "max-connections": "many", "no-such-key": "a" })));
        sleep(Duration::from_secs(5)).await;
    }
    let [event] = &of_map()[..] else { panic!("{:?}", of_map()) };
    assert_eq!(event["type"], "Warning");
    assert!(event["regarding"]["uid"].is_string(), "kubectl describe finds events by the uid: {event}");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("data.max-connections: ") && note.contains("data.no-such-key: "), "{note}");
    assert_eq!(replica.handle.problems().borrow().len(), 2);
    server.apply("configmaps", map(json!({ "max-connections": "2000" })));
    sleep(Duration::from_secs(5)).await;
    let is_good = |event: &Value| event["type"] == "Normal" && event["note"] == "all of it is served";
    assert_eq!((of_map().len(), of_map().iter().any(is_good)), (2, true), "{:?}", of_map());
}
