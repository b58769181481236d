//! Makes the Service of each Gateway that has addresses of its own, and the EndpointSlices that lead from it to us.
//!
//! ```text
//! index        --Wishes: what is to be--------------------------\
//! watches      --Live: Services and slices of ours, and the      > plan() -> Acts -> pace -> apply, delete
//!                slices of the Service that we come in through---/
//! lease        --who leads--------------------------------------/
//! ```
//!
//! The leader writes, at once, and only where there is a difference. Slices have to follow when the leader dies too: the
//! others write them when a difference stands for some seconds, each of them once for one difference.
//!
//! - `wishes.rs`: what translation says of Gateways
//! - `plan.rs`: pure: wishes and what there is -> what to do
//! - `manifests.rs`: Services and slices as they are to be
//! - `difference.rs`: whether what there is differs from that
//! - `pace.rs`: what may be done now, and what has to wait
//! - `live.rs`: watches

mod difference;
mod live;
mod manifests;
mod pace;
mod plan;
mod wishes;

pub use wishes::{Wish, Wishes};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::FIELD_MANAGER;
use crate::{ir::ObjectKey, translate::PortRange};
use live::Live;
use pace::Pace;
use plan::{Act, Assigned, Deed, Plan, Target, plan};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// Writes at a time.
const AT_ONCE: usize = 8;
/// What watches may tell before it is looked at.
const WAITING: usize = 256;

/// What keeps the Services of Gateways from being as they should be, by Gateway.
pub type Hindrances = BTreeMap<ObjectKey, Box<str>>;

/// Where Services are made, and with what.
#[derive(Clone, Debug)]
pub struct DedicatedOptions {
    /// Namespaces that are watched; all when empty.
    pub namespaces: Vec<String>,
    /// The Service that everything else comes in through, whose endpoints we are: `(namespace, name)`.
    pub own_service: Option<(String, String)>,
    /// The ports that Services may lead to.
    pub range: PortRange,
    /// What this replica is called: no two of them step in at the same time.
    pub identity: String,
}

/// What the rest of the process tells of and learns from it.
#[derive(Debug)]
pub struct DedicatedLinks {
    /// `None` until everything has been read.
    pub wishes: watch::Receiver<Option<Arc<Wishes>>>,
    /// Whether this process leads.
    pub leads: watch::Receiver<bool>,
    pub hindrances: watch::Sender<Hindrances>,
}

/// Makes and removes until nobody wishes for anything any more.
pub async fn provide(client: Client, options: DedicatedOptions, mut links: DedicatedLinks) {
    let (tell, mut seen) = mpsc::channel(WAITING);
    let live = Live::watch(&client, &options, &tell);
    drop(tell);
    let mut provider = Provider {
        client,
        pace: Pace::new(&options.identity),
        options,
        live,
        assigned: Assigned::default(),
        in_flight: BTreeSet::new(),
        writes: JoinSet::new(),
    };
    let mut leads = *links.leads.borrow_and_update();
    loop {
        let wake = provider.pace.wake();
        tokio::select! {
            Ok(()) = links.leads.changed() => {
                // It is told with each renewal of the Lease.
                let now = *links.leads.borrow_and_update();
                if std::mem::replace(&mut leads, now) != now {
                    provider.turn();
                }
            }
            changed = links.wishes.changed() => if changed.is_err() { return },
            happened = seen.recv() => match happened {
                Some(happened) => provider.live.take(happened),
                None => return,
            },
            Some(done) = provider.writes.join_next() => if let Ok((target, outcome)) = done {
                provider.done(target, outcome);
            },
            () = sleep_until(wake), if wake.is_some() => {}
        }
        // What comes together is dealt with together.
        while let Ok(happened) = seen.try_recv() {
            provider.live.take(happened);
        }
        let wishes = links.wishes.borrow_and_update().clone();
        if let Some(wishes) = wishes.filter(|_| provider.live.is_complete()) {
            let hindrances = provider.go_on(&wishes, leads);
            links.hindrances.send_if_modified(|before| {
                let is_other = *before != hindrances;
                *before = hindrances;
                is_other
            });
        }
    }
}

struct Provider {
    client: Client,
    options: DedicatedOptions,
    live: Live,
    pace: Pace,
    assigned: Assigned,
    in_flight: BTreeSet<Target>,
    writes: JoinSet<(Target, Result<(), String>)>,
}

impl Provider {
    /// Leads from now on, or no longer.
    fn turn(&mut self) {
        // What was begun as the leader ends with that.
        self.writes.abort_all();
        self.in_flight.clear();
        self.assigned.clear();
        self.pace.clear();
    }

    /// Begins what is to be done and may be done now; says what stands in the way of which Gateway.
    fn go_on(&mut self, wishes: &Wishes, leads: bool) -> Hindrances {
        let has_endpoints = self.options.own_service.is_some();
        let Plan { acts, mut hindrances } =
            plan(wishes, &self.live, self.options.range, &mut self.assigned, has_endpoints);
        let now = Instant::now();
        self.pace.settle_all_but(acts.iter().map(|act| &act.target), now);
        for act in acts {
            if let Some(why) = self.pace.trouble(&act.target) {
                hindrances.entry(act.gateway.clone()).or_insert_with(|| why.into());
            }
            let is_free = !self.in_flight.contains(&act.target) && self.in_flight.len() < AT_ONCE;
            if is_free && self.pace.lets_go(&act, leads, now) {
                self.begin(act);
            }
        }
        // Others do not know what the leader meets.
        if leads { hindrances } else { Hindrances::new() }
    }

    fn begin(&mut self, act: Act) {
        self.in_flight.insert(act.target.clone());
        let client = self.client.clone();
        self.writes.spawn(async move {
            let outcome = match timeout(CALL, carry_out(client, &act)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(text(error)),
                Err(_) => Err(format!("no answer within {CALL:?}")),
            };
            (act.target, outcome)
        });
    }

    fn done(&mut self, target: Target, outcome: Result<(), String>) {
        self.in_flight.remove(&target);
        match &outcome {
            Ok(()) => info!(%target, "written for a Gateway with addresses of its own"),
            Err(why) if self.pace.is_news(&target, why) => {
                warn!(%target, why, "cannot be written; trying again")
            }
            Err(_) => {}
        }
        self.pace.done(target, outcome, Instant::now());
    }
}

async fn carry_out(client: Client, act: &Act) -> kube::Result<()> {
    let Target { kind, namespace, name } = &act.target;
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind.resource());
    match &act.deed {
        Deed::Apply(manifest) => {
            // Nobody else has a say in what is ours as a whole.
            let params = PatchParams::apply(FIELD_MANAGER).force();
            api.patch(name, &params, &Patch::Apply(manifest)).await.map(drop)
        }
        Deed::Delete { uid } => {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(name, &params).await {
                // Gone, or another by now.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                done => done.map(drop),
            }
        }
    }
}

fn text(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}

async fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}
