//! Annotations without an equivalent in the Gateway API.

use crate::{
    Settings,
    ir::Ingress,
    migrate::objects::Written,
    objects::{
        NGINX_PREFIX,
        known_annotations::{self, Outcome},
    },
};

/// Annotations that are translated, or mean nothing that a route would have to say.
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
/// What a route has in place of an annotation.
const NEAR: &[(&str, &str)] = &[
    ("affinity", "sessionPersistence of a rule, where it is served"),
    ("auth-tls-secret", "spec.tls.frontend of a Gateway (client certificates)"),
    ("auth-url", "an ExternalAuth filter, which has no sign-in redirect"),
    ("backend-protocol", "appProtocol of the Service's port; a BackendTLSPolicy for HTTPS, which verifies"),
    ("canary-by-cookie", "a match of the header Cookie by a regular expression"),
    ("enable-cors", "a CORS filter, which answers preflights of allowed origins alone"),
    ("from-to-www-redirect", "a route for the other name with a RequestRedirect filter"),
    ("mirror-target", "a RequestMirror filter"),
    ("proxy-body-size", "nothing: routes have no limit of bodies"),
    ("proxy-connect-timeout", "timeouts of a rule, which are for the whole request"),
    ("proxy-next-upstream", "retry of a rule"),
    ("proxy-read-timeout", "timeouts of a rule, which are for the whole request"),
    ("proxy-send-timeout", "timeouts of a rule, which are for the whole request"),
    ("proxy-ssl-secret", "a BackendTLSPolicy, and spec.tls.backend of the Gateway"),
    ("server-alias", "a listener and hostnames for the other names"),
    ("ssl-passthrough", "a TLSRoute at a listener with mode Passthrough"),
];

/// What is lost of an Ingress.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) lines: Vec<String>,
    /// The first protection that has no equivalent.
    pub(super) closed_by: Option<String>,
}

/// What is lost of an Ingress. Without the protections that it asks for it must not be served.
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
        let is_nothing = known.asks_for_nothing(value) || known.is_without_effect_there();
        if TRANSLATED.contains(&name) || is_nothing || known.outcome() == Outcome::Moot {
            continue;
        }
        let near = NEAR.iter().find(|(of, _)| *of == name);
        let near = near.map_or_else(String::new, |(_, near)| format!("; near it: {near}"));
        losses.lines.push(format!("{name}: no equivalent{near}"));
        if known.protects(value) {
            losses.closed_by.get_or_insert_with(|| name.to_owned());
        }
    }
    // Settings for all Ingresses that protect.
    let live = &settings.live.ingress;
    if live.auth.url.is_some() && !ingress.annotations.external_auth.without_global {
        losses.closed_by.get_or_insert_with(|| "global-auth-url".to_owned());
    }
    if live.access.allow.is_some() {
        losses.closed_by.get_or_insert_with(|| "whitelist-source-range of the settings".to_owned());
    }
    if !matches!(live.access.deny, crate::ir::live_settings::Denied::Nobody) {
        losses.closed_by.get_or_insert_with(|| "denylist-source-range of the settings".to_owned());
    }
    losses
}
