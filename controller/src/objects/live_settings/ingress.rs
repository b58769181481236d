//! Keys of ingress-nginx's ConfigMap for Ingresses.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, header};
use portcullis_routing::{
    Networks,
    step::{BlockedValues, Change, MapKeys},
};

use super::{Read, Wrong, boolean, or_default, or_flag, parse_network, read::UNSUPPORTED};
use crate::{
    ir::{
        ingress::{LoadBalance, Risk},
        live_settings::{Denied, GlobalAccess, LiveSettings},
    },
    objects::ingress::annotations::{errors, upstream, values},
};

/// All of these keys.
pub(super) const KEYS: &[(&str, Read)] = &[
    (UNSUPPORTED, |_, text, _, _| match text.trim() {
        "ignore" => Ok(()),
        _ => Err(Wrong::new(format!("{text:?} is not a known value; use ignore"), "it has no effect")),
    }),
    ("ssl-redirect", |to, text, _, _| {
        or_flag(boolean(text)).map(|read| to.ingress.ssl_redirect = Some(read))
    }),
    ("force-ssl-redirect", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.force_ssl_redirect = read)
    }),
    ("http-redirect-code", |to, text, _, _| {
        or_default(status(text)).map(|read| to.ingress.redirect_status = read)
    }),
    ("no-tls-redirect-locations", |to, text, _, _| {
        let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty());
        to.ingress.not_redirected = paths.map(Into::into).collect();
        Ok(())
    }),
    ("preserve-trailing-slash", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.keep_slash = read)
    }),
    ("relative-redirects", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.own_url.is_relative = read)
    }),
    ("use-port-in-redirects", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.own_url.with_port = read)
    }),
    ("hsts", |to, text, _, _| or_default(boolean(text)).map(|read| to.ingress.hsts.is_on = Some(read))),
    ("hsts-max-age", |to, text, _, _| or_default(seconds(text)).map(|read| to.ingress.hsts.max_age = read)),
    ("hsts-include-subdomains", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.hsts.include_subdomains = read)
    }),
    ("hsts-preload", |to, text, _, _| or_default(boolean(text)).map(|read| to.ingress.hsts.preload = read)),
    ("load-balance", |to, text, _, _| {
        or_default(load_balance(text)).map(|read| to.ingress.load_balance = read)
    }),
    ("proxy-body-size", |to, text, _, _| or_default(size(text)).map(|read| to.ingress.body_size = read)),
    ("proxy-request-buffering", |to, text, _, _| {
        or_default(read_by(text.trim(), values::on_or_off)).map(|read| to.ingress.request_buffering = read)
    }),
    ("client-body-buffer-size", |to, text, _, _| {
        or_default(size(text)).map(|read| to.ingress.body_buffer = read)
    }),
    ("limit-rate", |to, text, _, _| {
        or_default(read_by(text.trim(), values::kibibytes)).map(|read| to.ingress.pacing.rate = read)
    }),
    ("limit-rate-after", |to, text, _, _| {
        or_default(read_by(text.trim(), values::kibibytes)).map(|read| to.ingress.pacing.after = read)
    }),
    ("proxy-buffering", |to, text, _, _| {
        or_default(read_by(text.trim(), values::on_or_off)).map(|read| to.ingress.pacing.buffering = read)
    }),
    ("service-upstream", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.service_upstream = read)
    }),
    ("proxy-connect-timeout", |to, text, _, _| {
        or_default(limit(text)).map(|read| to.ingress.upstream.timeouts.connect = Some(read))
    }),
    ("proxy-send-timeout", |to, text, _, _| {
        or_default(limit(text)).map(|read| to.ingress.upstream.timeouts.send = Some(read))
    }),
    ("proxy-read-timeout", |to, text, _, _| {
        or_default(limit(text)).map(|read| to.ingress.upstream.timeouts.read = Some(read))
    }),
    ("proxy-next-upstream", |to, text, _, _| {
        or_default(read_by(text, upstream::next_upstream)).map(|read| to.ingress.upstream.next = Some(read))
    }),
    ("proxy-next-upstream-tries", |to, text, _, _| {
        or_default(read_by(text.trim(), upstream::tries)).map(|read| to.ingress.upstream.tries = Some(read))
    }),
    ("proxy-next-upstream-timeout", |to, text, _, _| {
        or_default(limit(text)).map(|read| to.ingress.upstream.next_timeout = Some(read))
    }),
    ("retry-non-idempotent", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.repeats_all = read)
    }),
    ("whitelist-source-range", |to, text, _, _| {
        let (allow, wrong) = allowed(text);
        to.ingress.access.allow = allow;
        wrong.map_or(Ok(()), Err)
    }),
    ("denylist-source-range", |to, text, _, _| {
        let (deny, wrong) = denied(text);
        to.ingress.access.deny = deny;
        wrong.map_or(Ok(()), Err)
    }),
    ("block-cidrs", |to, text, _, _| {
        let (block, wrong) = denied(text);
        to.ingress.access.block = block;
        wrong.map_or(Ok(()), Err)
    }),
    ("block-user-agents", |to, text, _, _| {
        blocked(to, header::USER_AGENT, text, |access, values| access.user_agents = values)
    }),
    ("block-referers", |to, text, _, _| {
        blocked(to, header::REFERER, text, |access, values| access.referers = values)
    }),
    ("allow-cross-namespace-resources", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.allow_cross_namespace = read)
    }),
    ("annotations-risk-level", |to, text, _, _| {
        or_default(risk(text)).map(|read| to.ingress.risk_level = read)
    }),
    ("limit-req-status-code", |to, text, _, _| {
        or_default(error_status(text)).map(|read| to.ingress.limits.request_status = read)
    }),
    ("limit-conn-status-code", |to, text, _, _| {
        or_default(error_status(text)).map(|read| to.ingress.limits.connection_status = read)
    }),
    ("limit-ipv6-prefix-length", |to, text, _, _| {
        or_default(ipv6_prefix(text)).map(|read| to.ingress.limits.ipv6_prefix = read)
    }),
    ("custom-http-errors", |to, text, _, _| {
        or_default(error_statuses(text)).map(|read| to.ingress.errors.statuses = read)
    }),
    ("disable-proxy-intercept-errors", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.errors.passes_backends = read)
    }),
    ("global-allowed-response-headers", |to, text, _, _| {
        or_default(header_names(text)).map(|read| to.ingress.headers.allowed = read)
    }),
    ("hide-headers", |to, text, _, _| {
        or_default(header_names(text)).map(|read| to.ingress.headers.hidden = read)
    }),
];

