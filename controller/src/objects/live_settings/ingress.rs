//! Keys of ingress-nginx's ConfigMap, by the names that they have there.

use std::{net::IpAddr, sync::Arc};

use http::StatusCode;
use portcullis_routing::Networks;

use super::{Read, boolean, or_flag, parse_network};
use crate::{
    ir::live_settings::Denied,
    objects::checks::{Checks, Path},
};

/// Every key of these.
pub(super) const KEYS: [(&str, Read); 12] = [
    ("ssl-redirect", |to, text, _, _| {
        or_flag(boolean(text)).map(|read| to.ingress.ssl_redirect = Some(read))
    }),
    ("force-ssl-redirect", |to, text, _, _| {
        or_flag(boolean(text)).map(|read| to.ingress.force_ssl_redirect = read)
    }),
    ("http-redirect-code", |to, text, _, _| {
        or_flag(status(text)).map(|read| to.ingress.redirect_status = read)
    }),
    ("hsts", |to, text, _, _| or_flag(boolean(text)).map(|read| to.ingress.hsts.is_on = Some(read))),
    ("hsts-max-age", |to, text, _, _| or_flag(seconds(text)).map(|read| to.ingress.hsts.max_age = read)),
    ("hsts-include-subdomains", |to, text, _, _| {
        or_flag(boolean(text)).map(|read| to.ingress.hsts.include_subdomains = read)
    }),
    ("hsts-preload", |to, text, _, _| or_flag(boolean(text)).map(|read| to.ingress.hsts.preload = read)),
    ("whitelist-source-range", |to, text, checks, at| {
        to.ingress.access.allow = allowed(text, checks, at);
        Ok(())
    }),
    ("denylist-source-range", |to, text, checks, at| {
        to.ingress.access.deny = denied(text, checks, at);
        Ok(())
    }),
    ("block-cidrs", |to, text, checks, at| {
        to.ingress.access.block = denied(text, checks, at);
        Ok(())
    }),
    ("limit-req-status-code", |to, text, _, _| {
        or_flag(error_status(text)).map(|read| to.ingress.limits.request_status = read)
    }),
    ("limit-conn-status-code", |to, text, _, _| {
        or_flag(error_status(text)).map(|read| to.ingress.limits.connection_status = read)
    }),
];

/// The networks of a list of allowed clients. An entry that is wrong allows nobody.
fn allowed(text: &str, checks: &mut Checks, at: &Path<'_>) -> Option<Arc<Networks>> {
    let all: Vec<_> = entries(text).collect();
    let networks: Networks = all
        .iter()
        .filter_map(|entry| match entry {
            Ok(network) => Some(*network),
            Err(why) => {
                checks.error(at, format!("{why}; it allows nobody"));
                None
            }
        })
        .collect();
    (!all.is_empty()).then(|| Arc::new(networks))
}

/// The networks of a list of denied clients. With an entry that is wrong it is not known who is denied, so that all Ingresses
/// that the list holds for are closed.
fn denied(text: &str, checks: &mut Checks, at: &Path<'_>) -> Denied {
    match entries(text).collect::<Result<Networks, _>>() {
        Ok(networks) if networks.is_empty() => Denied::Nobody,
        Ok(networks) => Denied::Networks(Arc::new(networks)),
        Err(why) => {
            checks.error(at, format!("{why}; the paths of Ingresses that the list holds for are closed"));
            Denied::Unknown
        }
    }
}

fn entries(text: &str) -> impl Iterator<Item = Result<(IpAddr, u8), String>> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(parse_network)
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.trim().parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
    let is_redirect = |status: &StatusCode| matches!(status.as_u16(), 301 | 302 | 307 | 308);
    status.filter(is_redirect).ok_or_else(|| format!("{text:?} is not 301, 302, 307 or 308"))
}

fn error_status(text: &str) -> Result<StatusCode, String> {
    let status = text.trim().parse().ok().filter(|code| (400..600).contains(code));
    let status = status.and_then(|code: u16| StatusCode::from_u16(code).ok());
    status.ok_or_else(|| format!("{text:?} is not a status of 400 to 599"))
}

fn seconds(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a number of seconds"))
}
