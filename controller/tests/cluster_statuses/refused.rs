//! Statuses that the API server refuses, objects that we refuse, and objects of namespaces that are not selected.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_kind_whose_status_may_not_be_written_does_not_hold_up_the_others() {
    let (server, log) = (shop(100), Log::begin());
    server.apply("ingresses", ingress("old", "old.example.com"));
    server.deny("update", "httproutes/status");
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!((writes_of(&server, "/gateways/"), writes_of(&server, "/ingresses/")), (1, 1));
    assert_eq!(server.asked("PUT", "/httproutes/").len(), 100, "each once");
    assert_eq!(log.lines(&["WARN", "no permission to write", "HTTPRoute"]).len(), 1);
    server.allow("update", "httproutes/status");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(writes_of(&server, "/httproutes/"), 100);
}

/// A route with a message about each of its backends, none of which exists.
fn lost_route(name: &str) -> Value {
    let mut lost = route(name, "/");
    let backend = |number: usize| json!({"group": "", "kind": "Service", "name": format!("gone-{number}-{}", "x".repeat(40)), "port": 80, "weight": 1});
    lost["spec"]["rules"][0]["backendRefs"] = (0..16).map(backend).collect();
    lost
}

fn longest_message(status: &Value) -> usize {
    let conditions = status["parents"][0]["conditions"].as_array().unwrap();
    conditions.iter().map(|condition| condition["message"].as_str().unwrap().len()).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_is_tried_once_more_with_shortened_messages() {
    let server = shop(0);
    server.apply("httproutes", lost_route("r0"));
    server.fault(Fault { method: "PUT", path: "/httproutes/r0/", times: 1, answer: Answer::Status(422) });
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(600)).await;
    let tries = server.asked("PUT", "/httproutes/r0/");
    let lengths: Vec<_> = tries.iter().map(|tried| longest_message(&tried.body["status"])).collect();
    assert_eq!(lengths.len(), 2, "{lengths:?}");
    assert!(lengths[0] > 400 && lengths[1] < 240, "{lengths:?}");
    assert_eq!((tries[0].status, tries[1].status), (422, 200));
    assert_eq!(replica.refused.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_for_good_is_given_up_and_counted() {
    let (server, log) = (shop(1), Log::begin());
    server.apply("httproutes", lost_route("lost"));
    server.fault(Fault {
        method: "PUT",
        path: "/httproutes/lost/",
        times: usize::MAX,
        answer: Answer::Status(422),
    });
    let replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(600)).await;
    let tries = || server.asked("PUT", "/httproutes/lost/").len();
    assert_eq!((tries(), replica.refused.count()), (2, 1));
    assert_eq!(log.lines(&["WARN", "HTTPRoute shop/lost", "not retried"]).len(), 1);
    assert_eq!(writes_of(&server, "/httproutes/r0/"), 1, "others are written");
    // It is tried again when something changes.
    server.apply("httproutes", route("lost", "/"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(tries(), 4);
    server.heal();
    server.apply("httproutes", route("lost", "/other"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!((tries(), replica.refused.count()), (5, 0));
}

/// The table, and everything that is said of objects.
fn outcome(replica: &Replica) -> (String, String) {
    let table = replica.table.lock().unwrap().as_ref().map(ToString::to_string);
    (table.unwrap_or_default(), format!("{:#}", replica.handle.report()["objects"]))
}

#[tokio::test(start_paused = true)]
async fn refused_objects_are_served_and_told_alike_by_a_replica_that_saw_them_before_and_by_a_new_one() {
    let server = shop(3);
    server.apply("services", service("shop", "other"));
    server.apply("ingresses", ingress("web", "a.example.com"));
    let mut second = gateway("second");
    second["spec"]["listeners"][0]["port"] = json!(8080);
    server.apply("gateways", second.clone());
    let mut theirs = route("theirs", "/theirs");
    theirs["spec"]["parentRefs"][0]["name"] = "theirs".into();
    let mut their_gateway = gateway("theirs");
    their_gateway["spec"]["gatewayClassName"] = "theirs".into();
    let mut their_class = class();
    their_class["metadata"]["name"] = "theirs".into();
    their_class["spec"]["controllerName"] = "example.com/theirs".into();
    server.apply("gatewayclasses", their_class);
    server.apply("gateways", their_gateway.clone());
    server.apply("httproutes", theirs.clone());
    let before = Replica::start(&server, true).ready().await;
    let good = outcome(&before).0;
    assert!(good.contains("/0") && good.contains("a.example.com"), "{good}");

    // Each is edited into something that cannot be read.
    let refuse = |plural: &str, mut object: Value, field: &str| {
        object["spec"][field] = json!(7);
        server.apply(plural, object);
    };
    refuse("httproutes", route("r0", "/0"), "rules");
    refuse("ingresses", ingress("web", "a.example.com"), "rules");
    refuse("gateways", second, "listeners");
    refuse("services", service("shop", "other"), "ports");
    refuse("httproutes", theirs, "rules");
    refuse("gateways", their_gateway, "listeners");
    sleep(Duration::from_secs(5)).await;
    let (table, said) = outcome(&before);
    assert!(!table.contains("prefix /0") && table.contains("prefix /1"), "{table}");
    assert!(!table.contains("a.example.com"), "{table}");
    let accepted = |status: &Value| {
        format!("{} {}", status["conditions"][0]["status"], status["conditions"][0]["reason"])
    };
    let unsupported = r#""False" "UnsupportedValue""#;
    assert_eq!(accepted(&status(&server, "httproutes", "shop", "r0")["parents"][0]), unsupported);
    assert_eq!(accepted(&status(&server, "gateways", "infra", "second")), unsupported);
    let conditions = &status(&server, "httproutes", "shop", "r0")["parents"][0]["conditions"];
    assert_eq!(
        (&conditions[1]["type"], &conditions[1]["status"]),
        (&json!("ResolvedRefs"), &json!("Unknown"))
    );
    assert_eq!(conditions[1]["observedGeneration"], 2, "{conditions}");
    for (plural, namespace, name) in [("httproutes", "shop", "theirs"), ("gateways", "infra", "theirs")] {
        assert_eq!(status(&server, plural, namespace, name), Value::Null, "{plural}");
    }
    let mut told = events(&server);
    told.sort();
    let want = [
        "Warning Gateway second Invalid",
        "Warning Gateway second UnsupportedValue",
        "Warning HTTPRoute r0 UnsupportedValue",
        "Warning Ingress web NotServed",
    ];
    assert_eq!(told, want, "once, and of our own objects alone");

    // One that never saw them in a better state serves and says the same, and has nothing to write.
    let writes = server.status_writes().len();
    let follower = Replica::start(&server, false).ready().await;
    assert_eq!(outcome(&follower), (table.clone(), said.clone()));
    drop((before, follower));
    let after = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(outcome(&after), (table, said));
    assert_eq!((server.status_writes().len(), events(&server).len()), (writes, want.len()));

    server.apply("httproutes", route("r0", "/0"));
    sleep(Duration::from_secs(5)).await;
    assert!(outcome(&after).0.contains("prefix /0"));
    assert_eq!(parents(&server, "r0"), [format!("{OURS} Accepted=True")]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_refused_at_a_start_is_told_of() {
    let server = shop(0);
    let mut bad = route("bad", "/");
    bad["spec"]["rules"] = json!(7);
    server.apply("httproutes", bad.clone());
    let mut bad_ingress = ingress("bad", "a.example.com");
    bad_ingress["spec"]["rules"] = json!(7);
    server.apply("ingresses", bad_ingress);
    for _ in 0..2 {
        let _replica = Replica::start(&server, true).ready().await;
        sleep(Duration::from_secs(5)).await;
        let mut told = events(&server);
        told.sort();
        assert_eq!(told, ["Warning HTTPRoute bad UnsupportedValue", "Warning Ingress bad NotServed"]);
    }
    let status = status(&server, "httproutes", "shop", "bad");
    let condition = &status["parents"][0]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["observedGeneration"]),
        (&json!("UnsupportedValue"), &json!(1))
    );
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("spec.rules: has the wrong type"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_served_as_their_labels_say_and_at_once() {
    let server = shop(1);
    let namespace = |name: &str, served: &str| {
        server.apply("namespaces", json!({"metadata": {"name": name, "labels": {"served": served}}}));
    };
    for (name, served) in [("infra", "yes"), ("shop", "yes"), ("media", "no")] {
        namespace(name, served);
    }
    let mut elsewhere = route("elsewhere", "/media");
    elsewhere["metadata"]["namespace"] = "media".into();
    server.apply("httproutes", elsewhere.clone());
    let settings =
        || Settings { namespace_selector: Some("served=yes".parse().unwrap()), ..Settings::default() };
    let replica = Replica::with(&server, true, settings()).ready().await;
    let of_media = || status(&server, "httproutes", "media", "elsewhere");
    let (table, said) = outcome(&replica);
    assert!(table.contains("prefix /0") && !table.contains("/media") && !said.contains("media"), "{table}");
    assert_eq!(of_media(), Value::Null);

    namespace("media", "yes");
    sleep(Duration::from_secs(5)).await;
    assert!(outcome(&replica).0.contains("prefix /media"));
    assert_eq!(of_media()["parents"][0]["conditions"][0]["status"], "True");
    assert_eq!(status(&server, "gateways", "infra", "public")["listeners"][0]["attachedRoutes"], 2);

    namespace("media", "no");
    sleep(Duration::from_secs(5)).await;
    assert!(!outcome(&replica).0.contains("/media"));
    assert_eq!(status(&server, "gateways", "infra", "public")["listeners"][0]["attachedRoutes"], 1);
    // Another release may serve it now: its status is left alone, at a start too.
    let left = of_media();
    assert_eq!(left["parents"][0]["conditions"][0]["status"], "True");
    server.set_status(
        "httproutes",
        "media",
        "elsewhere",
        json!({"parents": [foreign_entry(1), left["parents"][0]]}),
    );
    drop(replica);
    let done = |server: &ApiServer| (server.status_writes().len(), events(server).len());
    let before = done(&server);
    let _replica = Replica::with(&server, true, settings()).ready().await;
    server.apply("httproutes", elsewhere);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(done(&server), before);
}
