//! What a host says of the Services that its Ingresses use; see [`IngressBackends`](crate::translate::IngressBackends).

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::HostPattern;

use super::{
    is_closed_by_settings,
    paths::{self, Key},
};
use crate::{
    ir::{
        Ingress,
        ingress::{IngressBackend, IngressPath},
    },
    translate::{
        Listeners, PatternQuotas, Reader, ServicePort,
        ingress_backends::{Alternative, Claim, Claimed, Said},
        services,
    },
};

/// The claims of a host.
pub fn ingress_claims(
    reader: &Reader<'_>,
    listeners: &Listeners,
    quotas: &PatternQuotas,
    host: &HostPattern,
) -> Vec<Claim> {
    let Some(state) = listeners.at_host(reader, host) else { return Vec::new() };
    let mut ingresses: Vec<_> = state.ingresses.iter().filter_map(|key| reader.ingress(key)).collect();
    ingresses.sort_by_cached_key(|ingress| ingress.age());
    let (mut canaries, mains) = split(&ingresses);
    canaries.retain(|canary| !is_closed_by_settings(canary, reader.settings()));
    let using = mains.iter().chain(&canaries);
    let mut claims: Vec<_> = using.flat_map(|ingress| uses(reader, quotas, ingress, host)).collect();
    if !canaries.is_empty() {
        let mains = Mains::of(&mains, host);
        canaries.iter().for_each(|canary| claims.extend(of_canary(reader, canary, &mains, host)));
    }
    claims
}

/// The canaries, and the others.
pub(super) fn split<'a>(ingresses: &[&'a Ingress]) -> (Vec<&'a Ingress>, Vec<&'a Ingress>) {
    ingresses.iter().partition(|ingress| ingress.annotations.canary.is_some())
}

/// The Services that an Ingress uses at a host, each once.
fn uses(reader: &Reader<'_>, quotas: &PatternQuotas, ingress: &Ingress, host: &HostPattern) -> Vec<Claim> {
    let of_paths = paths::paths_of(ingress, host).map(|(_, path)| &path.backend);
    let mut used: Vec<_> = ingress
        .default_backend
        .iter()
        .chain(of_paths)
        .filter_map(|backend| service_port(reader, ingress, backend))
        .collect();
    used.sort_unstable();
    used.dedup();
    if used.is_empty() {
        return Vec::new();
    }
    let annotations = &ingress.annotations;
    let said = match is_closed_by_settings(ingress, reader.settings()) {
        true => Said::default(),
        false => Said {
            balancing: annotations.balancing.clone(),
            hashing: annotations.hashing.clone(),
            affinity: annotations.affinity.clone(),
            canary: annotations.canary.clone(),
            // The host notes this read when it is translated.
            is_over_budget: annotations.canary.is_some() && !quotas.grants(&ingress.meta.key),
        },
    };
    let said = (said != Said::default()).then(|| Arc::new(said));
    let claim = |of| Claim { of, age: ingress.age(), what: Claimed::Use(said.clone()) };
    used.into_iter().map(claim).collect()
}

/// A Service's port that exists, as an Ingress names it.
pub(super) fn service_port(
    reader: &Reader<'_>,
    ingress: &Ingress,
    backend: &IngressBackend,
) -> Option<ServicePort> {
    let IngressBackend::Service { name, port } = backend else { return None };
    let service = services::find(reader, ingress.meta.namespace(), name).ok()?;
    let port = services::port_of_ingress(service, port).ok()?.port;
    Some(ServicePort { service: service.meta.key.clone(), port })
}

/// Who has which path of a host, canaries aside.
pub(super) struct Mains<'a> {
    paths: BTreeMap<Key, (&'a Ingress, &'a IngressBackend)>,
    is_empty: bool,
}

impl<'a> Mains<'a> {
    pub(super) fn of(mains: &[&'a Ingress], host: &HostPattern) -> Self {
        let mut by_path = BTreeMap::new();
        for ingress in mains {
            for (_, path) in paths::paths_of(ingress, host) {
                by_path.entry(Key::of(path)).or_insert((*ingress, &path.backend));
            }
        }
        // What no path matches is the path `/`.
        let first = mains.iter().find(|ingress| !ingress.rules.of_host(host).is_empty());
        if let Some((first, backend)) =
            first.and_then(|first| Some((*first, first.default_backend.as_ref()?)))
        {
            by_path.entry(Key::root()).or_insert((first, backend));
        }
        Self { paths: by_path, is_empty: mains.is_empty() }
    }

    /// The Service that a canary's path is a canary of. It is one of the canary's own namespace: nobody takes requests from
    /// another namespace by a canary.
    pub(super) fn of_path(
        &self,
        reader: &Reader<'_>,
        canary: &Ingress,
        path: &IngressPath,
    ) -> Option<ServicePort> {
        let (ingress, backend) = self.paths.get(&Key::of(path))?;
        let is_own = ingress.meta.namespace() == canary.meta.namespace();
        is_own.then(|| service_port(reader, ingress, backend)).flatten()
    }

    /// Whether the host has canaries alone.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }
}

fn of_canary(reader: &Reader<'_>, canary: &Ingress, mains: &Mains<'_>, host: &HostPattern) -> Vec<Claim> {
    let is_legacy = canary.annotations.affinity.canaries_are_legacy;
    let of_path = |(_, path): (usize, &IngressPath)| {
        let own = service_port(reader, canary, &path.backend)?;
        let claim = |of, what| Some(Claim { of, age: canary.age(), what });
        match mains.of_path(reader, canary, path) {
            Some(main) if main == own => None,
            Some(main) => {
                let written_port = match &path.backend {
                    IngressBackend::Service { port, .. } => port.to_string().into(),
                    IngressBackend::Resource(_) => Box::default(),
                };
                let canary = Alternative { service: own, is_legacy, written_port };
                claim(main, Claimed::Canary(Box::new(canary)))
            }
            None => claim(own, Claimed::Astray).filter(|_| !mains.is_empty()),
        }
    };
    let mut claims: Vec<_> = paths::paths_of(canary, host).filter_map(of_path).collect();
    claims.dedup();
    claims
}