fn limit(text: &str) -> Result<Duration, String> {
    read_by(text.trim(), upstream::seconds)
}

fn read_by<T>(text: &str, read: impl FnOnce(&str) -> Result<T, &'static str>) -> Result<T, String> {
    read(text).map_err(|why| format!("{text:?} {why}"))
}

fn size(text: &str) -> Result<u64, String> {
    values::size(text).ok_or_else(|| format!("{text:?} {}", values::NO_SIZE))
}

/// The networks of a list of allowed clients. An invalid entry allows nobody.
fn allowed(text: &str) -> (Option<Arc<Networks>>, Option<Wrong>) {
    let mut wrong = None;
    let all: Vec<_> = entries(text).collect();
    let is_any = !all.is_empty();
    let read = all.into_iter().filter_map(|entry| match entry {
        Ok(network) => Some(network),
        Err(why) => {
            wrong.get_or_insert_with(|| Wrong::closing(why, "it allows nobody"));
            None
        }
    });
    let networks: Networks = read.collect();
    (is_any.then(|| Arc::new(networks)), wrong)
}

/// The networks of a list of denied clients. With an invalid entry, it is unknown who is denied, so that all Ingresses to
/// which the list applies are closed.
fn denied(text: &str) -> (Denied, Option<Wrong>) {
    match entries(text).collect::<Result<Networks, _>>() {
        Ok(networks) if networks.is_empty() => (Denied::Nobody, None),
        Ok(networks) => (Denied::Networks(Arc::new(networks)), None),
        Err(why) => {
            let closed = "the paths of Ingresses to which the list applies are closed";
            (Denied::Unknown, Some(Wrong::closing(why, closed)))
        }
    }
}

/// The requests that are rejected because of a header. With an invalid entry, they are unknown, so that all Ingresses are
/// closed.
fn blocked(
    to: &mut LiveSettings,
    name: HeaderName,
    text: &str,
    set: impl FnOnce(&mut GlobalAccess, Option<Arc<BlockedValues>>),
) -> Result<(), Wrong> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let values = MapKeys::parse(entries).map_err(|error| {
        let why = "a setting that blocks requests is invalid";
        to.ingress.closed_by.get_or_insert_with(|| why.into());
        Wrong::closing(error.to_string(), "all Ingresses are closed")
    })?;
    let values = Some(values).filter(|values| !values.is_empty());
    set(&mut to.ingress.access, values.map(|values| Arc::new(BlockedValues::new(name, values))));
    Ok(())
}

fn entries(text: &str) -> impl Iterator<Item = Result<(IpAddr, u8), String>> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(parse_network)
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.trim().parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
    let is_redirect = |status: &StatusCode| matches!(status.as_u16(), 301 | 302 | 307 | 308);
    status.filter(is_redirect).ok_or_else(|| format!("{text:?} is not 301, 302, 307 or 308"))
}

fn load_balance(text: &str) -> Result<LoadBalance, String> {
    LoadBalance::parse(text.trim()).ok_or_else(|| format!("{text:?} is neither round_robin nor ewma"))
}

fn risk(text: &str) -> Result<Risk, String> {
    let found = Risk::ALL.into_iter().find(|risk| risk.as_str().eq_ignore_ascii_case(text.trim()));
    found.ok_or_else(|| format!("{text:?} is not Low, Medium, High or Critical"))
}

fn error_status(text: &str) -> Result<StatusCode, String> {
    let status = text.trim().parse().ok().filter(|code| (400..600).contains(code));
    let status = status.and_then(|code: u16| StatusCode::from_u16(code).ok());
    status.ok_or_else(|| format!("{text:?} is not a status of 400 to 599"))
}

fn ipv6_prefix(text: &str) -> Result<u8, String> {
    let length = text.trim().parse().ok().filter(|length| (32..=128).contains(length));
    length.ok_or_else(|| format!("{text:?} is not a prefix length from 32 to 128"))
}

fn error_statuses(text: &str) -> Result<Box<[u16]>, String> {
    if text.trim().is_empty() { Ok(Box::default()) } else { read_by(text, errors::statuses) }
}

fn header_names(text: &str) -> Result<Box<[HeaderName]>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let read = |name: &str| {
        let header = HeaderName::try_from(name).ok().filter(|name| Change::Set.check(name).is_ok());
        header.ok_or_else(|| format!("{name:?} is not a header that can be changed"))
    };
    names.map(read).collect()
}

fn seconds(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a number of seconds"))
}
