//! Filters of a rule or a backend, compiled to steps.

use std::{mem::discriminant, sync::Arc};

use portcullis_routing::{
    BackendError, Step, Steps,
    step::{Check, ExternalAuth, Mirror},
};

use crate::ir::{
    ObjectKey,
    route::{ExternalAuthFilter, InvalidRule, MirrorFilter, RouteFilter},
};

/// Why filters cannot be carried out.
pub(super) type InvalidFilters = Box<str>;

/// Resolves the backends that filters refer to.
pub(super) trait Resolve<'f> {
    fn mirror(&mut self, filter: &'f MirrorFilter) -> Mirror;
    fn external_auth(&mut self, filter: &'f ExternalAuthFilter) -> ExternalAuth;
}

/// The steps that filters ask for.
pub(super) fn compile<'f>(
    filters: &'f [Result<RouteFilter, InvalidRule>],
    resolve: &mut impl Resolve<'f>,
) -> Result<Steps, InvalidFilters> {
    let mut steps: Vec<Step> = Vec::with_capacity(filters.len());
    for filter in filters {
        let filter = filter.as_ref().map_err(|invalid| invalid.to_string())?;
        let (name, step) = match filter {
            RouteFilter::RequestHeaders(f) => ("RequestHeaderModifier", Step::RequestHeaders(f.clone())),
            RouteFilter::ResponseHeaders(f) => ("ResponseHeaderModifier", Step::ResponseHeaders(f.clone())),
            RouteFilter::Redirect(f) => ("RequestRedirect", Step::Redirect(Box::new(f.clone()))),
            RouteFilter::Rewrite(f) => ("URLRewrite", Step::Rewrite(Box::new(f.clone()))),
            RouteFilter::Cors(f) => ("CORS", Step::Cors(Box::new(f.clone()))),
            RouteFilter::Mirror(f) => ("RequestMirror", Step::Mirror(Box::new(resolve.mirror(f)))),
            RouteFilter::ExternalAuth(f) => {
                let auth = resolve.external_auth(f);
                ("ExternalAuth", Step::Check(Check::ExternalAuth(Arc::new(auth))))
            }
        };
        let stands = |other: &Step| discriminant(other) == discriminant(&step);
        // A rule may have many mirrors and checks, and one of every other filter (HTTPRouteRule `filters`).
        if !matches!(step, Step::Mirror(_) | Step::Check(_)) && steps.iter().any(stands) {
            return Err(format!("{name} stands twice").into());
        }
        steps.push(step);
    }
    let has = |wanted: fn(&Step) -> bool| steps.iter().any(wanted);
    if has(|step| matches!(step, Step::Redirect(_))) && has(|step| matches!(step, Step::Rewrite(_))) {
        return Err("RequestRedirect and URLRewrite cannot be combined in one rule".into());
    }
    Ok(Steps::new(steps))
}

/// The steps of one backend: the rule has chosen by then, so that nothing can be answered in its place.
pub(super) fn compile_for_backend<'f>(
    filters: &'f [Result<RouteFilter, InvalidRule>],
    backend: &ObjectKey,
    resolve: &mut impl Resolve<'f>,
) -> Result<Steps, BackendError> {
    let invalid =
        |why: &str| BackendError::InvalidFilter(format!("filters of backend {backend}: {why}").into());
    let steps = compile(filters, resolve).map_err(|why| invalid(&why))?;
    for step in steps.iter() {
        match step {
            Step::Redirect(_) => return Err(invalid("RequestRedirect is only supported in rules")),
            Step::Cors(_) => return Err(invalid("CORS is only supported in rules")),
            Step::Check(_) => return Err(invalid("ExternalAuth is only supported in rules")),
            Step::OwnTls
            | Step::PassedThrough
            | Step::ClientCertificate(_)
            | Step::Blocked(_)
            | Step::BodySize(_)
            | Step::IngressCors(_)
            | Step::IngressRedirect(_)
            | Step::RewriteTarget(_)
            | Step::Endpoints
            | Step::AccessList(_)
            | Step::Satisfy
            | Step::Unlogged
            | Step::Hsts(_)
            | Step::RequestHeaders(_)
            | Step::RequestTemplates(_)
            | Step::Rewrite(_)
            | Step::Spool(_)
            | Step::Mirror(_)
            | Step::IngressMirror(_)
            | Step::ResponseHeaders(_)
            | Step::AnswerRewrite(_)
            | Step::AnswerHeaders(_)
            | Step::AnswerTemplates(_)
            | Step::Connection(_)
            | Step::ErrorPages(_)
            | Step::AnswerCookie(_)
            | Step::Compress(_)
            | Step::Pace(_) => {}
        }
    }
    Ok(steps)
}
