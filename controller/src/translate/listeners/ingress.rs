//! Which Ingresses are ours, and the hosts that they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostPattern, ListenerId, PortKey};
use portcullis_tls::CipherPolicy;

use super::{
    Closure, FoundAs, IngressHost, IngressSide, Listeners, client_auth::AskedByHost, closed, passthrough,
};
use crate::{
    facts::Fact,
    ir::{Ingress, ObjectKey},
    problem::Topic,
    status::Message,
    translate::{
        NginxClasses, Reader, Settings, is_closed_by_settings,
        settings::{NGINX_CLASS, NGINX_CONTROLLER},
    },
};

/// Which classes of Ingresses are ours.
pub(crate) struct Classes<'a> {
    reader: &'a Reader<'a>,
    /// Whose an Ingress is that names none; `None` if it is not ours.
    without: Option<ClassOwner>,
}

/// Whose classes an Ingress of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClassOwner {
    /// Our own.
    Own,
    /// ingress-nginx's, which are served beside it ([`NginxClasses`]).
    Nginx,
}

impl<'a> Classes<'a> {
    pub(crate) fn of(reader: &'a Reader<'a>) -> Self {
        let settings = reader.settings();
        let mut defaults = reader.ingress_classes().filter(|class| class.default).peekable();
        // The API server gives an Ingress the default class when it is created; in a folder nothing does that.
        let without = match defaults.peek() {
            Some(_) => {
                let owners: Vec<_> = defaults
                    .filter_map(|class| ClassOwner::of_controller(&class.controller, settings))
                    .collect();
                owners.iter().copied().find(|owner| *owner == ClassOwner::Own).or(owners.first().copied())
            }
            None => settings.watch_ingress_without_class.then_some(ClassOwner::Own),
        };
        Self { reader, without }
    }

    /// Whose class an Ingress of ours has. Reads nothing if all are of our own classes.
    pub(crate) fn owner_of_ours(reader: &Reader<'_>, ingress: &Ingress) -> ClassOwner {
        match reader.settings().nginx_classes {
            NginxClasses::NotOurs => ClassOwner::Own,
            NginxClasses::Served | NginxClasses::Published => {
                Classes::of(reader).owner(ingress).unwrap_or(ClassOwner::Own)
            }
        }
    }

    pub(crate) fn is_ours(&self, ingress: &Ingress) -> bool {
        self.owner(ingress).is_some()
    }

    /// Whose class an Ingress has; `None` if it is not ours.
    pub(crate) fn owner(&self, ingress: &Ingress) -> Option<ClassOwner> {
        let Some(name) = ingress.class.as_deref().or(ingress.legacy_class.as_deref()) else {
            return self.without;
        };
        let settings = self.reader.settings();
        match self.reader.ingress_class(name) {
            Some(class) => ClassOwner::of_controller(&class.controller, settings),
            None if *name == *settings.ingress_class => Some(ClassOwner::Own),
            None if *name == *NGINX_CLASS => ClassOwner::of_nginx(settings),
            None => None,
        }
    }

    /// Whether the status of an Ingress is ours to write.
    pub(crate) fn is_published(&self, ingress: &Ingress) -> bool {
        match self.owner(ingress) {
            Some(ClassOwner::Own) => true,
            Some(ClassOwner::Nginx) => self.reader.settings().nginx_classes == NginxClasses::Published,
            None => false,
        }
    }
}

impl ClassOwner {
    fn of_controller(controller: &str, settings: &Settings) -> Option<Self> {
        match controller {
            own if *own == *settings.ingress_controller => Some(Self::Own),
            NGINX_CONTROLLER => Self::of_nginx(settings),
            _ => None,
        }
    }

    fn of_nginx(settings: &Settings) -> Option<Self> {
        (settings.nginx_classes != NginxClasses::NotOurs).then_some(Self::Nginx)
    }
}

/// Those of the Ingresses that are ours, the oldest first.
pub(super) fn ours<'a>(
    reader: &Reader<'_>,
    ingresses: impl Iterator<Item = &'a Arc<Ingress>>,
) -> Vec<Arc<Ingress>> {
    let (classes, settings) = (Classes::of(reader), reader.settings());
    // The default backend of the operator has no class.
    let own = settings.default_backend.as_ref().map(|default| &default.ingress.meta.key);
    let ours = ingresses.filter(|ingress| own == Some(&ingress.meta.key) || classes.is_ours(ingress));
    let mut ours: Vec<_> = ours.map(|ingress| without_closed_aliases(ingress, settings)).collect();
    ours.sort_by_cached_key(|ingress| ingress.age());
    ours
}

