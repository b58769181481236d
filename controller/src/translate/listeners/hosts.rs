//! The hosts of Ingresses, kept up to date.
//!
//! A change of an Ingress affects the hosts that it names, and the messages for all Ingresses of these hosts. To translate
//! these, as many other Ingresses are read as are needed for the same result as from all Ingresses:
//!
//! ```text
//! changed Ingresses -> their hosts, before and now; hosts covered by a wildcard of these; other names of these hosts
//!                   -> the Ingresses of those hosts, whose messages are renewed
//!                   -> all hosts of these Ingresses, which the messages are about
//!                   -> the Ingresses of those hosts, and of the wildcards that cover them
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::HostPattern;

use super::{
    IngressHost, IngressSide, Listeners, client_auth, closed, entrance, ingress, named::Named,
    places::IngressPlaces,
};
use crate::{
    facts::Fact,
    ir::{Ingress, ObjectKey},
    translate::{Place, Pools, Reader, Settings},
};

/// Up to this number of changed Ingresses, only their hosts are translated, however few Ingresses there are.
const MANY: usize = 64;

/// What became different with the hosts of Ingresses.
#[derive(Debug)]
pub(crate) struct IngressChanges {
    pub(crate) facts: Vec<Fact>,
    /// What was read of each Ingress for its hosts, beside what all of them have in common. Empty for one that is not ours.
    pub(crate) reads: BTreeMap<ObjectKey, Vec<Fact>>,
    /// Whether the hosts of all Ingresses were translated.
    pub(crate) are_all: bool,
}

/// What is read of each Ingress for its hosts.
#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<ObjectKey, Vec<Fact>>);

impl Reads {
    /// Reads something of an Ingress.
    pub(super) fn of<T>(&mut self, reader: &Reader<'_>, ingress: &Ingress, read: impl FnOnce() -> T) -> T {
        let (result, mut noted) = reader.apart(read);
        self.0.entry(ingress.meta.key.clone()).or_default().append(&mut noted);
        result
    }
}

/// The hosts of some Ingresses.
struct Hosts {
    side: IngressSide,
    places: IngressPlaces,
    reads: Reads,
}

impl Listeners {
    /// Translates the hosts of the Ingresses that have changed, or of all Ingresses (`None`).
    pub(crate) fn translate_ingresses(
        &mut self,
        reader: &Reader<'_>,
        pools: &Pools,
        changed: Option<&BTreeSet<ObjectKey>>,
    ) -> IngressChanges {
        let some = changed.and_then(|changed| self.translate_some(reader, pools, changed));
        let mut changes = some.unwrap_or_else(|| self.translate_all(reader, pools));
        for key in changed.into_iter().flatten() {
            changes.reads.entry(key.clone()).or_default();
        }
        changes
    }

    fn translate_all(&mut self, reader: &Reader<'_>, pools: &Pools) -> IngressChanges {
        reader.note(|| Fact::LeftToIngresses);
        let ours = ingress::ours(reader, reader.hosts_of_all());
        let settings = reader.settings();
        // Settings contain the headers of these; they are read here so that the source fetches them.
        if settings.config_maps {
            for map in settings.live.ingress.headers.maps() {
                reader.config_map(map);
            }
        }
        let before = std::mem::replace(&mut self.named, Named::of(&ours));
        let Hosts { side, places, reads: Reads(mut reads) } = self.hosts_of(reader, pools, &ours);
        for key in before.ingresses() {
            reads.entry(key.clone()).or_default();
        }
        let facts = side.facts(&self.ingress);
        self.touched.places.extend(self.places.hosts.keys().chain(places.hosts.keys()).cloned());
        (self.ingress, self.places) = (side, places);
        IngressChanges { facts, reads, are_all: true }
    }

