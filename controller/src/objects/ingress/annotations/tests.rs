use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::step::IngressCors;
use portcullis_tls::CipherPolicy;

use super::*;
use crate::{
    ir::{
        Ingress, Object,
        ingress::{
            Access, Affinity, Answers, AuthTls, BackendSpeech, Balancing, BasicAuth, Body, Canary, Errors,
            ExternalAuth, Hashing, Limits, Logs, Mirroring, Pacing, Redirects, Rewrite, ServerAlias,
            SslPassthrough, Upstream, UpstreamVhost,
        },
    },
    objects::{
        checks::Origin,
        testing::{object, warns},
    },
};

fn document(annotations: &[(&str, &str)]) -> String {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "web", "annotations": annotations },
        "spec": { "rules": [{ "host": "a.com" }] },
    })
    .to_string()
}

pub(super) fn ingress(annotations: &[(&str, &str)]) -> Arc<Ingress> {
    let Object::Ingress(ingress) = object(&document(annotations)) else { panic!("no Ingress") };
    ingress
}

/// Reads annotations of ingress-nginx, given without their prefix. Returns what `of` takes of them, and how many warnings
/// there are.
pub(super) fn family<T>(annotations: &[(&str, &str)], of: impl Fn(&Annotations) -> T) -> (T, usize) {
    let ingress = nginx(annotations);
    assert_eq!(ingress.refused, None, "{annotations:?}");
    (of(&ingress.annotations), ingress.meta.warnings.len())
}

/// What closes an Ingress with these annotations, given without their prefix.
pub(super) fn closed_by(annotations: &[(&str, &str)]) -> Option<String> {
    nginx(annotations).annotations.unserved.closed_by(false)
}

/// Why an Ingress with these annotations, given without their prefix, is refused.
pub(super) fn refused(annotations: &[(&str, &str)]) -> String {
    nginx(annotations).refused.as_deref().expect("refused").into()
}

/// What closes an Ingress with these annotations, given without their prefix.
pub(super) fn closed(annotations: &[(&str, &str)]) -> String {
    nginx(annotations).annotations.unserved.closed_by(false).expect("closed")
}

fn nginx(annotations: &[(&str, &str)]) -> Arc<Ingress> {
    let named: Vec<_> = annotations.iter().map(|(name, value)| (format!("{NGINX}{name}"), *value)).collect();
    ingress(&named.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())
}

const WAF: (&str, &str) = ("nginx.ingress.kubernetes.io/enable-modsecurity", "true");
const STREAM: (&str, &str) = ("nginx.ingress.kubernetes.io/stream-snippet", "server {}");
const REGEX: (&str, &str) = ("nginx.ingress.kubernetes.io/use-regex", "true");
const REWRITE_LOG: (&str, &str) = ("nginx.ingress.kubernetes.io/enable-rewrite-log", "true");
const HEADERS: (&str, &str) = ("nginx.ingress.kubernetes.io/server-snippet", "add_header A b;");
const DENY: (&str, &str) = ("nginx.ingress.kubernetes.io/server-snippet", "location /a { deny all; }");
const UNKNOWN: (&str, &str) = ("nginx.ingress.kubernetes.io/auth-urls", "http://auth");
const MISSPELT: (&str, &str) = ("portcullis.dev/unsuported", "ignore");
const FOREIGN: (&str, &str) = ("cert-manager.io/cluster-issuer", "a");
const IGNORE: (&str, &str) = ("portcullis.dev/unsupported", "ignore");
const IGNORE_WRONG: (&str, &str) = ("portcullis.dev/unsupported", "true");

