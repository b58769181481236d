//! The status of a GatewayClass.

use super::{Condition, GatewayClassStatus, Report, SupportedFeature, list, types::condition};
use crate::{
    ir::GatewayClass,
    snapshot::Snapshot,
    translate::{Settings, parameters_of_class},
};

/// What is said about a GatewayClass; nothing where it is another controller's.
pub fn gateway_class(
    class: &GatewayClass,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Option<Report<GatewayClassStatus>> {
    (class.controller == settings.gateway_controller).then(|| Report {
        status: GatewayClassStatus {
            conditions: [Some(accepted(class, snapshot)), supported_version(class, settings)]
                .into_iter()
                .flatten()
                .collect(),
            supported_features: FEATURES.iter().map(|name| SupportedFeature { name }).collect(),
        },
        messages: Vec::new(),
    })
}

fn accepted(class: &GatewayClass, snapshot: &Snapshot) -> Condition {
    let condition = condition(class.meta.generation, "Accepted");
    match parameters_of_class(snapshot, class) {
        Ok(_) => condition.yes("Accepted", "Gateways of this class are served"),
        Err(why) => condition.no("InvalidParameters", format!("parametersRef: {why}")),
    }
}

/// The release of the Gateway API that is served.
const RELEASE: &str = "v1.7.";

/// Whether the CRDs are of the release that is served; nothing where there are none to be seen, as in a folder.
fn supported_version(class: &GatewayClass, settings: &Settings) -> Option<Condition> {
    let bundle = settings.bundle.as_ref()?;
    let condition = condition(class.meta.generation, "SupportedVersion");
    let others: Vec<_> = bundle.iter().filter(|version| !version.starts_with(RELEASE)).collect();
    Some(match others.as_slice() {
        [] => condition.yes("SupportedVersion", format!("the CRDs are of {}", list(bundle))),
        others => condition.no(
            "UnsupportedVersion",
            format!(
                "there are CRDs of {}, and {RELEASE}x is what is served; what they have in common is served all the same",
                list(others)
            ),
        ),
    })
}

/// What is served of the features that the conformance suite names, in alphabetical order.
const FEATURES: &[&str] = &[
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
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
    "ReferenceGrant",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_in_alphabetical_order() {
        assert!(FEATURES.is_sorted());
    }
}
