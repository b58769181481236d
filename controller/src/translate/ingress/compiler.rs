//! An Ingress at a host: the rules of its paths.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{
    BackendError, Backends, Balance, Entry, HostPattern, HostTable, Location, PathMatch, Precedence, RouteId,
    RouteMatch, Rule, Steps, WeightedBackend,
    path::of_ingress,
    step::{BasicAuth, Limits},
};

use super::{
    OtherHosts, basic_auth, limits,
    needs::Counted,
    paths::{self, Matched, Place},
    steps::{self, Site},
    uncompiled::{Located, NotCompiled},
    upstream,
};
use crate::{
    ir::{Ingress, ObjectKey, ingress::PathKind},
    problem::Topic,
    status::Message,
    translate::{
        ClassOwner, Classes, Closer, Fault, FoundAs, HostTableKey, IngressHost, Pools, Reader, RuleSource,
        backend_tls::Finder,
    },
};

/// A host, and what its rules are compiled with.
#[derive(Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) pools: &'a Pools,
    pub(super) others: OtherHosts<'a>,
    pub(super) state: &'a IngressHost,
    /// The host of the rules.
    pub(super) host: &'a HostPattern,
    /// The same, or another name of it.
    pub(super) served_as: &'a HostPattern,
    /// The Ingresses of the host, the oldest first.
    pub(super) ingresses: &'a [&'a Ingress],
}

/// An Ingress of the host.
pub(super) struct Compiler<'a> {
    pub(super) host: Host<'a>,
    pub(super) ingress: &'a Ingress,
    pub(super) id: Arc<RouteId>,
    name: Arc<str>,
    pub(super) policies: Finder<'a>,
    messages: BTreeSet<Message>,
    class: ClassOwner,
    pub(super) limits: Option<Arc<Limits>>,
    pub(super) basic_auth: Option<Arc<BasicAuth>>,
    /// What closes all paths of the Ingress.
    pub(super) closed: Option<BackendError>,
    /// The regular expressions that the Ingress needs at the host.
    pub(super) counted: Counted<'a>,
}

