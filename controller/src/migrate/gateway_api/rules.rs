//! The paths of an Ingress at a host -> the rules of an HTTPRoute.

use serde_json::{Value, json};

use crate::ir::ingress::{IngressBackend, IngressPath, PathKind, PortRef};

use super::{Site, canaries, paths};

/// The maximum number of rules of a route (`maxItems`).
const MAX_RULES: usize = 16;

impl Site<'_> {
    /// The rules, and what has no equivalent.
    pub(super) fn rules(&self, losses: &mut Vec<String>) -> Vec<Value> {
        let annotations = &self.ingress.annotations;
        if let Some((status, to)) = &annotations.redirects.fixed {
            return self.fixed(*status, to, losses);
        }
        let mut rules = Vec::new();
        let all = self.ingress.rules.of_host(self.host).into_iter().flat_map(|(_, rule)| &rule.paths);
        for path in all {
            match self.rules_of_path(path, losses) {
                Ok(of_path) => rules.extend(of_path),
                Err(why) => losses.push(format!("path {} of {} is omitted: {why}", path.text, self.host)),
            }
        }
        if let Some(root) = &annotations.redirects.app_root {
            rules.push(json!({
                "matches": [{ "path": { "type": "Exact", "value": "/" } }],
                "filters": [redirect_to_path(root, 302)],
            }));
        }
        if let Some(backend) = self.ingress.default_backend.as_ref().filter(|_| self.is_first) {
            match self.backend(backend) {
                Ok(backend) => rules.push(json!({
                    "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }], "backendRefs": [backend],
                })),
                Err(why) => losses.push(format!("its default backend is omitted: {why}")),
            }
        }
        if let Some(more) = rules.len().checked_sub(MAX_RULES).filter(|more| *more > 0) {
            losses
                .push(format!("{more} rules of {} are omitted: a route has at most {MAX_RULES}", self.host));
            rules.truncate(MAX_RULES);
        }
        rules
    }

    fn rules_of_path(&self, path: &IngressPath, losses: &mut Vec<String>) -> Result<Vec<Value>, String> {
        let rewrite = &self.ingress.annotations.rewrite;
        let matched = paths::matched(path, self.is_regex.then_some(self.paths), rewrite.target.as_deref())?;
        if let Some(loss) = matched.loss {
            losses.push(format!("path {} of {}: {loss}", path.text, self.host));
        }
        let mut filters = Vec::new();
        let host = self.ingress.annotations.upstream_vhost.host.as_ref();
        let mut url = json!({});
        if let Some(host) = host {
            url["hostname"] = host.split(':').next().unwrap_or_default().into();
        }
        if let Some(path) = matched.rewrite {
            url["path"] = path;
        }
        if url.as_object().is_some_and(|fields| !fields.is_empty()) {
            filters.push(json!({ "type": "URLRewrite", "urlRewrite": url }));
        }
        let main = self.backend(&path.backend)?;
        let split = canaries::of(self, path, losses);
        let mut rules: Vec<_> = split
            .by_header
            .iter()
            .map(|(header, backend)| {
                self.rule(
                    &matched.path,
                    Some(header),
                    &filters,
                    std::slice::from_ref(backend.as_ref().unwrap_or(&main)),
                )
            })
            .collect();
        let backends = match split.weighted {
            None => vec![main],
            Some((mut canary, weight, total)) => {
                let mut main = main;
                main["weight"] = total.saturating_sub(weight).into();
                canary["weight"] = weight.into();
                vec![main, canary]
            }
        };
        rules.push(self.rule(&matched.path, None, &filters, &backends));
        // As in ingress-nginx, a prefix with a trailing slash redirects the path without it.
        let bare = path.text.trim_end_matches('/');
        if !self.is_regex && path.kind == PathKind::Prefix && path.text.ends_with('/') && !bare.is_empty() {
            rules.push(json!({
                "matches": [{ "path": { "type": "Exact", "value": bare } }],
                "filters": [redirect_to_path(&path.text, 301)],
            }));
        }
        Ok(rules)
    }

    fn rule(&self, path: &Value, header: Option<&Value>, filters: &[Value], backends: &[Value]) -> Value {
        let mut one = json!({ "path": path });
        if let Some(header) = header {
            one["headers"] = json!([header]);
        }
        let mut rule = json!({ "matches": [one], "backendRefs": backends });
        if !filters.is_empty() {
            rule["filters"] = filters.into();
        }
        rule
    }

    /// A backend as a reference.
    pub(super) fn backend(&self, backend: &IngressBackend) -> Result<Value, String> {
        let IngressBackend::Service { name, port } = backend else {
            return Err("a resource as a backend is not supported".to_owned());
        };
        let number = match port {
            PortRef::Number(number) => *number,
            wanted @ (PortRef::Name(_) | PortRef::First) => {
                let service = self.reader.service(self.ingress.meta.namespace(), name);
                let mut ports = service.into_iter().flat_map(|service| &service.ports);
                let found = ports.find(|port| match wanted {
                    PortRef::Name(name) => port.name == *name,
                    PortRef::Number(_) | PortRef::First => true,
                });
                found
                    .ok_or_else(|| {
                        format!("the number of port {wanted} of Service {name} is unknown, and a route requires it")
                    })?
                    .port
            }
        };
        Ok(json!({ "name": &**name, "port": number }))
    }

    /// A redirect of every request of the Ingress.
    fn fixed(&self, status: u16, to: &str, losses: &mut Vec<String>) -> Vec<Value> {
        let Some(redirect) = redirect_to(to, status) else {
            losses.push(format!("a redirect with {status} to {to} has no equivalent"));
            return Vec::new();
        };
        losses.push(format!("the redirect to {to} preserves the query of the request"));
        let paths = self.ingress.rules.of_host(self.host).into_iter().flat_map(|(_, rule)| &rule.paths);
        let paths =
            paths.filter_map(|path| paths::matched(path, self.is_regex.then_some(self.paths), None).ok());
        paths.map(|matched| json!({ "matches": [{ "path": matched.path }], "filters": [redirect] })).collect()
    }
}

/// The filter of a redirect to `scheme://host/path`.
fn redirect_to(to: &str, status: u16) -> Option<Value> {
    let (scheme, rest) = to.split_once("://")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (authority, None),
    };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) || !matches!(scheme, "http" | "https") {
        return None;
    }
    let mut redirect = json!({ "scheme": scheme, "hostname": host, "statusCode": status,
        "path": { "type": "ReplaceFullPath", "replaceFullPath": path } });
    if let Some(port) = port {
        redirect["port"] = port.into();
    }
    Some(json!({ "type": "RequestRedirect", "requestRedirect": redirect }))
}

fn redirect_to_path(path: &str, status: u16) -> Value {
    json!({ "type": "RequestRedirect", "requestRedirect": { "statusCode": status,
        "path": { "type": "ReplaceFullPath", "replaceFullPath": path } } })
}
