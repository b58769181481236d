//! RequestRedirect.

use http::StatusCode;
use portcullis_routing::step::Redirect;

use super::paths;
use crate::{
    ir::route::InvalidRule,
    objects::{
        checks::{Checks, Path},
        invalid::unknown_here,
        names,
        wire::{RedirectPathType, RedirectScheme, RequestRedirect},
    },
};

pub(super) fn read(
    redirect: RequestRedirect,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Redirect, InvalidRule> {
    checks.optional_form(redirect.hostname.as_deref(), names::PRECISE_HOSTNAME, &at.field("hostname"));
    let scheme = redirect.scheme.map(|scheme| match scheme {
        RedirectScheme::Http => "http".into(),
        RedirectScheme::Https => "https".into(),
    });
    let port = redirect.port.map(|port| checks.port(port, &at.field("port")));
    let status = status(redirect.status_code.unwrap_or(302), checks, &at.field("statusCode"))?;
    let path = redirect.path.map(|path| {
        let is_full = path.r#type == RedirectPathType::ReplaceFullPath;
        paths::read(is_full, path.replace_full_path, path.replace_prefix_match, checks, &at.field("path"))
    });
    Ok(Redirect {
        scheme,
        hostname: redirect.hostname.map(Into::into),
        port,
        path: path.transpose()?,
        status,
    })
}

fn status(code: i64, checks: &mut Checks, at: &Path<'_>) -> Result<StatusCode, InvalidRule> {
    Ok(match code {
        301 => StatusCode::MOVED_PERMANENTLY,
        302 => StatusCode::FOUND,
        303 => StatusCode::SEE_OTHER,
        307 => StatusCode::TEMPORARY_REDIRECT,
        308 => StatusCode::PERMANENT_REDIRECT,
        _ => return unknown_here(at, format!("must be 301, 302, 303, 307 or 308, is {code}"), checks),
    })
}
