//! Cases that one proxy serves together, and how a case is played against it.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::sync::{Mutex, OnceCell};

use crate::{
    backends::{self, Backends, Hits, Instance},
    case::{self, Case, Exchange, Recorded, Seen, yaml},
    compare::{self, Difference, Rules},
    dns::Dns,
    net::{Block, Net},
    objects::{CONTROL, Fixtures},
    player::{Jar, Player},
    proxy::{Proxy, known_flags},
};

/// As many cases were loaded together when they were recorded.
const TOGETHER: usize = 120;
/// Batches of cases that are played again, at a time.
const SPARE: usize = 64;
/// How long after the answer a request may reach a backend.
const LATE: Duration = Duration::from_millis(1000);
/// The same for one that nobody expects; a mirror sends when it likes.
const UNEXPECTED: Duration = Duration::from_millis(100);

/// What all cases have in common.
#[derive(Debug)]
pub struct World {
    block: Block,
    pub cases: Vec<Recorded>,
    /// The cases that are served together.
    groups: Vec<Vec<usize>>,
    fixtures: Fixtures,
    instances: Vec<Instance>,
    /// DNS names, and their recorded addresses.
    names: Vec<(String, String)>,
    variants: Value,
    times: bool,
    /// Numbers of batches beyond those of the groups, for cases that are played again.
    spare: std::sync::Mutex<Vec<usize>>,
}

/// Cases that are served together, by one proxy.
#[derive(Debug)]
pub struct Batch {
    world: Arc<World>,
    number: usize,
    /// The addresses of the fixtures.
    net: Net,
    settings: Value,
    flags: String,
    cases: Vec<Placed>,
    proxy: OnceCell<(Proxy, Dns)>,
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
    /// The number of its group, and its index there.
    group: usize,
    index: usize,
}

impl World {
    pub fn new() -> Self {
        let cases = case::all();
        let groups = groups(&cases);
        let numbers = groups.len()..groups.len() + SPARE;
        Self {
            block: Block::take(),
            cases,
            groups,
            fixtures: Fixtures::load(),
            instances: backends::instances(),
            names: backends::names(),
            variants: yaml("variants.yaml"),
            times: std::env::var_os("COMPARE_TIMES").is_some(),
            spare: std::sync::Mutex::new(numbers.collect()),
        }
    }

    /// The places of all cases, in their order.
    pub fn places(self: &Arc<Self>) -> Vec<Place> {
        let mut places: Vec<_> = self.cases.iter().map(|_| None).collect();
        for (group, indices) in self.groups.iter().enumerate() {
            let batch = Arc::new(self.batch(group, group, None));
            for (index, case) in indices.iter().enumerate() {
                places[*case] = Some(Place { batch: Arc::clone(&batch), group, index });
            }
        }
        places.into_iter().map(|place| place.expect("each case is in a group")).collect()
    }

    /// Backends without a proxy, and their addresses.
    pub async fn backends(&self) -> (Backends, Net) {
        let net = self.block.last();
        (Backends::start(&self.instances, &net).await, net)
    }

    /// A batch of a group; the case that stands out has the addresses of the batch.
    fn batch(self: &Arc<Self>, number: usize, group: usize, out: Option<usize>) -> Batch {
        let indices = &self.groups[group];
        let net = self.block.net(self.cases.len() + number);
        let variant = &self.variants[&self.cases[indices[0]].case.variant];
        let (settings, flags) = (variant["settings"].clone(), variant["flags"].as_str().unwrap_or_default());
        // Settings and flags lead all cases of the variant to the same addresses.
        let common = settings.to_string().contains("10.55.") || flags.contains("demo/");
        let placed = |(index, case): (usize, &usize)| {
            let recorded = &self.cases[*case];
            let asks = || self.fixtures.are_asked_by(recorded, &self.names);
            let shared = common || out == Some(index) || asks();
            let net = if shared { net.clone() } else { self.block.net(*case) };
            Placed { case: recorded.at(&net), net, shared }
        };
        Batch {
            world: Arc::clone(self),
            number,
            settings,
            flags: flags.to_owned(),
            cases: indices.iter().enumerate().map(placed).collect(),
            net,
            proxy: OnceCell::new(),
            shared: Mutex::new(None),
        }
    }
}

/// Puts the cases together as they were recorded: those of a variant, and alone what was alone.
fn groups(all: &[Recorded]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, recorded) in all.iter().enumerate() {
        let case = &recorded.case;
        if case.solo || case.refused.is_some() {
            groups.push(("", vec![index]));
            continue;
        }
        match groups.iter_mut().find(|(name, cases)| *name == case.variant && cases.len() < TOGETHER) {
            Some((_, cases)) => cases.push(index),
            None => groups.push((&case.variant, vec![index])),
        }
    }
    groups.into_iter().map(|(_, cases)| cases).collect()
}

impl Batch {
    async fn proxy(&self) -> &Proxy {
        let start = async {
            let (world, ip) = (&self.world, self.world.block.proxy(self.number));
            let address = |recorded: &str| self.net.text(recorded).parse().expect("an address");
            let names = world.names.iter().map(|(name, recorded)| (name.clone(), address(recorded)));
            let dns = Dns::start(ip, names.collect()).await;
            let mut objects = world.fixtures.shared(&self.net, &self.settings);
            objects.extend(self.cases.iter().flat_map(|placed| world.fixtures.of(&placed.case, &placed.net)));
            let flags = [vec![format!("--name-server={}", dns.at)], known_flags(&self.flags)].concat();
            (Proxy::start(ip, &objects, &flags).await, dns)
        };
        &self.proxy.get_or_init(|| start).await.0
    }

    async fn backends(&self, net: &Net) -> Backends {
        Backends::start(&self.world.instances, net).await
    }
}

impl Place {
    /// Plays the case against a proxy that has seen no request.
    pub async fn play_again(&self) -> Vec<(usize, Difference)> {
        let world = &self.batch.world;
        let spare = || world.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let number = spare().pop().expect("there are more than cases at a time");
        let batch = Arc::new(world.batch(number, self.group, Some(self.index)));
        let place = Self { batch, ..*self };
        let differences = place.play().await;
        drop(place);
        spare().push(number);
        differences
    }

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
        let played =
            Player::new(&batch.cases[self.index].case, proxy.ip).play(&exchange, &mut Jar::default()).await;
        let rules = Rules { bodies: true, times: false };
        let differences = compare::exchange(&exchange, &played, &[], rules).into_iter();
        // What its backend receives is what every case of the family `plain` is about.
        differences
            .filter(|difference| difference.field != "hits")
            .map(|difference| (0, difference))
            .collect()
    }

    /// The request of an index, for a message.
    pub fn request(&self, index: usize) -> String {
        let case = &self.batch.cases[self.index].case;
        case.requests
            .get(index)
            .map_or_else(String::new, |exchange| Value::Object(exchange.send.clone()).to_string())
    }
}
