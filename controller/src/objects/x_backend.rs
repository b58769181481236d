//! XBackend.

use std::{collections::BTreeMap, net::IpAddr};

use gateway_api::apis::standard::backendtlspolicies::BackendTlsPolicyValidation;
use serde::Deserialize;
use serde_json::Value;

use super::{
    backend_tls_policy,
    checks::{Checks, Path},
    gateway_class::reference,
    invalid::{not_served, unknown_here},
    names::{self, quoted},
    session_persistence, typed,
};
use crate::ir::{
    Meta, XBackend,
    gateway::Reference,
    route::InvalidRule,
    x_backend::{Destination, SessionPersistence, XBackendSpec, XBackendTls, XProtocol},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    r#type: String,
    port: Port,
    endpoint_selector: Option<Selector>,
    external_hostname: Option<Hostname>,
    protocol: Option<String>,
    session_persistence: Option<session_persistence::Written>,
    tls: Option<Tls>,
}

#[derive(Debug, Deserialize)]
struct Port {
    number: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Hostname {
    hostname: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tls {
    mode: String,
    client_certificate_ref: Option<Secret>,
    validation: Option<BackendTlsPolicyValidation>,
}

#[derive(Debug, Deserialize)]
struct Secret {
    group: Option<String>,
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
}

/// Reads an XBackend.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<XBackend> {
    let written: Written = typed::field(document, "spec", checks)?;
    let spec = spec(written, checks, &Path::Root.field("spec"));
    Some(XBackend { meta, spec: spec.map_err(|invalid| invalid.to_string().into()) })
}

fn spec(written: Written, checks: &mut Checks, at: &Path<'_>) -> Result<XBackendSpec, InvalidRule> {
    let Written { r#type, port, endpoint_selector, external_hostname, protocol, session_persistence, tls } =
        written;
    let destination = destination(&r#type, endpoint_selector, external_hostname, checks, at);
    let port = checks.port(port.number, &at.field("port").field("number"));
    let at_protocol = at.field("protocol");
    let protocol = protocol.map(|text| self::protocol(&text, checks, &at_protocol)).transpose();
    let has_tls = tls.as_ref().is_some_and(|tls| tls.mode != "None");
    let tls = tls.map_or(Ok(None), |tls| self::tls(tls, checks, &at.field("tls")));
    match protocol {
        Ok(Some(XProtocol::H2c)) => {
            checks.require(!has_tls, &at_protocol, "H2C is without TLS; use HTTP2 for HTTP/2 with TLS");
        }
        Ok(Some(XProtocol::Http2)) => {
            checks.require(has_tls, &at_protocol, "HTTP2 is with TLS; use H2C for HTTP/2 without TLS");
        }
        Ok(Some(XProtocol::Wss)) => checks.require(has_tls, &at_protocol, "WSS is with TLS"),
        _ => {}
    }
    let at_persistence = at.field("sessionPersistence");
    if session_persistence.is_some() {
        checks.require(r#type == "EndpointSelector", &at_persistence, "is for type EndpointSelector");
    }
    let persistence =
        session_persistence.map(|written| session_persistence::read(written, checks, &at_persistence));
    let persistence: Result<Option<SessionPersistence>, _> = persistence.transpose();
    // All of them, so that each says what is wrong with it.
    Ok(XBackendSpec {
        destination: destination?,
        port,
        protocol: protocol?,
        tls: tls?,
        persistence: persistence?,
    })
}

fn destination(
    kind: &str,
    selector: Option<Selector>,
    hostname: Option<Hostname>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Destination, InvalidRule> {
    let (at_selector, at_hostname) = (at.field("endpointSelector"), at.field("externalHostname"));
    match kind {
        "EndpointSelector" => {
            checks.require(hostname.is_none(), &at_hostname, "is for type ExternalHostname");
            checks.require(selector.is_some(), &at_selector, "is required for type EndpointSelector");
            let at_labels = at_selector.field("matchLabels");
            let labels = selector.map(|selector| selector.match_labels).unwrap_or_default();
            checks.entries(labels.len(), 1..=64, &at_labels);
            for (name, value) in &labels {
                checks.form(name, names::QUALIFIED, &at_labels.field(name));
                checks.form(value, names::LABEL_VALUE, &at_labels.field(name));
            }
            Ok(Destination::Pods(
                labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            ))
        }
        "ExternalHostname" => {
            checks.require(selector.is_none(), &at_selector, "is for type EndpointSelector");
            checks.require(hostname.is_some(), &at_hostname, "is required for type ExternalHostname");
            let hostname = hostname.map(|hostname| hostname.hostname).unwrap_or_default();
            let at = at_hostname.field("hostname");
            checks.form(&hostname, names::PRECISE_HOSTNAME, &at);
            checks.require(!hostname.ends_with(".cluster.local"), &at, "must not end with .cluster.local");
            match hostname.parse::<IpAddr>() {
                Ok(_) => not_served(&at, "must be a name, not an IP address", checks),
                Err(_) => Ok(Destination::Hostname(hostname.into())),
            }
        }
        other => {
            let message = format!("{} is not one of ExternalHostname, EndpointSelector", quoted(other));
            unknown_here(&at.field("type"), message, checks)
        }
    }
}

fn protocol(text: &str, checks: &mut Checks, at: &Path<'_>) -> Result<XProtocol, InvalidRule> {
    let known = XProtocol::ALL.into_iter().find(|protocol| protocol.as_str() == text);
    known.map_or_else(
        || {
            let all = XProtocol::ALL.map(XProtocol::as_str).join(", ");
            unknown_here(at, format!("{} is not one of {all}", quoted(text)), checks)
        },
        Ok,
    )
}

fn tls(
    Tls { mode, client_certificate_ref, validation }: Tls,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Option<XBackendTls>, InvalidRule> {
    let (has_tls, has_certificate) = match &*mode {
        "None" => (false, false),
        "ServerOnly" => (true, false),
        "ClientAndServer" => (true, true),
        other => {
            let message = format!("{} is not one of None, ServerOnly, ClientAndServer", quoted(other));
            return unknown_here(&at.field("mode"), message, checks);
        }
    };
    let (at_validation, at_certificate) = (at.field("validation"), at.field("clientCertificateRef"));
    match has_tls {
        true => checks.require(validation.is_some(), &at_validation, "is required unless mode is None"),
        false => checks.require(validation.is_none(), &at_validation, "is for the modes other than None"),
    }
    match has_certificate {
        true => checks.require(
            client_certificate_ref.is_some(),
            &at_certificate,
            "is required for mode ClientAndServer",
        ),
        false => {
            checks.require(client_certificate_ref.is_none(), &at_certificate, "is for mode ClientAndServer");
        }
    }
    let client_certificate = client_certificate_ref.map(|Secret { group, kind, name, namespace }| {
        let written = Reference {
            group: group.unwrap_or_default().into(),
            kind: kind.unwrap_or_else(|| "Secret".to_owned()).into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        reference(written, checks, &at_certificate)
    });
    let validation =
        validation.map(|written| backend_tls_policy::validation(written, checks, &at_validation));
    Ok(validation.filter(|_| has_tls).map(|validation| XBackendTls { validation, client_certificate }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Object,
        objects::{
            decode_live,
            testing::{holds, object},
        },
    };

    const PODS: &str = "type: EndpointSelector, endpointSelector: {matchLabels: {app: web}}";
    const NAME: &str = "type: ExternalHostname, externalHostname: {hostname: api.example.com}";
    const VALIDATION: &str = "validation: {hostname: a.example, wellKnownCACertificates: System}";

    fn document(spec: &str) -> String {
        format!(
            "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata: {{name: web}}\nspec: {{{spec}}}\n"
        )
    }

    fn read(spec: &str) -> XBackendSpec {
        let Object::XBackend(backend) = object(&document(spec)) else { panic!("no XBackend") };
        backend.spec.clone().unwrap()
    }

    #[test]
    fn a_backend_is_pods_or_a_hostname() {
        let pods = read(&format!("{PODS}, port: {{number: 8080}}"));
        assert_eq!(pods.destination, Destination::Pods([("app".into(), "web".into())].into()));
        assert_eq!((pods.port, pods.protocol, pods.tls), (8080, None, None));
        let name = read(&format!(
            "{NAME}, port: {{number: 443}}, protocol: HTTP2, tls: {{mode: ServerOnly, {VALIDATION}}}"
        ));
        assert_eq!(name.destination, Destination::Hostname("api.example.com".into()));
        assert_eq!(name.protocol, Some(XProtocol::Http2));
        assert_eq!(&*name.tls.unwrap().validation.hostname, "a.example");
        let mutual = "tls: {mode: ClientAndServer, clientCertificateRef: {name: own}";
        let mutual = read(&format!("{PODS}, port: {{number: 443}}, {mutual}, {VALIDATION}}}"));
        let certificate = mutual.tls.unwrap().client_certificate.unwrap();
        assert_eq!((&*certificate.group, &*certificate.kind, &*certificate.name), ("", "Secret", "own"));
    }

    #[test]
    fn what_the_api_refuses_is_refused() {
        let port = "port: {number: 80}";
        for (spec, want) in [
            (PODS.to_string(), "spec: lacks the field `port`"),
            (format!("{PODS}, port: {{}}"), "spec.port: lacks the field `number`"),
            (format!("{PODS}, port: {{number: 0}}"), "spec.port.number: must be between 1 and 65535"),
            (port.to_string(), "spec: lacks the field `type`"),
            (format!("type: Other, {port}"), "spec.type: \"Other\" is not one of"),
            (format!("type: EndpointSelector, {port}"), "spec.endpointSelector: is required"),
            (format!("type: ExternalHostname, {port}"), "spec.externalHostname: is required"),
            (
                format!("{PODS}, externalHostname: {{hostname: a.example}}, {port}"),
                "spec.externalHostname: is for type ExternalHostname",
            ),
            (
                format!("type: EndpointSelector, endpointSelector: {{matchLabels: {{}}}}, {port}"),
                "spec.endpointSelector.matchLabels: must have at least 1 entry",
            ),
            (
                format!(
                    "type: ExternalHostname, externalHostname: {{hostname: db.data.svc.cluster.local}}, {port}"
                ),
                "spec.externalHostname.hostname: must not end with .cluster.local",
            ),
            (
                format!("{NAME}, {port}, sessionPersistence: {{cookie: {{}}}}"),
                "spec.sessionPersistence: is for",
            ),
            (format!("{PODS}, {port}, protocol: SMTP"), "spec.protocol: \"SMTP\" is not one of"),
            (format!("{PODS}, {port}, protocol: HTTP2"), "spec.protocol: HTTP2 is with TLS"),
            (format!("{PODS}, {port}, protocol: WSS"), "spec.protocol: WSS is with TLS"),
            (
                format!(
                    "type: ExternalHostname, externalHostname: {{hostname: 192.0.2.1}}, {port}, protocol: WSS"
                ),
                "spec.protocol: WSS is with TLS",
            ),
            (
                format!("{PODS}, {port}, protocol: H2C, tls: {{mode: ServerOnly, {VALIDATION}}}"),
                "spec.protocol: H2C is without TLS",
            ),
            (format!("{PODS}, {port}, tls: {{mode: ServerOnly}}"), "spec.tls.validation: is required"),
            (format!("{PODS}, {port}, tls: {{mode: None, {VALIDATION}}}"), "spec.tls.validation: is for"),
            (
                format!("{PODS}, {port}, tls: {{mode: ClientAndServer, {VALIDATION}}}"),
                "spec.tls.clientCertificateRef: is required",
            ),
            (
                format!(
                    "{PODS}, {port}, tls: {{mode: ServerOnly, clientCertificateRef: {{name: a}}, {VALIDATION}}}"
                ),
                "spec.tls.clientCertificateRef: is for mode ClientAndServer",
            ),
        ] {
            holds(&[(&spec, want)], document);
        }
    }

    #[test]
    fn an_address_is_no_hostname() {
        let spec = "type: ExternalHostname, externalHostname: {hostname: 192.0.2.1}, port: {number: 80}";
        let Object::XBackend(backend) = object(&document(spec)) else { panic!("no XBackend") };
        assert!(backend.spec.as_ref().unwrap_err().contains("not an IP address"), "{:?}", backend.spec);
    }

    #[test]
    fn a_value_of_a_later_release_costs_the_backend() {
        let document = serde_json::json!({
            "apiVersion": "gateway.networking.x-k8s.io/v1alpha1",
            "kind": "XBackend",
            "metadata": { "name": "web", "namespace": "shop", "uid": "1" },
            "spec": { "type": "Later", "port": { "number": 80 } },
        });
        let Some(Object::XBackend(backend)) = decode_live(document).object else { panic!("no XBackend") };
        assert!(backend.spec.as_ref().unwrap_err().contains("spec.type"), "{:?}", backend.spec);
    }
}
