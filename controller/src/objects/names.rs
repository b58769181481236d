//! The forms of names: Kubernetes' own (RFC 1123, RFC 1035) and the patterns of the Gateway API.

use super::checks::{Checks, Path};

/// What a text must look like, and how that is said.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    fits: fn(&str) -> bool,
    max: usize,
    message: &'static str,
}

/// An RFC 1123 label: namespaces.
pub(crate) const LABEL: Form =
    Form { fits: dns_label, max: 63, message: "must be a DNS label (lower case letters, digits and '-')" };
/// An RFC 1035 label: Services.
pub(crate) const LABEL_1035: Form = Form {
    fits: dns_1035_label,
    max: 63,
    message: "must be a DNS label that begins with a letter (lower case letters, digits and '-')",
};
/// An RFC 1123 subdomain: most objects, section names.
pub(crate) const SUBDOMAIN: Form = Form {
    fits: dns_subdomain,
    max: 253,
    message: "must be a DNS name (lower case letters, digits, '-' and '.', each part beginning and ending with a letter or digit)",
};
/// A ClusterTrustBundle: one of the signer `example.com/foo` has a name that begins with `example.com:foo:`.
pub(crate) const SIGNED_SUBDOMAIN: Form = Form {
    fits: |text| text.split(':').all(dns_subdomain),
    max: 253,
    message: "must be a DNS name, optionally with the name of a signer before it (example.com:signer:name)",
};
/// `Hostname` of the Gateway API.
pub(crate) const HOSTNAME: Form = Form {
    fits: |text| dns_subdomain(text.strip_prefix("*.").unwrap_or(text)),
    max: 253,
    message: "must be a DNS name in lower case, optionally with '*.' before it",
};
/// `PreciseHostname` of the Gateway API.
pub(crate) const PRECISE_HOSTNAME: Form =
    Form { fits: dns_subdomain, max: 253, message: "must be a DNS name in lower case, without wildcard" };
/// `Group` of the Gateway API; empty is the core group.
pub(crate) const GROUP: Form = Form {
    fits: |text| text.is_empty() || dns_subdomain(text),
    max: 253,
    message: "must be an API group (a DNS name), or empty for the core group",
};
/// `Kind` of the Gateway API.
pub(crate) const KIND: Form = Form {
    fits: |text| text.starts_with(|c: char| c.is_ascii_alphabetic()) && word(text),
    max: 63,
    message: "must be a kind (letters, digits and '-', beginning with a letter)",
};
/// `ObjectName` of the Gateway API.
pub(crate) const OBJECT_NAME: Form =
    Form { fits: |text| !text.is_empty(), max: 253, message: "must not be empty" };
/// `HeaderName` of the Gateway API.
pub(crate) const HEADER_NAME: Form = Form {
    fits: |text| !text.is_empty() && text.bytes().all(is_token),
    max: 256,
    message: "must be a header name (letters, digits and !#$%&'*+-.^_`|~)",
};
/// `CookieName` of the Gateway API.
pub(crate) const COOKIE_NAME: Form =
    Form { message: "must be a cookie's name (letters, digits and !#$%&'*+-.^_`|~)", ..HEADER_NAME };
/// `GatewayController` of the Gateway API.
pub(crate) const CONTROLLER: Form = Form {
    fits: |text| {
        text.split_once('/').is_some_and(|(domain, path)| dns_subdomain(domain) && controller_path(path))
    },
    max: 253,
    message: "must be a domain and a path, such as example.com/gateway-controller",
};
/// `ProtocolType` of the Gateway API.
pub(crate) const PROTOCOL: Form = Form {
    // The pattern's second half is not anchored at its start; what it lets through is not a protocol that is served.
    fits: |text| match text.split_once('/') {
        None => word(text),
        Some((domain, name)) => {
            dns_subdomain(domain) && !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric())
        }
    },
    max: 255,
    message: "must be a protocol such as HTTP, HTTPS or TLS, or one with a domain before it (example.com/bar)",
};
/// A label's or annotation's key.
pub(crate) const QUALIFIED: Form = Form {
    fits: |text| match text.split_once('/') {
        None => qualified_part(text),
        Some((prefix, name)) => prefix.len() <= 253 && dns_subdomain(prefix) && qualified_part(name),
    },
    max: 317,
    message: "must be a name of at most 63 letters, digits, '-', '_' and '.', optionally with a DNS name and '/' before it",
};
/// A label's value.
pub(crate) const LABEL_VALUE: Form = Form {
    fits: |text| text.is_empty() || qualified_part(text),
    max: 63,
    message: "must have at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
};
/// The name of a port (IANA service name).
pub(crate) const PORT_NAME: Form = Form {
    fits: |text| {
        dns_chars(text)
            && text.len() <= 15
            && !text.contains("--")
            && text.bytes().any(|b| b.is_ascii_lowercase())
            && !text.starts_with('-')
            && !text.ends_with('-')
    },
    max: 15,
    message: "must be a port's name: at most 15 lower case letters, digits and single '-', with one letter at least",
};
/// `AbsoluteURI` of the Gateway API.
pub(crate) const ABSOLUTE_URI: Form = Form {
    fits: |text| {
        text.split_once("://")
            .is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains([':', '/', '?', '#']))
    },
    max: 253,
    message: "must be a URI with a scheme and an authority, such as spiffe://example.com/web",
};
/// A key of a Secret or ConfigMap.
pub(crate) const DATA_KEY: Form = Form {
    fits: |text| {
        !text.is_empty()
            && text != "."
            && !text.starts_with("..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    },
    max: 253,
    message: "must be a key of letters, digits, '-', '_' and '.'",
};
/// `*.` and a DNS name (a wildcard host of an Ingress).
pub(crate) const WILDCARD: Form = Form {
    fits: |text| text.strip_prefix("*.").is_some_and(dns_subdomain),
    max: 253,
    message: "must be '*.' and a DNS name: '*' matches exactly the first label",
};

impl Checks {
    /// An error unless the text has the form.
    pub(crate) fn form(&mut self, text: &str, form: Form, at: &Path<'_>) {
        if let Some(fault) = form.fault(text) {
            self.error(at, fault);
        }
    }

    /// The same where an API server takes other texts, too ([`Self::unknown_value`]). Returns whether the text has the form.
    pub(crate) fn form_or_unknown(&mut self, text: &str, form: Form, at: &Path<'_>) -> bool {
        let fault = form.fault(text);
        let has_form = fault.is_none();
        if let Some(fault) = fault {
            self.unknown_value(at, fault);
        }
        has_form
    }

    /// An error unless the text, where there is one, has the form.
    pub(crate) fn optional_form(&mut self, text: Option<&str>, form: Form, at: &Path<'_>) {
        if let Some(text) = text {
            self.form(text, form, at);
        }
    }
}

impl Form {
    /// Whether a text has the form.
    pub(crate) fn fits(&self, text: &str) -> bool {
        text.len() <= self.max && (self.fits)(text)
    }

    /// What is wrong with a text that has not the form.
    fn fault(&self, text: &str) -> Option<String> {
        if text.len() > self.max && text.chars().count() > self.max {
            Some(format!("must have at most {} characters", self.max))
        } else if !(self.fits)(text) {
            Some(format!("{} {}", quoted(text), self.message))
        } else {
            None
        }
    }
}

/// The text for a message: quoted, and not longer than a message can bear.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}

fn dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => dns_chars(text) && *first != b'-' && *last != b'-',
        _ => false,
    }
}

