//! The status of a GatewayClass.

use super::{Condition, GatewayClassStatus, Report, SupportedFeature, types::condition};
use crate::{
    ir::GatewayClass,
    snapshot::Snapshot,
    translate::{Settings, parameters_of_class},
};

/// What is said about a GatewayClass; nothing where it is another controller's.
///
/// `SupportedVersion` is about the CRDs of a cluster and left to whoever sees them.
pub fn gateway_class(
    class: &GatewayClass,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Option<Report<GatewayClassStatus>> {
    (class.controller == settings.gateway_controller).then(|| Report {
        status: GatewayClassStatus {
            conditions: vec![accepted(class, snapshot)],
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
