//! Which addresses are whose: what the names of one namespace are held against before they lead to another's. Known
//! only while some name is limited by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portcullis_routing::{ClusterAddresses, NameGrant, RouteKind, ServiceName};

use super::units::Stale;
use crate::{
    ir::{Kind, ObjectKey, ReferenceGrant, XBackend, core::ClusterIps},
    kinds::{GATEWAY_API, Resource},
    snapshot::Snapshot,
    translate::Settings,
};

/// Which addresses are whose.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    all: Arc<ClusterAddresses>,
    /// The Services and XBackends that are names, and the Ingresses that name a URL.
    names: BTreeSet<ObjectKey>,
    known: bool,
    /// The Services that lead to us, before Gateways with addresses of their own.
    gateways: BTreeMap<ObjectKey, ClusterIps>,
}

impl Addresses {
    pub(super) fn all(&self) -> &Arc<ClusterAddresses> {
        &self.all
    }

    /// Brings it up to date with what is stale of it.
    pub(super) fn renew(&mut self, snapshot: &Snapshot, settings: &Settings, stale: &mut Stale) {
        let (services, grants) = (std::mem::take(&mut stale.addresses), std::mem::take(&mut stale.grants));
        for key in &services {
            let service = (key.kind == Kind::Service).then(|| snapshot.services.get(key)).flatten();
            let is_external = |backend: &Arc<XBackend>| backend.hostname().is_some();
            let is_name = match key.kind {
                Kind::XBackend => snapshot.x_backends.get(key).is_some_and(is_external),
                Kind::Ingress => {
                    snapshot.ingresses.get(key).is_some_and(|ingress| ingress.annotations.names_url())
                }
                _ => service.is_some_and(|service| service.external_name().is_some()),
            };
            match is_name {
                true => drop(self.names.insert(key.clone())),
                false => drop(self.names.remove(key)),
            }
            match service.filter(|service| service.gateway().is_some()) {
                Some(service) => drop(self.gateways.insert(key.clone(), service.cluster_ips)),
                None => drop(self.gateways.remove(key)),
            }
        }
        if settings.external_names.asks_for_owners() {
            self.renew_owners(snapshot, &services, grants);
        } else if std::mem::take(&mut self.known) {
            self.all.clear();
        }
    }

    /// The addresses of the Services before Gateways, which lead to us.
    pub(super) fn of_gateways(&self) -> BTreeSet<IpAddr> {
        self.gateways.values().flat_map(|ips| ips.iter()).collect()
    }

    fn renew_owners(&mut self, snapshot: &Snapshot, services: &BTreeSet<ObjectKey>, grants: bool) {
        match (self.names.is_empty(), self.known) {
            (true, true) => self.all.clear(),
            (true, false) => {}
            (false, known) => {
                let changed = services.iter().filter(|key| key.kind == Kind::Service);
                match known {
                    true => changed.for_each(|service| self.set(snapshot, service)),
                    false => every_service(snapshot).iter().for_each(|service| self.set(snapshot, service)),
                }
                if grants || !known {
                    self.all.permit(snapshot.grants.values().flat_map(|grant| name_grants(grant)));
                }
            }
        }
        self.known = !self.names.is_empty();
    }

    fn set(&self, snapshot: &Snapshot, service: &ObjectKey) {
        let name = ServiceName { namespace: service.namespace.clone(), name: service.name.clone() };
        self.all.set(name, addresses(snapshot, service));
    }
}

/// The addresses of a Service and of its endpoints, whatever they are doing.
fn addresses<'s>(snapshot: &'s Snapshot, service: &'s ObjectKey) -> impl Iterator<Item = IpAddr> + use<'s> {
    let own = snapshot.services.get(service).map(|service| service.cluster_ips).unwrap_or_default();
    let slices = snapshot.endpoint_slices.of_service(&service.namespace, &service.name);
    own.iter().chain(slices.flat_map(|slice| slice.endpoints.iter().map(|endpoint| endpoint.address)))
}

/// All Services, those too of which there are endpoints alone.
fn every_service(snapshot: &Snapshot) -> BTreeSet<ObjectKey> {
    let of_slices = snapshot.endpoint_slices.values().filter_map(|slice| {
        let service = slice.service.as_deref()?;
        Some(ObjectKey::new(Kind::Service, slice.meta.namespace(), service))
    });
    snapshot.services.keys().cloned().chain(of_slices).collect()
}

/// What a ReferenceGrant says of routes and Services.
fn name_grants(grant: &ReferenceGrant) -> impl Iterator<Item = NameGrant> {
    let to = grant.to.iter().filter(|to| to.group.is_empty() && &*to.kind == "Service");
    to.flat_map(move |to| {
        grant.from.iter().filter_map(move |from| {
            Some(NameGrant {
                kind: route_kind(&from.group, &from.kind)?,
                from: from.namespace.clone(),
                to: grant.meta.namespace().into(),
                service: to.name.clone(),
            })
        })
    })
}

/// The kind of a route that a ReferenceGrant names.
fn route_kind(group: &str, kind: &str) -> Option<RouteKind> {
    let of_kind = |resource: &&Resource| resource.group() == group && resource.name == kind;
    let resource = Kind::ALL.iter().map(|kind| kind.resource()).find(of_kind)?;
    resource.route.filter(|_| group == GATEWAY_API)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Index, snapshot::Change, translate::testing::snapshot};
    use portcullis_routing::ExternalNames;

    const OBJECTS: &str = "