/// The Ingress without the other names of its hosts if the settings close it. The paths of other Ingresses would be served
/// under these names.
fn without_closed_aliases(ingress: &Arc<Ingress>, settings: &Settings) -> Arc<Ingress> {
    if ingress.annotations.server_alias.hosts.is_empty() || !is_closed_by_settings(ingress, settings) {
        return Arc::clone(ingress);
    }
    let mut cut = Ingress::clone(ingress);
    Arc::make_mut(&mut cut.annotations).server_alias.hosts.clear();
    Arc::new(cut)
}

/// The hosts, without a decision yet on which port each is found.
pub(super) fn side(
    ours: &[Arc<Ingress>],
    closures: BTreeMap<HostPattern, Arc<Closure>>,
    asked: AskedByHost,
    listeners: &Listeners,
    settings: &Settings,
) -> IngressSide {
    let mut side = IngressSide::default();
    for ingress in ours {
        // As on ingress-nginx, it does not matter which hosts the sections name.
        let tls = !ingress.tls.is_empty();
        for host in ingress.served_hosts() {
            let state = side.hosts.entry(host).or_default();
            if state.ingresses.is_empty() {
                // Most hosts have one, and a vector's first step would be room for four.
                state.ingresses.reserve_exact(1);
            }
            state.ingresses.push(ingress.meta.key.clone());
            let is_main = ingress.annotations.canary.is_none();
            state.tls |= tls && is_main;
            let is_first =
                state.ingresses.first().is_some_and(|first| first.namespace == ingress.meta.key.namespace);
            if is_main && is_first {
                state.add_ciphers(&ingress.annotations.ciphers);
            }
        }
    }
    // A canary adds to what others serve, and serves nothing by itself.
    let canaries: BTreeSet<_> = ours
        .iter()
        .filter(|ingress| ingress.annotations.canary.is_some())
        .map(|canary| &canary.meta.key)
        .collect();
    side.hosts.retain(|_, state| state.ingresses.iter().any(|key| !canaries.contains(key)));
    for canary in ours.iter().filter(|ingress| canaries.contains(&ingress.meta.key)) {
        for host in canary.served_hosts().iter().filter(|host| !side.hosts.contains_key(host)) {
            let text =
                format!("canary at {host}: no other Ingress has this host; its Service receives no requests");
            side.messages.entry(canary.meta.key.clone()).or_default().push(Message::refused(text));
        }
    }
    inherit_tls(ours, &mut side.hosts);
    name_aliases(ours, &mut side.hosts);
    let passing = passthrough::of_hosts(ours);
    for (host, state) in &mut side.hosts {
        state.http = found_as(listeners, settings.bound_for_http().ok(), host);
        let https = settings.bound_for_https().ok();
        state.https = found_as(listeners, https, host);
        state.https_is_others = https.is_some() && state.https.is_none();
        let named = state.special.same_as.as_ref().unwrap_or(host);
        let is_shared = https.is_some_and(|https| listeners.holding(https, &same_name(host)).is_some());
        let first = passing.get(named).filter(|_| state.https.is_some() && !is_shared);
        let (closed, client_auth) = (closures.get(named), asked.get(named));
        if first.is_some() || closed.is_some() || client_auth.is_some() {
            let (closed, client_auth) = (closed.cloned(), client_auth.cloned());
            let passthrough = first.map(|ingress| (*ingress).clone());
            let special = state.special.edit();
            (special.closed, special.client_auth, special.passthrough) = (closed, client_auth, passthrough);
        }
    }
    // In full nodes: of a map that grew by insertions, half is empty.
    side.hosts = std::mem::take(&mut side.hosts).into_iter().collect();
    for ingress in ours {
        let messages = beside_gateways(ingress, &side.hosts, listeners, settings);
        if !messages.is_empty() {
            side.messages.entry(ingress.meta.key.clone()).or_default().extend(messages);
        }
    }
    for (key, message) in without_ciphers(ours, &side.hosts) {
        side.messages.entry(key).or_default().push(message);
    }
    let of_passthrough = passthrough::messages(ours, &side.hosts, &passing);
    for (key, message) in closed::messages(ours, &closures).into_iter().chain(of_passthrough) {
        side.messages.entry(key).or_default().push(message);
    }
    side
}

