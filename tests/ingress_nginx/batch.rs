//! Cases that one proxy serves together, and how a case is played against it.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::sync::{Mutex, OnceCell};

use crate::{
    backends::{self, Backends, Hits, Instance},
    case::{Case, Exchange, Recorded, Seen, yaml},
    compare::{self, Difference, Rules},
    net::{Block, Net},
    objects::{CONTROL, Fixtures},
    player::{Jar, Player},
    proxy::{Proxy, known_flags},
};

/// As many cases were loaded together when they were recorded.
const TOGETHER: usize = 120;
/// How long after the answer a request may reach a backend.
const LATE: Duration = Duration::from_millis(1000);
/// The same for one that nobody expects; a mirror sends when it likes.
const UNEXPECTED: Duration = Duration::from_millis(100);

/// What all cases have in common.
#[derive(Debug)]
pub struct World {
    block: Block,
    fixtures: Fixtures,
    instances: Vec<Instance>,
    names: Vec<String>,
    variants: Value,
    times: bool,
}

/// Cases that are served together.
#[derive(Debug)]
pub struct Batch {
    world: Arc<World>,
    number: usize,
    /// The addresses of the fixtures.
    net: Net,
    settings: Value,
    flags: String,
    cases: Vec<Placed>,
    proxy: OnceCell<Proxy>,
    /// The backends at those addresses; whoever plays against them holds it.
    shared: Mutex<Option<Backends>>,
}

/// A case with its addresses.
#[derive(Debug)]
struct Placed {
    case: Case,
    net: Net,
    /// The addresses are those of the batch: it is played while no other such case is.
    shared: bool,
}

/// A case in its batch.
#[derive(Clone, Debug)]
pub struct Place {
    batch: Arc<Batch>,
    index: usize,
}

impl World {
    pub fn new() -> Self {
        Self {
            block: Block::take(),
            fixtures: Fixtures::load(),
            instances: backends::instances(),
            names: backends::names().into_iter().map(|(name, _)| name).collect(),
            variants: yaml("variants.yaml"),
            times: std::env::var_os("COMPARE_TIMES").is_some(),
        }
    }
}

/// Puts the cases together as they were recorded: those of a variant, and alone what was alone. The places are in the
/// order of the cases.
pub fn places(world: &Arc<World>, all: &[Recorded]) -> Vec<Place> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, recorded) in all.iter().enumerate() {
        let case = &recorded.case;
        let open = groups.iter_mut().find(|(name, cases)| *name == case.variant && cases.len() < TOGETHER);
        match open {
            Some((_, cases)) if !is_alone(case) => cases.push(index),
            _ if is_alone(case) => groups.push((String::new(), vec![index])),
            _ => groups.push((case.variant.clone(), vec![index])),
        }
    }
    let mut places = vec![None; all.len()];
    for (number, (_, indices)) in groups.iter().enumerate() {
        for (index, place) in indices.iter().zip(batch(world, all, indices, number)) {
            places[*index] = Some(place);
        }
    }
    places.into_iter().map(|place| place.expect("each case is in a group")).collect()
}

fn is_alone(case: &Case) -> bool {
    case.solo || case.refused.is_some()
}

fn batch(world: &Arc<World>, all: &[Recorded], indices: &[usize], number: usize) -> Vec<Place> {
    let net = world.block.net(all.len() + number);
    let variant = &world.variants[&all[indices[0]].case.variant];
    let (settings, flags) = (variant["settings"].clone(), variant["flags"].as_str().unwrap_or_default());
    // Settings and flags lead all cases of the variant to the same addresses.
    let common = settings.to_string().contains("10.55.") || flags.contains("demo/");
    let placed = |index: &usize| {
        let shared = common || world.fixtures.are_asked_by(&all[*index], &world.names);
        let net = if shared { net.clone() } else { world.block.net(*index) };
        Placed { case: all[*index].at(&net), net, shared }
    };
    let batch = Arc::new(Batch {
        world: Arc::clone(world),
        number,
        settings,
        flags: flags.to_owned(),
        cases: indices.iter().map(placed).collect(),
        net,
        proxy: OnceCell::new(),
        shared: Mutex::new(None),
    });
    (0..indices.len()).map(|index| Place { batch: Arc::clone(&batch), index }).collect()
}

