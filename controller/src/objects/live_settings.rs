//! The ConfigMap of settings that take effect without a restart (`--settings-configmap`).
//!
//! If a key is missing or its value is wrong, the command line applies. Two keys are stricter, since a mistake must
//! not lift a restriction: a wrong entry of `shared-hostnames` grants nothing, and a wrong `first-namespace-owns`
//! counts as `true`. What the ConfigMap said before plays no part: a replica that starts now would not know it.

mod global_auth;
mod ingress;

use std::{net::IpAddr, str::FromStr};

use gateway_api::experimental::gateways::GatewayListenersAllowedRoutesNamespacesSelector as Selector;
use portcullis_routing::HostPattern;
use serde::Deserialize;
use serde_json::Value;

use super::{
    checks::{Checks, Origin, Path},
    gateway::selector,
    typed,
};
use crate::{
    Problem,
    ir::{
        ConfigMap,
        gateway::LabelSelector,
        live_settings::{HostnameGrant, LiveSettings},
    },
    problem::Topic,
};

/// Takes over the value of a key, or says what is wrong with it and what applies instead.
type Read = fn(&mut LiveSettings, &str, &mut Checks, &Path<'_>) -> Result<(), String>;

/// Every key, in the order of `docs/settings.md`.
const KEYS: [(&str, Read); 11] = [
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
        // A protection that cannot be read closes.
        to.entrance.first_namespace_owns = boolean(text).unwrap_or_else(|why| {
            checks.error(at, format!("{why}; taken for true"));
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
    KEYS.iter().chain(&ingress::KEYS).chain(&global_auth::KEYS)
}

/// The settings with what a ConfigMap says over them, and what is wrong with it.
pub(crate) fn read(flags: &LiveSettings, written: &ConfigMap) -> (LiveSettings, Vec<Problem>) {
    let mut checks = Checks::of(written.meta.key.to_string(), Origin::Document);
    let mut settings = flags.clone();
    let at = Path::Root.field("data");
    for (key, text) in &written.data {
        let at = at.field(key);
        match keys().find(|(name, _)| *name == &**key) {
            Some((_, read)) => {
                if let Err(why) = read(&mut settings, text, &mut checks, &at) {
                    checks.warning_of(Topic::Invalid, &at, why);
                }
            }
            None if ingress::MOOT.contains(&&**key) => {
                let message = "has no effect here, where messages are streamed and connections pooled";
                checks.warning_of(Topic::NotServed, &at, message);
            }
            None => {
                let message = format!(
                    "is not a setting; the settings are {}",
                    keys().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
                );
                checks.warning_of(Topic::UnknownField, &at, message);
            }
        }
    }
    (settings, checks.into_problems())
}

/// Reads `address/prefix length`; an address alone is itself.
///
/// # Errors
/// A sentence that says what is wrong.
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
/// A sentence that says what is wrong.
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

fn limit(text: &str) -> Result<usize, String> {
    usize::from_str(text.trim())
        .map_err(|_| format!("{text:?} is not a number of 0 or more; there is no such limit"))
}

fn or_flag<T>(read: Result<T, String>) -> Result<T, String> {
    read.map_err(|why| format!("{why}; the value of the command line applies"))
}

fn boolean(text: &str) -> Result<bool, String> {
    bool::from_str(text.trim()).map_err(|_| format!("{text:?} is neither true nor false"))
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
            checks.error(at, format!("is not a list, and so grants nothing: {why}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Kind, Meta, ObjectKey};

    fn of(data: &[(&str, &str)]) -> (LiveSettings, Vec<String>) {
        let key = ObjectKey::new(Kind::ConfigMap, "edge", "settings");
        let meta = Meta { key, uid: None, generation: 1, version: 0, created: 0, warnings: Box::default() };
        let data = data.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
        let mut flags = LiveSettings::default();
        flags.proxy.max_connections = Some(7);
        let (settings, problems) = read(&flags, &ConfigMap { meta, data });
        (settings, problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect())
    }

    #[test]
    fn a_key_goes_before_the_command_line_and_a_wrong_one_does_not() {
        let (settings, problems) = of(&[
            ("trusted-proxies", "10.0.0.0/8, fd00::/8\n192.0.2.7"),
            ("max-connections", " 100 "),
            ("access-log", "true\n"),
            ("max-ports-per-namespace", "0"),
        ]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(settings.proxy.trusted_proxies.len(), 3);
        assert_eq!(settings.proxy.max_connections, Some(100));
        assert!(settings.proxy.access_log);
        assert_eq!(settings.entrance.max_ports, Some(0));

        let (_, problems) = of(&[("proxy-buffering", "on")]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("has no effect here"), "{problems:?}");

        let (settings, problems) = of(&[
            ("access-log", "yes"),
            ("max-connections", "0"),
            ("trusted-proxies", "10.0.0.0/33"),
            ("trusted-proxy", "10.0.0.0/8"),
        ]);
        let want = [
            "data.access-log: \"yes\" is neither true nor false; the value of the command line applies",
            "data.max-connections: \"0\" is not a number of 1 or more; the value of the command line applies",
            "data.trusted-proxies: \"10.0.0.0/33\" is not a network such as 10.0.0.0/8 or fd00::/8; the value of the \
             command line applies",
            "data.trusted-proxy: is not a setting; the settings are trusted-proxies, ",
        ];
        assert_eq!(problems.len(), want.len(), "{problems:?}");
        for (problem, want) in problems.iter().zip(want) {
            assert!(problem.starts_with(want), "{problem}");
        }
        assert_eq!(settings.proxy.max_connections, Some(7));
        assert!(!settings.proxy.access_log && settings.proxy.trusted_proxies.is_empty());
    }

    #[test]
    fn entries_of_shared_hostnames_that_are_wrong_grant_nothing() {
        let all = "- {namespaceSelector: {}, hostnames: ['*']}";
        for (what, text, entries, hostnames, problem) in [
            ("all", all.to_owned(), 1, 1, None),
            ("none", "[]".to_owned(), 0, 0, None),
            ("no list", "everything".to_owned(), 0, 0, Some("data.shared-hostnames: is not a list")),
            (
                "a typo",
                "- {namespaceSelectors: {}, hostnames: [a.example]}
"
                .to_owned()
                    + all,
                2,
                2,
                Some("data.shared-hostnames[0].namespaceSelectors: is not a field"),
            ),
            (
                "a typo in the selector",
                "- {namespaceSelector: {matchLabel: {a: b}}, hostnames: [a.example]}
"
                .to_owned()
                    + all,
                2,
                2,
                Some("data.shared-hostnames[0].namespaceSelector.matchLabel: is not a field"),
            ),
            (
                "a selector",
                "- {namespaceSelector: {matchExpressions: [{key: a, operator: Like}]}, hostnames: [a.example]}
"
                .to_owned() + all,
                2,
                2,
                Some("data.shared-hostnames[0].namespaceSelector.matchExpressions[0].operator: "),
            ),
            (
                "a hostname",
                "- {namespaceSelector: {}, hostnames: [a.example, 'a b']}".to_owned(),
                1,
                1,
                Some("data.shared-hostnames[0].hostnames[1]: "),
            ),
        ] {
            let (settings, problems) = of(&[("shared-hostnames", &text)]);
            let grants = settings.entrance.hostnames.expect("nothing is granted but what is listed");
            assert_eq!(grants.len(), entries, "{what}");
            if problem.is_some() && entries > 0 {
                assert_eq!(grants[0].namespaces, None, "{what}: its hostname is nobody's");
            }
            assert_eq!(grants.iter().map(|grant| grant.hostnames.len()).sum::<usize>(), hostnames, "{what}");
            match (problem, problems.as_slice()) {
                (None, []) => {}
                (Some(want), [got]) if got.starts_with(want) => {}
                (_, got) => panic!("{what}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_list_of_clients_that_is_wrong_lets_nobody_in() {
        let closed = "data.block-cidrs: \"x\" is not a network such as 10.0.0.0/8 or fd00::/8; the paths of Ingresses that \
                      the list holds for are closed";
        let nobody = "data.whitelist-source-range: \"x\" is not a network such as 10.0.0.0/8 or fd00::/8; it allows nobody";
        for (key, text, allow, block, problem) in [
            (
                "whitelist-source-range",
                "10.0.0.0/8, 192.0.2.7",
                Some("10.0.0.0-10.255.255.255,192.0.2.7"),
                "Nobody",
                None,
            ),
            ("whitelist-source-range", "10.0.0.1,x", Some("10.0.0.1"), "Nobody", Some(nobody)),
            ("whitelist-source-range", "x", Some("nobody"), "Nobody", Some(nobody)),
            ("whitelist-source-range", "", None, "Nobody", None),
            ("block-cidrs", "10.0.0.1", None, "10.0.0.1", None),
            ("block-cidrs", "10.0.0.1,x", None, "Unknown", Some(closed)),
            ("block-cidrs", "", None, "Nobody", None),
        ] {
            let (settings, problems) = of(&[(key, text)]);
            let access = settings.ingress.access;
            let got = match &access.block {
                crate::ir::live_settings::Denied::Networks(networks) => networks.to_string(),
                other => format!("{other:?}"),
            };
            let allowed = access.allow.map(|networks| networks.to_string());
            assert_eq!((allowed.as_deref(), &*got), (allow, block), "{key}: {text}");
            assert_eq!(problems.first().map(|p| &**p), problem, "{key}: {text}");
        }
        let (settings, problems) = of(&[("limit-req-status-code", "429"), ("limit-conn-status-code", "200")]);
        let statuses = settings.ingress.limits;
        assert_eq!([statuses.request_status.as_u16(), statuses.connection_status.as_u16()], [429, 503]);
        assert!(problems[0].contains("\"200\" is not a status of 400 to 599"), "{problems:?}");
        let (settings, _) = of(&[("denylist-source-range", "10.0.0.1,x")]);
        assert_eq!(settings.ingress.access.deny, crate::ir::live_settings::Denied::Unknown);
    }

    #[test]
    fn a_network_is_an_address_with_a_length_that_fits() {
        for (text, want) in [
            ("10.0.0.0/8", Some(("10.0.0.0", 8))),
            ("192.0.2.7", Some(("192.0.2.7", 32))),
            ("fd00::/8", Some(("fd00::", 8))),
            ("::1", Some(("::1", 128))),
            ("10.0.0.0/33", None),
            ("10.0.0/8", None),
            ("10.0.0.0/+8", None),
            ("", None),
            ("::/129", None),
        ] {
            let want = want.map(|(address, length)| (address.parse().unwrap(), length));
            assert_eq!(parse_network(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn the_document_lists_every_key_in_order() {
        let document = include_str!("../../../docs/settings.md");
        let listed: Vec<_> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
            .collect();
        assert_eq!(listed, keys().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
