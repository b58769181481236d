//! Data about each annotation of ingress-nginx in the closed list: its tier, the differences from ingress-nginx, and the
//! alternative if it is not served. The table in `docs/ingress-nginx.md` and `portcullis migrate` are generated from it.

use super::known::{KNOWN, Known, Protects, WITHOUT_EFFECT};

/// Names that most users depend on: identical to ingress-nginx except for [`DIFFERENCES`].
const TIER_1: [&str; 77] = [
    "affinity",
    "allowlist-source-range",
    "app-root",
    "auth-always-set-cookie",
    "auth-method",
    "auth-realm",
    "auth-request-redirect",
    "auth-response-headers",
    "auth-secret",
    "auth-secret-type",
    "auth-signin",
    "auth-signin-redirect-param",
    "auth-tls-pass-certificate-to-upstream",
    "auth-tls-secret",
    "auth-tls-verify-client",
    "auth-tls-verify-depth",
    "auth-type",
    "auth-url",
    "backend-protocol",
    "canary",
    "canary-by-cookie",
    "canary-by-header",
    "canary-by-header-pattern",
    "canary-by-header-value",
    "canary-weight",
    "canary-weight-total",
    "cors-allow-credentials",
    "cors-allow-headers",
    "cors-allow-methods",
    "cors-allow-origin",
    "cors-expose-headers",
    "cors-max-age",
    "custom-http-errors",
    "default-backend",
    "denylist-source-range",
    "enable-cors",
    "enable-global-auth",
    "force-ssl-redirect",
    "from-to-www-redirect",
    "limit-allowlist",
    "limit-burst-multiplier",
    "limit-connections",
    "limit-rpm",
    "limit-rps",
    "limit-whitelist",
    "permanent-redirect",
    "permanent-redirect-code",
    "proxy-body-size",
    "proxy-buffer-size",
    "proxy-buffering",
    "proxy-connect-timeout",
    "proxy-next-upstream",
    "proxy-next-upstream-timeout",
    "proxy-next-upstream-tries",
    "proxy-read-timeout",
    "proxy-request-buffering",
    "proxy-send-timeout",
    "proxy-ssl-name",
    "proxy-ssl-secret",
    "proxy-ssl-server-name",
    "proxy-ssl-verify",
    "rewrite-target",
    "server-alias",
    "service-upstream",
    "session-cookie-expires",
    "session-cookie-max-age",
    "session-cookie-name",
    "session-cookie-path",
    "ssl-passthrough",
    "ssl-redirect",
    "temporal-redirect",
    "temporal-redirect-code",
    "upstream-hash-by",
    "upstream-vhost",
    "use-regex",
    "whitelist-source-range",
    "x-forwarded-prefix",
];

/// Names that configure nginx itself, or a feature that Portcullis does not have.
const TIER_3: [&str; 13] = [
    "auth-snippet",
    "configuration-snippet",
    "enable-modsecurity",
    "enable-owasp-core-rules",
    "enable-rewrite-log",
    "fastcgi-index",
    "fastcgi-params-configmap",
    "http2-push-preload",
    "modsecurity-snippet",
    "modsecurity-transaction-id",
    "proxy-ssl-ciphers",
    "server-snippet",
    "stream-snippet",
];

/// A difference of a served annotation from ingress-nginx.
struct Difference {
    name: &'static str,
    when: When,
    how: &'static str,
}

