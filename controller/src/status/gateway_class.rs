//! The status of a GatewayClass.

use super::{
    Condition, ConditionType, GatewayClassStatus, Message, Report, Status, SupportedFeature, list, refused,
    types::condition,
};
use crate::{
    ir::{GatewayClass, parameters::Addressing},
    translate::{Bundle, DedicatedPorts, Reader, parameters_of_class},
};

/// What is said about a GatewayClass; nothing where it is another controller's.
pub fn gateway_class(class: &GatewayClass, reader: &Reader<'_>) -> Option<Report> {
    let settings = reader.settings();
    (*class.controller == *settings.gateway_controller).then(|| Report {
        status: Status::Conditions(Box::new(GatewayClassStatus {
            conditions: [Some(accepted(class, reader)), supported_version(class, reader.bundle())]
                .into_iter()
                .flatten()
                .collect(),
            supported_features: features(class, reader),
        })),
        messages: Message::warnings(&class.meta).collect(),
    })
}

fn accepted(class: &GatewayClass, reader: &Reader<'_>) -> Condition {
    let condition = condition(class.meta.generation, ConditionType::Accepted);
    if let Some(why) = &class.refused {
        return condition.no("UnsupportedValue", refused(why));
    }
    match parameters_of_class(reader, class) {
        Ok(_) => condition.yes("Accepted", "Gateways of this class are served"),
        Err(why) => condition.no("InvalidParameters", format!("parametersRef: {why}")),
    }
}

/// The release of the Gateway API that is served.
const RELEASE: &str = "v1.7.";

/// Whether the CRDs are of the release that is served; nothing where there are none to be seen, as in a folder.
fn supported_version(class: &GatewayClass, bundle: Option<&Bundle>) -> Option<Condition> {
    let bundle = bundle?;
    let condition = condition(class.meta.generation, ConditionType::SupportedVersion);
    let others: Vec<_> = bundle.releases.iter().filter(|version| !version.starts_with(RELEASE)).collect();
    Some(match others.as_slice() {
        [] => condition.yes("SupportedVersion", format!("the CRDs are of {}", list(&bundle.releases))),
        others => condition.no(
            "UnsupportedVersion",
            format!(
                "there are CRDs of {}, but {RELEASE}x is supported; what they have in common is served",
                list(others)
            ),
        ),
    })
}

/// What is served of the features that the conformance suite names, in alphabetical order; none where the class is not
/// accepted. What is claimed depends on the parameters, and a client such as the suite may read the list only once.
fn features(class: &GatewayClass, reader: &Reader<'_>) -> Vec<SupportedFeature> {
    let parameters = parameters_of_class(reader, class);
    let (None, Ok(parameters)) = (&class.refused, parameters) else { return Vec::new() };
    let has_own = parameters.addressing == Some(Addressing::Dedicated)
        && reader.settings().dedicated != DedicatedPorts::AsShared;
    let own = OF_OWN_ADDRESSES.iter().filter(|_| has_own);
    let has_crd = |name: &str| reader.bundle().is_some_and(|bundle| bundle.experimental.contains(name));
    let experimental_of_own = EXPERIMENTAL_OF_OWN_ADDRESSES.iter().filter(|_| has_own);
    let experimental = EXPERIMENTAL.iter().chain(experimental_of_own);
    let experimental = experimental.filter(|(_, crd)| has_crd(crd)).map(|(feature, _)| feature);
    let mut names: Vec<_> = FEATURES.iter().chain(own).chain(experimental).copied().collect();
    names.sort_unstable();
    names.into_iter().map(|name| SupportedFeature { name }).collect()
}

/// What a Gateway has with a Service of its own alone.
const OF_OWN_ADDRESSES: &[&str] = &["GatewayInfrastructure", "GatewayStaticAddresses"];

/// What every Gateway has where this CRD is of the experimental channel.
const EXPERIMENTAL: &[(&str, &str)] = &[
    ("ClusterTrustBundle", "backendtlspolicies.gateway.networking.k8s.io"),
    ("GatewayListenerFilters", "gateways.gateway.networking.k8s.io"),
    ("HTTPRouteDestinationPortMatching", "httproutes.gateway.networking.k8s.io"),
];

/// The same, of what a Gateway has with a Service of its own alone.
const EXPERIMENTAL_OF_OWN_ADDRESSES: &[(&str, &str)] = &[
    ("GatewayAddressRoutability", "gateways.gateway.networking.k8s.io"),
    ("GatewayAddressRoutabilityCluster", "gateways.gateway.networking.k8s.io"),
];

/// What every Gateway has.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetryCodes",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{
        ir::{Kind, ObjectKey},
        translate::{PortRange, Settings, testing::snapshot},
    };

    const OBJECTS: &str = "
kind: GatewayClass
metadata: { name: shared }
spec: { controllerName: portcullis.dev/gateway-controller }
---
kind: GatewayClass
metadata: { name: dedicated }
spec:
  controllerName: portcullis.dev/gateway-controller
  parametersRef: { group: portcullis.dev, kind: GatewayParameters, name: dedicated, namespace: shop }
