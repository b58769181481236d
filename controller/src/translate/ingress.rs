//! Ingress: hosts, paths, the default backend, and the redirect of plain HTTP for hosts with TLS.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use http::StatusCode;
use portcullis_routing::{
    Backend, BackendError, BackendProtocol, Backends, Entry, HostPattern, PathMatch, Precedence, RouteId,
    RouteKind, RouteMatch, Rule, Step, Steps, Timeouts, WeightedBackend, step::Redirect,
};

use super::{
    Attachment, BackendPool, Closer, ConnectionSettings, HostRefusal, HostTableKey, HostTranslation,
    IngressHost, Listeners, Loss, Reader, RuleSource, Settings, backend_tls::Finder, merge, services,
    slots::PathKey, tls_towards,
};
use crate::{
    ir::{
        Ingress,
        ingress::{IngressBackend, IngressPath},
    },
    problem::Topic,
    status::Message,
};

/// Where ACME servers ask for their challenge (RFC 8555, section 8.3): over plain HTTP, so this is never redirected.
const ACME: &str = "/.well-known/acme-challenge";

/// Translates the Ingresses of a host: first decides which Ingress gets each path, then compiles the rules.
pub fn ingress_host(
    reader: &Reader<'_>,
    listeners: &Listeners,
    backends: &BackendPool,
    host: &HostPattern,
) -> HostTranslation {
    let mut translation = HostTranslation::default();
    let Some(state) = listeners.at_host(reader, host) else { return translation };
    let ingresses = state.ingresses.iter().filter_map(|key| reader.ingress(key));
    let mut compilers: Vec<_> =
        ingresses.map(|ingress| Compiler::new(reader, backends, ingress, host)).collect();
    let mut losses = settle(&mut compilers, host);
    choose_solver(&mut compilers);
    let mut by_slot: BTreeMap<HostTableKey, Vec<Attachment>> = BTreeMap::new();
    for compiler in &mut compilers {
        for attachment in compiler.at(state, host) {
            by_slot.entry(attachment.slot.clone()).or_default().push(attachment);
        }
        translation.policies.append(&mut compiler.policies.found);
        let messages = std::mem::take(&mut compiler.messages);
        if !messages.is_empty() {
            translation.messages.insert(compiler.ingress.meta.key.clone(), messages.into_iter().collect());
        }
    }
    for (slot, attachments) in by_slot {
        let (table, lost) = merge(&slot, &attachments);
        losses.extend(lost);
        translation.tables.push((slot, table));
    }
    for loss in losses {
        let messages = translation.messages.entry(loss.of()).or_default();
        messages.insert(Message::refused(loss.to_string()));
    }
    translation
}

