//! `filters` of a rule or a backend; each filter has its file.

mod cors;
pub(super) mod external_auth;
mod headers;
mod mirror;
mod paths;
mod redirect;
mod rewrite;

use super::{
    checks::{Checks, Path},
    invalid::{not_served, unknown_here},
    names,
    wire::{Filter, FilterType},
};
use crate::ir::route::{InvalidRule, RouteFilter};

/// In which kind of route filters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Http,
    Grpc,
}

/// A filter as it is written, or why it cannot be read.
pub(crate) type ReadFilter = Result<Filter, InvalidRule>;

/// Checks a list of filters.
pub(crate) fn read(
    list: Vec<ReadFilter>,
    owner: Owner,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[Result<RouteFilter, InvalidRule>]> {
    checks.entries(list.len(), 0..=16, at);
    check_repeats(&list, checks, at);
    let list = list.into_iter().enumerate().filter_map(|(i, filter)| match filter {
        Ok(filter) => one(filter, owner, checks, &at.index(i)),
        Err(invalid) => Some(Err(invalid)),
    });
    list.collect()
}

/// Whether a redirect among the filters replaces the matched prefix, and whether a rewrite does.
pub(crate) fn replaces_prefix(filters: &[ReadFilter]) -> [bool; 2] {
    let redirect =
        |f: &Filter| f.request_redirect.as_ref()?.path.as_ref()?.replace_prefix_match.as_ref().map(drop);
    let rewrite = |f: &Filter| f.url_rewrite.as_ref()?.path.as_ref()?.replace_prefix_match.as_ref().map(drop);
    let filters = || filters.iter().flatten();
    [filters().any(|f| redirect(f).is_some()), filters().any(|f| rewrite(f).is_some())]
}

fn one(
    filter: Filter,
    owner: Owner,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Option<Result<RouteFilter, InvalidRule>> {
    if owner == Owner::Grpc && !is_of_grpc(&filter.r#type) {
        let types = "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror or ExtensionRef";
        return Some(unknown_here(&at.field("type"), format!("must be {types} in a GRPCRoute"), checks));
    }
    check_one_of(&filter, checks, at);
    Some(match filter.r#type {
        FilterType::RequestHeaderModifier => {
            let modifier = filter.request_header_modifier?;
            let at = at.field("requestHeaderModifier");
            headers::read(headers::Headers::from(modifier), checks, &at).map(RouteFilter::RequestHeaders)
        }
        FilterType::ResponseHeaderModifier => {
            let modifier = filter.response_header_modifier?;
            let at = at.field("responseHeaderModifier");
            headers::read(headers::Headers::from(modifier), checks, &at).map(RouteFilter::ResponseHeaders)
        }
        FilterType::RequestMirror => {
            Ok(RouteFilter::Mirror(mirror::read(filter.request_mirror?, checks, &at.field("requestMirror"))))
        }
        FilterType::RequestRedirect => {
            redirect::read(filter.request_redirect?, checks, &at.field("requestRedirect"))
                .map(RouteFilter::Redirect)
        }
        FilterType::UrlRewrite => {
            rewrite::read(filter.url_rewrite?, checks, &at.field("urlRewrite")).map(RouteFilter::Rewrite)
        }
        FilterType::Cors => Ok(RouteFilter::Cors(cors::read(filter.cors?, checks, &at.field("cors")))),
        FilterType::ExtensionRef => {
            let reference = filter.extension_ref?;
            let field = at.field("extensionRef");
            checks.form(&reference.group, names::GROUP, &field.field("group"));
            checks.form(&reference.kind, names::KIND, &field.field("kind"));
            checks.form(&reference.name, names::OBJECT_NAME, &field.field("name"));
            not_served(&field, format!("no filter of kind {} is served", reference.kind), checks)
        }
        FilterType::ExternalAuth => {
            external_auth::read(filter.external_auth?, checks, &at.field("externalAuth"))
                .map(RouteFilter::ExternalAuth)
        }
    })
}

fn is_of_grpc(filter: &FilterType) -> bool {
    match filter {
        FilterType::RequestHeaderModifier
        | FilterType::ResponseHeaderModifier
        | FilterType::RequestMirror
        | FilterType::ExtensionRef => true,
        FilterType::RequestRedirect
        | FilterType::UrlRewrite
        | FilterType::Cors
        | FilterType::ExternalAuth => false,
    }
}

/// The field that a type names is there, and no other.
fn check_one_of(filter: &Filter, checks: &mut Checks, at: &Path<'_>) {
    use FilterType as T;
    for (field, of, is_there) in [
        ("requestHeaderModifier", T::RequestHeaderModifier, filter.request_header_modifier.is_some()),
        ("responseHeaderModifier", T::ResponseHeaderModifier, filter.response_header_modifier.is_some()),
        ("requestMirror", T::RequestMirror, filter.request_mirror.is_some()),
        ("requestRedirect", T::RequestRedirect, filter.request_redirect.is_some()),
        ("urlRewrite", T::UrlRewrite, filter.url_rewrite.is_some()),
        ("cors", T::Cors, filter.cors.is_some()),
        ("externalAuth", T::ExternalAuth, filter.external_auth.is_some()),
        ("extensionRef", T::ExtensionRef, filter.extension_ref.is_some()),
    ] {
        match (filter.r#type == of, is_there) {
            (true, false) => checks.error(&at.field(field), "is required by the filter's type"),
            (false, true) => checks.error(&at.field(field), "must not be set for another filter type"),
            _ => {}
        }
    }
}

fn check_repeats(list: &[ReadFilter], checks: &mut Checks, at: &Path<'_>) {
    let count = |of: FilterType| list.iter().flatten().filter(|f| f.r#type == of).count();
    for (name, of) in [
        ("RequestHeaderModifier", FilterType::RequestHeaderModifier),
        ("ResponseHeaderModifier", FilterType::ResponseHeaderModifier),
        ("RequestRedirect", FilterType::RequestRedirect),
        ("URLRewrite", FilterType::UrlRewrite),
        ("CORS", FilterType::Cors),
    ] {
        if count(of) > 1 {
            checks.error(at, format!("{name} must not be repeated"));
        }
    }
    if count(FilterType::RequestRedirect) > 0 && count(FilterType::UrlRewrite) > 0 {
        checks.error(at, "must not have both RequestRedirect and URLRewrite");
    }
}
