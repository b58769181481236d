//! The rules of a route, compiled once for all its listeners from which backends are connected to in the same way.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{
    Backend, BackendError, Backends, Balance, Pattern, RouteId, RouteKind, RouteMatch, Rule, Steps,
    WeightedBackend,
    step::{ExternalAuth, Mirror},
};

use super::{filters, grpc};
use crate::{
    ir::{
        Kind, ObjectKey, Route,
        route::{
            BackendRef, ExternalAuthFilter, InvalidRule, MirrorFilter, ObjectBackendRef, Regex, RouteRule,
            WrittenMatch,
        },
        x_backend::SessionPersistence,
    },
    translate::{
        AttachPoint, BackendPool, PatternPool, Reader,
        backend_refs::{BackendRefs, Connecting},
        over_budget, persistence,
    },
};

/// The rules of a route.
pub(super) struct Rules {
    pub(super) compiled: Vec<CompiledRule>,
    pub(super) invalid: InvalidRules,
    pub(super) unresolved: Unresolved,
    /// Backends that are closed since a policy for them cannot be carried out, each once.
    pub(super) closed: Vec<BackendError>,
    /// The policies that concern its backends.
    pub(super) policies: BTreeSet<ObjectKey>,
}

impl Connecting {
    /// How a route's backends are connected to from a listener: as BackendTLSPolicies say, if its requests or what is
    /// left when TLS has ended is sent. TLS that is passed through is the client's own, and what a TCPRoute carries is
    /// sent as it comes.
    pub(super) fn from(point: &AttachPoint, route: &Route) -> Self {
        let by_policy = match route.kind {
            RouteKind::Http | RouteKind::Grpc | RouteKind::Ingress => true,
            RouteKind::Tls => point.mode.as_ref().is_some_and(|mode| mode.ends_tls()),
            RouteKind::Tcp | RouteKind::Udp | RouteKind::TcpServices | RouteKind::UdpServices => false,
        };
        Self { by_policy, certificate: point.backend_certificate.clone().filter(|_| by_policy) }
    }
}

/// A rule and its matches.
pub(super) struct CompiledRule {
    pub(super) matches: Vec<PlacedMatch>,
    pub(super) rule: Arc<Rule>,
}

/// A match of a route.
pub(super) struct PlacedMatch {
    /// Its place in the route: the rule's index, and its own in the rule.
    pub(super) position: (usize, usize),
    /// The conditions as they are written, which count in the order of precedence.
    pub(super) written: Arc<RouteMatch>,
    /// The same, with those that the kind of route implies.
    pub(super) served: Arc<RouteMatch>,
}

impl PlacedMatch {
    fn new(position: (usize, usize), written: Arc<RouteMatch>, kind: RouteKind) -> Self {
        let served = match kind {
            RouteKind::Grpc => Arc::new(grpc::only_grpc(&written)),
            _ => Arc::clone(&written),
        };
        Self { position, written, served }
    }
}

/// Whether the regular expressions of a route are compiled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compile<'a> {
    /// They are not needed: the route is attached nowhere.
    Nothing,
    Patterns(&'a PatternPool),
    /// Older objects of the namespace use up its budget.
    OverBudget(usize),
}

/// Rules that are not served as they stand: what they are known to take is answered with 500.
#[derive(Debug, Default)]
pub(crate) struct InvalidRules {
    /// Place and reason of each.
    pub(crate) rules: Vec<(usize, Box<str>)>,
    /// Whether no rule is left.
    pub(crate) all: bool,
}

/// Backends that cannot be used, each once, in the order of the route.
#[derive(Debug, Default)]
pub(crate) struct Unresolved(pub(crate) Vec<BackendError>);

pub(super) fn compile(
    reader: &Reader<'_>,
    backends: &BackendPool,
    patterns: Compile<'_>,
    route: &Route,
    connecting: &Connecting,
) -> Rules {
    let mut compiler = Compiler {
        refs: BackendRefs::new(reader, backends, &route.meta.key, connecting),
        patterns,
        route,
        unresolved: Unresolved::default(),
        closed: Vec::new(),
        found: Vec::new(),
    };
    let id = Arc::new(RouteId {
        kind: route.kind,
        namespace: route.meta.namespace().into(),
        name: route.meta.name().into(),
    });
    let (mut compiled, mut invalid) = (Vec::with_capacity(route.rules.len()), InvalidRules::default());
    for (index, rule) in route.rules.iter().enumerate() {
        let (made, why) = compiler.rule(&id, index, rule);
        compiled.push(made);
        invalid.rules.extend(why.map(|why| (index, why)));
    }
    invalid.all = !route.rules.is_empty() && invalid.rules.len() == route.rules.len();
    let Compiler { unresolved, closed, refs, .. } = compiler;
    Rules { compiled, invalid, unresolved, closed, policies: refs.into_policies() }
}

