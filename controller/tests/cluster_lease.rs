//! Who leads. In paused time: a clock that only this process has.

#![allow(clippy::unwrap_used)] // in helpers, as in the tests themselves

mod api_server;

use std::time::Duration;

use portcullis_controller::cluster::lease::{self, LeaseOptions};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};

use api_server::{Answer, ApiServer, Fault, Log, until};

/// One that competes for the Lease.
struct Contender {
    leads: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Contender {
    fn start(server: &ApiServer, identity: &str) -> Self {
        let (leads, leading) = watch::channel(false);
        let (stop, stopped) = oneshot::channel::<()>();
        let options = LeaseOptions::new("infra", "portcullis", identity);
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(lease::compete(server.client(), options, leads, stopped));
        Self { leads: leading, stop: Some(stop), task }
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    async fn until_it_leads(&self) -> Duration {
        let begun = Instant::now();
        until("a leader", || self.leads().then_some(())).await;
        begun.elapsed()
    }

    /// Ends as a process does that is told to.
    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Ends as a process does that is killed.
    fn kill(self) {
        self.task.abort();
        std::mem::forget(self.stop);
    }
}

fn holder(server: &ApiServer) -> Value {
    server.get("leases", "infra", "portcullis").unwrap()["spec"]["holderIdentity"].clone()
}

#[tokio::test(start_paused = true)]
async fn one_of_several_leads() {
    let server = ApiServer::new();
    let contenders: Vec<_> =
        ["a", "b", "c"].iter().map(|identity| Contender::start(&server, identity)).collect();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(contenders.iter().filter(|contender| contender.leads()).count(), 1);
    assert_eq!(server.get("leases", "infra", "portcullis").unwrap()["spec"]["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_silent_is_followed_by_another_one() {
    let server = ApiServer::new();
    let first = Contender::start(&server, "a");
    first.until_it_leads().await;
    let second = Contender::start(&server, "b");
    sleep(Duration::from_secs(60)).await;
    assert!(!second.leads());
    first.kill();
    // Not before the time that the first one was promised, and not long after.
    let took = second.until_it_leads().await;
    assert!((7..15).contains(&took.as_secs()), "took over after {took:?}");
    assert_eq!(holder(&server), "b");
    assert_eq!(server.get("leases", "infra", "portcullis").unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_in_good_order_lets_the_next_one_lead() {
    let server = ApiServer::new();
    let first = Contender::start(&server, "a");
    first.until_it_leads().await;
    let second = Contender::start(&server, "b");
    sleep(Duration::from_secs(5)).await;
    first.stop().await;
    assert_eq!(holder(&server), Value::Null);
    let took = second.until_it_leads().await;
    assert!(took.as_secs() <= 2, "took over after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_does_not_keep_the_lease() {
    let server = ApiServer::new();
    let first = Contender::start(&server, "a");
    first.until_it_leads().await;
    // The renewal is carried out, which the one that ends does not know.
    server.fault(Fault { method: "PUT", path: "/leases/", times: 1, answer: Answer::CutAfter });
    until("a renewal that is cut", || {
        server.asked("PUT", "/leases/").iter().any(|r| r.status == 0).then_some(())
    })
    .await;
    first.stop().await;
    assert_eq!(holder(&server), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn clocks_of_others_are_not_believed() {
    for time in ["1970-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"] {
        let server = ApiServer::new();
        let lease = |round: u32| {
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": "infra", "name": "portcullis"},
                "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": time, "leaseTransitions": round}})
        };
        server.apply("leases", lease(0));
        let contender = Contender::start(&server, "a");
        // The other one lives: its record changes, whatever time it names.
        for round in 1..30 {
            sleep(Duration::from_secs(5)).await;
            server.apply("leases", lease(round));
            assert!(!contender.leads(), "{time}, round {round}");
        }
        // And then it does not.
        let took = contender.until_it_leads().await;
        assert!((15..=18).contains(&took.as_secs()), "{time}: took over after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_before_another_one_may_lead() {
    for answer in [Answer::Status(500), Answer::Stall, Answer::Cut, Answer::TooMany] {
        let (server, log) = (ApiServer::new(), Log::begin());
        let first = Contender::start(&server, "a");
        first.until_it_leads().await;
        sleep(Duration::from_secs(30)).await;
        server.fault(Fault { method: "", path: "/leases", times: usize::MAX, answer });
        let begun = Instant::now();
        until("a step down", || (!first.leads()).then_some(())).await;
        let took = begun.elapsed();
        assert!((5..=7).contains(&took.as_secs()), "{answer:?}: stepped down after {took:?}");
        assert_eq!(log.lines(&["WARN", "no longer leading"]).len(), 1, "{answer:?}");
        assert_eq!(log.lines(&["WARN", "the Lease cannot be acquired"]).len(), 1, "{answer:?}");
        server.heal();
        first.until_it_leads().await;
        assert_eq!(log.lines(&["the Lease can be acquired again"]).len(), 1, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_never_lead_at_the_same_time() {
    let server = ApiServer::new();
    let contenders: Vec<_> = ["a", "b", "c"].iter().map(|name| Contender::start(&server, name)).collect();
    let faults = [Answer::Status(500), Answer::Stall, Answer::Cut, Answer::CutAfter, Answer::TooMany];
    let (mut changes, mut last) = (0, None);
    for round in 0..4000_usize {
        if round % 40 == 0 {
            // Half of the time something is wrong, for one verb or for all of them.
            server.heal();
            let (method, times) = ([("GET", 9), ("PUT", 15), ("", 60)])[round / 40 % 3];
            if round % 80 == 0 {
                server.fault(Fault { method, path: "/leases", times, answer: faults[round / 80 % 5] });
            }
        }
        sleep(Duration::from_millis(500)).await;
        let leaders: Vec<_> = (0..contenders.len()).filter(|at| contenders[*at].leads()).collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead in round {round}");
        if let Some(leader) = leaders.first() {
            changes += usize::from(last.replace(*leader) != Some(*leader));
        }
    }
    assert!(changes > 1, "a test in which nobody takes over shows nothing");
}

#[tokio::test(start_paused = true)]
async fn without_permission_nobody_leads() {
    let (server, log) = (ApiServer::new(), Log::begin());
    server.deny("create", "leases");
    let contender = Contender::start(&server, "a");
    sleep(Duration::from_secs(300)).await;
    assert!(!contender.leads());
    assert_eq!(log.lines(&["WARN", "the Lease cannot be acquired", "forbidden"]).len(), 1);
}