/// Messages for the Ingresses whose cipher suites a host does not use.
fn without_ciphers(
    ours: &[Arc<Ingress>],
    hosts: &BTreeMap<HostPattern, IngressHost>,
) -> Vec<(ObjectKey, Message)> {
    let mut messages = Vec::new();
    for ingress in ours {
        let Some(suites) = &ingress.annotations.ciphers.suites else { continue };
        for (host, state) in ingress.served_hosts().into_iter().filter_map(|host| hosts.get_key_value(&host))
        {
            if state.special.ciphers.suites.as_ref() != Some(suites) {
                let text = format!(
                    "ssl-ciphers has no effect at host {host}: an older Ingress or one of another namespace determines its cipher suites"
                );
                let message = Message::warning(Topic::Annotation("ssl-ciphers"), text);
                messages.push((ingress.meta.key.clone(), message));
            }
        }
    }
    messages
}

/// Gives hosts without a `tls` section the TLS of the wildcard host that covers them, as in ingress-nginx. Unlike there, only
/// within a namespace: otherwise an Ingress would get a certificate of another namespace for its host.
fn inherit_tls(ours: &[Arc<Ingress>], hosts: &mut BTreeMap<HostPattern, IngressHost>) {
    let mut wildcards: BTreeMap<HostPattern, &str> = BTreeMap::new();
    let with_tls =
        ours.iter().filter(|ingress| !ingress.tls.is_empty() && ingress.annotations.canary.is_none());
    for ingress in with_tls {
        let is_wildcard = |host: &HostPattern| matches!(host, HostPattern::WildcardLabel(_));
        for host in ingress.hosts().into_iter().filter(is_wildcard) {
            wildcards.entry(host).or_insert(ingress.meta.namespace());
        }
    }
    for (host, state) in hosts.iter_mut().filter(|(_, state)| !state.tls) {
        let HostPattern::Exact(name) = host else { continue };
        let Some((_, suffix)) = name.split_once('.') else { continue };
        let wildcard = HostPattern::WildcardLabel(suffix.into());
        let first = state.ingresses.first().map(|first| &*first.namespace);
        if first.is_some() && wildcards.get(&wildcard).copied() == first {
            (state.tls, state.special.edit().tls_of) = (true, Some(wildcard));
        }
    }
}

/// Finds the hosts that others are another name of, and gives these the Ingresses of those. A host with rules of its own is
/// no other name; one that several Ingresses claim stands for the host that comes first in alphabetical order.
fn name_aliases(ours: &[Arc<Ingress>], hosts: &mut BTreeMap<HostPattern, IngressHost>) {
    let mut aliases: BTreeMap<&HostPattern, (Arc<str>, &HostPattern)> = BTreeMap::new();
    for ingress in ours.iter().filter(|ingress| !ingress.annotations.server_alias.hosts.is_empty()) {
        let Some(host) = ingress.aliased_host() else { continue };
        let text: Arc<str> = host.to_string().into();
        for alias in &ingress.annotations.server_alias.hosts {
            let known = aliases.entry(alias).or_insert_with(|| (Arc::clone(&text), host));
            if text < known.0 {
                *known = (Arc::clone(&text), host);
            }
        }
    }
    let named: BTreeSet<_> =
        ours.iter().flat_map(|ingress| ingress.rules.iter().map(|rule| &rule.host)).collect();
    for (alias, (_, host)) in aliases.into_iter().filter(|(alias, _)| !named.contains(alias)) {
        let Some(IngressHost { ingresses, tls, mut special, .. }) = hosts.get(host).cloned() else {
            continue;
        };
        special.edit().same_as = Some(host.clone());
        hosts.insert(alias.clone(), IngressHost { ingresses, tls, special, ..Default::default() });
    }
}

/// Returns how a port finds an Ingress host: under the hostname of a Gateway's listener of the same name, if there is one.
/// Returns `None` if that listener takes streams, because each of its streams goes to one of its routes as a whole.
fn found_as(listeners: &Listeners, port: Option<PortKey>, host: &HostPattern) -> Option<FoundAs> {
    let same = same_name(host);
    match listeners.holding(port?, &same).map(|holding| &holding.point) {
        Some(point) if !point.takes_requests() => None,
        Some(_) if same != *host => Some(FoundAs::GatewayWildcard),
        Some(_) | None => Some(FoundAs::Host),
    }
}

/// Returns the hostname of a Gateway's listener that is written like this Ingress host. `*` covers one label in an
/// Ingress and any number of labels in a Gateway, but the names count as the same.
pub(super) fn same_name(host: &HostPattern) -> HostPattern {
    match host {
        HostPattern::WildcardLabel(suffix) => HostPattern::Wildcard(Arc::clone(suffix)),
        host => host.clone(),
    }
}

