//! A further prefix of the annotations of ingress-nginx (`--annotations-prefix`).

use std::sync::Arc;

use serde_json::Value;

use super::{ingress::annotations::NGINX, names::SUBDOMAIN};

/// The prefix without its slash; `None` is that of ingress-nginx alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationsPrefix(Option<Arc<str>>);

impl AnnotationsPrefix {
    /// Parses a prefix, a DNS subdomain such as `ingress.example.com`.
    ///
    /// # Errors
    /// The reason why it is invalid.
    pub fn parse(text: &str) -> Result<Self, String> {
        match SUBDOMAIN.fits(text) {
            // That of ingress-nginx is always read.
            true => Ok(Self(Some(text.into()).filter(|_| format!("{text}/") != NGINX))),
            false => Err(format!("{text:?} is not a DNS subdomain such as ingress.example.com")),
        }
    }

    /// Gives the annotations of an Ingress that have this prefix the one of ingress-nginx. They take precedence over others of
    /// the same name. Does nothing to objects of other kinds.
    pub(crate) fn apply(&self, object: &mut Value) {
        let Some(prefix) = self.0.as_deref() else { return };
        if object.get("kind").is_none_or(|kind| kind != "Ingress") {
            return;
        }
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        let Some(annotations) = annotations else { return };
        let own = |name: &str| name.strip_prefix(prefix)?.strip_prefix('/').map(str::to_owned);
        let names: Vec<_> = annotations.keys().filter_map(|name| Some((name.clone(), own(name)?))).collect();
        for (full_name, name) in names {
            if let Some(value) = annotations.remove(&full_name) {
                annotations.insert(format!("{NGINX}{name}"), value);
            }
        }
    }
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

    #[test]
    fn a_prefix_is_a_subdomain() {
        for (text, is_fine) in
            [("ingress.example.com", true), ("a", true), ("", false), ("a/b", false), ("A.example", false)]
        {
            assert_eq!(AnnotationsPrefix::parse(text).is_ok(), is_fine, "{text}");
        }
        assert_eq!(AnnotationsPrefix::parse("nginx.ingress.kubernetes.io"), Ok(AnnotationsPrefix::default()));
    }
}
