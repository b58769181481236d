//! How the requests of a path are spread over endpoints, and over a Service and its canary.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{
    Backend, BackendError, BackendKey, Backends, Balance, Steps, WeightedBackend,
    balance::{self, HashBy, HeaderTest, SessionCookie, SessionToken},
    pattern::Source,
};

use super::{claims, compiler::Compiler, needs, paths::Place};
use crate::{
    ir::{
        Ingress, Kind, ObjectKey,
        ingress::{Canary, CanaryHeader, IngressBackend as Written, LoadBalance, Session},
    },
    status::Message,
    translate::{ConnectionSettings, ServicePort, ingress_backends::IngressBackend, services, tls_towards},
};

impl Compiler<'_> {
    /// The backends of a path: that of its Service, and its canary.
    pub(super) fn backends(&mut self, place: &Place<'_>, backend: Arc<Backend>) -> Backends {
        let BackendKey { namespace, service, port, .. } = &backend.key;
        // The Service's own key, so that what is kept of it is shared.
        let key = self.host.reader.service(namespace, service).map(|service| service.meta.key.clone());
        let service = key.unwrap_or_else(|| ObjectKey::new(Kind::Service, namespace, service));
        let of = ServicePort { service, port: *port };
        let state = self.host.others.backends.of(self.host.reader, &of);
        let balance = self.balance(place, &of, &state, &state);
        let canary = self.canary(place, &state, &backend);
        let main = WeightedBackend { weight: 1, ..weighted(Ok(backend), balance) };
        match canary {
            Some((canary, other)) => Backends::with_canary(main, other, canary),
            None => Backends::new([main]),
        }
    }

    /// The canary of a Service, and which requests it gets.
    fn canary(
        &mut self,
        place: &Place<'_>,
        main: &IngressBackend,
        backend: &Backend,
    ) -> Option<(balance::Canary, WeightedBackend)> {
        let asked = main.canaries.first()?;
        let state = self.host.others.backends.of(self.host.reader, &asked.service);
        let canary = state.canary().filter(|_| !state.is_astray)?;
        let found = self.canary_backend(&asked.service, backend);
        let sessions = if asked.is_legacy { &*state } else { main };
        let balance = self.balance(place, &asked.service, &state, sessions);
        let service = &asked.service.service;
        let label = format!("{}-{}-{}", service.namespace, service.name, asked.written_port).into();
        let is_searched = !state.is_over_budget();
        Some((self.shares(canary, is_searched, label), weighted(found, balance)))
    }

    /// Finds the Service of a canary. It is spoken to as the main one is.
    fn canary_backend(
        &mut self,
        ServicePort { service, port }: &ServicePort,
        main: &Backend,
    ) -> Result<Arc<Backend>, BackendError> {
        let reader = self.host.reader;
        let service = services::find(reader, &service.namespace, &service.name)?;
        services::check(service, reader.settings())?;
        let port = services::port(service, *port)?;
        let by_policy = self.policies.towards(service, port.name)?;
        let tls = by_policy.or_else(|| main.tls.is_some().then(|| tls_towards(&service.meta.key)));
        let settings = ConnectionSettings {
            protocol: main.protocol,
            tls,
            proxy_protocol: None,
            by_service: main.endpoints.is_by_service(),
        };
        Ok(self.host.pools.backends.backend(&service.meta.key, port.port, settings))
    }

    fn shares(
        &self,
        Canary { weight, total, header, cookie }: &Canary,
        is_searched: bool,
        label: Arc<str>,
    ) -> balance::Canary {
        let header = header.as_ref().map(|(name, test)| {
            let test = match test {
                CanaryHeader::Word => HeaderTest::Word,
                CanaryHeader::Value(value) => HeaderTest::Value(value.clone()),
                CanaryHeader::Pattern(text) if is_searched => HeaderTest::Pattern(self.searched(text)),
                CanaryHeader::Pattern(_) => HeaderTest::Pattern(None),
            };
            (name.clone(), test)
        });
        balance::Canary { header, cookie: cookie.clone(), total: *total, weight: *weight, label }
    }

    /// An expression that is searched for; `None` if it does not compile. It counts for the canary.
    fn searched(&self, text: &str) -> Option<portcullis_routing::Pattern> {
        self.host.pools.patterns.pattern(&source_of(text).ok()?).ok()
    }

    /// How the requests of a Service are spread over its endpoints. `sessions` says whose cookies keep clients there.
    fn balance(
        &self,
        place: &Place<'_>,
        of: &ServicePort,
        state: &IngressBackend,
        sessions: &IngressBackend,
    ) -> Balance {
        if let Some(session) = &sessions.session {
            return Balance::Session(Arc::new(self.affinity(place, of, session, sessions.is_persistent)));
        }
        if let Some((by, subset)) =
            state.hashing().and_then(|hashing| Some((hashing.by.clone()?, hashing.subset)))
        {
            return Balance::Hash(Arc::new(HashBy { text: by, subset }));
        }
        let global = || self.host.reader.settings().live.ingress.load_balance;
        match state.balancing().and_then(|balancing| balancing.load_balance).unwrap_or_else(global) {
            LoadBalance::RoundRobin => Balance::RoundRobin,
            LoadBalance::Ewma => Balance::Faster,
        }
    }

    fn affinity(
        &self,
        place: &Place<'_>,
        of: &ServicePort,
        session: &Session,
        is_persistent: bool,
    ) -> balance::Affinity {
        let Session { name, changes_on_failure, expires, max_age, domain, path, .. } = session;
        // The cookie holds for all hosts of the Service, and is set where an Ingress asks for it.
        let path_of_rule =
            place.path.map(|(_, path)| path).filter(|_| self.ingress.annotations.affinity.session.is_some());
        let cookie = path_of_rule.map(|rule| SessionCookie {
            expires: *expires,
            max_age: *max_age,
            domain: domain.clone(),
            path: path.clone().unwrap_or_else(|| rule.text.clone()),
            is_secure: session.is_secure,
            same_site: session.same_site,
            is_same_site_conditional: session.is_same_site_conditional,
        });
        let ServicePort { service, port } = of;
        let found = self.host.reader.service(&service.namespace, &service.name);
        let secret = found.map(|service| service.meta.uid()).unwrap_or_default();
        balance::Affinity {
            token: SessionToken::Cookie { name: name.clone(), set: cookie },
            lifetime: None,
            is_persistent,
            changes_on_failure: *changes_on_failure,
            backend: balance::Affinity::backend_of(&format!("{}/{}:{port}", service.namespace, service.name)),
            key: balance::Affinity::key_of(&secret),
        }
    }

    /// Whether a path leads to a Service that is another one's canary, and so is not served.
    pub(super) fn leads_to_canary(&mut self, place: &Place<'_>, backend: &Written) -> bool {
        let Some(of) = claims::service_port(self.host.reader, self.ingress, backend) else { return false };
        if self.host.others.backends.of(self.host.reader, &of).canary().is_none() {
            return false;
        }
        let why = format!("{of} is the Service of a canary, so it serves no path of its own");
        self.refuse(&format!("{} of {}", place.text, self.host.host), why);
        true
    }
}

