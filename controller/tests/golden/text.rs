//! Tables and certificates as text, in an order of their own.

use std::collections::BTreeMap;

use portcullis_routing::{Backend, BackendKey, Endpoints, Listener, Rule, Serves, Step, Table};
use portcullis_tls::{Certificates, CipherPolicy, CipherSuites, ClientAuth};

/// The table, and below it the endpoints of each backend that it leads to.
pub(crate) fn table(table: &Table) -> String {
    let mut endpoints = BTreeMap::new();
    for listener in table.ports.values().flat_map(|port| port.listeners.iter()).map(|(_, listener)| listener)
    {
        collect(listener, &mut endpoints);
    }
    let endpoints = endpoints.into_iter().map(|((key, is_by_service), endpoints)| {
        let by_service = if is_by_service { " by its own address" } else { "" };
        format!("endpoints of {key}{by_service}: {endpoints}\n")
    });
    table.to_string() + &endpoints.collect::<String>()
}

/// What is shown to whom.
pub(crate) fn certificates(certificates: &Certificates) -> String {
    let mut out = String::new();
    for (number, port) in &certificates.ports {
        for (hostname, termination) in port.listeners.iter().collect::<BTreeMap<_, _>>() {
            let shown = termination.certificates.iter().map(|certificate| {
                let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
                format!("certificate of {}", names.join(" "))
            });
            let shown: Vec<_> = shown.collect();
            let shown = if shown.is_empty() { "no certificate".into() } else { shown.join(", ") };
            let asks = match &termination.client_auth {
                ClientAuth::Unasked => "",
                ClientAuth::Optional(_) => " and requests client certificates",
                ClientAuth::Required(_) => " and requires client certificates",
                ClientAuth::Reported { .. } => " and reports client certificates",
            };
            let CipherPolicy { suites, server_order } = &termination.ciphers;
            let suites: Vec<_> = suites.iter().flat_map(CipherSuites::names).collect();
            let suites =
                if suites.is_empty() { String::new() } else { format!(" with {}", suites.join(":")) };
            let order = match server_order {
                None => "",
                Some(true) => " in the order of the server",
                Some(false) => " in the order of the client",
            };
            out += &format!("tls:{number} {hostname} shows {shown}{asks}{suites}{order}\n");
        }
    }
    out
}

fn collect(listener: &Listener, endpoints: &mut BTreeMap<(BackendKey, bool), String>) {
    let mut rules: Vec<&Rule> = Vec::new();
    match &listener.serves {
        Serves::Http(routes) => {
            let entries = routes.hosts.iter().flat_map(|(_, table)| table.entries());
            rules.extend(entries.map(|entry| &*entry.rule));
            routes.fallback.iter().for_each(|fallback| collect(fallback, endpoints));
        }
        Serves::Stream(routes) => rules.extend(routes.iter().map(|(_, rule)| &**rule)),
        Serves::Datagram(rule) => rules.extend(rule.as_deref()),
    }
    for backend in rules.into_iter().flat_map(backends) {
        let pool = &backend.endpoints;
        endpoints.insert((backend.key.clone(), pool.is_by_service()), text(&pool.load()));
    }
}

fn backends(rule: &Rule) -> impl Iterator<Item = &Backend> {
    let choices = rule.backends.all().iter();
    let steps = rule.steps.iter().chain(choices.clone().flat_map(|choice| choice.steps.iter()));
    let mirrors = steps.filter_map(|step| match step {
        Step::Mirror(mirror) => Some(mirror),
        _ => None,
    });
    let of_choices = choices.filter_map(|choice| choice.backend.as_ref().ok());
    of_choices.chain(mirrors.filter_map(|mirror| mirror.backend.as_ref().ok())).map(|backend| &**backend)
}

fn text(endpoints: &Endpoints) -> String {
    match endpoints {
        Endpoints::Name { host, port } => format!("{host}:{port}"),
        Endpoints::Addresses(addresses) if addresses.is_empty() => "none".into(),
        Endpoints::Addresses(addresses) => {
            addresses.iter().map(|e| e.address.to_string()).collect::<Vec<_>>().join(" ")
        }
    }
}
