//! What is read of a cluster, whatever its API server does meanwhile. All of it in paused time: nothing waits.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

#[path = "../api_server/mod.rs"]
mod api_server;
mod kinds;
mod on_demand;

use std::time::Duration;

use portcullis_controller::{
    Controller, Settings,
    cluster::{Observation, Sighting},
    ir::{Kind, ObjectKey},
    snapshot::{Change, Snapshot},
    source::{
        Delta, Extent,
        cluster::{self, ClusterOptions, Outlets, Progress},
    },
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use api_server::{Answer, ApiServer, Fault, Log, objects::*};

/// A source of the server's objects, and what it said; a controller says what is to be fetched.
struct Reading {
    deltas: mpsc::UnboundedReceiver<Delta>,
    seen: mpsc::Receiver<Sighting>,
    progress: watch::Receiver<Progress>,
    snapshot: Snapshot,
    complete: usize,
    refused: Vec<String>,
}

impl Reading {
    fn of(server: &ApiServer) -> Self {
        Self::with(server, ClusterOptions::default())
    }

    fn with(server: &ApiServer, options: ClusterOptions) -> Self {
        let (to_deltas, told) = mpsc::channel(64);
        let (to_controller, of_controller) = mpsc::channel(64);
        let (to_test, deltas) = mpsc::unbounded_channel();
        let default_certificate = options.default_certificate.clone();
        let settings = Settings { default_certificate, ..Settings::default() };
        let (controller, handle) = Controller::of(of_controller, settings);
        tokio::spawn(controller.run(drop));
        tokio::spawn(tell_both(told, to_controller, to_test));
        let (to_seen, seen) = mpsc::channel(65536);
        let (to_progress, progress) = watch::channel(Progress::default());
        let outlets = Outlets { deltas: to_deltas, seen: to_seen, progress: to_progress };
        tokio::spawn(cluster::watch(server.client(), options, handle.demand(), outlets));
        let snapshot = Snapshot::default();
        Self { deltas, seen, progress, snapshot, complete: 0, refused: Vec::new() }
    }

    /// Waits until nothing has been told for so long; returns what was, in short: `+HTTPRoute shop/web`.
    async fn for_a_while(&mut self, seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(Some(delta)) = timeout(Duration::from_secs(seconds), self.deltas.recv()).await {
            let Delta { changes, problems, released, extent, .. } = delta;
            self.complete += usize::from(extent == Extent::Complete);
            if let Some(problems) = problems {
                self.refused = problems.iter().map(ToString::to_string).collect();
            }
            for change in changes {
                told.push(match &change {
                    Change::Apply(object) => format!("+{}", object.meta().key),
                    Change::Delete(key) => format!("-{key}"),
                });
                self.snapshot.apply(change);
            }
            for key in released {
                told.push(format!("released {key}"));
                self.snapshot.apply(Change::Delete(key));
            }
        }
        told.sort();
        told
    }

    async fn settled(&mut self) -> Vec<String> {
        self.for_a_while(3).await
    }

    fn has_route(&self, name: &str) -> bool {
        self.snapshot.routes.contains_key(&ObjectKey::new(Kind::HttpRoute, "shop", name))
    }

    fn unreadable(&self) -> String {
        format!("{:?}", self.progress.borrow().unreadable)
    }

    fn unread(&self) -> Vec<&'static str> {
        self.progress.borrow().unread.iter().copied().collect()
    }
}

async fn tell_both(
    mut told: mpsc::Receiver<Delta>,
    controller: mpsc::Sender<Delta>,
    test: mpsc::UnboundedSender<Delta>,
) {
    while let Some(delta) = told.recv().await {
        let _ = test.send(delta.clone());
        if controller.send(delta).await.is_err() {
            return;
        }
    }
}