fn dns_1035_label(text: &str) -> bool {
    dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn dns_subdomain(text: &str) -> bool {
    text.split('.').all(dns_label)
}

fn dns_chars(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Letters, digits and inner '-'.
fn word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn controller_path(path: &str) -> bool {
    !path.is_empty() && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_form() {
        let long = "a".repeat(64);
        let path = format!("{}.com", "a.".repeat(126));
        for (form, text, want) in [
            (LABEL, "web-1", true),
            (LABEL, "1web", true),
            (LABEL, "Web", false),
            (LABEL, "-web", false),
            (LABEL, "web-", false),
            (LABEL, "we.b", false),
            (LABEL, "", false),
            (LABEL, &long, false),
            (LABEL_1035, "web", true),
            (LABEL_1035, "1web", false),
            (SUBDOMAIN, "a.b-c.d", true),
            (SUBDOMAIN, "a..b", false),
            (SUBDOMAIN, "a_b", false),
            (SUBDOMAIN, &path, false),
            (HOSTNAME, "example.com", true),
            (HOSTNAME, "*.example.com", true),
            (HOSTNAME, "*", false),
            (HOSTNAME, "a.*.com", false),
            (HOSTNAME, "Example.com", false),
            (HOSTNAME, "", false),
            (PRECISE_HOSTNAME, "example.com", true),
            (PRECISE_HOSTNAME, "*.example.com", false),
            (GROUP, "", true),
            (GROUP, "gateway.networking.k8s.io", true),
            (GROUP, "Core", false),
            (KIND, "Gateway", true),
            (KIND, "", false),
            (KIND, "1Gateway", false),
            (KIND, "Gate_way", false),
            (OBJECT_NAME, "anything At all", true),
            (OBJECT_NAME, "", false),
            (HEADER_NAME, "x-Header_1", true),
            (HEADER_NAME, "x header", false),
            (HEADER_NAME, "", false),
            (HEADER_NAME, ":path", false),
            (CONTROLLER, "portcullis.dev/gateway-controller", true),
            (CONTROLLER, "portcullis.dev/", false),
            (CONTROLLER, "portcullis.dev", false),
            (CONTROLLER, "Portcullis.dev/x", false),
            (PROTOCOL, "HTTP", true),
            (PROTOCOL, "example.com/bar", true),
            (PROTOCOL, "example.com/", false),
            (PROTOCOL, "ht tp", false),
            (PROTOCOL, "", false),
            (QUALIFIED, "app.kubernetes.io/name", true),
            (QUALIFIED, "app", true),
            (QUALIFIED, "/app", false),
            (QUALIFIED, "a/b/c", false),
            (QUALIFIED, "", false),
            (LABEL_VALUE, "", true),
            (LABEL_VALUE, "v1.2_3", true),
            (LABEL_VALUE, "a b", false),
            (LABEL_VALUE, &long, false),
            (PORT_NAME, "http-2", true),
            (PORT_NAME, "80", false),
            (PORT_NAME, "http--2", false),
            (PORT_NAME, "longer-than-fifteen", false),
            (DATA_KEY, "tls.crt", true),
            (DATA_KEY, "..data", false),
            (DATA_KEY, "a/b", false),
            (WILDCARD, "*.example.com", true),
            (WILDCARD, "*", false),
            (WILDCARD, "*a.example.com", false),
            (WILDCARD, "a.*.com", false),
        ] {
            assert_eq!(form.fits(text), want, "{text:?}: {}", form.message);
        }
    }

    #[test]
    fn a_message_quotes_no_more_than_it_can_bear() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"\u{e4}".repeat(10_000)).chars().count(), 85);
    }
}
