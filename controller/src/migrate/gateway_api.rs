//! Ingresses, TCP and UDP services -> equivalent Gateways and routes, and what has no equivalent.
//!
//! ```text
//! gateways.rs   the hosts of a namespace -> listeners of a Gateway
//! rules.rs      the paths of an Ingress at a host -> rules of an HTTPRoute
//! paths.rs      a path and its rewrite -> a match and a filter
//! streams.rs    TCP and UDP services -> listeners, TCPRoutes and UDPRoutes
//! canaries.rs   canaries -> weights and matches of headers
//! losses.rs     annotations without an equivalent
//! ```
//!
//! An Ingress with a protection that has no equivalent is omitted, with a comment.

mod canaries;
mod gateways;
mod losses;
mod paths;
mod rules;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::HostPattern;
use serde_json::{Value, json};

use crate::{
    Settings,
    ir::{Ingress, ObjectKey},
    translate::{Classes, Reader, are_regex},
};

use super::{objects::Objects, settings, text::printable};
use gateways::{Gateways, Listener};

/// Objects of the Gateway API that replace Ingresses, TCP services and UDP services.
#[derive(Clone, Debug, Default)]
pub struct Translated {
    /// YAML, with comments about what has no equivalent.
    pub manifests: String,
    /// The same, a line for each; and what cannot be read.
    pub without_equivalent: Vec<String>,
}

/// An Ingress at a host.
struct Site<'a> {
    ingress: &'a Ingress,
    host: &'a HostPattern,
    /// Whether the paths of the host are regular expressions.
    is_regex: bool,
    /// Whether it is the oldest Ingress of the host, which handles requests that match no path.
    is_first: bool,
    /// All paths of the host.
    paths: &'a [&'a str],
    /// The canaries of the host.
    canaries: &'a [&'a Ingress],
    reader: &'a Reader<'a>,
}

/// Translates the Ingresses that `settings` selects, and the ConfigMaps of TCP and UDP services, into objects of the Gateway API.
pub fn to_gateway_api(objects: &Objects, settings: &Settings, gateway_class: &str) -> Translated {
    let snapshot = objects.with_namespaces();
    let settings = &settings::with_map(settings, &snapshot);
    let reader = Reader::new(&snapshot, settings, None);
    let classes = Classes::of(&reader);
    let mut ours: Vec<Arc<Ingress>> =
        reader.ingresses().filter(|ingress| classes.is_ours(ingress)).cloned().collect();
    ours.sort_by_cached_key(|ingress| ingress.age());
    let (hosts, mut losses) = open_hosts(&ours, objects, settings);
    let mut gateways = Gateways::default();
    let mut routes = Vec::new();
    for (host, ingresses) in &hosts {
        let (canaries, mains): (Vec<_>, Vec<_>) =
            ingresses.iter().copied().partition(|ingress| ingress.annotations.canary.is_some());
        let Some(first) = mains.first() else { continue };
        let listener = gateways.listener(host, &mains, &mut losses);
        let is_regex = are_regex(&mains, host);
        let of_host = mains.iter().flat_map(|ingress| ingress.rules.of_host(host));
        let paths: Vec<_> = of_host.flat_map(|(_, rule)| &rule.paths).map(|path| &*path.text).collect();
        for ingress in &mains {
            let is_first = ingress.meta.key == first.meta.key;
            let site = Site {
                ingress,
                host,
                is_regex,
                is_first,
                paths: &paths,
                canaries: &canaries,
                reader: &reader,
            };
            routes.extend(site.routes(&listener, losses.entry(ingress.meta.key.clone()).or_default()));
        }
    }
    let mut of_ports = Vec::new();
    routes.extend(streams::routes(&reader, &snapshot, &mut gateways, &mut of_ports));
    let mut without_equivalent: Vec<_> = objects.unreadable().to_vec();
    let of_keys =
        losses.iter().flat_map(|(key, lines)| lines.iter().map(move |line| format!("{key}: {line}")));
    without_equivalent.extend(of_keys);
    without_equivalent.extend(of_ports);
    written(gateways.objects(gateway_class), routes, without_equivalent)
}

/// The Ingresses of each host, the oldest first.
type ByHost<'a> = BTreeMap<&'a HostPattern, Vec<&'a Ingress>>;

