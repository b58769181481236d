//! Filters of a rule or a backend, put together.

use portcullis_routing::{BackendError, FilterSet, Filters, filter::Mirror};

use crate::ir::{
    ObjectKey,
    route::{InvalidRule, MirrorFilter, RouteFilter},
};

/// Why filters cannot be carried out.
pub(super) type InvalidFilters = Box<str>;

/// Puts filters together; `mirror` resolves the backend of each mirror.
pub(super) fn compile<'f>(
    filters: &'f [Result<RouteFilter, InvalidRule>],
    mut mirror: impl FnMut(&'f MirrorFilter) -> Mirror,
) -> Result<Filters, InvalidFilters> {
    if filters.is_empty() {
        return Ok(Filters::default());
    }
    let mut compiled = FilterSet::default();
    let mut mirrors = Vec::new();
    for filter in filters {
        let filter = filter.as_ref().map_err(|invalid| invalid.to_string())?;
        match filter {
            RouteFilter::RequestHeaders(f) => {
                once(&mut compiled.request_headers, f, "RequestHeaderModifier")?
            }
            RouteFilter::ResponseHeaders(f) => {
                once(&mut compiled.response_headers, f, "ResponseHeaderModifier")?
            }
            RouteFilter::Redirect(f) => once(&mut compiled.redirect, f, "RequestRedirect")?,
            RouteFilter::Rewrite(f) => once(&mut compiled.rewrite, f, "URLRewrite")?,
            RouteFilter::Cors(f) => once(&mut compiled.cors, f, "CORS")?,
            RouteFilter::Mirror(f) => mirrors.push(mirror(f)),
        }
    }
    if compiled.redirect.is_some() && compiled.rewrite.is_some() {
        return Err("RequestRedirect and URLRewrite cannot stand in one rule".into());
    }
    compiled.mirrors = mirrors;
    Ok(compiled.into())
}

/// The filters of one backend: the rule has chosen by then, so that nothing can be answered in its place.
pub(super) fn compile_for_backend<'f>(
    filters: &'f [Result<RouteFilter, InvalidRule>],
    backend: &ObjectKey,
    mirror: impl FnMut(&'f MirrorFilter) -> Mirror,
) -> Result<Filters, BackendError> {
    let invalid =
        |why: &str| BackendError::InvalidFilter(format!("filters of backend {backend}: {why}").into());
    let compiled = compile(filters, mirror).map_err(|why| invalid(&why))?;
    if compiled.redirect.is_some() {
        return Err(invalid("RequestRedirect is for rules"));
    }
    if compiled.cors.is_some() {
        return Err(invalid("CORS is for rules"));
    }
    Ok(compiled)
}

fn once<T: Clone>(slot: &mut Option<T>, filter: &T, kind: &str) -> Result<(), InvalidFilters> {
    match slot.replace(filter.clone()) {
        None => Ok(()),
        Some(_) => Err(format!("{kind} stands twice").into()),
    }
}
