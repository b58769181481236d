//! Whether the default backend of the operator (`--default-backend-service`) can be used.

use super::{Reader, services};
use crate::{Problem, ir::ingress::PortRef, problem::Topic};

/// The problem of the Service, if it cannot be used.
pub(super) fn problem(reader: &Reader<'_>) -> Option<Problem> {
    let key = &reader.settings().default_backend.as_ref()?.service;
    let found = services::find(reader, &key.namespace, &key.name);
    let port = found.and_then(|service| {
        services::check(service, reader.settings())?;
        services::port_of_ingress(service, &PortRef::First)
    });
    let message = format!(
        "cannot be used as the default backend (--default-backend-service): {}; requests for hosts that no Ingress names \
         receive 503, and other requests that no Ingress matches receive 404",
        port.err()?
    );
    Some(Problem { topic: Topic::DefaultBackend, ..Problem::warning(key, "", message) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        ir::{Kind, ObjectKey},
        translate::{DefaultBackend, Settings, testing::snapshot, unclaimed},
    };

    #[test]
    fn a_service_that_cannot_be_used_is_reported() {
        const SERVICE: &str = "kind: Service\nmetadata: { namespace: infra, name: errs }\n";
        for (spec, want) in [
            ("spec: { ports: [{ port: 8080 }] }", None),
            ("spec: { type: ExternalName, externalName: a.example }", Some("has no port")),
            ("", Some("Service infra/errs not found")),
        ] {
            let document = if spec.is_empty() { String::new() } else { format!("{SERVICE}{spec}\n") };
            let service = ObjectKey::new(Kind::Service, "infra", "errs");
            for direct in [true, false] {
                let default_backend = Some(Arc::new(DefaultBackend::new(service.clone())));
                let settings = Settings { default_backend, direct, ..Settings::default() };
                let objects = snapshot(&document);
                let problems = unclaimed(&Reader::new(&objects, &settings, None));
                let text = problems.first().map(ToString::to_string);
                let is_right = text.as_ref().zip(want).is_some_and(|(text, want)| {
                    text.starts_with("Service infra/errs: cannot be used") && text.contains(want)
                });
                assert!(is_right || (text.is_none() && want.is_none()), "{spec}: {text:?}");
            }
        }
        let none = Settings::default();
        assert!(unclaimed(&Reader::new(&snapshot(""), &none, None)).is_empty());
    }
}