/// The Ingresses of each host that can be translated with their protections, and what has no equivalent.
///
/// An annotation that protects a whole host (`auth-tls-secret`) also protects the paths of other Ingresses of that host. Where it
/// has no equivalent, none of them is translated at that host.
fn open_hosts<'a>(
    ours: &'a [Arc<Ingress>],
    objects: &Objects,
    settings: &Settings,
) -> (ByHost<'a>, BTreeMap<ObjectKey, Vec<String>>) {
    let mut losses: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
    let mut open = Vec::new();
    let mut closers: BTreeMap<&HostPattern, (&ObjectKey, &'static str)> = BTreeMap::new();
    for ingress in ours {
        let key = &ingress.meta.key;
        let found = losses::of(ingress, objects.ingresses().get(key), settings);
        let lines = losses.entry(key.clone()).or_default();
        lines.extend(found.lines);
        match found.closed_by {
            Some(by) => lines.push(format!("left out: {by} protects it and has no equivalent")),
            None => open.push(&**ingress),
        }
        if let Some(by) = found.closes_hosts {
            for host in hosts_of(ingress) {
                closers.entry(host).or_insert((key, by));
            }
        }
    }
    let mut hosts = ByHost::new();
    for ingress in open {
        for host in hosts_of(ingress) {
            let Some((closer, by)) = closers.get(host) else {
                hosts.entry(host).or_default().push(ingress);
                continue;
            };
            let line =
                format!("left out at {host}: {by} of {closer} protects the whole host and has no equivalent");
            losses.entry(ingress.meta.key.clone()).or_default().push(line);
        }
    }
    (hosts, losses)
}

/// The hosts of an Ingress, each once.
fn hosts_of(ingress: &Ingress) -> BTreeSet<&HostPattern> {
    let any = ingress.is_default_backend().then_some(&HostPattern::Any);
    ingress.rules.iter().map(|rule| &rule.host).chain(any).collect()
}

impl Site<'_> {
    /// The routes of the Ingress at the host: one for its rules, and one that redirects to HTTPS.
    fn routes(&self, listener: &Listener, losses: &mut Vec<String>) -> Vec<Value> {
        let rules = self.rules(losses);
        if rules.is_empty() {
            return Vec::new();
        }
        if matches!(self.host, HostPattern::WildcardLabel(_)) {
            losses.push(format!(
                "{} matches any number of labels in a route, but one label in an Ingress",
                self.host
            ));
        }
        let redirects = self.redirects_to_https(listener);
        let sections = match (redirects, &listener.https) {
            (true, Some(https)) => vec![https],
            (false, Some(https)) => vec![&listener.http, https],
            (_, None) => vec![&listener.http],
        };
        let mut routes = vec![self.route("", listener, &sections, &rules)];
        if redirects && listener.https.is_some() {
            let rule = self.redirecting(&rules, losses);
            routes.push(self.route("-to-https", listener, &[&listener.http], &[rule]));
        } else if redirects {
            losses.push(format!(
                "the redirect of {} to HTTPS is omitted: no listener has a certificate",
                self.host
            ));
        }
        routes
    }

    fn route(&self, suffix: &str, listener: &Listener, sections: &[&String], rules: &[Value]) -> Value {
        let meta = &self.ingress.meta;
        let parents: Vec<_> = sections
            .iter()
            .map(|section| {
                let mut parent = json!({ "name": listener.gateway, "sectionName": section });
                if listener.namespace != meta.namespace() {
                    parent["namespace"] = listener.namespace.as_str().into();
                }
                parent
            })
            .collect();
        let mut spec = json!({ "parentRefs": parents, "rules": rules });
        if *self.host != HostPattern::Any {
            spec["hostnames"] = json!([self.host.to_string()]);
        }
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "namespace": meta.namespace(), "name": self.name(suffix) }, "spec": spec,
        })
    }

    /// The name of a route: that of the Ingress, with the host if it has several.
    fn name(&self, suffix: &str) -> String {
        let name = self.ingress.meta.name();
        let named = self.ingress.rules.iter().map(|rule| &rule.host).any(|host| host != self.host);
        let host = match named {
            true => format!("-{}", self.host.to_string().replace('*', "any")),
            false => String::new(),
        };
        let whole = format!("{name}{host}{suffix}");
        match whole.len() {
            0..=253 => whole,
            _ => whole.get(whole.len() - 253..).unwrap_or(name).trim_start_matches(['-', '.']).to_owned(),
        }
    }

    fn redirects_to_https(&self, listener: &Listener) -> bool {
        let redirects = &self.ingress.annotations.redirects;
        let settings = self.reader.settings();
        let live = &settings.live.ingress;
        let wanted = redirects.ssl.or(live.ssl_redirect).unwrap_or(settings.ssl_redirect);
        let forced = redirects.force_ssl.unwrap_or(live.force_ssl_redirect);
        forced || (wanted && listener.https.is_some())
    }

    /// The rule that redirects the requests of these rules and, for the oldest Ingress of a host, all other requests.
    fn redirecting(&self, rules: &[Value], losses: &mut Vec<String>) -> Value {
        let line = "the redirect to HTTPS preserves a trailing slash";
        if !losses.iter().any(|loss| loss == line) {
            losses.push(line.to_owned());
        }
        let status = self.reader.settings().live.ingress.redirect_status.as_u16();
        let redirect = json!({ "type": "RequestRedirect", "requestRedirect": { "scheme": "https", "statusCode": status } });
        let mut rule = json!({ "filters": [redirect] });
        if !self.is_first {
            let paths = rules.iter().filter_map(|rule| rule.pointer("/matches/0/path"));
            let mut matches: Vec<_> = paths.map(|path| json!({ "path": path })).collect();
            matches.dedup();
            rule["matches"] = matches.into();
        }
        rule
    }
}

/// The manifests, after comments with what has no equivalent.
fn written(gateways: Vec<Value>, routes: Vec<Value>, without_equivalent: Vec<String>) -> Translated {
    let comments = without_equivalent.iter().map(|line| format!("# {}\n", printable(line)));
    let mut translated = Translated { manifests: comments.collect(), without_equivalent };
    for object in gateways.into_iter().chain(routes) {
        translated.manifests += "---\n";
        match serde_saphyr::to_string(&object) {
            Ok(text) => translated.manifests += &text,
            // JSON is valid YAML.
            Err(_) => translated.manifests += &format!("{object:#}\n"),
        }
        if !translated.manifests.ends_with('\n') {
            translated.manifests.push('\n');
        }
    }
    translated
}