kind: Service
metadata: { name: db, namespace: data }
spec: { clusterIP: 10.96.0.2, clusterIPs: [10.96.0.2, 'fd00::2'], ports: [{ port: 5432 }] }
---
kind: EndpointSlice
metadata: { name: db-1, namespace: data, labels: { kubernetes.io/service-name: db } }
addressType: IPv4
endpoints: [{ addresses: [10.0.0.20], conditions: { ready: false, serving: false } }]
---
kind: EndpointSlice
metadata: { name: lost, namespace: other, labels: { kubernetes.io/service-name: gone } }
addressType: IPv4
endpoints: [{ addresses: [10.0.0.30] }, { addresses: [127.0.0.1] }]
---
kind: ReferenceGrant
metadata: { name: shop, namespace: data }
spec:
  from:
  - { group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop }
  - { group: networking.k8s.io, kind: Ingress, namespace: shop }
  to: [{ group: '', kind: Service, name: db }, { group: '', kind: Secret }]
";
    const NAME: &str = "
kind: Service
metadata: { name: elsewhere, namespace: shop }
spec: { type: ExternalName, externalName: db.data.svc.cluster.local }
";

    fn index(external_names: ExternalNames, objects: &str) -> Index {
        let mut index = Index::new(Settings { external_names, ..Settings::default() });
        apply(&mut index, objects);
        index.complete();
        index.publish();
        index
    }

    fn apply(index: &mut Index, objects: &str) {
        let snapshot = snapshot(objects);
        let services = snapshot.services.values().cloned().map(crate::ir::Object::Service);
        let slices = snapshot.endpoint_slices.values().cloned().map(crate::ir::Object::EndpointSlice);
        let grants = snapshot.grants.values().cloned().map(crate::ir::Object::ReferenceGrant);
        let backends = snapshot.x_backends.values().cloned().map(crate::ir::Object::XBackend);
        let ingresses = snapshot.ingresses.values().cloned().map(crate::ir::Object::Ingress);
        let objects = services.chain(slices).chain(grants).chain(backends).chain(ingresses);
        index.apply(objects.map(Change::Apply));
    }

    fn text(index: &Index) -> Vec<String> {
        let all = index.cluster_addresses();
        let owners = all.owners().into_iter().map(|(ip, of)| format!("{ip} {}", of[0]));
        let grants =
            all.grants().into_iter().map(|g| format!("{} {} {} {:?}", g.kind, g.from, g.to, g.service));
        owners.chain(grants).collect()
    }

    const KNOWN: [&str; 5] = [
        "10.0.0.20 data/db",
        "10.0.0.30 other/gone",
        "10.96.0.2 data/db",
        "fd00::2 data/db",
        "HTTPRoute shop data Some(\"db\")",
    ];

    #[test]
    fn addresses_are_known_while_a_name_is_limited_by_them() {
        let both = format!("{OBJECTS}---{NAME}");
        for (names, objects, want) in [
            (ExternalNames::External, &*both, &KNOWN[..]),
            (ExternalNames::Ingress, &both, &KNOWN),
            (ExternalNames::All, &both, &[]),
            (ExternalNames::None, &both, &[]),
            (ExternalNames::External, OBJECTS, &[]),
        ] {
            assert_eq!(text(&index(names, objects)), want, "{names}");
        }
    }

    #[test]
    fn external_hostnames_of_x_backends_are_limited_like_external_names() {
        const BACKEND: &str = "
kind: XBackend
metadata: { name: outside, namespace: shop }
spec: { type: ExternalHostname, externalHostname: { hostname: api.example.com }, port: { number: 443 } }
";
        let mut index = index(ExternalNames::External, &format!("{OBJECTS}---{BACKEND}"));
        assert_eq!(text(&index), KNOWN);
        apply(
            &mut index,
            &BACKEND.replace(
                "ExternalHostname, externalHostname: { hostname: api.example.com }",
                "EndpointSelector, endpointSelector: { matchLabels: { app: a } }",
            ),
        );
        index.publish();
        assert!(text(&index).is_empty());
    }

    /// A tenant must not reach the Services of others through the URL of an annotation.
    #[test]
    fn urls_of_ingresses_are_limited_like_external_names() {
        for annotation in ["auth-url", "mirror-target"] {
            let ingress = |name: &str| {
                format!(
                    "
kind: Ingress
metadata: {{ name: web, namespace: shop, annotations: {{ nginx.ingress.kubernetes.io/{name}: 'http://db.data.svc/' }} }}
spec: {{ ingressClassName: portcullis, rules: [{{ host: a.example }}] }}
"
                )
            };
            let mut index = index(ExternalNames::External, &format!("{OBJECTS}---{}", ingress(annotation)));
            assert_eq!(text(&index), KNOWN, "{annotation}");
            apply(&mut index, &ingress("x-forwarded-prefix"));
            index.publish();
            assert!(text(&index).is_empty(), "{annotation}");
        }
    }

    #[test]
    fn addresses_follow_the_objects_without_a_table() {
        let mut index = index(ExternalNames::External, OBJECTS);
        apply(&mut index, NAME);
        assert!(index.publish().is_none(), "no route refers to it");
        assert_eq!(text(&index), KNOWN);
        let key = |kind, namespace, name| ObjectKey::new(kind, namespace, name);
        index.apply([Change::Delete(key(Kind::EndpointSlice, "data", "db-1"))]);
        index.publish();
        assert_eq!(text(&index), KNOWN[1..]);
        index.apply([Change::Delete(key(Kind::Service, "shop", "elsewhere"))]);
        index.publish();
        assert!(text(&index).is_empty());
    }
}