#[test]
fn what_protects_and_is_not_served_closes() {
    for (annotations, by, strictly_by, whole_hosts) in [
        (&[][..], None, None, false),
        (&[FOREIGN], None, None, false),
        (&[WAF], Some("enable-modsecurity"), Some("enable-modsecurity"), false),
        (
            &[STREAM, WAF],
            Some("enable-modsecurity, stream-snippet"),
            Some("enable-modsecurity, stream-snippet"),
            true,
        ),
        (&[WAF, REGEX], Some("enable-modsecurity"), Some("enable-modsecurity"), true),
        (&[REGEX], None, None, true),
        (&[HEADERS], None, None, false),
        (&[DENY], Some("server-snippet"), Some("server-snippet"), true),
        (&[UNKNOWN], None, Some(UNKNOWN.0), false),
        (&[MISSPELT], None, Some(MISSPELT.0), false),
        (&[WAF, IGNORE], None, None, false),
        (&[STREAM, UNKNOWN, IGNORE], None, None, false),
        (&[WAF, IGNORE_WRONG], Some("enable-modsecurity"), Some("enable-modsecurity"), false),
    ] {
        let unserved = &ingress(annotations).annotations.unserved;
        let got = (unserved.closed_by(false), unserved.closed_by(true), unserved.whole_hosts);
        assert_eq!(
            (got.0.as_deref(), got.1.as_deref(), got.2),
            (by, strictly_by, whole_hosts),
            "{annotations:?}"
        );
    }
}

