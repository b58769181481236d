//! A path of an Ingress and its rewrite -> a match of a path and a filter.

use serde_json::{Value, json};

use crate::ir::ingress::{IngressPath, PathKind};

/// The maximum length of a path in a match (`maxLength`).
const MAX_PATH: usize = 1024;

/// How a path is matched and rewritten, and the difference from the Ingress.
pub(super) struct Matched {
    pub(super) path: Value,
    /// `urlRewrite.path`.
    pub(super) rewrite: Option<Value>,
    pub(super) loss: Option<&'static str>,
}

/// The match of a path, and its rewrite to `target`. `regexes` are all paths of the host, if they are regular expressions.
///
/// # Errors
/// Why there is no equivalent.
pub(super) fn matched(
    path: &IngressPath,
    regexes: Option<&[&str]>,
    target: Option<&str>,
) -> Result<Matched, &'static str> {
    let is_regex = regexes.is_some();
    let as_prefix = regexes.and_then(|all| Some((all, as_prefix(&path.text, target?)?)));
    let target = match as_prefix {
        // Nothing is rewritten.
        Some((_, ("/", "/", _))) => None,
        Some((all, (prefix, replacement, loss))) => {
            // A prefix takes precedence over regular expressions, even over longer ones.
            let begins = |other: &&str| {
                let other = other.strip_prefix('^').unwrap_or(other);
                other.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            };
            if all.iter().any(|other| **other != *path.text && begins(other)) {
                return Err("its rewrite is that of a prefix, and the host has other paths with this prefix");
            }
            let rewrite = json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": replacement });
            let path = json!({ "type": "PathPrefix", "value": prefix });
            return Ok(Matched { path, rewrite: Some(rewrite), loss });
        }
        None => target,
    };
    let rewrite = match target.filter(|to| is_regex || *to != &*path.text) {
        None => None,
        Some(to) if to.contains('$') => {
            return Err("its rewrite-target uses groups in a way that is not the replacement of a prefix");
        }
        Some(to) if !to.starts_with('/') => return Err("its rewrite-target is a URL; use a RequestRedirect"),
        Some(to) => Some(json!({ "type": "ReplaceFullPath", "replaceFullPath": to })),
    };
    let path = match (is_regex, path.kind) {
        (false, PathKind::Exact) => json!({ "type": "Exact", "value": &*path.text }),
        (false, PathKind::Prefix) => json!({ "type": "PathPrefix", "value": &*path.text }),
        (true, _) => json!({ "type": "RegularExpression", "value": whole(&path.text) }),
    };
    let is_short = path["value"].as_str().is_some_and(|value| value.len() <= MAX_PATH);
    is_short.then_some(Matched { path, rewrite, loss: None }).ok_or("it is longer than 1024 characters")
}

/// A path of a host with regular expressions as an expression for the whole path.
fn whole(text: &str) -> String {
    format!("(?i)(?:{})(?s:.*)", text.strip_prefix('^').unwrap_or(text))
}

/// The prefix and its replacement, if a regular expression and its target are equivalent to these: `/a(/|$)(.*)` with target
/// `/b/$2`.
fn as_prefix<'t>(path: &'t str, target: &'t str) -> Option<(&'t str, &'t str, Option<&'static str>)> {
    const CASE: &str = "a prefix is case-sensitive, unlike the regular expression in ingress-nginx";
    const BARE: &str = "a prefix is case-sensitive and also matches without the trailing slash, unlike the regular expression in ingress-nginx";
    let path = path.strip_prefix('^').unwrap_or(path);
    let path = path.strip_suffix('$').filter(|path| path.ends_with("(.*)")).unwrap_or(path);
    let (prefix, group, loss) = [("(/|$)(.*)", "$2", CASE), ("/?(.*)", "$1", CASE), ("/(.*)", "$1", BARE)]
        .into_iter()
        .find_map(|(end, group, loss)| Some((path.strip_suffix(end)?, group, loss)))?;
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte));
    let replacement = target.strip_suffix(group)?.trim_end_matches('/');
    if !is_plain(prefix)
        || !is_plain(replacement)
        || !(replacement.is_empty() || replacement.starts_with('/'))
    {
        return None;
    }
    let or_root = |text: &'t str| if text.is_empty() { "/" } else { text };
    // The prefix / matches all requests, so that there is no difference.
    let loss = (!prefix.is_empty()).then_some(loss);
    Some((or_root(prefix), or_root(replacement), loss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ingress::{IngressBackend, PortRef};

    #[test]
    fn a_rewrite_is_a_prefix_where_that_is_all_it_means() {
        for (path, target, want) in [
            ("/api(/|$)(.*)", "/$2", Some(("/api", "/"))),
            ("/api(/|$)(.*)", "/v1/$2", Some(("/api", "/v1"))),
            ("/api/?(.*)", "/$1", Some(("/api", "/"))),
            ("/api/(.*)$", "/$1", Some(("/api", "/"))),
            ("/(.*)", "/$1", Some(("/", "/"))),
            ("/a.b/(.*)", "/$1", None),
            ("/api/(.*)", "/$2", None),
            ("/api/(.*)", "/a.b/$1", None),
            ("/(a|b)/(.*)", "/$2", None),
        ] {
            let got = as_prefix(path, target).map(|(prefix, replacement, _)| (prefix, replacement));
            assert_eq!(got, want, "{path} to {target}");
        }
    }

    #[test]
    fn a_prefix_beside_longer_paths_would_take_their_requests() {
        let path = path("/api/(.*)");
        for (other, is_fine) in [("/web", true), ("/API/admin", false), ("^/api", false), ("/ap", true)] {
            let all = ["/api/(.*)", other];
            assert_eq!(matched(&path, Some(&all), Some("/$1")).is_ok(), is_fine, "{other}");
        }
    }

    fn path(text: &str) -> IngressPath {
        IngressPath {
            text: text.into(),
            kind: PathKind::Prefix,
            backend: IngressBackend::Service { name: "web".into(), port: PortRef::Number(80) },
        }
    }

    #[test]
    fn other_rewrites_have_none_or_replace_the_whole_path() {
        for (text, is_regex, target, want) in [
            ("/a", false, None, Ok(("/a", None))),
            ("/a", true, None, Ok(("(?i)(?:/a)(?s:.*)", None))),
            ("/(.*)", true, Some("/$1"), Ok(("(?i)(?:/(.*))(?s:.*)", None))),
            ("/a/.*", true, Some("/b"), Ok(("(?i)(?:/a/.*)(?s:.*)", Some("/b")))),
            ("/", false, Some("/"), Ok(("/", None))),
            (
                "/(a|b)",
                true,
                Some("/$1"),
                Err("its rewrite-target uses groups in a way that is not the replacement of a prefix"),
            ),
            ("/a", true, Some("https://b/"), Err("its rewrite-target is a URL; use a RequestRedirect")),
        ] {
            let all = [text];
            let got = matched(&path(text), is_regex.then_some(&all[..]), target);
            let got = got.map(|matched| {
                let to =
                    matched.rewrite.map(|rewrite| rewrite["replaceFullPath"].as_str().unwrap().to_owned());
                (matched.path["value"].as_str().unwrap().to_owned(), to)
            });
            let want = want.map(|(path, to): (&str, Option<&str>)| (path.to_owned(), to.map(str::to_owned)));
            assert_eq!(got, want, "{text} to {target:?}");
        }
    }
}
