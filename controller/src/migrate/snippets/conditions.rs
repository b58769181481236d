//! `if` and `location` in a snippet.

use super::{Directive, Lines, annotation, nothing};

/// What to write instead of a directive with a block.
pub(super) fn instead(name: &str, arguments: &[&str], block: &[Directive]) -> Vec<String> {
    match name {
        "if" => vec![of_condition(&condition(arguments), block).unwrap_or_else(|| no_equivalent(arguments))],
        "location" => of_location(arguments, block),
        _ => vec![nothing(name, arguments)],
    }
}

fn no_equivalent(arguments: &[&str]) -> String {
    let text = arguments.join(" ");
    match text.contains("$request_method") {
        true => format!("if {text}: an HTTPRoute that matches the allowed methods"),
        false => format!("if {text}: no equivalent"),
    }
}

/// The words between the parentheses.
fn condition(arguments: &[&str]) -> Vec<String> {
    let text = arguments.join(" ");
    let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(&text);
    inside.split_whitespace().map(str::to_owned).collect()
}

fn of_condition(condition: &[String], block: &[Directive]) -> Option<String> {
    let [Directive { words, block: None }] = block else { return None };
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let [variable, operator, value @ ..] = condition else { return None };
    let value = value.join(" ");
    let value = value.trim_matches(['"', '\'']);
    let is_plain_http = matches!(
        (variable.as_str(), operator.as_str(), value),
        ("$scheme" | "$http_x_forwarded_proto", "=", "http")
            | ("$scheme" | "$http_x_forwarded_proto", "!=", "https")
    );
    match (variable.as_str(), words.as_slice()) {
        (_, ["return", "301" | "302" | "307" | "308", to]) if is_plain_http && to.starts_with("https://") => {
            Some(annotation("force-ssl-redirect", "true"))
        }
        ("$http_user_agent", ["return", "403"]) => blocked("block-user-agents", operator, value),
        ("$http_referer", ["return", "403"]) => blocked("block-referers", operator, value),
        ("$remote_addr", ["return", "403"]) if operator == "=" => {
            Some(annotation("denylist-source-range", value))
        }
        ("$request_method", ["return", "204"]) if operator == "=" && value == "OPTIONS" => {
            Some(annotation("enable-cors", "true"))
        }
        _ => None,
    }
}

/// A setting for all Ingresses.
fn blocked(key: &str, operator: &str, value: &str) -> Option<String> {
    let operator = match operator {
        "=" => "",
        "~" | "~*" => operator,
        _ => return None,
    };
    Some(format!("in the settings ConfigMap, for all Ingresses: {key}: {:?}", format!("{operator}{value}")))
}

/// A location corresponds to a separate Ingress with its path.
fn of_location(arguments: &[&str], block: &[Directive]) -> Vec<String> {
    let (kind, path) = match arguments {
        ["=", path] => ("Exact", *path),
        ["~" | "~*", path] => {
            ("ImplementationSpecific, use-regex: \"true\"", path.strip_prefix('^').unwrap_or(path))
        }
        ["^~", path] | [path] => ("Prefix", *path),
        _ => return vec![nothing("location", arguments)],
    };
    let mut lines = Lines::default();
    lines.all(block, false);
    let inside = lines.finish().into_iter().map(|line| format!("  {line}"));
    let head = format!("a separate Ingress for the path {path} (pathType {kind}) with");
    [head].into_iter().chain(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::super::instead;

    #[test]
    fn conditions_and_locations_have_equivalents_where_there_is_one() {
        for (snippet, want) in [
            (
                "if ($scheme = http) { return 301 https://$host$request_uri; }",
                &[r#"force-ssl-redirect: "true""#][..],
            ),
            (
                r#"if ($http_user_agent ~* "(curl|wget)") { return 403; }"#,
                &[r#"in the settings ConfigMap, for all Ingresses: block-user-agents: "~*(curl|wget)""#],
            ),
            ("if ($remote_addr = 192.0.2.1) { return 403; }", &[r#"denylist-source-range: "192.0.2.1""#]),
            (
                "if ($request_method !~ ^(GET|HEAD)$) { return 405; }",
                &["if ($request_method !~ ^(GET|HEAD)$): an HTTPRoute that matches the allowed methods"],
            ),
            ("if ($arg_debug) { return 403; }", &["if ($arg_debug): no equivalent"]),
            (
                "location = /metrics { deny all; }",
                &[
                    "a separate Ingress for the path /metrics (pathType Exact) with",
                    r#"  denylist-source-range: "0.0.0.0/0,::/0""#,
                ],
            ),
            (
                "location ~* ^/(admin|internal) { allow 10.0.0.0/8; deny all; }",
                &[
                    "a separate Ingress for the path /(admin|internal) (pathType ImplementationSpecific, use-regex: \"true\") with",
                    r#"  allowlist-source-range: "10.0.0.0/8""#,
                ],
            ),
            ("map $a $b { c d; }", &["map $a $b: no equivalent"]),
        ] {
            assert_eq!(instead("server-snippet", snippet), want, "{snippet}");
        }
    }
}