#[test]
fn the_reason_names_each_annotation_and_what_is_wrong_with_it() {
    let waf = ("enable-modsecurity", "true");
    for (annotations, want) in [
        (&[("limit-rps", "many")][..], r#"limit-rps: "many" is not a number"#),
        (&[waf], "enable-modsecurity: is not supported"),
        (
            &[("limit-rate", "fast"), waf],
            r#"enable-modsecurity: is not supported; limit-rate: "fast" is not a whole number"#,
        ),
    ] {
        let unserved = &nginx(annotations).annotations.unserved;
        assert_eq!(unserved.why_closed(false).as_deref(), Some(want), "{annotations:?}");
    }
    let unserved = &ingress(&[UNKNOWN]).annotations.unserved;
    assert_eq!(unserved.why_closed(true).unwrap(), format!("{}: is not a known annotation", UNKNOWN.0));
    assert_eq!(unserved.why_closed(false), None);
    let many = [
        ("auth-type", "x"),
        ("auth-url", ""),
        ("denylist-source-range", "x"),
        ("enable-modsecurity", "1"),
        ("limit-rps", "x"),
        ("modsecurity-snippet", ""),
    ];
    let why = nginx(&many).annotations.unserved.why_closed(false).unwrap();
    assert!(why.ends_with(" and 1 more") && why.matches("; ").count() == 4, "{why}");
}

#[test]
fn what_has_no_effect_is_a_warning_of_its_topic() {
    for (annotation, topic, text) in [
        (
            WAF,
            Topic::Protection("enable-modsecurity"),
            "protects the paths of this Ingress and is not supported",
        ),
        (STREAM, Topic::Protection("stream-snippet"), "protects the whole host and is not supported"),
        (HEADERS, Topic::Annotation("server-snippet"), "is not served; it has no effect"),
        (REWRITE_LOG, Topic::Annotation("enable-rewrite-log"), "is not served; it has no effect"),
        (
            ("nginx.ingress.kubernetes.io/secure-backends", "true"),
            Topic::Annotation("secure-backends"),
            "has no effect, and has none in ingress-nginx 1.15 either",
        ),
        (UNKNOWN, Topic::UnknownAnnotation, "is not a known annotation"),
        (MISSPELT, Topic::UnknownAnnotation, "is not a known annotation"),
        (IGNORE_WRONG, Topic::InvalidAnnotation, "\"true\" is not a known value"),
    ] {
        let at = format!("metadata.annotations.{}: {text}", annotation.0);
        warns(&[("", &at)], |_| document(&[annotation]));
        let ingress = ingress(&[annotation]);
        let warnings: Vec<_> =
            ingress.meta.warnings.iter().map(|w| (w.topic, w.text.starts_with(&at))).collect();
        assert_eq!(warnings, [(topic, true)], "{annotation:?}");
    }
    assert!(ingress(&[FOREIGN, IGNORE]).meta.warnings.is_empty());
}

#[test]
fn what_is_about_buffers_is_a_notice() {
    for name in
        ["proxy-buffers-number", "proxy-busy-buffers-size", "proxy-max-temp-file-size", "proxy-http-version"]
    {
        let ingress = nginx(&[(name, "8")]);
        let warnings: Vec<_> = ingress.meta.warnings.iter().map(|warning| warning.topic).collect();
        assert_eq!(warnings, [Topic::Annotation(name)], "{name}");
        assert!(ingress.meta.warnings[0].text.contains("is not needed: messages are streamed"), "{name}");
        assert_eq!(ingress.annotations.unserved.closed_by(true), None, "{name}");
    }
}

#[test]
fn a_path_that_is_left_out_closes_with_its_whole_host() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {rules: [{http: {paths: \
                [{path: '/a//b', pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]}";
    let Object::Ingress(ingress) = object(text) else { panic!("no Ingress") };
    let unserved = &ingress.annotations.unserved;
    assert!(unserved.whole_hosts && unserved.closed_by(true).is_none());
}

#[test]
fn warnings_that_are_kept_are_few() {
    let names: Vec<_> = (0..200).map(|n| format!("nginx.ingress.kubernetes.io/no-{n}")).collect();
    let annotations: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let warnings = &ingress(&annotations).meta.warnings;
    assert_eq!(warnings.len(), 17);
    assert_eq!(&*warnings[16].text, "and 84 more warnings");
}

#[test]
fn what_is_served_is_what_families_read() {
    let of_families: BTreeSet<_> = [
        Access::NAMES,
        Redirects::NAMES,
        Rewrite::NAMES,
        <Option<Arc<IngressCors>>>::NAMES,
        <Option<AuthTls>>::NAMES,
        ServerAlias::NAMES,
        UpstreamVhost::NAMES,
        Logs::NAMES,
        Balancing::NAMES,
        Hashing::NAMES,
        Affinity::NAMES,
        <Option<Canary>>::NAMES,
        ExternalAuth::NAMES,
        Body::NAMES,
        Pacing::NAMES,
        Upstream::NAMES,
        BackendSpeech::NAMES,
        Errors::NAMES,
        Answers::NAMES,
        Limits::NAMES,
        BasicAuth::NAMES,
        SslPassthrough::NAMES,
        <Option<Mirroring>>::NAMES,
        CipherPolicy::NAMES,
    ]
    .concat()
    .into_iter()
    .collect();
    assert_eq!(of_families, known::served().collect());
}

/// A family that protects.
#[derive(Debug, Default, PartialEq, Eq)]
struct Limit(Option<u32>);

impl Family for Limit {
    const NAMES: &'static [&'static str] = &["limit-rps"];

    fn parse(written: Written<'_>, _: &mut Checks) -> Result<Self, Denied> {
        let Some(value) = written.value("limit-rps") else { return Ok(Self(None)) };
        let why = || format!("{} is not a number", quoted(value));
        let parsed = value.parse().map_err(|_| Denied { name: "limit-rps", why: why() })?;
        Ok(Self(Some(parsed)))
    }
}

#[test]
fn a_family_that_is_denied_closes_what_its_annotation_protects() {
    for (value, want, closed_by) in
        [(None, None, None), (Some("5"), Some(5), None), (Some("many"), None, Some("limit-rps"))]
    {
        let annotations = value.map(|value| (format!("{NGINX}limit-rps"), value.to_owned()));
        let annotations = annotations.into_iter().collect();
        let mut checks = Checks::of("", Origin::ApiServer);
        let mut families =
            Families { written: Written(&annotations), checks: &mut checks, denied: Vec::new() };
        assert_eq!(families.read::<Limit>(), Limit(want), "{value:?}");
        let denied = families.denied;
        let unserved = close(denied, false, &mut checks);
        assert_eq!(unserved.closed_by(false).as_deref(), closed_by, "{value:?}");
        let warnings = usize::from(closed_by.is_some());
        assert_eq!(checks.into_problems().len(), warnings, "{value:?}");
    }
}
