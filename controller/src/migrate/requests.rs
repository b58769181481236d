//! Harmless requests for each host and path of the Ingresses, for comparing two controllers.

use std::collections::BTreeSet;

use portcullis_routing::HostPattern;

use crate::{
    Settings,
    translate::{Classes, Reader},
};

use super::objects::Objects;

/// A path that no rule matches.
const UNMATCHED: &str = "/portcullis-compare-no-such-path";
/// The label that replaces `*`.
const ANY_LABEL: &str = "portcullis-compare";

/// The hosts and paths to request, sorted, without duplicates.
pub fn requests(objects: &Objects, settings: &Settings) -> Vec<(String, String)> {
    let snapshot = objects.with_namespaces();
    let reader = Reader::new(&snapshot, settings, None);
    let classes = Classes::of(&reader);
    let mut requests = BTreeSet::new();
    for ingress in reader.ingresses().filter(|ingress| classes.is_ours(ingress)) {
        for rule in ingress.rules.iter() {
            let host = match &rule.host {
                HostPattern::Any => format!("{ANY_LABEL}.invalid"),
                host => host.to_string().replace('*', ANY_LABEL),
            };
            requests.insert((host.clone(), UNMATCHED.to_owned()));
            for path in &rule.paths {
                requests.insert((host.clone(), example_of(&path.text)));
            }
        }
    }
    requests.into_iter().collect()
}

/// A path that a rule matches: the path itself, or the literal prefix of a regular expression.
fn example_of(path: &str) -> String {
    let special = |c: char| "\\^$.[]|()?*+{}".contains(c) || !c.is_ascii_graphic() || c == '#';
    let path = path.strip_prefix('^').unwrap_or(path);
    let plain = match path.find(special) {
        // The character before a repetition may be absent.
        Some(at) => path.get(..at).unwrap_or_default(),
        None => path,
    };
    if plain.starts_with('/') { plain.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_requested_up_to_its_first_special_character() {
        for (path, want) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/api(/|$)(.*)", "/api"),
            ("^/v[0-9]", "/v"),
            ("(a|b)", "/"),
            ("/a b", "/a"),
            ("/a\r\nX: y", "/a"),
        ] {
            assert_eq!(example_of(path), want, "{path}");
        }
    }
}
