//! Effects of an Ingress on other Ingresses of the same host, and names that resolve to other namespaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{ExternalNames, HostPattern};

use crate::{
    ir::{Ingress, Kind, ObjectKey, ingress::IngressBackend},
    translate::{Reader, are_regex},
};

use super::{
    patterns,
    report::{Note, Verdict},
};

/// Notes of this kind on each Ingress. `ours` are sorted by age, the oldest first.
pub(super) fn notes(ours: &[Arc<Ingress>], reader: &Reader<'_>) -> Vec<(ObjectKey, Note)> {
    let mut hosts: BTreeMap<&HostPattern, Vec<&Ingress>> = BTreeMap::new();
    for ingress in ours.iter().filter(|ingress| ingress.annotations.canary.is_none()) {
        let named: BTreeSet<_> = ingress.rules.iter().map(|rule| &rule.host).collect();
        named.into_iter().for_each(|host| hosts.entry(host).or_default().push(ingress));
    }
    let mut notes = Vec::new();
    for (host, ingresses) in hosts {
        if are_regex(&ingresses, host) {
            regular_expressions(host, &ingresses, &mut notes);
        }
        server_level(host, &ingresses, &mut notes);
    }
    for ingress in ours {
        names(ingress, reader, &mut notes);
    }
    notes
}

/// Notes for a host with regular expressions: Ingresses without use-regex, and paths that are refused.
fn regular_expressions(host: &HostPattern, ingresses: &[&Ingress], notes: &mut Vec<(ObjectKey, Note)>) {
    let causes = ingresses.iter().filter(|ingress| ingress.annotations.rewrite.may_make_regex());
    let cause = causes.map(|ingress| &ingress.meta.key).next();
    for ingress in ingresses {
        let key = &ingress.meta.key;
        if let Some(cause) = cause.filter(|_| !ingress.annotations.rewrite.may_make_regex()) {
            let text = format!(
                "its paths at {host} are regular expressions because of {cause} (use-regex or rewrite-target): case-insensitive, \
                 and anchored only at the start of the path; as in ingress-nginx"
            );
            notes.push((key.clone(), note(Verdict::Same, text)));
        }
        let paths = ingress.rules.of_host(host).into_iter().flat_map(|(_, rule)| &rule.paths);
        for path in paths {
            let Some(why) = patterns::refusal(&path.text) else { continue };
            let instead = patterns::instead(&path.text, &why);
            let text = format!("path {} at {host} is refused: {why}", path.text);
            notes.push((key.clone(), Note { verdict: Verdict::Refused, text, instead: vec![instead] }));
        }
    }
}

/// Annotations that apply to an entire host, and are set by several of its Ingresses.
fn server_level(host: &HostPattern, ingresses: &[&Ingress], notes: &mut Vec<(ObjectKey, Note)>) {
    let with_tls =
        |ingress: &&&Ingress| ingress.annotations.auth_tls.as_ref().is_some_and(|tls| tls.secret.is_some());
    let mut asking = ingresses.iter().filter(with_tls);
    if let Some(first) = asking.next() {
        for other in asking.filter(|other| other.annotations.auth_tls != first.annotations.auth_tls) {
            let is_foreign = other.meta.namespace() != first.meta.namespace();
            let text = match is_foreign {
                false => {
                    format!(
                        "auth-tls-* of {} apply at {host}, since it is older; as in ingress-nginx",
                        first.meta.key
                    )
                }
                true => format!(
                    "auth-tls-* of {} are different at {host}, and it is in another namespace: these paths answer 403",
                    first.meta.key
                ),
            };
            let verdict = if is_foreign { Verdict::Refused } else { Verdict::Same };
            notes.push((other.meta.key.clone(), note(verdict, text)));
        }
    }
    let roots: Vec<_> = ingresses.iter().filter(|i| i.annotations.redirects.app_root.is_some()).collect();
    if let Some((youngest, older)) = roots.split_last() {
        for ingress in older {
            let is_foreign = ingress.meta.namespace() != youngest.meta.namespace();
            let (verdict, how) = match is_foreign {
                true => (
                    Verdict::Different,
                    "it is in another namespace, so that each applies to its own namespace",
                ),
                false => (Verdict::Same, "as in ingress-nginx"),
            };
            let text =
                format!("app-root of {} applies at {host}, since it is younger; {how}", youngest.meta.key);
            notes.push((ingress.meta.key.clone(), note(verdict, text)));
        }
    }
}

/// Notes for names of Services that resolve to another namespace, or to addresses outside the cluster.
fn names(ingress: &Ingress, reader: &Reader<'_>, notes: &mut Vec<(ObjectKey, Note)>) {
    let namespace = ingress.meta.namespace();
    let paths = ingress.rules.iter().flat_map(|rule| rule.paths.iter().map(|path| &path.backend));
    let services = paths.chain(&ingress.default_backend).filter_map(|backend| match backend {
        IngressBackend::Service { name, .. } => Some(ObjectKey::new(Kind::Service, namespace, name)),
        IngressBackend::Resource(_) => None,
    });
    let services: BTreeSet<_> = services.collect();
    let mut found: Vec<_> = services
        .iter()
        .filter_map(|key| {
            let name = reader.service(&key.namespace, &key.name)?.external_name()?;
            Some((key.to_string(), Box::from(name)))
        })
        .collect();
    if let Some(auth) = &ingress.annotations.external_auth.own
        && !auth.0.host.contains('$')
    {
        found.push(("auth-url".to_owned(), auth.0.host.clone()));
    }
    for (what, name) in found {
        let Some(verdict) = refused_name(&name, namespace, reader.settings().external_names) else {
            continue;
        };
        let text = format!("{what} resolves to {name}, {verdict}");
        let instead = vec!["--external-names ingress".to_owned()];
        notes.push((ingress.meta.key.clone(), Note { verdict: Verdict::Refused, text, instead }));
    }
}

/// Why a name is refused, if it is.
fn refused_name(name: &str, namespace: &str, permitted: ExternalNames) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let service = name.strip_suffix(".svc.cluster.local").or_else(|| name.strip_suffix(".svc"));
    let other = service.and_then(|service| service.rsplit('.').next()).filter(|other| *other != namespace);
    match permitted {
        ExternalNames::Ingress | ExternalNames::All => None,
        ExternalNames::None => Some("and external names are disabled".to_owned()),
        ExternalNames::External => {
            other.map(|other| format!("in namespace {other}: its addresses are refused"))
        }
    }
}

fn note(verdict: Verdict, text: String) -> Note {
    Note { verdict, text, instead: Vec::new() }
}
