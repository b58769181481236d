//! The ConfigMap of settings that take effect without a restart (`--settings-configmap`).
//!
//! If a key is missing, the command line applies. If its value is invalid, its last valid value applies; a replica
//! without one uses the command line, or closes what the key protects. Two keys are stricter, since a mistake must not
//! lift a restriction: an invalid entry of `shared-hostnames` grants nothing, and an invalid `first-namespace-owns` is
//! treated as `true`.

mod clients;
mod compression;
mod forwarding;
mod global_auth;
pub(crate) mod headers;
mod ingress;
mod log;
pub(crate) mod nginx_keys;
mod read;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use gateway_api::experimental::gateways::GatewayListenersAllowedRoutesNamespacesSelector as Selector;
use portcullis_routing::HostPattern;
use serde::Deserialize;
use serde_json::Value;

use super::{
    checks::{Checks, Origin, Path},
    gateway::selector,
    ingress::annotations::values,
    typed,
};
use crate::{
    Problem,
    ir::{
        gateway::LabelSelector,
        live_settings::{HostnameGrant, LiveSettings},
    },
};

pub(crate) use read::{LastGood, read};

/// Applies the value of a key, or returns the error.
type Read = fn(&mut LiveSettings, &str, &mut Checks, &Path<'_>) -> Result<(), Wrong>;

/// The error in the value of a key.
#[derive(Debug)]
struct Wrong {
    why: String,
    /// What applies if there is no last valid value of the key.
    instead: &'static str,
    /// Whether that closes something, which is reported as an error.
    closes: bool,
}

impl Wrong {
    fn new(why: impl Into<String>, instead: &'static str) -> Self {
        Self { why: why.into(), instead, closes: false }
    }

    fn closing(why: impl Into<String>, instead: &'static str) -> Self {
        Self { closes: true, ..Self::new(why, instead) }
    }
}

/// Every key, in the order of `docs/settings.md`.
const KEYS: &[(&str, Read)] = &[
    ("trusted-proxies", |to, text, _, _| or_flag(networks(text)).map(|read| to.proxy.trusted_proxies = read)),
    ("proxy-protocol", |to, text, _, _| or_flag(networks(text)).map(|read| to.proxy.proxy_protocol = read)),
    ("max-connections", |to, text, _, _| {
        or_flag(count(text)).map(|read| to.proxy.max_connections = Some(read))
    }),
    ("max-connections-per-port", |to, text, _, _| {
        or_flag(count(text)).map(|read| to.proxy.max_connections_per_port = Some(read))
    }),
    ("max-connections-per-client", |to, text, _, _| {
        or_flag(count(text)).map(|read| to.proxy.max_connections_per_client = Some(read))
    }),
    ("access-log", |to, text, _, _| or_flag(boolean(text)).map(|read| to.proxy.access_log = read)),
    ("shared-hostnames", |to, text, checks, at| {
        to.entrance.hostnames = Some(grants(text, checks, at));
        Ok(())
    }),
    ("first-namespace-owns", |to, text, checks, at| {
        // An invalid value must not disable the protection.
        to.entrance.first_namespace_owns = boolean(text).unwrap_or_else(|why| {
            checks.error(at, format!("{why}; treated as true"));
            true
        });
        Ok(())
    }),
    ("max-listeners-per-namespace", |to, text, _, _| {
        limit(text).map(|read| to.entrance.max_listeners = Some(read))
    }),
    ("max-ports-per-namespace", |to, text, _, _| limit(text).map(|read| to.entrance.max_ports = Some(read))),
    ("max-certificates-per-namespace", |to, text, _, _| {
        limit(text).map(|read| to.entrance.max_certificates = Some(read))
    }),
];

fn keys() -> impl Iterator<Item = &'static (&'static str, Read)> {
    KEYS.iter()
        .chain(ingress::KEYS)
        .chain(headers::KEYS)
        .chain(global_auth::KEYS)
        .chain(compression::KEYS)
        .chain(forwarding::KEYS)
        .chain(clients::KEYS)
        .chain(log::KEYS)
}