impl<'a> Host<'a> {
    /// The keys of a table: the host's place on each of the ports that Ingresses are served on.
    pub(super) fn slots(&self, owner: &RuleSource) -> Vec<HostTableKey> {
        let settings = self.reader.settings();
        let places =
            [(self.state.https, settings.bound_for_https()), (self.state.http, settings.bound_for_http())];
        let slot = |(found_as, port): (Option<FoundAs>, Result<_, _>)| {
            let (listener, port) = (found_as?.hostname(self.served_as), port.ok()?);
            let listener = if *owner == RuleSource::IngressDefault { HostPattern::Any } else { listener };
            Some(HostTableKey::new(port, &listener, owner.clone(), self.served_as))
        };
        places.into_iter().filter_map(slot).collect()
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn new(host: Host<'a>, ingress: &'a Ingress) -> Self {
        let settings = host.reader.settings();
        let why = ingress.annotations.unserved.why_closed(settings.strict_annotations);
        let why = why.or_else(|| settings.live.ingress.closed_by.as_deref().map(Into::into));
        let why = why.or_else(|| super::risky(ingress, settings));
        let name = format!("{}/{}", ingress.meta.namespace(), ingress.meta.name()).into();
        let limits = limits::of(ingress, &name, settings);
        let mut compiler = Self {
            host,
            ingress,
            id: Arc::new(paths::route_id(ingress)),
            name,
            policies: Finder::new(host.reader),
            messages: BTreeSet::new(),
            class: Classes::owner_of_ours(host.reader, ingress),
            limits,
            basic_auth: None,
            closed: why.map(|why| BackendError::Closed(why.into())),
            counted: Counted::of(&ingress.meta.key, &host),
        };
        compiler.find_users();
        compiler.close_by_others();
        compiler
    }

    /// Closes the Ingress at the host if another one protects the host.
    fn close_by_others(&mut self) {
        let closer = self.host.state.special.closed.as_ref().and_then(|closed| closed.of(self.ingress));
        let other = closer.filter(|closer| closer.ingress != self.ingress.meta.key);
        let Some(Closer { ingress, by }) = other else { return };
        let text = format!(
            "host {} is closed (503) by {ingress}, because annotations that protect it there cannot be served: {by}",
            self.host.host
        );
        self.messages.insert(Message::about(Topic::Closed, text));
        let why = format!("{by} of {ingress} protects the host and cannot be served");
        self.closed.get_or_insert(BackendError::Closed(why.into()));
    }

    /// Finds the password file of the Ingress. If it cannot be used, the paths are closed.
    fn find_users(&mut self) {
        match basic_auth::of(self.ingress, self.host.reader, &self.host.pools.users) {
            Ok(found) => self.basic_auth = found,
            Err(why) => {
                let text =
                    format!("its paths are closed (503), because passwords cannot be verified: {}", why.text);
                self.messages.insert(Message::about(Topic::Closed, text).caused_by(why.cause()));
                self.closed.get_or_insert(BackendError::Unprotected(why.text.into()));
            }
        }
    }

    /// What its owner should know, and the policies that concern its backends.
    pub(super) fn finish(self) -> (BTreeSet<Message>, BTreeSet<ObjectKey>) {
        (self.messages, self.policies.found)
    }

    /// The entry of a path where it is matched; `None` if it cannot be matched.
    pub(super) fn entry(&mut self, place: &Place<'_>, located: Located) -> Option<Entry> {
        let mut closed = None;
        let path = match (place.matched, located) {
            (_, Located::Open(location)) => PathMatch::Location(location),
            (_, Located::Closed(location, why)) => {
                closed = Some(why);
                PathMatch::Location(location)
            }
            (Matched::Exact | Matched::WithoutSlash, Located::AsPath) => {
                PathMatch::Exact(of_ingress(&place.text)?.into())
            }
            (Matched::Prefix | Matched::OtherHost | Matched::Regex(_), Located::AsPath) => {
                PathMatch::Prefix(of_ingress(&place.text)?.trim_end_matches('/').into())
            }
        };
        let rule = match closed {
            Some(closed) => self.rejecting(self.index(place), self.steps_of_closed(place), closed),
            None => self.rule(place),
        };
        let rule = Rule { labels: self.labels(place), ..rule };
        let route_match = RouteMatch { path, method: None, headers: Box::default(), query: Box::default() };
        let age = self.ingress.meta.created;
        let name = Arc::clone(&self.name);
        let mut precedence = Precedence::of(&route_match, age, name, (rule.index, 0));
        if let Matched::Regex(rank) = place.matched {
            precedence.path_len = rank;
        }
        Some(Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) })
    }

    /// A path that is a regular expression, compiled.
    pub(super) fn location(&self, text: &str) -> Result<Location, NotCompiled> {
        let pool = &self.host.pools.patterns;
        let pattern = Location::pattern_of(text).map(|pattern| self.counted.pattern(&pattern, pool));
        let pattern = pattern.transpose()?;
        Ok(Location { text: text.into(), pattern })
    }

    /// Why the regular expressions of the Ingress are not compiled: its namespace is beyond its budget.
    pub(super) fn over_budget(&self) -> Option<&str> {
        self.counted.over_budget.as_deref()
    }

    /// The default backend for hosts that no Ingress names.
    pub(super) fn for_the_rest(&mut self) -> Option<HostTable> {
        let place = Place { ingress: 0, path: None, text: paths::ROOT.into(), matched: Matched::Prefix };
        Some(HostTable::compile(vec![self.entry(&place, Located::AsPath)?]))
    }

    /// The index of a path's rule.
    pub(super) fn index(&self, place: &Place<'_>) -> usize {
        place.path.map_or_else(|| self.ingress.rules.paths(), |(index, _)| index)
    }

    fn rule(&mut self, place: &Place<'_>) -> Rule {
        let index = self.index(place);
        let what = self.named(place);
        let backend = match place.path {
            Some((_, path)) => Some(&path.backend),
            None => self.ingress.default_backend.as_ref(),
        };
        if let Some(closed) = &self.closed {
            return self.rejecting(index, self.steps_of_closed(place), closed.clone());
        }
        let redirect = match place.matched {
            Matched::WithoutSlash => Some(steps::without_slash(&self.site())),
            Matched::OtherHost => {
                let to = self.ingress.redirected_host(self.host.host);
                to.map(|to| steps::other_host(self.host.reader.settings(), &to))
            }
            Matched::Exact | Matched::Prefix | Matched::Regex(_) => None,
        };
        if let Some(steps) = redirect {
            let steps = self.with_added_headers(place, steps);
            return self.rejecting(index, steps, BackendError::NoPath);
        }
        let steps = self.steps(place);
        let backend = match backend {
            Some(backend) => self.resolve(&what, backend),
            None => self.backend_of_the_rest(),
        };
        match steps {
            Ok(steps) => match backend {
                Ok(found) => {
                    let backends = self.found(place, found);
                    let backends = self.with_default_backend(place, backends);
                    self.compiled(index, steps, backends)
                }
                Err(error @ BackendError::Missing(_)) => {
                    let backends = self.with_default_backend(place, without_backend(error));
                    self.compiled(index, steps, backends)
                }
                Err(error) => self.rejecting(index, steps, error),
            },
            Err(why) => {
                let invalid = BackendError::InvalidFilter(why.text.as_str().into());
                self.refuse(&what, why);
                self.rejecting(index, self.steps_of_closed(place), invalid)
            }
        }
    }

    /// The path as messages name it.
    pub(super) fn named(&self, place: &Place<'_>) -> String {
        match place.path {
            Some((_, path)) => {
                let form =
                    if path.kind == PathKind::Prefix { path.text.trim_end_matches('/') } else { &path.text };
                format!("{} of {}", paths::named(path.kind, form), self.host.host)
            }
            None => "default backend".to_owned(),
        }
    }

    fn steps_of_closed(&self, place: &Place<'_>) -> Steps {
        self.with_added_headers(place, steps::of_closed(self.ingress, &self.site()))
    }

    /// Whether a place is not there, since it leads to a Service that is another one's canary.
    pub(super) fn is_of_canary(&mut self, place: &Place<'_>) -> bool {
        place.path.is_some_and(|(_, path)| self.leads_to_canary(place, &path.backend))
    }

    /// Tells the owner that the requests of a path get no backend's answer.
    pub(super) fn refuse(&mut self, what: &str, why: impl Into<Fault>) {
        let why = why.into();
        self.tell(why.message(format!("{what}: {}", why.text)));
    }

    /// Tells the owner something, once.
    pub(super) fn tell(&mut self, message: Message) {
        self.messages.insert(message);
    }

    /// `app-root` is for a whole host: that of the youngest Ingress holds. Here it does so within a namespace.
    fn app_root(&self) -> Option<&'a str> {
        let of_namespace = |ingress: &&&Ingress| ingress.meta.namespace() == self.ingress.meta.namespace();
        let settings = self.host.reader.settings();
        let is_open = |ingress: &&&Ingress| !super::is_closed_by_settings(ingress, settings);
        let roots = self.host.ingresses.iter().rev().filter(of_namespace).filter(is_open);
        roots.filter_map(|ingress| ingress.annotations.redirects.app_root.as_deref()).next()
    }

    /// What steps need to know of the place where the Ingress is served.
    pub(super) fn site(&self) -> Site<'a> {
        Site {
            annotations: &self.ingress.annotations,
            settings: self.host.reader.settings(),
            common: &self.host.pools.common,
            class: self.class,
            has_tls: self.host.state.may_redirect(),
            app_root: self.app_root(),
        }
    }

    /// The rule of a path without a backend.
    fn rejecting(&self, index: usize, steps: Steps, error: BackendError) -> Rule {
        self.compiled(index, steps, without_backend(error))
    }

    pub(super) fn compiled(&self, index: usize, steps: Steps, backends: Backends) -> Rule {
        Rule {
            route: Arc::clone(&self.id),
            index,
            name: None,
            steps,
            backends,
            timeouts: upstream::timeouts(&self.site()),
            retry: Some(upstream::retry(&self.site())),
            labels: None,
        }
    }
}

/// Rejects all requests.
fn without_backend(error: BackendError) -> Backends {
    let (steps, balance) = (Steps::default(), Balance::default());
    Backends::new([WeightedBackend { weight: 1, backend: Err(Box::new(error)), steps, balance }])
}
