//! BackendTLSPolicy.

use gateway_api::apis::standard::backendtlspolicies::{
    BackendTlsPolicySpec, BackendTlsPolicyTargetRefs as TargetRef, BackendTlsPolicyValidation as Written,
    BackendTlsPolicyValidationSubjectAltNames as WrittenName,
    BackendTlsPolicyValidationSubjectAltNamesType as NameType,
};
use portcullis_routing::SubjectName;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    names::{self, quoted},
    typed,
};
use crate::ir::{
    BackendTlsPolicy, Meta,
    gateway::Reference,
    policy::{PolicyTarget, TrustedAuthorities, Validation},
};

/// The maximum number of targets (`maxItems`).
const TARGETS: usize = 16;
/// The maximum number of references to authorities (`maxItems`).
const AUTHORITIES: usize = 8;
/// The maximum number of subject alternative names (`maxItems`).
const SUBJECT_NAMES: usize = 5;

/// Reads a BackendTLSPolicy.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<BackendTlsPolicy> {
    let spec: BackendTlsPolicySpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let targets = targets(&spec.target_refs, checks, &at.field("targetRefs"));
    for option in spec.options.iter().flat_map(|options| options.keys()) {
        let message = "is not a known option; it has no effect";
        checks.warning(&at.field("options").field(option), message);
    }
    let validation = validation(spec.validation, checks, &at.field("validation"));
    Some(BackendTlsPolicy { meta, targets, validation: Ok(validation) })
}

/// The policy in place of one that is refused: with every Service that a target may stand for, so that nothing is sent to
/// them. A group or kind that is missing counts as that of a Service, and a section that cannot be read as the whole
/// Service.
pub(super) fn refused(spec: &Value, meta: Meta, why: Box<str>) -> BackendTlsPolicy {
    let written = spec.get("targetRefs").and_then(Value::as_array).into_iter().flatten();
    let target = |target: &Value| {
        let is =
            |name: &str, wanted: &str| target.get(name).and_then(Value::as_str).is_none_or(|is| is == wanted);
        let service = target.get("name")?.as_str()?.into();
        let section = target.get("sectionName").and_then(Value::as_str).filter(|s| names::SUBDOMAIN.fits(s));
        (is("group", "") && is("kind", "Service"))
            .then(|| PolicyTarget { service, section: section.map(Into::into) })
    };
    BackendTlsPolicy {
        meta,
        targets: written.take(TARGETS).filter_map(target).collect(),
        validation: Err(why),
    }
}

fn targets(written: &[TargetRef], checks: &mut Checks, at: &Path<'_>) -> Box<[PolicyTarget]> {
    checks.entries(written.len(), 1..=TARGETS, at);
    for (i, target) in written.iter().enumerate() {
        let at = at.index(i);
        checks.form(&target.group, names::GROUP, &at.field("group"));
        checks.form(&target.kind, names::KIND, &at.field("kind"));
        checks.form(&target.name, names::OBJECT_NAME, &at.field("name"));
        checks.optional_form(section(target), names::SUBDOMAIN, &at.field("sectionName"));
        if service(target).is_none() {
            checks.warning(&at, "is not a supported kind of target; use a Service");
        }
        let same = |other: &TargetRef| {
            (&other.group, &other.kind, &other.name) == (&target.group, &target.kind, &target.name)
        };
        let mut before = written[..i].iter().filter(|other| same(other));
        if before.any(|other| {
            section(other).is_none() || section(target).is_none_or(|s| section(other) == Some(s))
        }) {
            checks.error(&at, "names the same target as another entry; each needs a sectionName of its own");
        }
    }
    written.iter().filter_map(service).collect()
}

/// The API takes an empty `sectionName` for none.
fn section(target: &TargetRef) -> Option<&str> {
    target.section_name.as_deref().filter(|section| !section.is_empty())
}

fn service(target: &TargetRef) -> Option<PolicyTarget> {
    let is_service = target.group.is_empty() && target.kind == "Service";
    is_service.then(|| PolicyTarget {
        service: target.name.as_str().into(),
        section: section(target).map(Into::into),
    })
}