/// Reads `address/prefix length`; an address alone is itself.
///
/// # Errors
/// The reason why it is invalid.
pub fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("{text:?} is not a network such as 10.0.0.0/8 or fd00::/8");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(parse_length(length).ok_or_else(wrong)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match length.unwrap_or(most) {
        length if length <= most => Ok((address, length)),
        _ => Err(wrong()),
    }
}

/// A number of digits alone.
fn parse_length(text: &str) -> Option<u8> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads a number that is not zero.
///
/// # Errors
/// The reason why it is invalid.
pub fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("{text:?} is not a number of 1 or more"))
}

/// Networks, separated by commas or white space.
fn networks(text: &str) -> Result<Vec<(IpAddr, u8)>, String> {
    let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.map(parse_network).collect()
}

fn count(text: &str) -> Result<usize, String> {
    parse_count(text.trim())
}

fn limit(text: &str) -> Result<usize, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not a number of 0 or more"), "this limit does not apply");
    text.trim().parse().map_err(|_| wrong())
}

fn or_flag<T>(read: Result<T, String>) -> Result<T, Wrong> {
    read.map_err(|why| Wrong::new(why, "the value of the command line applies"))
}

/// For keys without a flag.
fn or_default<T>(read: Result<T, String>) -> Result<T, Wrong> {
    read.map_err(|why| Wrong::new(why, "the default applies"))
}

fn boolean(text: &str) -> Result<bool, String> {
    values::boolean(text.trim()).ok_or_else(|| format!("{text:?} is neither true nor false"))
}

/// An entry of `shared-hostnames`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grant {
    namespace_selector: Selector,
    hostnames: Vec<String>,
}

/// The entries. One that is wrong grants its hostnames to nobody.
fn grants(text: &str, checks: &mut Checks, at: &Path<'_>) -> Vec<HostnameGrant> {
    let written: Vec<Value> = match serde_saphyr::from_str(text) {
        Ok(written) => written,
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().next().unwrap_or_default();
            checks.error(at, format!("is not a list, so that it grants nothing: {why}"));
            return Vec::new();
        }
    };
    written.iter().enumerate().map(|(i, written)| grant(written, checks, &at.index(i))).collect()
}

fn grant(written: &Value, checks: &mut Checks, at: &Path<'_>) -> HostnameGrant {
    // A hostname that is spelt correctly counts even in a wrong entry, so that no less specific entry decides about it.
    let texts = written.get("hostnames").and_then(Value::as_array).into_iter().flatten();
    let texts = texts.filter_map(Value::as_str).filter(|text| !text.is_empty());
    let hostnames = texts.filter_map(|text| HostPattern::parse(text).ok()).collect();
    let mut own = Checks::of("", Origin::Document);
    let namespaces = namespaces(written, &mut own, at);
    // A field that is not known may have been meant to narrow the selector.
    let namespaces = match own.into_problems().into_iter().next() {
        None => namespaces,
        Some(Problem { field, message, .. }) => {
            checks.error(&Path::Root.field(&field), format!("{message}; the entry grants nothing"));
            None
        }
    };
    HostnameGrant { namespaces, hostnames }
}

/// The namespaces that an entry grants its hostnames to.
fn namespaces(written: &Value, checks: &mut Checks, at: &Path<'_>) -> Option<LabelSelector> {
    let Grant { namespace_selector, hostnames } = typed::part(written, at, checks).ok()?;
    let at_names = at.field("hostnames");
    for (i, text) in hostnames.iter().enumerate() {
        match HostPattern::parse(text) {
            Ok(_) => checks.require(!text.is_empty(), &at_names.index(i), "must not be empty"),
            Err(why) => checks.error(&at_names.index(i), why.to_string()),
        }
    }
    selector::read(namespace_selector, checks, &at.field("namespaceSelector"))
}
