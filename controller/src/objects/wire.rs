//! Routes as they are written. The leaves are the generated types; they are combined so that all kinds of routes share
//! one type each for parent references, backends and filters.

use gateway_api::experimental::{grpcroutes, httproutes};
use serde::Deserialize;

pub(crate) use grpcroutes::{
    GrpcRouteRulesMatches as GrpcMatch, GrpcRouteRulesMatchesHeadersType as GrpcHeaderType,
    GrpcRouteRulesMatchesMethod as GrpcMethod, GrpcRouteRulesMatchesMethodType as GrpcMethodType,
};
pub(crate) use httproutes::{
    HttpRouteParentRefs as ParentRef, HttpRouteRulesFilters as Filter, HttpRouteRulesFiltersCors as Cors,
    HttpRouteRulesFiltersExtensionRef as ExtensionRef, HttpRouteRulesFiltersExternalAuth as ExternalAuth,
    HttpRouteRulesFiltersExternalAuthHttp as ExternalAuthHttp,
    HttpRouteRulesFiltersExternalAuthProtocol as ExternalAuthProtocol,
    HttpRouteRulesFiltersRequestHeaderModifier as RequestHeaderModifier,
    HttpRouteRulesFiltersRequestMirror as RequestMirror,
    HttpRouteRulesFiltersRequestRedirect as RequestRedirect,
    HttpRouteRulesFiltersRequestRedirectPathType as RedirectPathType,
    HttpRouteRulesFiltersRequestRedirectScheme as RedirectScheme,
    HttpRouteRulesFiltersResponseHeaderModifier as ResponseHeaderModifier,
    HttpRouteRulesFiltersType as FilterType, HttpRouteRulesFiltersUrlRewrite as UrlRewrite,
    HttpRouteRulesFiltersUrlRewritePathType as RewritePathType, HttpRouteRulesMatches as HttpMatch,
    HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesMethod as Method,
    HttpRouteRulesMatchesPath as HttpPath, HttpRouteRulesMatchesPathType as PathType,
    HttpRouteRulesMatchesQueryParams as QueryParam, HttpRouteRulesMatchesQueryParamsType as QueryType,
    HttpRouteRulesRetry as Retry, HttpRouteRulesTimeouts as Timeouts,
};

use super::{part::Part, session_persistence};

/// `spec` of an HTTPRoute.
pub(crate) type HttpRouteSpec = RouteSpec<HttpRule>;
/// `spec` of a GRPCRoute.
pub(crate) type GrpcRouteSpec = RouteSpec<GrpcRule>;

/// `spec` of a route.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteSpec<R> {
    #[serde(default)]
    pub(crate) hostnames: Vec<String>,
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentRef>,
    /// `None` is defaulted by the kind.
    pub(crate) rules: Option<Vec<R>>,
    pub(crate) use_default_gateways: Option<Part<httproutes::HttpRouteUseDefaultGateways>>,
}

/// `spec` of a TLSRoute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TlsRouteSpec {
    pub(crate) hostnames: Vec<String>,
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentRef>,
    pub(crate) rules: Vec<StreamRule>,
    pub(crate) use_default_gateways: Option<Part<httproutes::HttpRouteUseDefaultGateways>>,
}

/// `spec` of a TCPRoute or UDPRoute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortRouteSpec {
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentRef>,
    pub(crate) rules: Vec<StreamRule>,
    pub(crate) use_default_gateways: Option<Part<httproutes::HttpRouteUseDefaultGateways>>,
}

/// `rules[]` of an HTTPRoute.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpRule {
    pub(crate) name: Option<String>,
    pub(crate) matches: Option<Vec<Part<HttpMatch>>>,
    #[serde(default)]
    pub(crate) filters: Vec<Part<Filter>>,
    #[serde(default)]
    pub(crate) backend_refs: Vec<BackendRef>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) retry: Option<Retry>,
    pub(crate) session_persistence: Option<Part<session_persistence::Written>>,
}

/// `rules[]` of a GRPCRoute.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GrpcRule {
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) matches: Vec<Part<GrpcMatch>>,
    #[serde(default)]
    pub(crate) filters: Vec<Part<Filter>>,
    #[serde(default)]
    pub(crate) backend_refs: Vec<BackendRef>,
    pub(crate) session_persistence: Option<Part<session_persistence::Written>>,
}

/// `rules[]` of a TLSRoute, TCPRoute or UDPRoute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamRule {
    pub(crate) name: Option<String>,
    pub(crate) backend_refs: Vec<PlainBackendRef>,
}

/// `backendRefs[]` of rules that have no filters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlainBackendRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) weight: Option<i32>,
}

/// `backendRefs[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackendRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) weight: Option<i32>,
    #[serde(default)]
    pub(crate) filters: Vec<Part<Filter>>,
}

impl BackendRef {
    /// Returns the reference without its filters.
    pub(crate) fn plain(self) -> PlainBackendRef {
        let Self { group, kind, name, namespace, port, weight, filters: _ } = self;
        PlainBackendRef { group, kind, name, namespace, port, weight }
    }
}