    /// Translates the hosts of Ingresses that have changed; `None` if that affects all Ingresses.
    fn translate_some(
        &mut self,
        reader: &Reader<'_>,
        pools: &Pools,
        changed: &BTreeSet<ObjectKey>,
    ) -> Option<IngressChanges> {
        // The certificates of a namespace are counted from its oldest Ingress. If many Ingresses have changed, translating all
        // of them is cheaper than updating the Ingresses of each host.
        let are_many = changed.len() > MANY && changed.len() > self.named.ingresses().len() / 4;
        if self.named.is_empty() || are_many || reader.entrance().max_certificates.is_some() {
            return None;
        }
        let mut hosts: BTreeSet<_> = changed.iter().flat_map(|key| self.named.hosts(key)).cloned().collect();
        let now = ingress::ours(reader, changed.iter().filter_map(|key| reader.hosts_of(key)));
        let mut served: BTreeMap<_, _> =
            now.iter().map(|ingress| (&ingress.meta.key, ingress.served_hosts())).collect();
        hosts.extend(served.values().flatten().cloned());
        changed.iter().for_each(|key| self.named.set(key, served.remove(key)));
        if self.named.is_empty() {
            return None;
        }
        // A Gateway's listener has one place for both.
        hosts.extend(hosts.iter().filter_map(other_wildcard).collect::<Vec<_>>());
        hosts.extend(self.covered(reader, &hosts));
        hosts.extend(self.other_names(reader, &hosts));
        let mut renewed = self.named.at_any(&hosts);
        let ours = ingress::ours(
            reader,
            self.around(reader, &renewed).iter().filter_map(|key| reader.hosts_of(key)),
        );
        let translated = self.hosts_of(reader, pools, &ours);
        renewed.extend(changed.iter().cloned());
        Some(self.replace(reader.settings(), &hosts, &renewed, translated))
    }

    /// Translates the hosts of Ingresses (the oldest first), regardless of all others.
    fn hosts_of(&self, reader: &Reader<'_>, pools: &Pools, ours: &[Arc<Ingress>]) -> Hosts {
        let (settings, mut reads) = (reader.settings(), Reads::default());
        let entrance::Restricted { ingresses, hosts, messages } =
            entrance::restrict(reader, &self.taken, ours, &mut reads);
        let closures = closed::closures(ours, &hosts, settings.strict_annotations);
        let (asked, unverifiable) =
            client_auth::of_hosts(reader, &pools.authorities, ours, &hosts, &mut reads);
        let mut side = ingress::side(&ingresses, closures, asked, self, settings);
        for (key, message) in messages.into_iter().chain(unverifiable) {
            side.messages.entry(key).or_default().push(message);
        }
        let places = match self.named.is_empty() {
            true => IngressPlaces::of_services(settings),
            false => IngressPlaces::of(reader, &pools.certificates, self, &ingresses, &mut side, &mut reads),
        };
        Hosts { side, places, reads }
    }

    /// Returns the hosts that may use the TLS of one of these, a wildcard.
    fn covered(&self, reader: &Reader<'_>, hosts: &BTreeSet<HostPattern>) -> Vec<HostPattern> {
        let has_tls = |key: &ObjectKey| reader.hosts_of(key).is_some_and(|ingress| !ingress.tls.is_empty());
        let wildcards: BTreeMap<&str, bool> = hosts
            .iter()
            .filter_map(|host| match host {
                HostPattern::WildcardLabel(suffix) => {
                    Some((&**suffix, self.named.at(host).iter().any(has_tls)))
                }
                HostPattern::Any | HostPattern::Wildcard(_) | HostPattern::Exact(_) => None,
            })
            .collect();
        if wildcards.is_empty() {
            return Vec::new();
        }
        let is_covered = |(host, state): &(&HostPattern, &IngressHost)| {
            let has_tls = suffix(host).and_then(|suffix| wildcards.get(suffix));
            has_tls.is_some_and(|has_tls| state.special.tls_of.is_some() || (*has_tls && !state.tls))
        };
        self.ingress.hosts.iter().filter(is_covered).map(|(host, _)| host.clone()).collect()
    }

    /// Returns the other names of these hosts (`server-alias`).
    fn other_names(&self, reader: &Reader<'_>, hosts: &BTreeSet<HostPattern>) -> BTreeSet<HostPattern> {
        // Each Ingress once: one with many hosts and many aliases is at all of these hosts.
        let ingresses = self.named.at_any(hosts);
        let ingresses = ingresses.iter().filter_map(|key| reader.hosts_of(key));
        ingresses.flat_map(|ingress| ingress.annotations.server_alias.hosts.iter().cloned()).collect()
    }