---
kind: GatewayParameters
metadata: { name: dedicated, namespace: shop }
spec: { addressing: Dedicated }
";

    #[test]
    fn features_are_those_of_the_class_in_alphabetical_order() {
        let snapshot = snapshot(OBJECTS);
        let cluster = DedicatedPorts::Of(PortRange::new(20_000, 20_009).unwrap());
        for (class, dedicated, want) in [
            ("shared", cluster, false),
            ("dedicated", cluster, true),
            ("dedicated", DedicatedPorts::AsShared, false),
        ] {
            let settings = Settings { dedicated, ..Settings::default() };
            let class = &snapshot.gateway_classes[&ObjectKey::new(Kind::GatewayClass, "", class)];
            let report = gateway_class(class, &Reader::new(&snapshot, &settings, None)).unwrap();
            let Status::Conditions(status) = &report.status else { panic!("{report:?}") };
            let names: Vec<_> = status.supported_features.iter().map(|feature| feature.name).collect();
            assert!(names.is_sorted(), "{names:?}");
            assert_eq!(names.contains(&"GatewayStaticAddresses"), want, "{class:?} {dedicated:?}");
            assert_eq!(names.contains(&"GatewayInfrastructure"), want, "{class:?} {dedicated:?}");
        }
    }

    #[test]
    fn a_class_that_is_not_accepted_claims_no_features() {
        let (before_parameters, _) = OBJECTS.rsplit_once("---").unwrap();
        let snapshot = snapshot(before_parameters);
        let settings = Settings::default();
        let reader = Reader::new(&snapshot, &settings, None);
        for (class, accepted) in [("shared", "True"), ("dedicated", "False")] {
            let class = &snapshot.gateway_classes[&ObjectKey::new(Kind::GatewayClass, "", class)];
            let Status::Conditions(status) = gateway_class(class, &reader).unwrap().status else { panic!() };
            let status = serde_json::to_value(&status).unwrap();
            assert_eq!(status["conditions"][0]["status"], accepted, "{status:#}");
            let claims = status["supportedFeatures"].as_array().unwrap();
            assert_eq!(!claims.is_empty(), accepted == "True", "{status:#}");
        }
    }

    #[test]
    fn the_documents_have_the_experimental_features() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gateway-api.md");
        let document = std::fs::read_to_string(path).unwrap();
        let rows =
            document.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | experimental, "));
        let rows: BTreeSet<_> = rows.map(|(name, _)| name).collect();
        let claimed = EXPERIMENTAL.iter().chain(EXPERIMENTAL_OF_OWN_ADDRESSES).map(|(name, _)| *name);
        assert_eq!(rows, claimed.collect());
    }

    /// Features that no list of extended features in a report has: the core of each profile, and two that belong to no
    /// profile.
    const IN_NO_LIST: [&str; 9] = [
        "GRPCRoute",
        "GRPCRouteNamedRouteRule",
        "GRPCRouteRequestHeaderModifier",
        "Gateway",
        "HTTPRoute",
        "ReferenceGrant",
        "TCPRoute",
        "TLSRoute",
        "UDPRoute",
    ];

    /// The reports are those of runs against the class with addressing Dedicated (`e2e/run --write-report`).
    #[test]
    fn what_is_claimed_is_what_the_conformance_report_says() {
        let claimed: Vec<_> = FEATURES.iter().chain(OF_OWN_ADDRESSES).copied().collect();
        let report = report("v1.7.0-report.yaml").expect("the report of the standard channel is there");
        hold(&report, "standard", &claimed);
    }

    /// The same in a cluster with the experimental CRDs. There may be no report of such a run.
    #[test]
    fn what_is_claimed_with_experimental_crds_is_what_its_report_says() {
        let Some(report) = report("v1.7.0-experimental-report.yaml") else { return };
        let experimental = EXPERIMENTAL.iter().chain(EXPERIMENTAL_OF_OWN_ADDRESSES).map(|(name, _)| *name);
        let claimed: Vec<_> = FEATURES.iter().chain(OF_OWN_ADDRESSES).copied().chain(experimental).collect();
        hold(&report, "experimental", &claimed);
        for profile in report["profiles"].as_array().unwrap() {
            let unsupported = profile["extended"].get("unsupportedFeatures").and_then(Value::as_array);
            assert!(unsupported.is_none_or(Vec::is_empty), "{profile:#}");
        }
    }

    fn report(name: &str) -> Option<Value> {
        let path = format!("{}/../docs/conformance/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).ok()?;
        Some(crate::yaml::documents(&text, &path).next().unwrap().content.unwrap())
    }

    fn hold(report: &Value, channel: &str, claimed: &[&str]) {
        assert_eq!(report["gatewayAPIChannel"], channel);
        let profiles = report["profiles"].as_array().unwrap();
        let supported =
            profiles.iter().flat_map(|profile| profile["extended"]["supportedFeatures"].as_array().unwrap());
        let mut reported: BTreeSet<_> = supported.map(|name| name.as_str().unwrap()).collect();
        reported.retain(|name| !IN_NO_LIST.contains(name));
        let claimed = claimed.iter().copied().filter(|name| !IN_NO_LIST.contains(name));
        assert_eq!(reported, claimed.collect());
        for profile in profiles {
            for part in ["core", "extended"] {
                let (result, counts) = (&profile[part]["result"], &profile[part]["statistics"]);
                assert!(
                    result == "success" && counts["Failed"] == 0 && counts["Skipped"] == 0,
                    "{profile:#}"
                );
            }
        }
    }
}
