//! Ingresses -> equivalent Gateways and HTTPRoutes, and what has no equivalent.
//!
//! ```text
//! gateways.rs   the hosts of a namespace -> listeners of a Gateway
//! rules.rs      the paths of an Ingress at a host -> rules of an HTTPRoute
//! paths.rs      a path and its rewrite -> a match and a filter
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

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::HostPattern;
use serde_json::{Value, json};

use crate::{
    Settings,
    ir::{Ingress, ObjectKey},
    translate::{Classes, Reader, are_regex},
};

use super::{objects::Objects, settings};
use gateways::{Gateways, Listener};

/// Objects of the Gateway API that replace Ingresses.
#[derive(Clone, Debug, Default)]
pub struct Translated {
    /// YAML, with comments about what has no equivalent.
    pub manifests: String,
    /// What has no equivalent, one line each.
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

/// Translates the Ingresses that `settings` selects into objects of the Gateway API.
pub fn to_gateway_api(objects: &Objects, settings: &Settings, gateway_class: &str) -> Translated {
    let snapshot = objects.with_namespaces();
    let settings = &settings::with_map(settings, &snapshot);
    let reader = Reader::new(&snapshot, settings, None);
    let classes = Classes::of(&reader);
    let mut ours: Vec<Arc<Ingress>> =
        reader.ingresses().filter(|ingress| classes.is_ours(ingress)).cloned().collect();
    ours.sort_by_cached_key(|ingress| ingress.age());
    let mut losses: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
    for ingress in &ours {
        let found = losses::of(ingress, objects.ingresses().get(&ingress.meta.key), settings);
        losses.insert(ingress.meta.key.clone(), found.lines);
        if let Some(by) = found.closed_by {
            let line = format!("omitted: {by} protects it and has no equivalent");
            losses.entry(ingress.meta.key.clone()).or_default().push(line);
        }
    }
    let is_open = |ingress: &&Arc<Ingress>| {
        let key = &ingress.meta.key;
        losses::of(ingress, objects.ingresses().get(key), settings).closed_by.is_none()
    };
    let open: Vec<_> = ours.iter().filter(is_open).collect();
    let mut hosts: BTreeMap<&HostPattern, Vec<&Ingress>> = BTreeMap::new();
    for ingress in &open {
        let mut named: Vec<_> = ingress.rules.iter().map(|rule| &rule.host).collect();
        named.extend(ingress.is_default_backend().then_some(&HostPattern::Any));
        named.sort();
        named.dedup();
        named.into_iter().for_each(|host| hosts.entry(host).or_default().push(ingress));
    }
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
    written(gateways.objects(gateway_class), routes, &losses)
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

/// The manifests, preceded by comments about what has no equivalent.
fn written(
    gateways: Vec<Value>,
    routes: Vec<Value>,
    losses: &BTreeMap<ObjectKey, Vec<String>>,
) -> Translated {
    let mut translated = Translated::default();
    for (key, lines) in losses {
        for line in lines {
            let line = line.replace(['\n', '\r'], " ");
            translated.manifests += &format!("# {key}: {line}\n");
            translated.without_equivalent.push(format!("{key}: {line}"));
        }
    }
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
