//! Kinds that are missing, new, removed, or that may not be read.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_is_picked_up_when_it_is() {
    let (server, log) = (ApiServer::new(), Log::begin());
    let of_gateways = ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"];
    for plural in of_gateways.into_iter().chain(["tlsroutes", "tcproutes", "udproutes"]) {
        server.uninstall(plural);
    }
    server.apply("ingresses", ingress("old", "old.example.com"));
    let mut reading = Reading::of(&server);
    assert_eq!(reading.settled().await, ["+Ingress shop/old"]);
    assert_eq!((reading.complete, reading.unreadable().as_str()), (1, "{}"));
    let missing =
        log.lines(&["CRDs are not installed", "httproutes", "grpcroutes", "tcproutes", "udproutes"]);
    assert_eq!(missing.len(), 1, "a line that names them");
    // Its CRD appears, and is served a moment later.
    server.apply("customresourcedefinitions", definition("httproutes", "v1.7.0"));
    reading.for_a_while(1).await;
    server.install("httproutes");
    server.apply("httproutes", route("a", "/"));
    assert_eq!(reading.settled().await, ["+HTTPRoute shop/a"]);
    // The CRD of another kind of the Gateway API appears later, and is served too.
    server.apply("customresourcedefinitions", definition("udproutes", "v1.7.0"));
    server.install("udproutes");
    let mut dns = route("dns", "/");
    dns["kind"] = "UDPRoute".into();
    dns["spec"]["rules"][0].as_object_mut().unwrap().remove("matches");
    server.apply("udproutes", dns);
    assert_eq!(reading.settled().await, ["+UDPRoute shop/dns"]);
    assert_eq!(reading.complete, 1);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_kubernetes_is_without_delays_nothing_and_is_picked_up_when_it_is_served() {
    let (server, log) = (shop(), Log::begin());
    server.uninstall("clustertrustbundles");
    let begun = tokio::time::Instant::now();
    let mut reading = Reading::of(&server);
    while reading.deltas.recv().await.unwrap().extent != Extent::Complete {}
    assert!(begun.elapsed() < Duration::from_millis(500), "no pause is waited for");
    reading.settled().await;
    assert_eq!(reading.unreadable(), "{}");
    assert_eq!(log.lines(&["CRDs are not installed"]), [""; 0], "it has none");
    server.install("clustertrustbundles");
    let bundle = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
        "metadata": {"name": "example.com:mesh:v1"}, "spec": {"trustBundle": "-"}});
    server.apply("clustertrustbundles", bundle);
    assert_eq!(reading.for_a_while(90).await, ["+ClusterTrustBundle example.com:mesh:v1"]);
}

fn x_backend(name: &str) -> serde_json::Value {
    json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackend",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"type": "EndpointSelector", "port": {"number": 80}, "endpointSelector": {"matchLabels": {"app": "web"}}}})
}

fn pod(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"}},
        "spec": {}, "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}})
}

