//! The closed list of annotations of ingress-nginx: what each protects, and whether it is served.
//!
//! A name protects if serving without it would allow requests that its owner wants to reject: authentication, source
//! ranges, limits, client certificates, verification of backends, a firewall, TLS passthrough, and snippets, which can do
//! any of these. Groups are those of ingress-nginx 1.15.1
//! (`annotations-risk.md`); [`ALIASES`] and [`WITHOUT_EFFECT`] are not in that file.

use super::{snippet, values};
use Protects::{Host, Nothing, Paths};

/// Other names of listed annotations, which are only in the source.
const ALIASES: &str = "aliases of other annotations";
/// Still in use, but not read by any release since 1.15.
pub(super) const WITHOUT_EFFECT: &str = "without effect in 1.15";

/// The data of an annotation.
#[derive(Debug)]
pub(super) struct Known {
    /// Without the prefix.
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    pub(super) protects: Protects,
    pub(super) is_served: bool,
    /// Whether it configures buffers and connections that do not exist in Portcullis, so that it is not needed.
    pub(super) is_moot: bool,
    /// Which values disable it.
    off: Off,
}

/// What an annotation protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protects {
    Nothing,
    /// The paths of its Ingress.
    Paths,
    /// The whole host: ingress-nginx configures it for a server, regardless of which of the host's Ingresses has it.
    Host,
}

/// Values that disable an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Off {
    Never,
    /// A value that Go parses as false.
    False,
    /// The value `off`.
    Word,
    /// A number that is not positive.
    Zero,
    /// A snippet that only sets headers.
    Headers,
}

/// The annotation of that name, without the prefix.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The names of those that are served.
#[cfg(test)]
pub(super) fn served() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter(|known| known.is_served).map(|known| known.name)
}

impl Known {
    /// Whether this value disables the annotation: what it would protect is served as without it.
    pub(super) fn is_off(&self, value: &str) -> bool {
        match self.off {
            Off::Never => false,
            Off::False => is_false(value),
            Off::Word => value == "off",
            Off::Zero => value.parse::<i64>().is_ok_and(|number| number <= 0),
            Off::Headers => snippet::only_sets_headers(value),
        }
    }

    /// Whether it protects something with this value.
    pub(super) fn protects(&self, value: &str) -> bool {
        self.protects != Protects::Nothing && !self.is_off(value)
    }

    const fn unless(self, off: Off) -> Self {
        Self { off, ..self }
    }

    const fn served(self) -> Self {
        Self { is_served: true, ..self }
    }

    const fn moot(self) -> Self {
        Self { is_moot: true, ..self }
    }
}

fn is_false(value: &str) -> bool {
    values::boolean(value) == Some(false)
}

const fn known(group: &'static str, name: &'static str, protects: Protects) -> Known {
    Known { name, group, protects, is_served: false, is_moot: false, off: Off::Never }
}

