//! A further prefix of the annotations of ingress-nginx (`--annotations-prefix`).

use std::sync::Arc;

use serde_json::Value;

use super::{ingress::annotations::NGINX, names::SUBDOMAIN};

/// The prefix without its slash; `None` is that of ingress-nginx alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationsPrefix(Option<Arc<str>>);

/// Annotations of the same meaning, of which one takes precedence.
const SYNONYMS: [[&str; 2]; 2] =
    [["allowlist-source-range", "whitelist-source-range"], ["limit-allowlist", "limit-whitelist"]];

/// Prefixes that are reserved, together with all that end in them.
const RESERVED: [&str; 3] = ["portcullis.dev", "kubernetes.io", "k8s.io"];
/// Not reserved: the prefix that ingress-nginx had before, and all that end in it.
const INGRESS: &str = "ingress.kubernetes.io";

impl AnnotationsPrefix {
    /// Parses a prefix, a DNS subdomain such as `ingress.example.com`.
    ///
    /// # Errors
    /// The reason why it is invalid.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !SUBDOMAIN.fits(text) {
            return Err(format!("{text:?} is not a DNS subdomain such as ingress.example.com"));
        }
        let reserved = RESERVED.into_iter().find(|reserved| is_in(text, reserved));
        if let Some(reserved) = reserved.filter(|_| !is_in(text, INGRESS)) {
            return Err(format!("{text:?} is reserved, since it is {reserved} or ends in it"));
        }
        // That of ingress-nginx is always read.
        Ok(Self(Some(text.into()).filter(|_| format!("{text}/") != NGINX)))
    }

    /// Gives the annotations of an Ingress that have this prefix the one of ingress-nginx. They take precedence over others of
    /// the same name and over their synonyms. Does nothing to objects of other kinds.
    pub(crate) fn apply(&self, object: &mut Value) {
        let Some(prefix) = self.0.as_deref() else { return };
        if object.get("kind").is_none_or(|kind| kind != "Ingress") {
            return;
        }
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        let Some(annotations) = annotations else { return };
        let own = |name: &str| name.strip_prefix(prefix)?.strip_prefix('/').map(str::to_owned);
        let names: Vec<_> = annotations.keys().filter_map(|name| Some((name.clone(), own(name)?))).collect();
        for synonyms in SYNONYMS {
            if names.iter().any(|(_, name)| synonyms.contains(&name.as_str())) {
                synonyms.iter().for_each(|name| drop(annotations.remove(&format!("{NGINX}{name}"))));
            }
        }
        for (full_name, name) in names {
            if let Some(value) = annotations.remove(&full_name) {
                annotations.insert(format!("{NGINX}{name}"), value);
            }
        }
    }
}

fn is_in(prefix: &str, domain: &str) -> bool {
    prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_with_the_prefix_take_precedence_over_those_of_ingress_nginx() {
        let object = |kind: &str| {
            json!({ "kind": kind, "metadata": { "annotations": {
                "ingress.example.com/use-regex": "true",
                "ingress.example.com/app-root": "/own",
                "nginx.ingress.kubernetes.io/app-root": "/nginx",
                "nginx.ingress.kubernetes.io/ssl-redirect": "false",
                "ingress.example.community/app-root": "/other",
            } } })
        };
        let prefix = AnnotationsPrefix::parse("ingress.example.com").expect("a prefix");
        let mut ingress = object("Ingress");
        prefix.apply(&mut ingress);
        let want = json!({
            "nginx.ingress.kubernetes.io/use-regex": "true",
            "nginx.ingress.kubernetes.io/app-root": "/own",
            "nginx.ingress.kubernetes.io/ssl-redirect": "false",
            "ingress.example.community/app-root": "/other",
        });
        assert_eq!(ingress["metadata"]["annotations"], want);
        let mut service = object("Service");
        prefix.apply(&mut service);
        assert_eq!(service, object("Service"));
        for mut odd in [json!(null), json!({ "kind": "Ingress", "metadata": { "annotations": [] } })] {
            prefix.apply(&mut odd);
        }
    }

    /// Otherwise a list with the prefix of ingress-nginx would allow more than the list with this prefix.
    #[test]
    fn annotations_with_the_prefix_take_precedence_over_their_synonyms() {
        let prefix = AnnotationsPrefix::parse("ingress.example.com").expect("a prefix");
        for (own, nginx, is_removed) in [
            ("whitelist-source-range", "allowlist-source-range", true),
            ("allowlist-source-range", "whitelist-source-range", true),
            ("limit-whitelist", "limit-allowlist", true),
            ("whitelist-source-range", "denylist-source-range", false),
            ("whitelist-source-range", "limit-allowlist", false),
        ] {
            let (own_name, nginx_name) = (format!("ingress.example.com/{own}"), format!("{NGINX}{nginx}"));
            let mut ingress = json!({ "kind": "Ingress", "metadata": { "annotations": {
                own_name: "10.0.0.1", nginx_name.as_str(): "0.0.0.0/0",
            } } });
            prefix.apply(&mut ingress);
            let annotations = ingress["metadata"]["annotations"].as_object().expect("an object");
            assert_eq!(annotations.get(&format!("{NGINX}{own}")), Some(&json!("10.0.0.1")), "{own}");
            assert_eq!(!annotations.contains_key(&nginx_name), is_removed, "{own} {nginx}");
        }
    }

    #[test]
    fn a_prefix_is_a_subdomain_that_is_not_reserved() {
        for (text, is_fine) in [
            ("ingress.example.com", true),
            ("a", true),
            ("", false),
            ("a/b", false),
            ("A.example", false),
            ("portcullis.dev", false),
            ("a.portcullis.dev", false),
            ("anportcullis.dev", true),
            ("kubernetes.io", false),
            ("kubectl.kubernetes.io", false),
            ("networking.k8s.io", false),
            ("ingress.kubernetes.io", true),
            ("internal.ingress.kubernetes.io", true),
        ] {
            assert_eq!(AnnotationsPrefix::parse(text).is_ok(), is_fine, "{text}");
        }
        assert_eq!(AnnotationsPrefix::parse("nginx.ingress.kubernetes.io"), Ok(AnnotationsPrefix::default()));
    }
}