#[tokio::test(start_paused = true)]
async fn pods_are_read_only_where_an_x_backend_selects_them() {
    let (server, log) = (shop(), Log::begin());
    server.uninstall("xbackends");
    server.apply("pods", pod("one"));
    let mut reading = Reading::of(&server);
    let told = reading.settled().await;
    assert!(!told.contains(&"+Pod shop/one".to_owned()) && reading.complete == 1, "{told:?}");
    assert!(reading.progress.borrow().unread.is_empty(), "{:?}", reading.progress.borrow().unread);
    assert_eq!(
        log.lines(&["CRDs are not installed"]),
        [""; 0],
        "the experimental channel is silently absent"
    );
    server.install("xbackends");
    server.apply("xbackends", x_backend("web"));
    server.apply(
        "customresourcedefinitions",
        json!({"metadata": {"name": "xbackends.gateway.networking.x-k8s.io"}}),
    );
    let told = reading.for_a_while(30).await;
    assert_eq!(told, ["+Pod shop/one", "+XBackend shop/web"]);
    server.apply("pods", pod("two"));
    assert_eq!(reading.settled().await, ["+Pod shop/two"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_complete_before_the_pods_of_x_backends_are_read() {
    let server = shop();
    server.apply("xbackends", x_backend("web"));
    server.apply("pods", pod("one"));
    let mut reading = Reading::of(&server);
    loop {
        let delta = reading.deltas.recv().await.unwrap();
        let extent = delta.extent;
        delta.changes.into_iter().for_each(|change| reading.snapshot.apply(change));
        if extent != Extent::Partial {
            break;
        }
    }
    assert_eq!(reading.snapshot.pods.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_crd_is_noticed_at_once() {
    let server = ApiServer::new();
    server.uninstall("httproutes");
    let mut reading = Reading::of(&server);
    reading.for_a_while(60).await;
    server.install("httproutes");
    server.apply("httproutes", route("a", "/"));
    server.apply("customresourcedefinitions", definition("httproutes", "v1.7.0"));
    let begun = tokio::time::Instant::now();
    let delta = reading.deltas.recv().await.unwrap();
    assert!(delta.bundle.is_some() || !delta.changes.is_empty());
    // Which of the two comes first is open: the route may be in it.
    delta.changes.into_iter().for_each(|c| reading.snapshot.apply(c));
    while !reading.has_route("a") {
        reading.deltas.recv().await.unwrap().changes.into_iter().for_each(|c| reading.snapshot.apply(c));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "no pause is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_kind_whose_crd_is_not_served_yet_is_waited_for() {
    let server = shop();
    // Just after its start the API server knows the CRD, and not yet the kind.
    server.install("httproutes");
    server.fault(Fault { method: "GET", path: "/httproutes?", times: 3, answer: Answer::Status(404) });
    let mut reading = Reading::of(&server);
    reading.for_a_while(1).await;
    reading.for_a_while(30).await;
    assert_eq!((reading.complete, reading.snapshot.routes.len()), (1, 3));
    // That never was "complete" without the routes.
    assert!(reading.has_route("a"));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_removed_takes_its_objects_with_it() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    // The API server does not know it for a moment: nothing is lost.
    server.fault(Fault { method: "GET", path: "/httproutes?", times: 2, answer: Answer::Status(404) });
    server.end_watches();
    assert_eq!(reading.settled().await, [""; 0]);
    server.delete("customresourcedefinitions", "", "httproutes.gateway.networking.k8s.io");
    server.uninstall("httproutes");
    let told = reading.for_a_while(30).await;
    assert_eq!(told, ["-HTTPRoute shop/a", "-HTTPRoute shop/b", "-HTTPRoute shop/c"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_refusals_deletes_nothing() {
    let of_all = ["/httproutes?", "/gateways?", "/services?", "/ingresses?"];
    for (what, crds, code) in [
        ("its CRD is there", "readable", 404),
        ("CRDs are refused too", "unknown", 404),
        ("CRDs may not be read", "forbidden", 404),
        ("a proxy in between", "readable", 403),
    ] {
        let server = shop();
        if crds == "forbidden" {
            ["list", "watch"].into_iter().for_each(|verb| server.deny(verb, "customresourcedefinitions"));
        }
        let mut reading = Reading::of(&server);
        reading.settled().await;
        for path in of_all.into_iter().chain((crds == "unknown").then_some("/customresourcedefinitions?")) {
            server.fault(Fault { method: "GET", path, times: usize::MAX, answer: Answer::Status(code) });
        }
        server.end_watches();
        assert_eq!(reading.for_a_while(600).await, [""; 0], "{what}");
        assert!(reading.unreadable().contains("httproutes"), "{what}: {}", reading.unreadable());
        server.heal();
        server.delete("httproutes", "shop", "b");
        assert_eq!(reading.for_a_while(60).await, ["-HTTPRoute shop/b"], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn older_crds_are_served_as_far_as_they_go() {
    let (server, log) = (shop(), Log::begin());
    for plural in ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"] {
        server.apply("customresourcedefinitions", definition(plural, "v1.4.0"));
    }
    // ReferenceGrants are v1beta1 there, and say let GRPCRoutes be v1alpha2.
    server.uninstall("v1/referencegrants");
    server.uninstall("v1/grpcroutes");
    server.apply("referencegrants", grant());
    let mut reading = Reading::of(&server);
    let told = reading.for_a_while(60).await;
    assert!(told.contains(&"+ReferenceGrant shop/all".to_owned()), "{told:?}");
    assert_eq!((reading.complete, reading.snapshot.routes.len()), (1, 3));
    assert!(
        reading.unreadable().contains("its CRD, of v1.4.0, does not serve v1"),
        "{}",
        reading.unreadable()
    );
    assert_eq!(log.lines(&["WARN", "kind=\"grpcroutes\"", "does not serve v1"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_read_is_named_and_the_others_are_served() {
    for verb in ["list", "watch"] {
        let (server, log) = (shop(), Log::begin());
        server.streams_lists(verb == "watch");
        server.deny(verb, "grpcroutes");
        let mut reading = Reading::of(&server);
        reading.for_a_while(60).await;
        assert_eq!((reading.complete, reading.snapshot.routes.len()), (1, 3), "{verb}");
        assert!(reading.unreadable().contains("\"grpcroutes\": \"forbidden: "), "{}", reading.unreadable());
        assert_eq!(log.lines(&["WARN", "no permission to read", "kind=\"grpcroutes\""]).len(), 1, "{verb}");
        server.allow(verb, "grpcroutes");
        reading.for_a_while(60).await;
        assert_eq!(reading.unreadable(), "{}", "{verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_kinds_that_fail_hold_up_readiness_and_nothing_else() {
    let server = shop();
    for path in ["/httproutes?", "/endpointslices?"] {
        server.fault(Fault { method: "GET", path, times: usize::MAX, answer: Answer::Status(500) });
    }
    let mut reading = Reading::of(&server);
    let told = reading.for_a_while(60).await;
    assert!(told.contains(&"+Ingress shop/old".to_owned()));
    // Which Secrets and ConfigMaps are read is known once all others are.
    let unread = vec!["configmaps", "endpointslices", "httproutes", "secrets"];
    assert_eq!((reading.complete, reading.unread()), (0, unread));
    assert!(reading.unreadable().contains("endpointslices") && reading.unreadable().contains("httproutes"));
    server.heal();
    server.fault(Fault { method: "GET", path: "/httproutes?", times: 20, answer: Answer::TooMany });
    reading.for_a_while(30).await;
    assert_eq!(reading.complete, 0, "one of them is well, the other one is not");
    reading.for_a_while(120).await;
    assert_eq!((reading.complete, reading.snapshot.routes.len()), (1, 3));
    let tries = server.asked("GET", "/httproutes?").len();
    assert!(tries < 120, "{tries} tries: pauses grow");
}

#[tokio::test(start_paused = true)]
async fn the_releases_of_the_crds_are_told() {
    let server = shop();
    let mut reading = Reading::of(&server);
    let mut bundle = None;
    while let Ok(Some(delta)) = timeout(Duration::from_secs(3), reading.deltas.recv()).await {
        bundle = delta.bundle.or(bundle);
    }
    assert_eq!(bundle.unwrap().releases.into_iter().collect::<Vec<_>>(), ["v1.7.0".into()]);
    server.apply("customresourcedefinitions", definition("httproutes", "v1.5.1"));
    let delta = reading.deltas.recv().await.unwrap();
    assert_eq!(
        delta.bundle.unwrap().releases.into_iter().collect::<Vec<_>>(),
        ["v1.5.1".into(), "v1.7.0".into()]
    );
    let asked = server.asked("GET", "customresourcedefinitions");
    assert!(!asked.is_empty());
}