pub(super) const KNOWN: &[Known] = &[
    known("Aliases", "server-alias", Nothing).served(),
    known("Allowlist", "allowlist-source-range", Paths).served(),
    known("BackendProtocol", "backend-protocol", Nothing).served(),
    known("BasicDigestAuth", "auth-realm", Paths).served(),
    known("BasicDigestAuth", "auth-secret", Paths).served(),
    known("BasicDigestAuth", "auth-secret-type", Paths).served(),
    known("BasicDigestAuth", "auth-type", Paths).served(),
    known("Canary", "canary", Nothing).served(),
    known("Canary", "canary-by-cookie", Nothing).served(),
    known("Canary", "canary-by-header", Nothing).served(),
    known("Canary", "canary-by-header-pattern", Nothing).served(),
    known("Canary", "canary-by-header-value", Nothing).served(),
    known("Canary", "canary-weight", Nothing).served(),
    known("Canary", "canary-weight-total", Nothing).served(),
    known("CertificateAuth", "auth-tls-error-page", Host).served(),
    known("CertificateAuth", "auth-tls-match-cn", Host).served(),
    known("CertificateAuth", "auth-tls-pass-certificate-to-upstream", Host).unless(Off::False).served(),
    known("CertificateAuth", "auth-tls-secret", Host).served(),
    known("CertificateAuth", "auth-tls-verify-client", Host).unless(Off::Word).served(),
    known("CertificateAuth", "auth-tls-verify-depth", Host).served(),
    known("ClientBodyBufferSize", "client-body-buffer-size", Nothing).served(),
    known("ConfigurationSnippet", "configuration-snippet", Paths).unless(Off::Headers),
    known("Connection", "connection-proxy-header", Nothing).served(),
    known("CorsConfig", "cors-allow-credentials", Nothing).served(),
    known("CorsConfig", "cors-allow-headers", Nothing).served(),
    known("CorsConfig", "cors-allow-methods", Nothing).served(),
    known("CorsConfig", "cors-allow-origin", Nothing).served(),
    known("CorsConfig", "cors-expose-headers", Nothing).served(),
    known("CorsConfig", "cors-max-age", Nothing).served(),
    known("CorsConfig", "enable-cors", Nothing).served(),
    known("CustomHTTPErrors", "custom-http-errors", Nothing).served(),
    known("CustomHeaders", "custom-headers", Nothing).served(),
    known("DefaultBackend", "default-backend", Nothing).served(),
    known("Denylist", "denylist-source-range", Paths).served(),
    known("DisableProxyInterceptErrors", "disable-proxy-intercept-errors", Nothing).served(),
    known("EnableGlobalAuth", "enable-global-auth", Paths).unless(Off::False).served(),
    known("ExternalAuth", "auth-always-set-cookie", Paths).served(),
    known("ExternalAuth", "auth-cache-duration", Paths).served(),
    known("ExternalAuth", "auth-cache-key", Paths).served(),
    known("ExternalAuth", "auth-keepalive", Paths).moot(),
    known("ExternalAuth", "auth-keepalive-requests", Paths).moot(),
    known("ExternalAuth", "auth-keepalive-share-vars", Paths).moot(),
    known("ExternalAuth", "auth-keepalive-timeout", Paths).moot(),
    known("ExternalAuth", "auth-method", Paths).served(),
    known("ExternalAuth", "auth-proxy-set-headers", Paths).served(),
    known("ExternalAuth", "auth-request-redirect", Paths).served(),
    known("ExternalAuth", "auth-response-headers", Paths).served(),
    known("ExternalAuth", "auth-signin", Paths).served(),
    known("ExternalAuth", "auth-signin-redirect-param", Paths).served(),
    known("ExternalAuth", "auth-snippet", Paths).unless(Off::Headers),
    known("ExternalAuth", "auth-url", Paths).served(),
    known("FastCGI", "fastcgi-index", Nothing),
    known("FastCGI", "fastcgi-params-configmap", Nothing),
    known("HTTP2PushPreload", "http2-push-preload", Nothing),
    known("LoadBalancing", "load-balance", Nothing).served(),
    known("Logs", "enable-access-log", Nothing).served(),
    known("Logs", "enable-rewrite-log", Nothing),
    known("Mirror", "mirror-host", Nothing).served(),
    known("Mirror", "mirror-request-body", Nothing).served(),
    known("Mirror", "mirror-target", Nothing).served(),
    known("ModSecurity", "enable-modsecurity", Paths).unless(Off::False),
    known("ModSecurity", "enable-owasp-core-rules", Paths).unless(Off::False),
    known("ModSecurity", "modsecurity-snippet", Paths),
    known("ModSecurity", "modsecurity-transaction-id", Nothing),
    known("Opentelemetry", "enable-opentelemetry", Nothing),
    known("Opentelemetry", "opentelemetry-operation-name", Nothing),
    known("Opentelemetry", "opentelemetry-trust-incoming-span", Nothing),
    known("Proxy", "proxy-body-size", Nothing).served(),
    known("Proxy", "proxy-buffer-size", Nothing).moot(),
    known("Proxy", "proxy-buffering", Nothing).served(),
    known("Proxy", "proxy-buffers-number", Nothing).moot(),
    known("Proxy", "proxy-busy-buffers-size", Nothing).moot(),
    known("Proxy", "proxy-connect-timeout", Nothing).served(),
    known("Proxy", "proxy-cookie-domain", Nothing).served(),
    known("Proxy", "proxy-cookie-path", Nothing).served(),
    known("Proxy", "proxy-http-version", Nothing).moot(),
    known("Proxy", "proxy-max-temp-file-size", Nothing).moot(),
    known("Proxy", "proxy-next-upstream", Nothing).served(),
    known("Proxy", "proxy-next-upstream-timeout", Nothing).served(),
    known("Proxy", "proxy-next-upstream-tries", Nothing).served(),
    known("Proxy", "proxy-read-timeout", Nothing).served(),
    known("Proxy", "proxy-redirect-from", Nothing).served(),
    known("Proxy", "proxy-redirect-to", Nothing).served(),
    known("Proxy", "proxy-request-buffering", Nothing).served(),
    known("Proxy", "proxy-send-timeout", Nothing).served(),
    known("ProxySSL", "proxy-ssl-ciphers", Nothing).served(),
    known("ProxySSL", "proxy-ssl-name", Nothing).served(),
    known("ProxySSL", "proxy-ssl-protocols", Nothing).served(),
    known("ProxySSL", "proxy-ssl-secret", Paths).served(),
    known("ProxySSL", "proxy-ssl-server-name", Nothing).served(),
    known("ProxySSL", "proxy-ssl-verify", Paths).unless(Off::Word).served(),
    known("ProxySSL", "proxy-ssl-verify-depth", Nothing).served(),
    known("RateLimit", "limit-allowlist", Paths).served(),
    known("RateLimit", "limit-burst-multiplier", Paths).served(),
    known("RateLimit", "limit-connections", Paths).unless(Off::Zero).served(),
    known("RateLimit", "limit-rate", Paths).unless(Off::Zero).served(),
    known("RateLimit", "limit-rate-after", Paths).unless(Off::Zero).served(),
    known("RateLimit", "limit-rpm", Paths).unless(Off::Zero).served(),
    known("RateLimit", "limit-rps", Paths).unless(Off::Zero).served(),
    known("Redirect", "from-to-www-redirect", Nothing).served(),
    known("Redirect", "permanent-redirect", Nothing).served(),
    known("Redirect", "permanent-redirect-code", Nothing).served(),
    known("Redirect", "relative-redirects", Nothing).served(),
    known("Redirect", "temporal-redirect", Nothing).served(),
    known("Redirect", "temporal-redirect-code", Nothing).served(),
    known("Rewrite", "app-root", Nothing).served(),
    known("Rewrite", "force-ssl-redirect", Nothing).served(),
    known("Rewrite", "preserve-trailing-slash", Nothing).served(),
    known("Rewrite", "rewrite-target", Nothing).served(),
    known("Rewrite", "ssl-redirect", Nothing).served(),
    known("Rewrite", "use-regex", Nothing).served(),
    known("SSLCipher", "ssl-ciphers", Nothing).served(),
    known("SSLCipher", "ssl-prefer-server-ciphers", Nothing).served(),
    known("SSLPassthrough", "ssl-passthrough", Host).unless(Off::False).served(),
    known("Satisfy", "satisfy", Paths).served(),
    known("ServerSnippet", "server-snippet", Host).unless(Off::Headers),
    known("ServiceUpstream", "service-upstream", Nothing).served(),
    known("SessionAffinity", "affinity", Nothing).served(),
    known("SessionAffinity", "affinity-canary-behavior", Nothing).served(),
    known("SessionAffinity", "affinity-mode", Nothing).served(),
    known("SessionAffinity", "session-cookie-change-on-failure", Nothing).served(),
    known("SessionAffinity", "session-cookie-conditional-samesite-none", Nothing).served(),
    known("SessionAffinity", "session-cookie-domain", Nothing).served(),
    known("SessionAffinity", "session-cookie-expires", Nothing).served(),
    known("SessionAffinity", "session-cookie-max-age", Nothing).served(),
    known("SessionAffinity", "session-cookie-name", Nothing).served(),
    known("SessionAffinity", "session-cookie-path", Nothing).served(),
    known("SessionAffinity", "session-cookie-samesite", Nothing).served(),
    known("SessionAffinity", "session-cookie-secure", Nothing).served(),
    known("StreamSnippet", "stream-snippet", Host),
    known("UpstreamHashBy", "upstream-hash-by", Nothing).served(),
    known("UpstreamHashBy", "upstream-hash-by-subset", Nothing).served(),
    known("UpstreamHashBy", "upstream-hash-by-subset-size", Nothing).served(),
    known("UpstreamVhost", "upstream-vhost", Nothing).served(),
    known("UsePortInRedirects", "use-port-in-redirects", Nothing).served(),
    known("XForwardedPrefix", "x-forwarded-prefix", Nothing).served(),
    known(ALIASES, "limit-whitelist", Paths).served(),
    known(ALIASES, "whitelist-source-range", Paths).served(),
    known(WITHOUT_EFFECT, "add-base-url", Nothing),
    known(WITHOUT_EFFECT, "client-max-body-size", Nothing),
    known(WITHOUT_EFFECT, "enable-opentracing", Nothing),
    known(WITHOUT_EFFECT, "enable-websockets", Nothing),
    known(WITHOUT_EFFECT, "eventsource", Nothing),
    known(WITHOUT_EFFECT, "influxdb-host", Nothing),
    known(WITHOUT_EFFECT, "influxdb-measurement", Nothing),
    known(WITHOUT_EFFECT, "influxdb-port", Nothing),
    known(WITHOUT_EFFECT, "influxdb-server-name", Nothing),
    known(WITHOUT_EFFECT, "enable-influxdb", Nothing),
    known(WITHOUT_EFFECT, "rate-limit", Nothing),
    known(WITHOUT_EFFECT, "secure-backends", Nothing),
    known(WITHOUT_EFFECT, "server-snippets", Nothing),
    known(WITHOUT_EFFECT, "session-cookie-hash", Nothing),
    known(WITHOUT_EFFECT, "use-forwarded-headers", Nothing),
    known(WITHOUT_EFFECT, "websocket-services", Nothing),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_that_of_ingress_nginx() {
        let names: BTreeSet<_> = KNOWN.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), KNOWN.len(), "each name once");
        let in_source = KNOWN.iter().filter(|known| known.group != WITHOUT_EFFECT);
        assert_eq!(in_source.count(), 138, "what 1.15.1 reads");
    }

    #[test]
    fn families_that_protect_do_so_whole() {
        for known in KNOWN.iter().filter(|known| known.group != WITHOUT_EFFECT) {
            let name = known.name;
            let want = match name {
                _ if name.starts_with("auth-tls-") => Host,
                "server-snippet" | "stream-snippet" | "ssl-passthrough" => Host,
                _ if name.starts_with("auth-") || name.starts_with("limit-") => Paths,
                _ if name.ends_with("-source-range") || name.ends_with("-snippet") => Paths,
                "satisfy" | "enable-global-auth" | "enable-modsecurity" | "enable-owasp-core-rules" => Paths,
                "proxy-ssl-secret" | "proxy-ssl-verify" => Paths,
                _ => Nothing,
            };
            assert_eq!(known.protects, want, "{name}");
        }
    }

    #[test]
    fn a_value_can_disable_an_annotation() {
        for (name, value, want) in [
            ("enable-global-auth", "false", true),
            ("enable-global-auth", "no", false),
            ("limit-rps", "0", true),
            ("limit-rps", "-1", true),
            ("limit-rps", "5", false),
            ("limit-rps", "", false),
            ("proxy-ssl-verify", "off", true),
            ("proxy-ssl-verify", "on", false),
            ("auth-tls-verify-client", "off", true),
            ("auth-tls-verify-client", "optional", false),
            ("ssl-passthrough", "false", true),
            ("ssl-passthrough", "true", false),
            ("whitelist-source-range", "", false),
            ("configuration-snippet", "more_set_headers 'A: b';", true),
            ("configuration-snippet", "deny all;", false),
            ("stream-snippet", "", false),
        ] {
            assert_eq!(find(name).unwrap().is_off(value), want, "{name}: {value}");
        }
    }
}
