//! The hosts of Ingresses, and the ports of TCP and UDP services -> the listeners of Gateways.

use std::collections::BTreeMap;

use portcullis_routing::HostPattern;
use serde_json::{Value, json};

use crate::ir::{Ingress, ObjectKey};

/// The maximum number of listeners of a Gateway (`maxItems`).
const MAX_LISTENERS: usize = 64;

/// A host's listeners.
pub(super) struct Listener {
    pub(super) gateway: String,
    pub(super) namespace: String,
    pub(super) http: String,
    /// `None` if no Ingress of the host has a certificate.
    pub(super) https: Option<String>,
}

/// Listeners by the namespace and name of their Gateway.
#[derive(Default)]
pub(super) struct Gateways(BTreeMap<(String, String), Vec<Value>>);

impl Gateways {
    /// The listeners of a host, in the namespace of its oldest Ingress.
    pub(super) fn listener(
        &mut self,
        host: &HostPattern,
        ingresses: &[&Ingress],
        losses: &mut BTreeMap<ObjectKey, Vec<String>>,
    ) -> Listener {
        let namespace = ingresses.first().map(|first| first.meta.namespace()).unwrap_or_default().to_owned();
        let is_shared = ingresses.iter().any(|ingress| ingress.meta.namespace() != namespace);
        let with_tls: Vec<_> = ingresses.iter().filter(|ingress| !ingress.tls.is_empty()).collect();
        let secret = with_tls.iter().find_map(|ingress| {
            let secret = ingress.tls.of_host(host)?.secret.clone()?;
            Some((ingress.meta.namespace(), secret))
        });
        let (gateway, listeners) = self.with_room(&namespace, 2);
        let suffix = listeners.iter().filter(|listener| listener["port"] == 80).count() + 1;
        let mut add = |name: String, port: u16, protocol: &str, tls: Option<Value>| {
            let from = if is_shared { "All" } else { "Same" };
            let mut listener = json!({ "name": name, "port": port, "protocol": protocol,
                "allowedRoutes": { "namespaces": { "from": from } } });
            if *host != HostPattern::Any {
                listener["hostname"] = host.to_string().into();
            }
            if let Some(tls) = tls {
                listener["tls"] = tls;
            }
            listeners.push(listener);
            name
        };
        let http = add(format!("http-{suffix}"), 80, "HTTP", None);
        let https = secret.map(|(of, secret)| {
            let mut reference = json!({ "name": &*secret });
            if of != namespace {
                reference["namespace"] = of.into();
                let line = format!(
                    "its Secret {secret} requires a ReferenceGrant for Gateways in namespace {namespace}"
                );
                add_loss(losses, with_tls.first(), line);
            }
            add(format!("https-{suffix}"), 443, "HTTPS", Some(json!({ "certificateRefs": [reference] })))
        });
        if https.is_none() && !with_tls.is_empty() {
            let line = format!("{host} uses the default certificate for TLS: a listener requires a Secret");
            add_loss(losses, with_tls.first(), line);
        }
        Listener { gateway, namespace, http, https }
    }

    /// A listener for the streams or datagrams of a port. Returns the name of its Gateway.
    pub(super) fn stream(&mut self, namespace: &str, section: &str, port: u16, protocol: &str) -> String {
        let (gateway, listeners) = self.with_room(namespace, 1);
        listeners.push(json!({ "name": section, "port": port, "protocol": protocol,
            "allowedRoutes": { "namespaces": { "from": "Same" } } }));
        gateway
    }

    /// The first Gateway of a namespace that can have this number of further listeners.
    fn with_room(&mut self, namespace: &str, wanted: usize) -> (String, &mut Vec<Value>) {
        let name = |number| if number == 1 { "ingress".to_owned() } else { format!("ingress-{number}") };
        let mut key = (namespace.to_owned(), name(1));
        for number in 2.. {
            match self.0.get(&key) {
                Some(listeners) if listeners.len() + wanted > MAX_LISTENERS => key.1 = name(number),
                _ => break,
            }
        }
        (key.1.clone(), self.0.entry(key).or_default())
    }

    pub(super) fn objects(self, class: &str) -> Vec<Value> {
        let gateway = |((namespace, name), listeners): ((String, String), Vec<Value>)| {
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": { "namespace": namespace, "name": name },
                "spec": { "gatewayClassName": class, "listeners": listeners },
            })
        };
        self.0.into_iter().filter(|(_, listeners)| !listeners.is_empty()).map(gateway).collect()
    }
}

fn add_loss(losses: &mut BTreeMap<ObjectKey, Vec<String>>, of: Option<&&&Ingress>, line: String) {
    if let Some(ingress) = of {
        losses.entry(ingress.meta.key.clone()).or_default().push(line);
    }
}