/// Reads `validation`, which an XBackend has, too.
pub(super) fn validation(written: Written, checks: &mut Checks, at: &Path<'_>) -> Validation {
    checks.form(&written.hostname, names::PRECISE_HOSTNAME, &at.field("hostname"));
    let names = written.subject_alt_names.unwrap_or_default();
    let at_names = at.field("subjectAltNames");
    checks.entries(names.len(), 0..=SUBJECT_NAMES, &at_names);
    let subject_names =
        names.into_iter().enumerate().filter_map(|(i, name)| subject_name(name, checks, &at_names.index(i)));
    let subject_names = subject_names.collect();
    let refs = written.ca_certificate_refs.unwrap_or_default();
    let well_known = written.well_known_ca_certificates.filter(|set| !set.is_empty());
    let at_refs = at.field("caCertificateRefs");
    checks.entries(refs.len(), 0..=AUTHORITIES, &at_refs);
    let references = refs.iter().enumerate().map(|(i, r)| {
        let at = at_refs.index(i);
        checks.form(&r.group, names::GROUP, &at.field("group"));
        checks.form(&r.kind, names::KIND, &at.field("kind"));
        checks.form(&r.name, names::OBJECT_NAME, &at.field("name"));
        Reference {
            group: r.group.as_str().into(),
            kind: r.kind.as_str().into(),
            namespace: None,
            name: r.name.as_str().into(),
        }
    });
    let references: Box<[_]> = references.collect();
    let at_set = at.field("wellKnownCACertificates");
    let authorities = match well_known {
        None => {
            checks.require(
                !references.is_empty(),
                at,
                "requires caCertificateRefs or wellKnownCACertificates",
            );
            TrustedAuthorities::References(references)
        }
        Some(set) => {
            checks.require(references.is_empty(), &at_set, "must not be combined with caCertificateRefs");
            checks.length(&set, 1..=253, &at_set);
            let is_known = set == "System";
            if !is_known && !names::CONTROLLER.fits(&set) {
                checks.error(&at_set, format!("{} must be System, or have a domain before it", quoted(&set)));
            }
            if is_known { TrustedAuthorities::System } else { TrustedAuthorities::Unknown(set.into()) }
        }
    };
    Validation { authorities, hostname: written.hostname.into(), subject_names }
}