impl Batch {
    async fn proxy(&self) -> &Proxy {
        let start = async {
            let fixtures = &self.world.fixtures;
            let mut objects = fixtures.shared(&self.net, &self.settings);
            objects.extend(self.cases.iter().flat_map(|placed| fixtures.of(&placed.case, &placed.net)));
            Proxy::start(self.world.block.proxy(self.number), &objects, &known_flags(&self.flags)).await
        };
        self.proxy.get_or_init(|| start).await
    }

    async fn backends(&self, net: &Net) -> Backends {
        Backends::start(&self.world.instances, net).await
    }
}

impl Place {
    /// Plays the case; the differences by the index of the request.
    pub async fn play(&self) -> Vec<(usize, Difference)> {
        let batch = &self.batch;
        let placed = &batch.cases[self.index];
        let proxy = batch.proxy().await;
        if placed.case.refused.is_some() {
            return self.play_beside(proxy).await;
        }
        if !placed.shared {
            return self.play_against(proxy, &batch.backends(&placed.net).await.hits).await;
        }
        let mut shared = batch.shared.lock().await;
        if shared.is_none() {
            *shared = Some(batch.backends(&batch.net).await);
        }
        match shared.as_ref() {
            Some(backends) => self.play_against(proxy, &backends.hits).await,
            None => unreachable!("it has just been started"),
        }
    }

    async fn play_against(&self, proxy: &Proxy, hits: &Hits) -> Vec<(usize, Difference)> {
        let case = &self.batch.cases[self.index].case;
        let rules = Rules { bodies: case.variant != "gzip", times: self.batch.world.times };
        let mirrors = case.covers.iter().any(|annotation| annotation.starts_with("mirror"));
        let player = Player::new(case, proxy.ip);
        let mut jar = Jar::default();
        let mut out = Vec::new();
        for (index, exchange) in case.requests.iter().enumerate() {
            hits.clear();
            let played = player.play(exchange, &mut jar).await;
            if mirrors {
                tokio::time::sleep(UNEXPECTED).await;
            }
            let as_wanted = matches!(&played[..], [(_, Ok(answer))] if answer.status == exchange.seen.status);
            let wait = if as_wanted { LATE } else { UNEXPECTED };
            let hits = hits.settled(exchange.seen.hits.len(), wait).await;
            let differences = compare::exchange(exchange, &played, &hits, rules);
            out.extend(differences.into_iter().map(|difference| (index, difference)));
        }
        out
    }

    /// Of a case that made ingress-nginx refuse its whole configuration: another host is served beside it.
    async fn play_beside(&self, proxy: &Proxy) -> Vec<(usize, Difference)> {
        let batch = &self.batch;
        let _backends = batch.backends(&batch.net).await;
        let seen = Seen { status: 200, from: Some("a1".into()), ..Seen::default() };
        let exchange = Exchange { send: Map::from_iter([("host".to_owned(), CONTROL.into())]), seen };
        let played = Player::new(&batch.cases[self.index].case, proxy.ip).play(&exchange, &mut Jar::default()).await;
        let rules = Rules { bodies: true, times: false };
        let differences = compare::exchange(&exchange, &played, &[], rules).into_iter();
        // What its backend receives is what every case of the family `plain` is about.
        differences.filter(|difference| difference.field != "hits").map(|difference| (0, difference)).collect()
    }

    /// The request of an index, for a message.
    pub fn request(&self, index: usize) -> String {
        let case = &self.batch.cases[self.index].case;
        case.requests.get(index).map_or_else(String::new, |exchange| Value::Object(exchange.send.clone()).to_string())
    }
}