/// The values to which a difference applies.
enum When {
    Always,
    Value(fn(&str) -> bool),
    /// Such a value closes the paths.
    Closes(fn(&str) -> bool),
    /// It depends on more than the value. A message on the object reports it.
    Reported,
    /// An invalid value. A message on the object reports it.
    Wrong,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "affinity-mode",
        when: When::Value(|value| value.trim() == "persistent"),
        how: "persistent sessions use a hash with a secret key",
    },
    wrong(
        "auth-always-set-cookie",
        "an invalid value closes the paths; in ingress-nginx, requests are not checked",
    ),
    Difference {
        name: "auth-cache-duration",
        when: When::Value(|value| {
            value
                .split_whitespace()
                .any(|word| word.parse().is_ok_and(|code: u16| code == 403 || code >= 500))
        }),
        how: "responses with 403 or 5xx are never cached",
    },
    wrong("auth-realm", "an invalid value closes the paths; in ingress-nginx, the Ingress is not applied"),
    wrong(
        "auth-request-redirect",
        "an invalid value closes the paths; in ingress-nginx, requests are not checked",
    ),
    reported("auth-secret", "hashes of excessive cost match no password"),
    wrong(
        "auth-secret-type",
        "an invalid value closes the paths; in ingress-nginx, the Ingress is not applied",
    ),
    reported(
        "auth-tls-error-page",
        "a path closes the host; in ingress-nginx, unverified requests reach the backend",
    ),
    wrong(
        "auth-tls-match-cn",
        "an invalid value closes the host; in ingress-nginx, the Ingress is not applied",
    ),
    wrong(
        "auth-tls-pass-certificate-to-upstream",
        "an invalid value closes the host; in ingress-nginx, the Ingress is not applied",
    ),
    Difference {
        name: "auth-tls-secret",
        when: When::Always,
        how: "a request on a connection that was established for a host with another policy gets 421; a Secret with ca.crl \
              closes the host",
    },
    reported("auth-type", "digest, and any value other than basic, closes the paths"),
    Difference {
        name: "auth-url",
        when: When::Value(|value| value.contains("$http_host")),
        how: "$http_host in the host of the URL does not include the port",
    },
    wrong("auth-url", "an empty value, or a host that the client can choose, closes the paths"),
    Difference {
        name: "backend-protocol",
        when: When::Value(|value| matches!(value.to_ascii_uppercase().as_str(), "GRPC" | "GRPCS")),
        how: "the authority of a gRPC request is the client's Host; in ingress-nginx, it is empty",
    },
    Difference {
        name: "backend-protocol",
        when: When::Closes(|value| value.eq_ignore_ascii_case("FCGI")),
        how: "FCGI closes the paths",
    },
    reported("canary", "a canary for an Ingress of another namespace is refused"),
    reported("canary-by-header-pattern", "look-around and back-references are refused"),
    Difference {
        name: "connection-proxy-header",
        when: When::Value(|value| !value.is_empty()),
        how: "WebSockets are upgraded all the same; they are not there",
    },
    wrong("cors-allow-origin", "a value without a valid entry allows no origin; it allows every one there"),
    wrong("limit-burst-multiplier", "0 or less closes the paths; it stops the whole controller there"),
    wrong("limit-connections", "a wrong value closes the paths; the Ingress is not applied there"),
    wrong("limit-rate", "an invalid value closes the paths; in ingress-nginx, the rate is not limited"),
    wrong("limit-rpm", "a wrong value closes the paths; the Ingress is not applied there"),
    wrong("limit-rps", "a wrong value closes the paths; the Ingress is not applied there"),
    reported("custom-headers", "a value with a variable that is not supported closes the paths"),
    reported(
        "custom-http-errors",
        "without a default backend, responses are not replaced; gRPC responses are never replaced",
    ),
    Difference {
        name: "mirror-request-body",
        when: When::Value(|value| value == "off"),
        how: "the mirrored request has no Content-Length; in ingress-nginx, it has one, and the mirror waits for a body",
    },
    Difference {
        name: "mirror-target",
        when: When::Always,
        how: "requests that match no path of the host are not mirrored; a mirrored request that takes too long or uses too \
              much memory is aborted; requests are not mirrored to listeners of Portcullis",
    },
    wrong(
        "mirror-target",
        "with an invalid value, requests are not mirrored; in ingress-nginx, the backend receives each request twice",
    ),
    reported("load-balance", "values other than round_robin and ewma have no effect"),
    Difference {
        name: "proxy-next-upstream-tries",
        when: When::Value(|value| value.trim().parse().is_ok_and(|tries: u64| tries == 0 || tries > 100)),
        how: "0 means 10 attempts, and the maximum is 100; in ingress-nginx, 0 means no limit",
    },
    reported("proxy-cookie-domain", "regular expressions have no effect"),
    reported("proxy-cookie-path", "regular expressions have no effect"),
    reported("proxy-redirect-from", "regular expressions have no effect"),
    reported("proxy-ssl-ciphers", "closes the paths with proxy-ssl-secret, and has no effect without"),
    Difference {
        name: "proxy-ssl-protocols",
        when: When::Value(|value| {
            value.split_whitespace().any(|word| matches!(word, "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1"))
        }),
        how: "versions before TLSv1.2 are never offered",
    },
    reported(
        "proxy-ssl-verify",
        "on without proxy-ssl-secret closes the paths; in ingress-nginx, backends are not verified",
    ),
    reported("proxy-ssl-verify-depth", "no effect: the length of a chain is not limited"),
    Difference {
        name: "rewrite-target",
        when: When::Value(|value| !value.starts_with('/') && !value.contains("://")),
        how: "a / is prepended to a target without one; ingress-nginx sends a request line without a path",
    },
    reported(
        "rewrite-target",
        "with an unknown variable, the response is 500; in ingress-nginx, no change takes effect in the entire controller",
    ),
    reported("server-alias", "regular expressions have no effect"),
    Difference {
        name: "upstream-hash-by",
        when: When::Always,
        how: "keys are assigned to other endpoints than in ingress-nginx, by the highest hash instead of a ring",
    },
    Difference {
        name: "upstream-hash-by-subset",
        when: When::Always,
        how: "a subset consists of the endpoints with the highest hashes; adding or removing an endpoint changes few subsets",
    },
    reported(
        "ssl-ciphers",
        "only suites with ECDHE and AES-GCM or ChaCha20-Poly1305 are supported; a list without any of them has no effect",
    ),
    Difference {
        name: "ssl-passthrough",
        when: When::Value(|value| super::values::boolean(value) == Some(true)),
        how: "applies without a flag; server names are case-insensitive; a request over a connection with another server \
              name gets 421; connections are made to endpoints, not to the cluster IP",
    },
    wrong(
        "ssl-passthrough",
        "an invalid value closes the host; in ingress-nginx, the Ingress is not applied",
    ),
    reported(
        "ssl-passthrough",
        "TLS is not passed through if the path / is in another namespace, or if an older Ingress does not have it",
    ),
    reported("use-regex", "a path with look-around or back-references is closed (503)"),
];