/// A server with a little of everything.
fn shop() -> ApiServer {
    let server = ApiServer::new();
    for plural in ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"] {
        server.apply("customresourcedefinitions", definition(plural, "v1.7.0"));
    }
    server.apply("gatewayclasses", class());
    server.apply("gateways", gateway("public"));
    for name in ["a", "b", "c"] {
        server.apply("httproutes", route(name, "/"));
    }
    server.apply("ingresses", ingress("old", "old.example.com"));
    server.apply("services", service("shop", "web"));
    server
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_once_and_then_complete() {
    for streams in [true, false] {
        let server = shop();
        server.streams_lists(streams);
        let mut reading = Reading::of(&server);
        let told = reading.settled().await;
        let want = [
            "+Gateway infra/public",
            "+GatewayClass portcullis",
            "+HTTPRoute shop/a",
            "+HTTPRoute shop/b",
            "+HTTPRoute shop/c",
            "+Ingress shop/old",
            "+Service shop/web",
        ];
        assert_eq!(told, want, "streamed lists: {streams}");
        assert_eq!(reading.complete, 1, "streamed lists: {streams}");
        assert_eq!(reading.unread(), [""; 0], "streamed lists: {streams}");
        let listed = server.requests().iter().filter(|r| !r.path.contains("watch=")).count();
        assert_eq!(listed == 0, streams, "lists by pages where they are not streamed");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_where_they_are_not_streamed() {
    let server = shop();
    server.streams_lists(false);
    for number in 0..600 {
        server.apply("httproutes", route(&format!("r{number}"), "/"));
    }
    let mut reading = Reading::of(&server);
    reading.settled().await;
    assert_eq!(reading.snapshot.routes.len(), 603);
    assert_eq!(server.asked("GET", "/httproutes?").iter().filter(|r| !r.path.contains("watch=")).count(), 7);
    // What happened while the pages were read is not lost, nor what happens later.
    server.apply("httproutes", route("later", "/"));
    assert_eq!(reading.settled().await, ["+HTTPRoute shop/later"]);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_as_they_come() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    server.apply("httproutes", route("a", "/other"));
    assert_eq!(reading.settled().await, ["+HTTPRoute shop/a"]);
    server.delete("httproutes", "shop", "b");
    assert_eq!(reading.settled().await, ["-HTTPRoute shop/b"]);
    // A status is not a change of the object, and whoever writes statuses sees it.
    while reading.seen.try_recv().is_ok() {}
    server.set_status("httproutes", "shop", "a", json!({"parents": []}));
    assert_eq!(reading.settled().await, [""; 0]);
    let Ok(Sighting { what: Observation::Seen(key, live), .. }) = reading.seen.try_recv() else {
        panic!("a status that nobody sees")
    };
    assert_eq!((&*key.name, &*live.status), ("a", r#"{"parents":[]}"#));
}

#[tokio::test(start_paused = true)]
async fn a_new_list_tells_what_changed_and_nothing_else() {
    for streams in [true, false] {
        let server = shop();
        server.streams_lists(streams);
        let mut reading = Reading::of(&server);
        reading.settled().await;
        // The watches break, and what happens meanwhile is forgotten by the server.
        server.is_down(true);
        server.apply("httproutes", route("a", "/other"));
        server.delete("httproutes", "shop", "b");
        let before = reading.snapshot.routes[&ObjectKey::new(Kind::HttpRoute, "shop", "c")].meta.uid.clone();
        server.delete("httproutes", "shop", "c");
        server.apply("httproutes", route("c", "/"));
        server.compact();
        server.is_down(false);
        let told = reading.for_a_while(10).await;
        assert_eq!(
            told,
            ["+HTTPRoute shop/a", "+HTTPRoute shop/c", "-HTTPRoute shop/b"],
            "streamed lists: {streams}"
        );
        let after = &reading.snapshot.routes[&ObjectKey::new(Kind::HttpRoute, "shop", "c")].meta.uid;
        assert_ne!(before, *after, "an object made anew is another one");
        assert_eq!(reading.complete, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_forgets_what_it_had() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    // b is listed by the first page of a list whose second page never comes; then it is deleted.
    server.streams_lists(false);
    for number in 0..300 {
        server.apply("httproutes", route(&format!("r{number}"), "/"));
    }
    server.compact();
    server.fault(Fault { method: "GET", path: "continue=", times: 1, answer: Answer::Cut });
    server.fault(Fault { method: "GET", path: "/httproutes?", times: 3, answer: Answer::Cut });
    server.end_watches();
    reading.for_a_while(1).await;
    server.delete("httproutes", "shop", "b");
    server.compact();
    server.heal();
    reading.for_a_while(10).await;
    assert!(!reading.has_route("b") && reading.has_route("r299"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_ended() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    let lists = || server.asked("GET", "sendInitialEvents").len();
    let before = lists();
    // In good order many times over, and by force.
    reading.for_a_while(600).await;
    server.is_down(true);
    server.apply("httproutes", route("a", "/other"));
    server.is_down(false);
    assert_eq!(reading.for_a_while(10).await, ["+HTTPRoute shop/a"]);
    assert_eq!(lists(), before, "nothing was listed again");
    let watches = server.asked("GET", "/httproutes?").len();
    assert!((4..20).contains(&watches), "{watches} watches in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn events_that_come_again_or_late_are_none() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    let old = server.get("httproutes", "shop", "a").unwrap();
    let new = server.apply("httproutes", route("a", "/other"));
    assert_eq!(reading.settled().await, ["+HTTPRoute shop/a"]);
    for object in [new, old] {
        server.tell("MODIFIED", "httproutes", object.clone());
        server.tell("DELETED", "httproutes", object);
        assert_eq!(reading.settled().await, [""; 0]);
    }
    // After a deletion there is nothing to bring back.
    let gone = server.get("httproutes", "shop", "b").unwrap();
    server.delete("httproutes", "shop", "b");
    server.tell("MODIFIED", "httproutes", gone);
    assert_eq!(reading.settled().await, ["-HTTPRoute shop/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_for_too_long_is_begun_again() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    server.stall_watches("httproutes");
    server.apply("httproutes", route("a", "/other"));
    assert_eq!(reading.for_a_while(30).await, [""; 0], "the stream is open and says nothing");
    assert_eq!(reading.for_a_while(300).await, ["+HTTPRoute shop/a"]);
    // That was the watch that began with the list; this is one that goes on from it.
    server.stall_watches("httproutes");
    server.apply("httproutes", route("a", "/another"));
    assert_eq!(reading.for_a_while(300).await, ["+HTTPRoute shop/a"]);
    // An answer that never begins is given up as well.
    server.fault(Fault { method: "GET", path: "/httproutes?", times: 2, answer: Answer::Stall });
    server.end_watches();
    server.apply("httproutes", route("b", "/other"));
    assert_eq!(reading.for_a_while(300).await, ["+HTTPRoute shop/b"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_gone_takes_nothing_with_it() {
    let (server, log) = (shop(), Log::begin());
    let mut reading = Reading::of(&server);
    reading.settled().await;
    server.is_down(true);
    assert_eq!(reading.for_a_while(3600).await, [""; 0]);
    assert!(reading.has_route("a"));
    assert!(reading.unreadable().contains("httproutes"), "{}", reading.unreadable());
    server.apply("httproutes", route("d", "/"));
    server.is_down(false);
    assert_eq!(reading.for_a_while(30).await, ["+HTTPRoute shop/d"]);
    assert_eq!(reading.unreadable(), "{}");
    // Once when it begins, and once when it ends.
    assert_eq!(log.lines(&["cannot be read", "kind=\"httproutes\""]).len(), 1);
    assert_eq!(log.lines(&["can be read again", "kind=\"httproutes\""]).len(), 1);
    let tries = server.asked("GET", "/httproutes?").len();
    assert!(tries < 20, "{tries} answers to what was asked for; the rest met nobody");
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_it_waits_and_says_so() {
    let (server, log) = (shop(), Log::begin());
    server.is_down(true);
    let mut reading = Reading::of(&server);
    assert_eq!(reading.for_a_while(600).await, [""; 0]);
    assert_eq!(reading.complete, 0);
    assert!(reading.unread().contains(&"httproutes") && reading.unread().contains(&"secrets"));
    assert!(reading.unreadable().contains("gateways"));
    assert_eq!(log.lines(&["WARN", "cannot be read", "kind=\"gateways\""]).len(), 1);
    server.is_down(false);
    reading.for_a_while(30).await;
    assert_eq!((reading.complete, reading.snapshot.routes.len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_keeps_failing_lists_again() {
    for answer in [Answer::Status(500), Answer::Status(400), Answer::Stall] {
        let (server, log) = (shop(), Log::begin());
        let mut reading = Reading::of(&server);
        reading.settled().await;
        // Lists are answered, and no watch.
        server.fault(Fault { method: "GET", path: "/httproutes?&watch=true", times: usize::MAX, answer });
        server.end_watches();
        server.apply("httproutes", route("d", "/"));
        server.delete("httproutes", "shop", "a");
        let told = reading.for_a_while(600).await;
        assert_eq!(told, ["+HTTPRoute shop/d", "-HTTPRoute shop/a"], "{answer:?}");
        assert!(reading.unreadable().contains("httproutes"), "{answer:?}: {}", reading.unreadable());
        tokio::time::sleep(Duration::from_secs(600)).await;
        let lists =
            server.asked("GET", "/httproutes?").into_iter().filter(|r| !r.path.contains("watch=")).count();
        assert!(lists < 25, "{answer:?}: {lists} lists in twenty minutes");
        assert_eq!(log.lines(&["cannot be read", "kind=\"httproutes\""]).len(), 1, "{answer:?}");
        assert_eq!(log.lines(&["can be read again", "kind=\"httproutes\""]).len(), 0, "{answer:?}");
        server.heal();
        reading.for_a_while(600).await;
        assert_eq!(reading.unreadable(), "{}", "{answer:?}");
        server.apply("httproutes", route("e", "/"));
        assert_eq!(reading.settled().await, ["+HTTPRoute shop/e"], "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_place_is_always_forgotten_is_not_asked_for_without_a_pause() {
    let server = shop();
    server.streams_lists(false);
    server.fault(Fault {
        method: "GET",
        path: "/httproutes?&watch=true",
        times: usize::MAX,
        answer: Answer::Status(410),
    });
    let mut reading = Reading::of(&server);
    reading.for_a_while(2).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let lists = server.asked("GET", "/httproutes?").len();
    assert!(lists < 200, "{lists} lists and watches in two minutes");
    server.apply("httproutes", route("d", "/"));
    assert_eq!(reading.for_a_while(10).await, ["+HTTPRoute shop/d"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_refused_is_told_as_a_fresh_start_tells_it() {
    let server = shop();
    let mut reading = Reading::of(&server);
    reading.settled().await;
    let a = |reading: &Reading| {
        reading.snapshot.routes.get(&ObjectKey::new(Kind::HttpRoute, "shop", "a")).cloned()
    };
    let mut bad = route("a", "/");
    bad["spec"]["rules"][0]["matches"][0]["path"]["value"] = json!(7);
    server.apply("httproutes", bad);
    server.apply("httproutes", route("b", "/other"));
    server.apply("services", json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": []}));
    assert_eq!(reading.settled().await, ["+HTTPRoute shop/a", "+HTTPRoute shop/b", "-Service shop/web"]);
    let mut fresh = Reading::of(&server);
    fresh.settled().await;
    for reading in [&reading, &fresh] {
        let refused = a(reading).unwrap();
        assert_eq!((refused.meta.generation, refused.rules.len(), refused.parents.len()), (2, 0, 1));
        assert!(refused.refused.as_ref().unwrap().starts_with("spec.rules[0].matches[0].path.value:"));
        assert_eq!(reading.refused.len(), 2, "{:?}", reading.refused);
        assert!(reading.refused[0].starts_with("HTTPRoute shop/a: spec.rules[0].matches[0].path.value:"));
        assert!(reading.refused[1].starts_with("Service shop/web: "), "{:?}", reading.refused);
    }
    // What is written into its status is no change of it.
    server.set_status("httproutes", "shop", "a", json!({"parents": []}));
    assert!(reading.settled().await.is_empty());
    // Good again, and its deletion is told whatever it was.
    server.apply("httproutes", route("a", "/good"));
    assert_eq!(reading.settled().await, ["+HTTPRoute shop/a"]);
    assert!(a(&reading).is_some_and(|route| route.meta.generation == 3 && route.refused.is_none()));
    assert_eq!(reading.refused.len(), 1);
    server.apply("httproutes", json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": []}));
    server.delete("httproutes", "shop", "a");
    assert_eq!(reading.settled().await, ["-HTTPRoute shop/a"]);
}

const PAIR: [(&str, &str); 2] = [("tls.crt", "chain"), ("tls.key", "key")];

#[tokio::test(start_paused = true)]
async fn only_the_namespaces_that_are_named_are_watched() {
    let server = shop();
    let mut elsewhere = route("elsewhere", "/");
    elsewhere["metadata"]["namespace"] = "other".into();
    server.apply("httproutes", elsewhere);
    // All that a Role can give is asked for.
    for plural in ["httproutes", "services", "secrets", "ingresses"] {
        server.apply(plural, json!({"metadata": {"namespace": "other", "name": "not-ours"}}));
    }
    let namespaces = vec!["shop".to_owned(), "infra".to_owned()];
    let mut reading = Reading::with(&server, ClusterOptions { namespaces, ..ClusterOptions::default() });
    let told = reading.settled().await;
    assert_eq!((reading.complete, reading.snapshot.routes.len()), (1, 3));
    assert!(told.iter().all(|told| !told.contains("other/")), "{told:?}");
    let of_all = ["/v1/httproutes?", "/v1/services?", "/v1/secrets?", "/v1/ingresses?"];
    assert!(of_all.iter().all(|path| server.asked("GET", path).is_empty()));
    let mut another = route("a", "/other");
    another["metadata"]["namespace"] = "infra".into();
    server.apply("httproutes", another);
    assert_eq!(reading.settled().await, ["+HTTPRoute infra/a"]);
}
