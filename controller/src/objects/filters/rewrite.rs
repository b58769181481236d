//! URLRewrite.

use super::paths;
use crate::{
    ir::route::InvalidRule,
    objects::{
        checks::{Checks, Path},
        names, wire,
    },
};

use portcullis_routing::step::UrlRewrite;

pub(super) fn read(
    rewrite: wire::UrlRewrite,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<UrlRewrite, InvalidRule> {
    checks.optional_form(rewrite.hostname.as_deref(), names::PRECISE_HOSTNAME, &at.field("hostname"));
    let path = rewrite.path.map(|path| {
        let is_full = path.r#type == wire::RewritePathType::ReplaceFullPath;
        paths::read(is_full, path.replace_full_path, path.replace_prefix_match, checks, &at.field("path"))
    });
    Ok(UrlRewrite { hostname: rewrite.hostname.map(Into::into), path: path.transpose()? })
}