/// What to write instead of an annotation that is not served.
const INSTEAD: &[(&str, &str)] = &[
    ("auth-snippet", "auth-proxy-set-headers, auth-method or auth-cache-key, depending on the snippet"),
    (
        "configuration-snippet",
        "the annotations that `portcullis migrate` prints, or the filters of an HTTPRoute",
    ),
    ("enable-modsecurity", "a web application firewall in front of Portcullis, or one that auth-url calls"),
    (
        "enable-owasp-core-rules",
        "a web application firewall in front of Portcullis, or one that auth-url calls",
    ),
    ("enable-rewrite-log", "`portcullis explain URL` for a request"),
    ("fastcgi-index", "an HTTP server in the Pod of the application"),
    ("fastcgi-params-configmap", "an HTTP server in the Pod of the application"),
    ("http2-push-preload", "nothing: browsers no longer support server push"),
    ("modsecurity-snippet", "a web application firewall in front of Portcullis, or one that auth-url calls"),
    ("modsecurity-transaction-id", "nothing: it only applies to ModSecurity"),
    (
        "server-snippet",
        "the annotations that `portcullis migrate` prints, or a separate Ingress for the affected paths",
    ),
    ("stream-snippet", "a TLSRoute, TCPRoute or UDPRoute"),
];

const fn wrong(name: &'static str, how: &'static str) -> Difference {
    Difference { name, when: When::Wrong, how }
}

const fn reported(name: &'static str, how: &'static str) -> Difference {
    Difference { name, when: When::Reported, how }
}

/// How an annotation is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As in ingress-nginx, except for [`Annotation::differences`].
    Served,
    /// It has no effect, and is not needed: messages are streamed, and connections are pooled.
    Moot,
    /// It protects and is not served: the paths of its Ingress are closed (503).
    ClosesPaths,
    /// The same for the hosts of its Ingress.
    ClosesHosts,
    /// It is not served and has no effect.
    Ignored,
}