/// Decides which Ingress gets each path of a host: the oldest one that asks for it. The rules of the others are not
/// compiled.
fn settle(compilers: &mut [Compiler<'_>], host: &HostPattern) -> Vec<Loss> {
    let age = |compiler: &Compiler<'_>| (compiler.ingress.meta.created, Arc::clone(&compiler.name));
    compilers.sort_by_cached_key(age);
    let (mut owners, mut losses) = (BTreeMap::new(), Vec::new());
    for compiler in compilers {
        let id = &compiler.id;
        compiler.paths.retain(|(_, path)| match owners.entry(PathKey::of(&path.path)) {
            btree_map::Entry::Vacant(free) => {
                free.insert(Arc::clone(id));
                true
            }
            btree_map::Entry::Occupied(owner) => {
                let path = owner.key().to_string().into();
                let (loser, winner) = (Arc::clone(id), Arc::clone(owner.get()));
                losses.push(Loss { loser, winner, host: host.clone(), path });
                false
            }
        });
    }
    losses
}

/// Decides which Ingress answers ACME challenges where plain HTTP is redirected: the one that would answer them without
/// redirects. No other takes them from it, neither by another path nor by a default backend.
fn choose_solver(compilers: &mut [Compiler<'_>]) {
    let longest = |compiler: &Compiler<'_>| {
        let prefixes = compiler.paths.iter().filter_map(|(_, path)| match &path.path {
            PathMatch::Prefix(prefix) if covers(prefix, ACME) => Some(prefix.len()),
            _ => None,
        });
        prefixes.max()
    };
    let best = compilers.iter().filter_map(longest).max();
    for compiler in compilers {
        compiler.solves = longest(compiler) == best;
    }
}

/// The message for the owner of an Ingress that is closed as a whole.
pub(crate) fn closed(ingress: &Ingress, settings: &Settings) -> Option<Message> {
    let by = ingress.unserved.closed_by(settings.strict_annotations)?;
    let what = if ingress.unserved.whole_hosts { "its hosts are" } else { "its paths are" };
    let text = format!(
        "{what} closed (503), since what protects them is not served yet: {by}; the annotation \
         portcullis.dev/unsupported: ignore serves them without"
    );
    Some(Message::about(Topic::Closed, text))
}

/// Whether an Ingress may serve a host of its own.
pub(super) fn may_serve(
    reader: &Reader<'_>,
    ingress: &Ingress,
    host: &HostPattern,
) -> Result<(), HostRefusal> {
    reader.may_serve(ingress.meta.namespace(), host)?;
    reader.may_take((&ingress.meta).into(), host)
}

struct Compiler<'a> {
    reader: &'a Reader<'a>,
    backends: &'a BackendPool,
    ingress: &'a Ingress,
    id: Arc<RouteId>,
    name: Arc<str>,
    messages: Vec<Message>,
    policies: Finder<'a>,
    /// What closes all paths of the Ingress.
    closed: Option<Box<str>>,
    /// The paths that it has at the host, each with its place in the Ingress.
    paths: Vec<(usize, &'a IngressPath)>,
    /// Whether it answers ACME challenges of the host, even if it redirects everything else.
    solves: bool,
}

/// A host of Ingresses.
#[derive(Clone, Copy)]
struct Place<'a> {
    state: &'a IngressHost,
    host: &'a HostPattern,
    /// Whether the Ingress is closed there.
    is_closed: bool,
}

impl<'a> Compiler<'a> {
    fn new(
        reader: &'a Reader<'a>,
        backends: &'a BackendPool,
        ingress: &'a Ingress,
        host: &HostPattern,
    ) -> Self {
        let rules = ingress.rules.of_host(host).into_iter();
        let of_host = rules
            .flat_map(|(first, rule)| rule.paths.iter().enumerate().map(move |(i, path)| (first + i, path)));
        let (namespace, name) = (ingress.meta.namespace(), ingress.meta.name());
        let closed = ingress.unserved.closed_by(reader.settings().strict_annotations);
        let id = RouteId { kind: RouteKind::Ingress, namespace: namespace.into(), name: name.into() };
        Self {
            reader,
            backends,
            ingress,
            id: Arc::new(id),
            name: format!("{namespace}/{name}").into(),
            messages: Vec::new(),
            policies: Finder::new(reader),
            closed: closed.map(Into::into),
            paths: of_host.collect(),
            solves: true,
        }
    }

    /// Its attachments at the host.
    fn at(&mut self, state: &IngressHost, host: &HostPattern) -> Vec<Attachment> {
        let (ingress, settings) = (self.ingress, self.reader.settings());
        let last = ingress.rules.paths();
        let closer = self.closer(state);
        let default =
            ingress.default_backend.as_ref().map(|backend| self.rule(last, "default backend", backend));
        let mut attachments = Vec::new();
        if !ingress.rules.of_host(host).is_empty() {
            let (paths, default) = match &closer {
                None => (self.entries(host), default.clone()),
                // Requests that no path of the host matches must not be answered from elsewhere either.
                Some(closer) => {
                    self.tell_closed_by(host, closer);
                    (self.closed_entries(host, &closer.by), Some(self.closed_rule(last, &closer.by)))
                }
            };
            let default = default.map(|rule| self.entry(host, PathMatch::Prefix("".into()), &rule));
            let is_closed = closer.is_some() || self.closed.is_some();
            let place = Place { state, host, is_closed };
            attachments.extend(self.at_ports(settings, place, &paths, default.as_ref()));
        }
        if let Some(rule) = default.filter(|_| *host == HostPattern::Any) {
            let rule = closer.map_or(rule, |closer| self.closed_rule(last, &closer.by));
            attachments.extend(self.for_the_rest(settings, state, &rule));
        }
        attachments
    }

