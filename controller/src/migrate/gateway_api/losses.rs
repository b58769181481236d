//! Annotations without an equivalent in the Gateway API.

use crate::{
    Settings,
    ir::{Ingress, live_settings::Denied},
    migrate::objects::Written,
    objects::{
        NGINX_PREFIX,
        known_annotations::{self, Outcome},
    },
};

/// Annotations that are translated, or that a route does not need.
const TRANSLATED: &[&str] = &[
    "app-root",
    "canary",
    "canary-by-header",
    "canary-by-header-value",
    "canary-weight",
    "canary-weight-total",
    "force-ssl-redirect",
    "permanent-redirect",
    "permanent-redirect-code",
    "preserve-trailing-slash",
    "rewrite-target",
    "ssl-redirect",
    "temporal-redirect",
    "temporal-redirect-code",
    "upstream-vhost",
    "use-regex",
];
/// The feature of a route that is closest to an annotation.
const NEAR: &[(&str, &str)] = &[
    ("affinity", "sessionPersistence of a rule or an XBackend (experimental channel)"),
    ("auth-tls-secret", "spec.tls.frontend of a Gateway (client certificates)"),
    ("auth-url", "an ExternalAuth filter, which has no sign-in redirect"),
    (
        "backend-protocol",
        "appProtocol of the Service's port; for HTTPS, a BackendTLSPolicy, which verifies certificates",
    ),
    ("canary-by-cookie", "a RegularExpression match of the header Cookie"),
    ("enable-cors", "a CORS filter, which only answers preflights of allowed origins"),
    ("from-to-www-redirect", "a route for the other hostname with a RequestRedirect filter"),
    ("mirror-target", "a RequestMirror filter"),
    ("proxy-body-size", "nothing: routes do not limit request bodies"),
    ("proxy-connect-timeout", "timeouts of a rule, which apply to the whole request"),
    ("proxy-next-upstream", "retry of a rule"),
    ("proxy-read-timeout", "timeouts of a rule, which apply to the whole request"),
    ("proxy-send-timeout", "timeouts of a rule, which apply to the whole request"),
    ("proxy-ssl-secret", "a BackendTLSPolicy, and spec.tls.backend of the Gateway"),
    ("server-alias", "a listener and hostnames for the aliases"),
    ("ssl-passthrough", "a TLSRoute on a listener with mode Passthrough"),
];

/// The annotations of an Ingress without an equivalent.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) lines: Vec<String>,
    /// The first protection that has no equivalent.
    pub(super) closed_by: Option<String>,
    /// The first such annotation that protects whole hosts, also the paths of other Ingresses.
    pub(super) closes_hosts: Option<&'static str>,
}

/// The annotations of an Ingress without an equivalent. An Ingress must not be served without its protections.
pub(super) fn of(ingress: &Ingress, written: Option<&Written>, settings: &Settings) -> Losses {
    let mut losses = Losses::default();
    if let Some(why) = &ingress.refused {
        losses.closed_by = Some(why.to_string());
    }
    let annotations = written.into_iter().flat_map(|written| &written.annotations);
    for (full_name, value) in annotations {
        let Some(known) = full_name.strip_prefix(NGINX_PREFIX).and_then(known_annotations::find) else {
            continue;
        };
        let name = known.name();
        let is_nothing = known.is_off(value) || known.is_without_effect_there();
        if TRANSLATED.contains(&name) || is_nothing || known.outcome() == Outcome::Moot {
            continue;
        }
        let near = NEAR.iter().find(|(of, _)| *of == name);
        let near = near.map_or_else(String::new, |(_, near)| format!("; closest: {near}"));
        losses.lines.push(format!("{name}: no equivalent{near}"));
        if known.protects(value) {
            losses.closed_by.get_or_insert_with(|| name.to_owned());
        }
        if known.protects_hosts(value) {
            losses.closes_hosts.get_or_insert(name);
        }
    }
    if losses.closed_by.is_none() {
        losses.closed_by = of_settings(ingress, settings);
    }
    losses
}

/// A setting for all Ingresses that protects this one.
fn of_settings(ingress: &Ingress, settings: &Settings) -> Option<String> {
    let live = &settings.live.ingress;
    let has_auth = live.auth.url.is_some() || live.auth.unusable.is_some();
    let lists = [
        (live.access.allow.is_some(), "whitelist-source-range"),
        (live.access.deny != Denied::Nobody, "denylist-source-range"),
        (live.access.block != Denied::Nobody, "block-cidrs"),
        (live.access.user_agents.is_some(), "block-user-agents"),
        (live.access.referers.is_some(), "block-referers"),
        (has_auth && !ingress.annotations.external_auth.without_global, "global-auth-url"),
    ];
    let list = lists.iter().find(|(is_set, _)| *is_set).map(|(_, key)| (*key).to_owned());
    let key = list.or_else(|| live.closed_by.as_deref().map(str::to_owned))?;
    Some(format!("the setting {key}"))
}