fn subject_name(written: WrittenName, checks: &mut Checks, at: &Path<'_>) -> Option<SubjectName> {
    let (hostname, uri) =
        (written.hostname.filter(|text| !text.is_empty()), written.uri.filter(|text| !text.is_empty()));
    let (at_hostname, at_uri) = (at.field("hostname"), at.field("uri"));
    match written.r#type {
        NameType::Hostname => {
            checks.require(uri.is_none(), &at_uri, "is for type URI");
            checks.require(hostname.is_some(), &at_hostname, "is required for type Hostname");
            checks.optional_form(hostname.as_deref(), names::HOSTNAME, &at_hostname);
            hostname.map(|name| SubjectName::Dns(name.into()))
        }
        NameType::Uri => {
            checks.require(hostname.is_none(), &at_hostname, "is for type Hostname");
            checks.require(uri.is_some(), &at_uri, "is required for type URI");
            if let Some(uri) = &uri {
                checks.form(uri, names::ABSOLUTE_URI, &at_uri);
            }
            uri.map(|uri| SubjectName::Uri(uri.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Object,
        objects::testing::{decode_text, holds, object, warns},
    };

    const TARGETS: &str = "targetRefs: [{group: '', kind: Service, name: web}]";
    const AUTHORITY: &str = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]";

    fn document(spec: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: web, namespace: shop}}\nspec: {{{spec}}}\n"
        )
    }

    fn with_targets(targets: &str) -> String {
        document(&format!("targetRefs: {targets}, validation: {{hostname: a.example, {AUTHORITY}}}"))
    }

    fn with_validation(validation: &str) -> String {
        document(&format!("{TARGETS}, validation: {{{validation}}}"))
    }

    #[test]
    fn targets_are_services_and_their_ports() {
        let web = "group: '', kind: Service, name: web";
        let many = |count: usize| {
            let all: Vec<_> = (0..count).map(|i| format!("{{{web}, sectionName: p{i}}}")).collect();
            format!("[{}]", all.join(", "))
        };
        let twice = "spec.targetRefs[1]: names the same target as another entry";
        for (targets, want) in [
            (format!("[{{{web}}}]"), ""),
            (format!("[{{{web}}}, {{group: '', kind: Service, name: api}}]"), ""),
            (many(16), ""),
            (many(17), "spec.targetRefs: must have at most 16 entries, has 17"),
            ("[]".into(), "spec.targetRefs: must have at least 1 entry, has 0"),
            (format!("[{{{web}}}, {{{web}}}]"), twice),
            (format!("[{{{web}}}, {{{web}, sectionName: a}}]"), twice),
            (format!("[{{{web}, sectionName: a}}, {{{web}, sectionName: ''}}]"), twice),
            (format!("[{{{web}, sectionName: a}}, {{{web}, sectionName: a}}]"), twice),
            (
                "[{group: '', kind: Service, name: ''}]".into(),
                "spec.targetRefs[0].name: \"\" must not be empty",
            ),
            ("[{kind: Service, name: web}]".into(), "spec.targetRefs[0]: lacks the field `group`"),
        ] {
            holds(&[(&targets, want)], with_targets);
        }
        let others = format!("[{{{web}}}, {{group: example.com, kind: Pool, name: web}}]");
        warns(&[(&others, "spec.targetRefs[1]: is not a supported kind of target")], with_targets);
        let Object::BackendTlsPolicy(policy) = object(&with_targets(&others)) else { panic!() };
        assert_eq!(policy.targets.len(), 1);
    }

    #[test]
    fn validation_names_authorities_a_hostname_and_subject_names() {
        let with_names = |names: &str| format!("hostname: a.example, {AUTHORITY}, subjectAltNames: {names}");
        let nine = ["{group: '', kind: ConfigMap, name: ca}"; 9].join(", ");
        let at = "spec.validation.subjectAltNames[0]";
        for (validation, want) in [
            (format!("hostname: a.example, {AUTHORITY}"), String::new()),
            ("hostname: a.example, wellKnownCACertificates: System".into(), String::new()),
            ("hostname: a.example, wellKnownCACertificates: example.com/own".into(), String::new()),
            (
                "hostname: a.example, wellKnownCACertificates: Other".into(),
                "spec.validation.wellKnownCACertificates: \"Other\" must be System".into(),
            ),
            ("hostname: a.example".into(), "spec.validation: requires caCertificateRefs or".into()),
            (
                format!("hostname: a.example, {AUTHORITY}, wellKnownCACertificates: System"),
                "spec.validation.wellKnownCACertificates: must not be combined".into(),
            ),
            (format!("hostname: '*.example', {AUTHORITY}"), "spec.validation.hostname: ".into()),
            (AUTHORITY.into(), "spec.validation: lacks the field `hostname`".into()),
            (
                format!("hostname: a.example, caCertificateRefs: [{nine}]"),
                "spec.validation.caCertificateRefs: must have at most 8 entries".into(),
            ),
            (
                with_names("[{type: Hostname, hostname: '*.example'}, {type: URI, uri: 'spiffe://a/b'}]"),
                String::new(),
            ),
            (with_names("[{type: Hostname}]"), format!("{at}.hostname: is required for type Hostname")),
            (
                with_names("[{type: URI, hostname: a.example}]"),
                format!("{at}.hostname: is for type Hostname"),
            ),
            (
                with_names("[{type: Hostname, hostname: a.example, uri: 'a:b'}]"),
                format!("{at}.uri: is for type URI"),
            ),
            (with_names("[{type: URI, uri: 'no-scheme'}]"), format!("{at}.uri: ")),
            (with_names("[{type: Email, uri: 'a:b'}]"), "spec.validation.subjectAltNames[0].type: ".into()),
        ] {
            holds(&[(&validation, &want)], with_validation);
        }
        warns(
            &[("options: {example.com/a: b}", "spec.options.example.com/a: is not a known option")],
            |options| {
                document(&format!("{TARGETS}, validation: {{hostname: a.example, {AUTHORITY}}}, {options}"))
            },
        );
    }

    #[test]
    fn one_that_is_refused_keeps_its_targets() {
        let text = document(
            "targetRefs: [{group: '', kind: Service, name: web, sectionName: a}, {name: odd}, {kind: Service, name: db, \
             sectionName: '-'}, {group: '', kind: Pod, name: pod}, 7], validation: {}",
        );
        let Some(Object::BackendTlsPolicy(policy)) = decode_text(&text).refused else {
            panic!("none is kept")
        };
        let target = |service: &str, section: Option<&str>| PolicyTarget {
            service: service.into(),
            section: section.map(Into::into),
        };
        assert_eq!(*policy.targets, [target("web", Some("a")), target("odd", None), target("db", None)]);
        assert!(policy.validation.is_err());
    }
}
