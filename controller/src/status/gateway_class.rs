//! The status of a GatewayClass.

use super::{Condition, GatewayClassStatus, Report, SupportedFeature, types::condition};
use crate::{ir::GatewayClass, translate::Settings};

/// What is said about a GatewayClass; nothing where it is another controller's.
///
/// `SupportedVersion` is about the CRDs of a cluster and left to whoever sees them.
pub fn gateway_class(class: &GatewayClass, settings: &Settings) -> Option<Report<GatewayClassStatus>> {
    (class.controller == settings.gateway_controller).then(|| Report {
        status: GatewayClassStatus {
            conditions: vec![accepted(class)],
            supported_features: FEATURES.iter().map(|name| SupportedFeature { name }).collect(),
        },
        messages: Vec::new(),
    })
}

fn accepted(class: &GatewayClass) -> Condition {
    let condition = condition(class.meta.generation, "Accepted");
    match &class.parameters {
        None => condition.yes("Accepted", "Gateways of this class are served"),
        Some(to) => condition.no(
            "InvalidParameters",
            format!("parametersRef: {} {} is not a kind that is served", to.kind, to.name),
        ),
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
