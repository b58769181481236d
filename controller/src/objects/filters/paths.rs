//! HTTPPathModifier, of a redirect or a rewrite.

use std::sync::Arc;

use portcullis_routing::{path::replacement, step::PathRewrite};

use crate::{
    ir::route::InvalidRule,
    objects::{
        checks::{Checks, Path},
        invalid::not_served,
    },
};

/// Reads a path modifier; `is_full` is its type.
pub(super) fn read(
    is_full: bool,
    full: Option<String>,
    prefix: Option<String>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<PathRewrite, InvalidRule> {
    for (field, of_type, text) in
        [("replaceFullPath", is_full, &full), ("replacePrefixMatch", !is_full, &prefix)]
    {
        match (of_type, text) {
            (true, None) => checks.error(&at.field(field), "is required by the type"),
            (false, Some(_)) => checks.error(&at.field(field), "must not be set for another type"),
            (_, Some(text)) => checks.length(text, 0..=1024, &at.field(field)),
            (false, None) => {}
        }
    }
    let field = at.field(if is_full { "replaceFullPath" } else { "replacePrefixMatch" });
    let text = if is_full { full } else { prefix }.unwrap_or_default();
    // A full path may bring its own query; anything may be missing its first '/'.
    let (path, query) = text.split_once('?').map_or((&*text, None), |(p, q)| (p, Some(q)));
    let absolute = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (Ok(path), true) = (replacement(&absolute), query.is_none() || is_full) else {
        return not_served(
            &field,
            "is not a valid path: it contains a space, a control character, '#', '\\' or a broken escape",
            checks,
        );
    };
    if !is_full {
        return Ok(PathRewrite::Prefix(path.trim_end_matches('/').into()));
    }
    let full = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    match http::uri::PathAndQuery::try_from(&*full) {
        Ok(_) => Ok(PathRewrite::Full(Arc::from(full))),
        Err(_) => not_served(&field, "is not a valid path", checks),
    }
}