    /// Returns the Ingresses that determine how all hosts of these Ingresses are served.
    fn around(&self, reader: &Reader<'_>, ingresses: &BTreeSet<ObjectKey>) -> BTreeSet<ObjectKey> {
        let mut hosts: BTreeSet<_> =
            ingresses.iter().flat_map(|key| self.named.hosts(key)).cloned().collect();
        // A host that is another name is served as the host that it stands for.
        let has_names = |key: &&ObjectKey| {
            let ingress = reader.hosts_of(key);
            ingress.is_some_and(|ingress| !ingress.annotations.server_alias.hosts.is_empty())
        };
        for key in self.named.at_any(&hosts).iter().filter(has_names) {
            hosts.extend(self.named.hosts(key).iter().cloned());
        }
        let wildcards: Vec<_> =
            hosts.iter().filter_map(|host| Some(HostPattern::WildcardLabel(suffix(host)?.into()))).collect();
        self.named.at_any(hosts.iter().chain(&wildcards))
    }

    /// Replaces these hosts, and the messages for the owners of these Ingresses.
    fn replace(
        &mut self,
        settings: &Settings,
        hosts: &BTreeSet<HostPattern>,
        ingresses: &BTreeSet<ObjectKey>,
        Hosts { mut side, places, reads: Reads(reads) }: Hosts,
    ) -> IngressChanges {
        let mut facts = Vec::new();
        for host in hosts {
            let (before, now) = (self.ingress.hosts.remove(host), side.hosts.remove(host));
            for place in places_of(settings, host, before.iter().chain(&now)) {
                // It is not removed from `places`, because two of the hosts can share it.
                match places.hosts.get(&place).cloned() {
                    Some(now) => drop(self.places.hosts.insert(place.clone(), now)),
                    None => drop(self.places.hosts.remove(&place)),
                }
                self.touched.places.insert(place);
            }
            facts.extend((before != now).then(|| Fact::ListenerAt(host.clone())));
            let served = |state: &Option<IngressHost>| state.as_ref().map(|state| (state.http, state.https));
            if served(&before) != served(&now) {
                let concerned = before.iter().chain(&now).flat_map(|state| &state.ingresses);
                facts.extend(concerned.cloned().map(Fact::Outcome));
            }
            now.map(|now| self.ingress.hosts.insert(host.clone(), now));
        }
        for key in ingresses {
            let (before, now) = (self.ingress.messages.remove(key), side.messages.remove(key));
            facts.extend((before != now).then(|| Fact::Outcome(key.clone())));
            now.map(|now| self.ingress.messages.insert(key.clone(), now));
        }
        IngressChanges { facts, reads, are_all: false }
    }
}

/// Returns the places of a host in the table, before or now.
fn places_of<'s>(
    settings: &Settings,
    host: &HostPattern,
    states: impl Iterator<Item = &'s IngressHost>,
) -> BTreeSet<Place> {
    let (http, https) = (settings.bound_for_http().ok(), settings.bound_for_https().ok());
    let found = states.flat_map(|state| [(http, state.http), (https, state.https)]);
    let hostnames = found.map(|(port, found_as)| (port, found_as.map(|found_as| found_as.hostname(host))));
    // The default certificate is shown there if no Ingress has every host.
    let default = (https, (*host == HostPattern::Any).then_some(HostPattern::Any));
    hostnames.chain([default]).filter_map(|(port, hostname)| Some((port?, hostname?))).collect()
}

/// Returns the wildcard that is written like this one: of one label for rules, of any number for aliases.
fn other_wildcard(host: &HostPattern) -> Option<HostPattern> {
    match host {
        HostPattern::Wildcard(suffix) => Some(HostPattern::WildcardLabel(Arc::clone(suffix))),
        HostPattern::WildcardLabel(suffix) => Some(HostPattern::Wildcard(Arc::clone(suffix))),
        HostPattern::Any | HostPattern::Exact(_) => None,
    }
}

/// Returns the name without its first label of a host that a wildcard may cover.
fn suffix(host: &HostPattern) -> Option<&str> {
    match host {
        HostPattern::Exact(name) => name.split_once('.').map(|(_, suffix)| suffix),
        HostPattern::Any | HostPattern::Wildcard(_) | HostPattern::WildcardLabel(_) => None,
    }
}