struct Compiler<'r, 'a> {
    refs: BackendRefs<'a>,
    patterns: Compile<'a>,
    route: &'r Route,
    unresolved: Unresolved,
    closed: Vec<BackendError>,
    /// The first [`FOUND`] references that led somewhere: rules of one route refer to the same few Services.
    found: Vec<(&'r ObjectBackendRef, Arc<Backend>)>,
}

/// So many references are compared in the time of one look among thousands of Services.
const FOUND: usize = 8;

impl<'r> Compiler<'r, '_> {
    fn rule(
        &mut self,
        id: &Arc<RouteId>,
        index: usize,
        rule: &'r RouteRule,
    ) -> (CompiledRule, Option<Box<str>>) {
        let (matches, bad_match) = self.matches(index, rule);
        let steps = filters::compile(&rule.filters, self);
        // A filter that cannot be carried out must not be skipped (HTTPRouteFilter): the rule answers with 500.
        let persistence = rule.persistence.as_deref().map(Result::as_ref).transpose();
        let bad_persistence = persistence.as_ref().err().map(|invalid| invalid.to_string().into());
        let (steps, why) = match (steps, bad_match.or(bad_persistence)) {
            (Ok(steps), None) => (steps, None),
            (Err(why), _) | (Ok(_), Some(why)) => (Steps::default(), Some(why)),
        };
        let persistence = persistence.ok().flatten();
        let backends = match &why {
            None => {
                Backends::new(rule.backends.iter().map(|b| self.weighted(b, persistence)).collect::<Vec<_>>())
            }
            Some(why) => Backends::new([broken(BackendError::InvalidFilter(why.clone()))]),
        };
        let compiled = Rule {
            route: Arc::clone(id),
            index,
            name: rule.name.clone(),
            steps,
            backends,
            timeouts: rule.timeouts.clone(),
            retry: rule.retry.clone(),
            labels: None,
        };
        (CompiledRule { matches, rule: Arc::new(compiled) }, why)
    }

    /// The matches that can be served, and why the first one that cannot is not.
    fn matches(&self, index: usize, rule: &RouteRule) -> (Vec<PlacedMatch>, Option<Box<str>>) {
        let (mut matches, mut bad) = (Vec::with_capacity(rule.matches.len()), None);
        for (place, one) in rule.matches.iter().enumerate() {
            let compiled = match one {
                Ok(WrittenMatch::Plain(plain)) => Ok(Arc::clone(plain)),
                Ok(WrittenMatch::WithPatterns(one)) => {
                    one.compiled(&mut |regex| self.pattern(regex)).map(Arc::new)
                }
                Err(invalid) => Err(Some(InvalidRule::clone(invalid))),
            };
            match compiled {
                Ok(compiled) => {
                    matches.push(PlacedMatch::new((index, place), compiled, self.route.kind));
                }
                Err(Some(invalid)) if bad.is_none() => bad = Some(invalid.to_string().into()),
                Err(_) => {}
            }
        }
        (matches, bad)
    }

    /// An error of `None` is not the fault of the regular expression: it is not needed.
    fn pattern(&self, regex: &Regex) -> Result<Pattern, Option<InvalidRule>> {
        let invalid =
            |message: String| Some(InvalidRule { field: regex.field.clone(), message: message.into() });
        match self.patterns {
            Compile::Nothing => Err(None),
            Compile::Patterns(pool) => {
                pool.pattern(&regex.source).map_err(|error| invalid(error.to_string()))
            }
            Compile::OverBudget(budget) => Err(invalid(over_budget(self.route.meta.namespace(), budget))),
        }
    }

    fn weighted(
        &mut self,
        backend: &'r BackendRef,
        persistence: Option<&SessionPersistence>,
    ) -> WeightedBackend {
        let resolved = self.resolve(&backend.target);
        let steps = match backend.filters.is_empty() {
            true => Ok(Steps::default()),
            false => {
                let key = self.key(&backend.target);
                filters::compile_for_backend(&backend.filters, &key, self)
            }
        };
        match (resolved, steps) {
            (Ok(resolved), Ok(steps)) => WeightedBackend {
                weight: backend.weight,
                balance: self.balance(&resolved, persistence),
                backend: Ok(resolved),
                steps,
            },
            (Err(error), _) => WeightedBackend { weight: backend.weight, ..broken(error) },
            (Ok(_), Err(error)) => {
                self.note(&error);
                WeightedBackend { weight: backend.weight, ..broken(error) }
            }
        }
    }

    /// Streams and datagrams have no sessions.
    fn balance(&self, backend: &Backend, persistence: Option<&SessionPersistence>) -> Balance {
        match self.route.kind.takes_requests() {
            true => persistence::balance(self.refs.reader(), self.route, persistence, backend),
            false => Balance::default(),
        }
    }

    fn resolve(&mut self, target: &'r ObjectBackendRef) -> Result<Arc<Backend>, BackendError> {
        if let Some((_, backend)) = self.found.iter().find(|(before, _)| *before == target) {
            return Ok(Arc::clone(backend));
        }
        let resolved = self.refs.find(target, self.route.kind);
        match &resolved {
            Ok(backend) if self.found.len() < FOUND => self.found.push((target, Arc::clone(backend))),
            Ok(_) => {}
            Err(error) => self.note(error),
        }
        resolved
    }

    fn key(&self, target: &ObjectBackendRef) -> ObjectKey {
        let namespace = target.namespace.as_deref().unwrap_or(self.route.meta.namespace());
        ObjectKey::new(Kind::Service, namespace, &target.name)
    }

    fn note(&mut self, error: &BackendError) {
        let errors = match error {
            // The reference is resolved.
            BackendError::InvalidPolicy { .. } | BackendError::InvalidTls { .. } => &mut self.closed,
            _ => &mut self.unresolved.0,
        };
        if !errors.contains(error) {
            errors.push(error.clone());
        }
    }
}

impl<'r> filters::Resolve<'r> for Compiler<'r, '_> {
    fn mirror(&mut self, filter: &'r MirrorFilter) -> Mirror {
        Mirror {
            backend: self.resolve(&filter.backend),
            numerator: filter.numerator,
            denominator: filter.denominator,
        }
    }

    fn external_auth(&mut self, filter: &'r ExternalAuthFilter) -> ExternalAuth {
        let auth = self.refs.external_auth(filter);
        auth.backend.as_ref().err().into_iter().for_each(|error| self.note(error));
        auth
    }
}

fn broken(error: BackendError) -> WeightedBackend {
    WeightedBackend {
        weight: 1,
        backend: Err(Box::new(error)),
        steps: Steps::default(),
        balance: Balance::default(),
    }
}