/// A backend that gets nothing by its weight.
fn weighted(backend: Result<Arc<Backend>, BackendError>, balance: Balance) -> WeightedBackend {
    WeightedBackend { weight: 0, backend: backend.map_err(Box::new), steps: Steps::default(), balance }
}

pub(super) fn source_of(text: &str) -> Result<Source, String> {
    Source::parse(&format!("(?s:.*)(?:{text})(?s:.*)")).map_err(|error| error.to_string())
}

/// What the owner of a canary should know of a host.
pub(super) fn of_canary(
    host: &super::compiler::Host<'_>,
    canary: &Ingress,
    mains: &claims::Mains<'_>,
) -> BTreeSet<Message> {
    let (reader, backends) = (host.reader, host.others.backends);
    let mut messages = BTreeSet::new();
    let mut refuse = |what: &str, why: String| {
        messages.insert(Message::refused(format!("canary at {}{what}: {why}", host.host)));
    };
    for (_, path) in super::paths::paths_of(canary, host.host) {
        let Some(own) = claims::service_port(reader, canary, &path.backend) else {
            refuse(&path.text, "its Service or port does not exist; it receives no requests".into());
            continue;
        };
        let Some(main) = mains.of_path(reader, canary, path) else {
            refuse(
                &path.text,
                "no other Ingress of its namespace has this host and path; its Service receives no requests"
                    .into(),
            );
            continue;
        };
        let (state, of_main) = (backends.of(reader, &own), backends.of(reader, &main));
        let first = of_main.canaries.first().map(|first| &first.service);
        if state.canary().is_none() {
            refuse(&path.text, format!("{own} is the backend of an older Ingress that is not a canary"));
        } else if first.is_some_and(|first| *first != own) {
            let first = first.map(ToString::to_string).unwrap_or_default();
            refuse(&path.text, format!("{main} has a canary already, {first}, whose Ingress is older"));
        } else if state.is_astray {
            refuse(
                &path.text,
                "another path of it has no main Ingress; its Service receives no requests".into(),
            );
        }
    }
    if let Some((name, text)) = needs::searched_header(canary) {
        let is_within = host.others.quotas.read(reader, &canary.meta.key);
        if let Err(why) = source_of(text).and(is_within) {
            refuse("", format!("requests with the header {name} go to the main Service: {why}"));
        }
    }
    messages
}