/// An annotation that ingress-nginx 1.15 reads.
#[derive(Clone, Copy, Debug)]
pub struct Annotation(&'static Known);

/// All annotations that ingress-nginx 1.15 reads, by name.
pub fn annotations() -> Vec<Annotation> {
    let of_nginx = KNOWN.iter().filter(|known| known.group != WITHOUT_EFFECT);
    let mut all: Vec<_> = of_nginx.map(Annotation).collect();
    all.sort_by_key(|annotation| annotation.name());
    all
}

/// The annotation of that name, without its prefix.
pub(crate) fn find(name: &str) -> Option<Annotation> {
    KNOWN.iter().find(|known| known.name == name).map(Annotation)
}

impl Annotation {
    /// Its name, without the prefix.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// 1: most users depend on it. 2: less common. 3: intentionally not served.
    pub fn tier(self) -> u8 {
        match self.name() {
            name if TIER_1.contains(&name) => 1,
            name if TIER_3.contains(&name) => 3,
            _ => 2,
        }
    }

    /// How it is handled.
    pub fn outcome(self) -> Outcome {
        let Known { is_served, is_moot, protects, .. } = self.0;
        match (is_served, is_moot, protects) {
            (true, ..) => Outcome::Served,
            (false, true, _) => Outcome::Moot,
            (false, false, Protects::Nothing) => Outcome::Ignored,
            (false, false, Protects::Paths) => Outcome::ClosesPaths,
            (false, false, Protects::Host) => Outcome::ClosesHosts,
        }
    }

    /// The differences from ingress-nginx for any value, and whether each applies to valid values.
    pub fn differences(self) -> impl Iterator<Item = (&'static str, bool)> {
        let of_name = DIFFERENCES.iter().filter(move |difference| difference.name == self.name());
        of_name.map(|difference| (difference.how, !matches!(difference.when, When::Wrong)))
    }

    /// The differences for this value that the value alone determines, and whether each closes the paths.
    pub(crate) fn differences_of(self, value: &str) -> impl Iterator<Item = (&'static str, bool)> {
        let of_name = DIFFERENCES.iter().filter(move |difference| difference.name == self.name());
        of_name.filter_map(move |difference| {
            let (holds, closes) = match difference.when {
                When::Always => (true, false),
                When::Value(holds) => (holds(value), false),
                When::Closes(holds) => (holds(value), true),
                When::Reported | When::Wrong => (false, false),
            };
            holds.then_some((difference.how, closes))
        })
    }

    /// What to write instead, if it is not served and there is an alternative.
    pub fn instead(self) -> Option<&'static str> {
        let found = INSTEAD.iter().find(|(name, _)| *name == self.name());
        found.filter(|_| !self.0.is_served).map(|(_, instead)| *instead)
    }

    /// Whether the annotation protects nothing with this value.
    pub(crate) fn is_off(self, value: &str) -> bool {
        self.0.is_off(value)
    }

    /// Whether it protects something with this value.
    pub(crate) fn protects(self, value: &str) -> bool {
        self.0.protects(value)
    }

    /// Whether with this value it protects the whole host, also the paths of other Ingresses.
    pub(crate) fn protects_hosts(self, value: &str) -> bool {
        self.protects(value) && self.0.protects == Protects::Host
    }

    /// Whether no release of ingress-nginx from 1.15 on reads it.
    pub(crate) fn is_without_effect_there(self) -> bool {
        self.0.group == WITHOUT_EFFECT
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tiers_are_those_of_the_closed_list() {
        let all = annotations();
        let count = |tier| all.iter().filter(|annotation| annotation.tier() == tier).count();
        assert_eq!([count(1), count(2), count(3)], [77, 48, 13]);
        let names: BTreeSet<_> = all.iter().map(|annotation| annotation.name()).collect();
        for name in TIER_1.iter().chain(&TIER_3) {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_said_is_said_of_names_that_are_known() {
        for name in DIFFERENCES.iter().map(|d| d.name).chain(INSTEAD.iter().map(|(name, _)| *name)) {
            let annotation = find(name).unwrap_or_else(|| panic!("{name}"));
            assert!(!annotation.is_without_effect_there(), "{name}");
        }
        for Difference { name, .. } in DIFFERENCES {
            assert_eq!(
                find(name).unwrap().outcome(),
                Outcome::Served,
                "{name}: a difference of what is served"
            );
        }
        for annotation in
            annotations().into_iter().filter(|a| a.tier() == 3 && a.outcome() != Outcome::Served)
        {
            assert!(annotation.instead().is_some(), "{}", annotation.name());
        }
    }

    #[test]
    fn some_values_differ() {
        for (name, value, differs) in [
            ("auth-url", "https://$host/auth", false),
            ("auth-url", "https://$http_host/auth", true),
            ("auth-cache-duration", "200 202 401 5m", false),
            ("auth-cache-duration", "200 403 5m", true),
            ("auth-cache-duration", "200 503 1m", true),
            ("backend-protocol", "HTTPS", false),
            ("backend-protocol", "grpc", true),
            ("backend-protocol", "FCGI", true),
            ("affinity-mode", "persistent", true),
            ("affinity-mode", "balanced", false),
            ("proxy-next-upstream-tries", "3", false),
            ("proxy-next-upstream-tries", "0", true),
            ("proxy-ssl-protocols", "TLSv1.2 TLSv1.3", false),
            ("proxy-ssl-protocols", "TLSv1.1 TLSv1.2", true),
            ("rewrite-target", "/$1", false),
            ("rewrite-target", "https://a.example/$1", false),
            ("rewrite-target", "$1", true),
            ("upstream-hash-by", "$request_uri", true),
            ("auth-type", "basic", false),
        ] {
            assert_eq!(find(name).unwrap().differences_of(value).count() > 0, differs, "{name}: {value}");
        }
    }
}
