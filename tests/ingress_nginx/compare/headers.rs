//! Headers as they are compared: names without case, several values of a name in order.

use std::collections::BTreeMap;

use super::Difference;
use crate::{player::OFFSET, wire::Header};

/// Values by name in lower case.
pub(super) type Values = BTreeMap<String, Vec<String>>;

/// Sorts them by name, those that count.
pub(super) fn by_name(headers: &[Header], counts: impl Fn(&str) -> bool) -> Values {
    let mut out = Values::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if counts(&name) {
            out.entry(name).or_default().push(value.clone());
        }
    }
    out
}

/// One difference for each name whose values differ.
pub(super) fn differences(of: &str, wanted: &Values, got: &Values) -> Vec<Difference> {
    let names: std::collections::BTreeSet<_> = wanted.keys().chain(got.keys()).collect();
    let differ = names.into_iter().filter(|name| wanted.get(*name) != got.get(*name));
    differ
        .map(|name| Difference::of_header(format!("{of}{name}"), say(wanted.get(name)), say(got.get(name))))
        .collect()
}

fn say(values: Option<&Vec<String>>) -> String {
    values.map_or_else(|| "-".to_owned(), |values| format!("{values:?}"))
}

/// 80 and 443 in place of the ports that are listened on.
pub(super) fn with_ports(name: &str, value: &str) -> String {
    let mut out = value.to_owned();
    for port in [80, 443] {
        let ours = (OFFSET + port).to_string();
        if name == "x-forwarded-port" && value == ours {
            return port.to_string();
        }
        for colon in [":", "%3A"] {
            out = out.replace(&format!("{colon}{ours}"), &format!("{colon}{port}"));
        }
    }
    out
}

/// A URL without the port that its scheme has anyway.
pub(super) fn without_default_port(url: &str) -> String {
    for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
        let Some(rest) = url.strip_prefix(scheme) else { continue };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return format!("{scheme}{}{path}", authority.strip_suffix(port).unwrap_or(authority));
    }
    url.to_owned()
}

/// A request's identifier: 32 hexadecimal digits, or a UUID.
pub(super) fn without_id(value: &str) -> String {
    let digits = value.chars().filter(char::is_ascii_hexdigit).count();
    let others: String = value.chars().filter(|c| !c.is_ascii_hexdigit()).collect();
    let is_id = digits == 32 && (others.is_empty() || others == "----");
    if is_id { "(id)".into() } else { value.into() }
}