    /// The entries of its paths, without redirects.
    fn entries(&mut self, host: &HostPattern) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.paths.len());
        for (index, path) in self.paths.clone() {
            let rule = self.rule(index, &format!("{} of {host}", path_text(&path.path)), &path.backend);
            entries.push(self.entry(host, path.path.clone(), &rule));
        }
        entries
    }

    /// The same of a host that is closed.
    fn closed_entries(&self, host: &HostPattern, by: &str) -> Vec<Entry> {
        let paths = self.paths.iter();
        paths
            .map(|(index, path)| self.entry(host, path.path.clone(), &self.closed_rule(*index, by)))
            .collect()
    }

    /// Who closes the Ingress at a host.
    fn closer(&self, state: &IngressHost) -> Option<Closer> {
        state.closed.as_ref()?.of(self.ingress).cloned()
    }

    fn tell_closed_by(&mut self, host: &HostPattern, Closer { ingress, by }: &Closer) {
        if *ingress != self.ingress.meta.key {
            let text = format!(
                "host {host} is closed (503) by {ingress}, since what protects it there is not served yet: {by}"
            );
            self.messages.push(Message::about(Topic::Closed, text));
        }
    }

    fn at_ports(
        &self,
        settings: &Settings,
        Place { state, host, is_closed }: Place<'_>,
        paths: &[Entry],
        default: Option<&Entry>,
    ) -> Vec<Attachment> {
        let attachment = |port, listener: &HostPattern, entries, implied| Attachment {
            slot: HostTableKey::new(port, listener, RuleSource::Ingress, host),
            entries,
            implied,
        };
        let mut attachments = Vec::new();
        if let (Some(listener), Ok(port)) = (&state.https, settings.bound_for_https()) {
            attachments.push(attachment(
                port,
                listener,
                paths.to_vec(),
                default.cloned().into_iter().collect(),
            ));
        }
        let (Some(listener), Ok(port)) = (&state.http, settings.bound_for_http()) else {
            return attachments;
        };
        let redirects = !is_closed && self.redirects(settings, state.may_redirect());
        let (entries, implied) = match redirects {
            false => (paths.to_vec(), default.cloned().into_iter().collect()),
            true => self.redirected(settings, host, paths, default, self.solves),
        };
        attachments.push(attachment(port, listener, entries, implied));
        attachments
    }

    fn redirects(&self, settings: &Settings, tls: bool) -> bool {
        tls && self.ingress.redirect.ssl_redirect.unwrap_or(settings.ssl_redirect)
    }

    /// The same paths with a redirect to HTTPS in place of their backends, but for ACME challenges.
    fn redirected(
        &self,
        settings: &Settings,
        host: &HostPattern,
        paths: &[Entry],
        default: Option<&Entry>,
        solves: bool,
    ) -> (Vec<Entry>, Vec<Entry>) {
        let redirected = |entry: &Entry| match &entry.route_match.path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) if covers(ACME, path) => entry.clone(),
            _ => Entry { rule: self.redirect(settings, entry.rule.index), ..entry.clone() },
        };
        // The entry that would answer a challenge if nothing were redirected.
        let challenged = |entry: &&Entry| match &entry.route_match.path {
            PathMatch::Prefix(prefix) => covers(prefix, ACME),
            _ => false,
        };
        let solver =
            paths.iter().filter(challenged).max_by_key(|e| &e.precedence).or(default).filter(|_| solves);
        let solver = solver.map(|entry| self.entry(host, PathMatch::Prefix(ACME.into()), &entry.rule));
        let implied = default.map(redirected).into_iter().chain(solver).collect();
        (paths.iter().map(redirected).collect(), implied)
    }

    fn redirect(&self, settings: &Settings, index: usize) -> Arc<Rule> {
        let redirect = Redirect {
            scheme: Some("https".into()),
            hostname: None,
            port: (settings.https_port != 443).then_some(settings.https_port),
            path: None,
            status: StatusCode::PERMANENT_REDIRECT,
        };
        Arc::new(self.compiled(index, Steps::new([Step::Redirect(redirect)]), Backends::default()))
    }

    /// The default backend behind all hosts of Ingresses.
    fn for_the_rest(&self, settings: &Settings, state: &IngressHost, rule: &Arc<Rule>) -> Vec<Attachment> {
        let any = HostPattern::Any;
        let is_closed = self.closed.is_some() || self.closer(state).is_some();
        let plain = vec![self.entry(&any, PathMatch::Prefix("".into()), rule)];
        let attachment = |port, (entries, implied)| Attachment {
            slot: HostTableKey::new(port, &any, RuleSource::IngressDefault, &any),
            entries,
            implied,
        };
        let https = state.https.as_ref().and(settings.bound_for_https().ok());
        let https = https.map(|port| attachment(port, (plain.clone(), Vec::new())));
        let http = state.http.as_ref().and(settings.bound_for_http().ok()).map(|port| {
            let redirects = !is_closed && self.redirects(settings, state.may_redirect());
            let entries = match redirects {
                true => self.redirected(settings, &any, &plain, None, true),
                false => (plain.clone(), Vec::new()),
            };
            attachment(port, entries)
        });
        https.into_iter().chain(http).collect()
    }

    fn entry(&self, host: &HostPattern, path: PathMatch, rule: &Arc<Rule>) -> Entry {
        let route_match = RouteMatch { path, method: None, headers: Box::default(), query: Box::default() };
        let age = self.ingress.meta.created;
        let precedence = Precedence::of(host, &route_match, age, Arc::clone(&self.name), (rule.index, 0));
        Entry { route_match: Arc::new(route_match), precedence, rule: Arc::clone(rule) }
    }

    /// A rule that answers everything with 503.
    fn closed_rule(&self, index: usize, by: &str) -> Arc<Rule> {
        let backend = Err(BackendError::Closed(by.into()));
        let backends = Backends::new([WeightedBackend { weight: 1, backend, steps: Steps::default() }]);
        Arc::new(self.compiled(index, self.steps(), backends))
    }

    /// Steps that apply whatever answers the request.
    fn steps(&self) -> Steps {
        Steps::new(self.ingress.own_tls.map(|_| Step::OwnTls))
    }

    fn rule(&mut self, index: usize, what: &str, backend: &IngressBackend) -> Arc<Rule> {
        if let Some(by) = &self.closed {
            return self.closed_rule(index, by);
        }
        let backend = self.resolve(backend);
        if let Err(error) = &backend {
            let status = error.rejection().status().as_u16();
            let text = format!("{what}: {error}; its requests are answered with {status}");
            self.messages.push(Message::refused(text));
        }
        let backends = Backends::new([WeightedBackend { weight: 1, backend, steps: Steps::default() }]);
        Arc::new(self.compiled(index, self.steps(), backends))
    }

    fn compiled(&self, index: usize, steps: Steps, backends: Backends) -> Rule {
        Rule {
            route: Arc::clone(&self.id),
            index,
            name: None,
            steps,
            backends,
            timeouts: Timeouts::default(),
            retry: None,
        }
    }

    fn resolve(&mut self, backend: &IngressBackend) -> Result<Arc<Backend>, BackendError> {
        let (name, wanted) = match backend {
            IngressBackend::Service { name, port } => (name, port),
            IngressBackend::Resource(resource) => {
                return Err(BackendError::InvalidKind(match &*resource.group {
                    "" => resource.kind.clone(),
                    group => format!("{group}/{}", resource.kind).into(),
                }));
            }
        };
        let namespace = self.ingress.meta.namespace();
        let service = services::find(self.reader, namespace, name)?;
        services::check(service, self.reader.settings())?;
        let port = services::port_of_ingress(service, wanted)?;
        let (protocol, tls) = spoken(port.app_protocol);
        let by_policy = self.policies.towards(service, port.name)?;
        let tls = by_policy.or_else(|| tls.then(|| tls_towards(&service.meta.key)));
        Ok(self.backends.backend(
            &service.meta.key,
            port.port,
            ConnectionSettings { protocol, tls, proxy_protocol: None },
        ))
    }
}

/// The protocol for a port with this `appProtocol`. ingress-nginx never reads it, so one that is not HTTP must not
/// break a working Ingress.
fn spoken(app_protocol: Option<&str>) -> (BackendProtocol, bool) {
    super::route::spoken_by_http(app_protocol).unwrap_or((BackendProtocol::Http1, false))
}

/// Whether a prefix takes a path, by whole segments.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn path_text(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "prefix /".into(),
        PathMatch::Prefix(prefix) => format!("prefix {prefix}"),
        PathMatch::Regex(regex) => format!("regex {}", regex.as_str()),
        PathMatch::GrpcMethod(method) => format!("method {method}"),
    }
}
