//! Keys of ingress-nginx's ConfigMap for client connections and their requests.

use std::{num::NonZeroU32, time::Duration};

use portcullis_tls::{CipherSuites, Groups, offer::parse_versions};

use super::{Read, boolean, or_default, or_flag};
use crate::{
    ir::route::parse_duration,
    objects::{
        checks::{Checks, Path},
        ingress::annotations::{upstream, values},
        names::quoted,
    },
    problem::Topic,
};

/// All of these keys.
pub(super) const KEYS: &[(&str, Read)] = &[
    ("keep-alive", |to, text, _, _| {
        or_default(at_least_one(text)).map(|read| to.proxy.keepalive_timeout = Some(read))
    }),
    ("client-header-timeout", |to, text, _, _| {
        or_default(at_least_one(text)).map(|read| to.proxy.header_timeout = Some(read))
    }),
    ("large-client-header-buffers", |to, text, _, _| {
        or_default(buffers(text)).map(|read| to.proxy.max_header_bytes = Some(read))
    }),
    ("client-body-timeout", |to, text, _, _| {
        or_default(at_least_one(text)).map(|read| to.proxy.body_timeout = Some(read))
    }),
    ("keep-alive-requests", |to, text, _, _| {
        or_default(number(text)).map(|read| to.proxy.max_requests = Some(read))
    }),
    ("generate-request-id", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.without_request_ids = !read)
    }),
    ("worker-shutdown-timeout", |to, text, _, _| {
        // As in nginx, 0 is no limit.
        let no_limit = |read: Duration| if read.is_zero() { Duration::MAX } else { read };
        or_flag(duration(text)).map(|read| to.proxy.drain_timeout = Some(no_limit(read)))
    }),
    ("use-http2", |to, text, _, _| or_default(boolean(text)).map(|read| to.proxy.without_http2 = !read)),
    ("ssl-protocols", |to, text, checks, at| {
        let (read, others) = or_default(parse_versions(text).map_err(|why| format!("{text:?} {why}")))?;
        to.proxy.offer.versions = read;
        warn_of_unsupported(&others, checks, at);
        Ok(())
    }),
    ("ssl-ciphers", |to, text, checks, at| {
        let (read, others) = or_default(CipherSuites::parse(text).map_err(|why| format!("{text:?} {why}")))?;
        to.proxy.offer.suites = Some(read);
        warn_of_unsupported(&others, checks, at);
        Ok(())
    }),
    ("ssl-ecdh-curve", |to, text, checks, at| {
        let (read, others) = or_default(Groups::parse(text).map_err(|why| format!("{text:?} {why}")))?;
        to.proxy.offer.groups = read;
        warn_of_unsupported(&others, checks, at);
        Ok(())
    }),
    ("enable-underscores-in-headers", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.underscores_in_headers = read)
    }),
    ("ignore-invalid-headers", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.all_header_names = !read)
    }),
];

/// Warns about elements of a list that are not supported, while others are.
fn warn_of_unsupported(others: &[String], checks: &mut Checks, at: &Path<'_>) {
    if !others.is_empty() {
        let message = format!("not supported and not offered: {}", quoted(&others.join(", ")));
        checks.warning_of(Topic::Invalid, at, message);
    }
}

fn at_least_one(text: &str) -> Result<Duration, String> {
    let read = upstream::seconds(text.trim()).map_err(|why| format!("{text:?} {why}"))?;
    (!read.is_zero()).then_some(read).ok_or_else(|| format!("{text:?} is not positive"))
}

fn number(text: &str) -> Result<NonZeroU32, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a number of 1 or more"))
}

/// A duration in seconds, or with units, such as `240s` or `4m`.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let seconds = values::count(text).map(Duration::from_secs);
    let read = seconds.or_else(|| parse_duration(text));
    read.ok_or_else(|| format!("{text:?} is not a duration such as 240s"))
}

/// A number of buffers and the size of each: the bytes that a request's head may have.
fn buffers(text: &str) -> Result<usize, String> {
    const MOST: u64 = 256 << 10;
    let wrong = || format!("{text:?} is not a number and a size such as 4 8k, with a product of 1k to 256k");
    let (number, size) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
    let (number, size) = (values::count(number), values::size(size));
    let bytes = number.zip(size).and_then(|(number, size)| number.checked_mul(size)).ok_or_else(wrong)?;
    usize::try_from(bytes).ok().filter(|_| (1 << 10..=MOST).contains(&bytes)).ok_or_else(wrong)
}