impl IngressHost {
    /// Adds the cipher suites of a younger Ingress, where none are named yet.
    fn add_ciphers(&mut self, CipherPolicy { suites, server_order }: &CipherPolicy) {
        if suites.is_some() || server_order.is_some() {
            let ciphers = &mut self.special.edit().ciphers;
            ciphers.suites = ciphers.suites.take().or_else(|| suites.clone());
            ciphers.server_order = ciphers.server_order.or(*server_order);
        }
    }
}

impl IngressSide {
    /// Returns whether an Ingress names a host that is written like this hostname of a Gateway's listener.
    pub(super) fn has_host(&self, hostname: &HostPattern) -> bool {
        let of_rules = match hostname {
            HostPattern::Wildcard(suffix) => Some(HostPattern::WildcardLabel(Arc::clone(suffix))),
            HostPattern::Any | HostPattern::Exact(_) | HostPattern::WildcardLabel(_) => None,
        };
        self.hosts.contains_key(hostname) || of_rules.is_some_and(|host| self.hosts.contains_key(&host))
    }

    /// Returns the facts that differ, compared with the hosts from before.
    pub(super) fn facts(&self, before: &Self) -> Vec<Fact> {
        let messages = self.messages.keys().chain(before.messages.keys());
        let told = messages.filter(|key| self.messages.get(*key) != before.messages.get(*key));
        let outcomes = told.chain(self.moved_from(before)).chain(before.moved_from(self));
        let hosts =
            self.hosts.keys().chain(before.hosts.keys().filter(|host| !self.hosts.contains_key(host)));
        let hosts = hosts.filter(|host| self.hosts.get(*host) != before.hosts.get(*host));
        hosts.cloned().map(Fact::ListenerAt).chain(outcomes.cloned().map(Fact::Outcome)).collect()
    }

    /// Returns the Ingresses of hosts that `other` has at other ports or under another hostname, or not at all.
    fn moved_from<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = &'s ObjectKey> {
        let place = |state: &IngressHost| (state.http, state.https);
        let moved = self.hosts.iter().filter(move |(host, state)| {
            other.hosts.get(*host).is_none_or(|other| place(other) != place(state))
        });
        moved.flat_map(|(_, state)| &state.ingresses)
    }
}

/// Returns messages for the owner of an Ingress about a host that a Gateway's listener also has.
pub(crate) fn shared_with(
    host: &HostPattern,
    port: u16,
    holder: &ListenerId,
    is_tls: bool,
    own_tls: Option<&str>,
) -> Vec<Message> {
    let shown = if is_tls { ", and its certificate is used" } else { "" };
    let shared =
        format!("host {host} on port {port} is shared with {holder}: its routes take precedence{shown}");
    let forbidden = own_tls.filter(|_| is_tls).map(|annotation| {
        Message::refused(format!(
            "host {host} on port {port}: requests receive 403, because {annotation} requires its own TLS settings but TLS terminates at {holder}"
        ))
    });
    [Message::note(shared)].into_iter().chain(forbidden).collect()
}

fn beside_gateways(
    ingress: &Ingress,
    all: &BTreeMap<HostPattern, IngressHost>,
    listeners: &Listeners,
    settings: &Settings,
) -> Vec<Message> {
    let mut messages: Vec<_> = not_served(settings).into_values().map(Message::refused).collect();
    for host in ingress.served_hosts() {
        let Some(state) = all.get(&host) else { continue };
        for (port, found_as) in [(settings.http_port, state.http), (settings.https_port, state.https)] {
            let is_tls = port == settings.https_port;
            let wanted = found_as.map_or_else(|| same_name(&host), |found_as| found_as.hostname(&host));
            let bound = settings.bound(PortKey::tcp(port)).ok();
            let holding = bound.and_then(|bound| listeners.holding(bound, &wanted));
            match (found_as, holding.map(|holding| &holding.point.id)) {
                (Some(_), Some(id)) => {
                    messages.extend(shared_with(&host, port, id, is_tls, ingress.annotations.own_tls));
                }
                (None, Some(id)) => messages.push(Message::refused(format!(
                    "host {host} is not served on port {port}: {id} receives all connections for that host"
                ))),
                (_, None) => {}
            }
        }
    }
    messages
}

/// Says why Ingresses are not served on a port that should be theirs.
fn not_served(settings: &Settings) -> BTreeMap<u16, String> {
    let ports = [settings.http_port, settings.https_port].into_iter();
    let why = |port| settings.bound(PortKey::tcp(port)).err();
    ports.filter_map(|port| Some((port, format!("not served on port {port}: {}", why(port)?)))).collect()
}
