//! How risky ingress-nginx considers each annotation, for the setting `annotations-risk-level` (`annotations-risk.md` of
//! ingress-nginx 1.15). An alias is as risky as its annotation.

use crate::ir::ingress::Risk;

const CRITICAL: &[&str] =
    &["auth-snippet", "configuration-snippet", "modsecurity-snippet", "server-snippet", "stream-snippet"];

const HIGH: &[&str] = &[
    "auth-signin",
    "auth-tls-error-page",
    "auth-tls-match-cn",
    "auth-url",
    "mirror-host",
    "mirror-target",
    "modsecurity-transaction-id",
    "proxy-ssl-name",
    "server-alias",
    "upstream-hash-by",
];

const MEDIUM: &[&str] = &[
    "affinity-mode",
    "allowlist-source-range",
    "app-root",
    "auth-cache-duration",
    "auth-cache-key",
    "auth-proxy-set-headers",
    "auth-realm",
    "auth-request-redirect",
    "auth-response-headers",
    "auth-secret",
    "auth-signin-redirect-param",
    "auth-tls-secret",
    "auth-tls-verify-client",
    "canary-by-cookie",
    "canary-by-header",
    "canary-by-header-pattern",
    "canary-by-header-value",
    "cors-allow-headers",
    "cors-allow-methods",
    "cors-allow-origin",
    "cors-expose-headers",
    "custom-headers",
    "denylist-source-range",
    "fastcgi-index",
    "fastcgi-params-configmap",
    "force-ssl-redirect",
    "opentelemetry-operation-name",
    "permanent-redirect",
    "preserve-trailing-slash",
    "proxy-body-size",
    "proxy-cookie-domain",
    "proxy-cookie-path",
    "proxy-next-upstream",
    "proxy-redirect-from",
    "proxy-redirect-to",
    "proxy-ssl-ciphers",
    "proxy-ssl-secret",
    "rewrite-target",
    "session-cookie-domain",
    "session-cookie-expires",
    "session-cookie-max-age",
    "session-cookie-name",
    "session-cookie-path",
    "temporal-redirect",
    "whitelist-source-range",
    "x-forwarded-prefix",
];

/// The risk of a known annotation, by its name without the prefix.
pub(super) fn of(name: &str) -> Risk {
    let lists = [(CRITICAL, Risk::Critical), (HIGH, Risk::High), (MEDIUM, Risk::Medium)];
    let found = lists.into_iter().find(|(names, _)| names.binary_search(&name).is_ok());
    found.map_or(Risk::Low, |(_, risk)| risk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::{known, tests::ingress};

    #[test]
    fn the_lists_have_known_names_in_alphabetical_order() {
        for names in [CRITICAL, HIGH, MEDIUM] {
            assert!(names.is_sorted());
            names.iter().for_each(|name| assert!(known::find(name).is_some(), "{name}"));
        }
    }

    #[test]
    fn an_ingress_is_as_risky_as_its_riskiest_annotation() {
        const PREFIX: &str = "nginx.ingress.kubernetes.io";
        for (names, want) in [
            (&[][..], None),
            (&["use-regex"], Some((Risk::Low, "use-regex"))),
            (&["use-regex", "rewrite-target"], Some((Risk::Medium, "rewrite-target"))),
            (&["auth-url", "rewrite-target"], Some((Risk::High, "auth-url"))),
            (&["auth-url", "server-snippet"], Some((Risk::Critical, "server-snippet"))),
            (&["no-such-name"], None),
        ] {
            let full: Vec<_> = names.iter().map(|name| format!("{PREFIX}/{name}")).collect();
            let written: Vec<_> = full.iter().map(|name| (name.as_str(), "true")).collect();
            assert_eq!(ingress(&written).annotations.risk, want, "{names:?}");
        }
    }
}
