//! Who writes, and when: the leader, within its term; conflicts; an API server that fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes() {
    let server = shop(3);
    let replica = Replica::start(&server, false).ready().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.asked("PUT", "").len() + server.asked("POST", "").len(), 0);
    replica.leads.send_replace(true);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(writes_of(&server, "/httproutes/"), 3);
    replica.leads.send_replace(false);
    sleep(Duration::from_secs(1)).await;
    let before = server.asked("PUT", "").len();
    server.apply("httproutes", route("r0", "/other"));
    server.apply("httproutes", route("new", "/new"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.asked("PUT", "").len(), before);
    // Whoever leads next looks at everything once.
    replica.leads.send_replace(true);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((writes_of(&server, "/httproutes/r0/"), writes_of(&server, "/httproutes/new/")), (2, 1));
    assert_eq!(writes_of(&server, "/httproutes/r1/"), 1);
}

#[tokio::test(start_paused = true)]
async fn whose_time_is_over_begins_no_write_before_it_is_told() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    let writes = || server.asked("PUT", "/status").len();
    let before = writes();
    // As after a freeze: nobody has said yet that another one leads.
    replica.term.set(Some(Instant::now()));
    server.apply("httproutes", route("late", "/late"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(writes(), before);
    // A renewal that was only late is told to nobody either.
    replica.term.set(Some(Instant::now() + Duration::from_secs(60)));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(parents(&server, "late"), [format!("{OURS} Accepted=True")]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_none_any_more_gives_up_what_it_waits_for() {
    let server = shop(3);
    server.fault(Fault { method: "PUT", path: "/status", times: usize::MAX, answer: Answer::Status(500) });
    let replica = Replica::start(&server, true).ready().await;
    until("a write that fails", || (!server.asked("PUT", "/status").is_empty()).then_some(())).await;
    replica.leads.send_replace(false);
    sleep(Duration::from_millis(1)).await;
    server.heal();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(server.status_writes().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_on_its_way_ends_with_the_lead() {
    let server = shop(1);
    let replica = Replica::start(&server, true).ready().await;
    let before = server.status_writes().len();
    server.fault(Fault { method: "PUT", path: "/status", times: usize::MAX, answer: Answer::Late });
    server.apply("httproutes", route("r0", "/other"));
    sleep(Duration::from_secs(1)).await;
    replica.leads.send_replace(false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.status_writes().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_waits_for_what_the_other_one_wrote() {
    let server = shop(1);
    let _replica = Replica::start(&server, true).ready().await;
    // Somebody writes, and the watch does not say so; then there is something else to say.
    server.stall_watches("httproutes");
    let mut now = status(&server, "httproutes", "shop", "r0");
    now["parents"].as_array_mut().unwrap().insert(0, foreign_entry(1));
    server.set_status("httproutes", "shop", "r0", now);
    let before = server.asked("PUT", "/httproutes/r0/").len();
    server.delete("services", "shop", "web");
    sleep(Duration::from_secs(1)).await;
    let tries = server.asked("PUT", "/httproutes/r0/");
    assert_eq!((tries.len(), tries.last().unwrap().status), (before + 1, 409));
    sleep(Duration::from_secs(300)).await;
    let tries = server.asked("PUT", "/httproutes/r0/");
    assert_eq!(tries.last().unwrap().status, 200);
    assert!(tries.len() <= before + 8, "{} tries before the other write was seen", tries.len() - before);
    assert_eq!(parents(&server, "r0").len(), 2, "nothing is lost");
    let written = status(&server, "httproutes", "shop", "r0");
    assert_eq!(written["parents"][0], foreign_entry(1));
    assert_eq!(written["parents"][1]["conditions"][1]["reason"], "BackendNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_in_case_it_is_never_seen() {
    let server = shop(1);
    let _replica = Replica::start(&server, true).ready().await;
    server.fault(Fault { method: "PUT", path: "/httproutes/r0/", times: 5, answer: Answer::Status(409) });
    let before = server.asked("PUT", "/httproutes/r0/").len();
    server.apply("httproutes", route("r0", "/other"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.asked("PUT", "/httproutes/r0/").len(), before + 1, "not at once");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(server.asked("PUT", "/httproutes/r0/").len(), before + 6);
    assert_eq!(
        status(&server, "httproutes", "shop", "r0")["parents"][0]["conditions"][0]["observedGeneration"],
        2
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_is_not_hammered() {
    for answer in [Answer::Status(500), Answer::TooMany, Answer::Cut, Answer::Stall] {
        let (server, log) = (shop(300), Log::begin());
        server.fault(Fault { method: "PUT", path: "/status", times: usize::MAX, answer });
        let _replica = Replica::start(&server, true).ready().await;
        sleep(Duration::from_secs(300)).await;
        let tries = server.asked("PUT", "/status").len();
        assert!(tries < 1200, "{tries} tries in five minutes, {answer:?}");
        assert_eq!(log.lines(&["WARN", "statuses cannot be written"]).len(), 1, "{answer:?}");
        server.heal();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(log.lines(&["statuses can be written again"]).len(), 1, "{answer:?}");
        assert_eq!(writes_of(&server, "/httproutes/"), 300, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_repeated() {
    let server = shop(1);
    server.fault(Fault { method: "PUT", path: "/httproutes/", times: 1, answer: Answer::CutAfter });
    let _replica = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(parents(&server, "r0").len(), 1);
    assert_eq!(server.asked("PUT", "/httproutes/").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_controller_on_the_same_objects_is_no_opponent() {
    let server = shop(10);
    let _replica = Replica::start(&server, true).ready().await;
    let before = server.status_writes().len();
    for round in 0..300 {
        for number in 0..10 {
            let name = format!("r{number}");
            let mut now = status(&server, "httproutes", "shop", &name);
            let entries = now["parents"].as_array_mut().unwrap();
            entries.retain(|entry| entry["controllerName"] == OURS);
            entries.insert(0, foreign_entry(round));
            server.set_status("httproutes", "shop", &name, now);
        }
        sleep(Duration::from_millis(200)).await;
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(server.status_writes().len(), before, "what is ours was never another");
    for number in 0..10 {
        let status = status(&server, "httproutes", "shop", &format!("r{number}"));
        assert!(status["parents"].as_array().unwrap().contains(&foreign_entry(299)));
        assert_eq!(parents(&server, &format!("r{number}")).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_our_entries_away_is_not_fought_with() {
    let (server, log) = (shop(2), Log::begin());
    let _replica = Replica::start(&server, true).ready().await;
    let before = writes_of(&server, "/httproutes/r0/");
    for round in 0..300 {
        server.set_status("httproutes", "shop", "r0", json!({"parents": [foreign_entry(round)]}));
        sleep(Duration::from_millis(200)).await;
    }
    let rounds = writes_of(&server, "/httproutes/r0/") - before;
    assert!((2..12).contains(&rounds), "{rounds} writes in 300 rounds");
    assert_eq!(log.lines(&["WARN", "HTTPRoute shop/r0", "another client repeatedly overwrites"]).len(), 1);
    // A change of the object is answered all the same, and the last word is ours.
    sleep(Duration::from_secs(120)).await;
    assert_eq!(parents(&server, "r0").len(), 2);
    assert_eq!(writes_of(&server, "/httproutes/r1/"), 1);
}
