//! Snippets of nginx configuration -> equivalent annotations, settings and filters.
//!
//! ```text
//! snippets.rs             a directive -> what to write instead
//! snippets/conditions.rs  the same for `if` and `location`
//! snippets/edits.rs       edits of headers, as the filters of an HTTPRoute
//! ```

mod conditions;
mod edits;

use crate::objects::{
    known_annotations,
    snippet::{Directive, parse},
};
use edits::Edits;

/// The maximum number of lines for a snippet.
const MAX_LINES: usize = 64;
/// Directives that are not needed, and the reason.
const UNNEEDED: &[(&str, &str)] = &[
    ("chunked_transfer_encoding", "bodies are streamed"),
    ("client_body_buffer_size", "bodies are streamed"),
    ("proxy_buffer_size", "messages are streamed"),
    ("proxy_buffering", "messages are streamed"),
    ("proxy_buffers", "messages are streamed"),
    ("proxy_busy_buffers_size", "messages are streamed"),
    ("proxy_http_version", "requests to backends use HTTP/1.1 or HTTP/2"),
    ("proxy_max_temp_file_size", "messages are streamed"),
    ("proxy_request_buffering", "see proxy-request-buffering"),
    ("server_tokens", "the version is never sent"),
    ("tcp_nodelay", "always enabled"),
];
/// Directives with an equivalent annotation that has the same arguments.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("access_log", "enable-access-log"),
    ("client_max_body_size", "proxy-body-size"),
    ("limit_rate", "limit-rate"),
    ("limit_rate_after", "limit-rate-after"),
    ("proxy_cookie_domain", "proxy-cookie-domain"),
    ("proxy_cookie_path", "proxy-cookie-path"),
    ("proxy_next_upstream", "proxy-next-upstream"),
    ("proxy_next_upstream_tries", "proxy-next-upstream-tries"),
    ("satisfy", "satisfy"),
];
/// Directives with an equivalent annotation that is a number of seconds.
const SECONDS: &[(&str, &str)] = &[
    ("proxy_connect_timeout", "proxy-connect-timeout"),
    ("proxy_next_upstream_timeout", "proxy-next-upstream-timeout"),
    ("proxy_read_timeout", "proxy-read-timeout"),
    ("proxy_send_timeout", "proxy-send-timeout"),
];
/// All addresses.
const EVERYBODY: &str = "0.0.0.0/0,::/0";

/// What to write instead of a snippet, a line each; `annotation` is its name without the prefix.
pub(super) fn instead(annotation: &str, snippet: &str) -> Vec<String> {
    let general = || known_annotations::find(annotation).and_then(|known| known.instead()).map(str::to_owned);
    if matches!(annotation, "stream-snippet" | "modsecurity-snippet") {
        return general().into_iter().collect();
    }
    let Some(directives) = parse(snippet) else {
        let what =
            "it cannot be parsed as nginx configuration (it contains Lua, or an unbalanced brace or quote)";
        return [what.to_owned()].into_iter().chain(general()).collect();
    };
    let mut lines = Lines::default();
    lines.all(&directives, annotation == "auth-snippet");
    let mut lines = lines.finish();
    if let Some(more) = lines.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
        lines.truncate(MAX_LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// What to write instead of directives.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    edits: Edits,
    access: Vec<(bool, String)>,
}

impl Lines {
    fn all(&mut self, directives: &[Directive], is_of_auth: bool) {
        for Directive { words, block } in directives {
            let Some((name, arguments)) = words.split_first() else { continue };
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            match block {
                Some(block) => self.lines.extend(conditions::instead(name, &arguments, block)),
                None if is_of_auth => self.of_auth(name, &arguments),
                None => self.one(name, &arguments),
            }
        }
    }

    fn of_auth(&mut self, name: &str, arguments: &[&str]) {
        match (name, arguments) {
            ("proxy_set_header", [header, value]) => self.lines.push(format!(
                "auth-proxy-set-headers: a ConfigMap in the namespace with {header}: {value:?}"
            )),
            _ => self.lines.push(nothing(name, arguments)),
        }
    }

    fn one(&mut self, name: &str, arguments: &[&str]) {
        let of = |table: &[(&str, &'static str)]| table.iter().find(|(of, _)| *of == name).map(|(_, to)| *to);
        if self.edits.take(name, arguments) {
            return;
        }
        let line = match (name, arguments) {
            ("deny" | "allow", [who]) => {
                self.access.push((name == "allow", (*who).to_owned()));
                return;
            }
            ("proxy_set_header" | "grpc_set_header", [header, value]) => of_request_header(header, value),
            ("return", arguments) => returned(arguments),
            ("rewrite", [pattern, target, flag @ ..]) => rewritten(pattern, target, flag.first().copied()),
            ("access_log", [to, ..]) if *to != "off" => nothing(name, arguments),
            ("access_log", _) => annotation("enable-access-log", "false"),
            ("gzip", [value]) => format!("in the settings ConfigMap: use-gzip: \"{}\"", *value == "on"),
            ("proxy_redirect", [from, to]) => {
                format!(
                    "{}, {}",
                    annotation("proxy-redirect-from", from),
                    annotation("proxy-redirect-to", to)
                )
            }
            ("error_page", _) => {
                "custom-http-errors and default-backend, with a backend that serves error pages".into()
            }
            ("auth_basic" | "auth_basic_user_file", _) => "auth-type, auth-secret and auth-realm".into(),
            ("auth_request", _) => "auth-url".into(),
            ("limit_req" | "limit_conn", _) => "limit-rps, limit-rpm or limit-connections".into(),
            (_, [value]) if of(SECONDS).is_some_and(|_| seconds(value).is_some()) => {
                annotation(of(SECONDS).unwrap_or_default(), &seconds(value).unwrap_or_default().to_string())
            }
            _ => match (of(ANNOTATIONS), of(UNNEEDED)) {
                (Some(to), _) => annotation(to, &arguments.join(" ")),
                (None, Some(why)) => format!("{name}: not needed; {why}"),
                (None, None) => nothing(name, arguments),
            },
        };
        self.lines.push(line);
    }

    fn finish(mut self) -> Vec<String> {
        self.lines.extend(access(&self.access));
        self.lines.extend(self.edits.filters());
        self.lines
    }
}

/// `allow` and `deny`: the first match applies.
fn access(rules: &[(bool, String)]) -> Vec<String> {
    let all = rules.iter().position(|(_, who)| who == "all");
    let (rules, last) = match all {
        Some(at) => (&rules[..at], rules.get(at).map(|(is_allow, _)| *is_allow)),
        None => (rules, None),
    };
    let of = |allowed: bool| {
        let found = rules.iter().filter(|(is_allow, _)| *is_allow == allowed);
        found.map(|(_, who)| who.as_str()).collect::<Vec<_>>().join(",")
    };
    let (denied, allowed) = (of(false), of(true));
    // The list of denied clients takes precedence.
    let is_mixed = rules.iter().skip_while(|(is_allow, _)| !is_allow).any(|(is_allow, _)| !is_allow);
    if is_mixed {
        return vec![
            "deny after allow: no equivalent; list the networks to deny without those to allow".into(),
        ];
    }
    let mut lines = Vec::new();
    if !denied.is_empty() {
        lines.push(annotation("denylist-source-range", &denied));
    }
    match last {
        Some(false) if allowed.is_empty() => lines.push(annotation("denylist-source-range", EVERYBODY)),
        Some(false) => lines.push(annotation("allowlist-source-range", &allowed)),
        // Clients that are in neither list are allowed.
        Some(true) | None => {}
    }
    lines
}

fn of_request_header(header: &str, value: &str) -> String {
    match header.to_ascii_lowercase().as_str() {
        "host" if !value.contains('$') => annotation("upstream-vhost", value),
        "host" if matches!(value, "$host" | "$http_host") => {
            "Host: not needed; backends receive the client's".into()
        }
        "upgrade" | "connection" => {
            format!("{header}: not needed; WebSocket and other upgrades are supported")
        }
        "x-real-ip" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-port" | "x-forwarded-proto"
        | "x-forwarded-scheme" | "x-scheme" | "x-request-id" => {
            format!("{header}: not needed; it is always sent")
        }
        "x-forwarded-prefix" if !value.contains('$') => annotation("x-forwarded-prefix", value),
        _ => nothing("proxy_set_header", &[header, value]),
    }
}

/// `return`.
fn returned(arguments: &[&str]) -> String {
    let (code, to) = match arguments {
        [only] if only.contains("://") => (302, Some(*only)),
        [code] => (code.parse().unwrap_or_default(), None),
        [code, to] => (code.parse().unwrap_or_default(), Some(*to)),
        _ => (0, None),
    };
    let is_permanent = matches!(code, 301 | 308);
    match (code, to) {
        (
            301 | 302 | 303 | 307 | 308,
            Some(
                "https://$host$request_uri"
                | "https://$http_host$request_uri"
                | "https://$server_name$request_uri",
            ),
        ) => annotation("force-ssl-redirect", "true"),
        (301 | 302 | 303 | 307 | 308, Some(to)) if !to.contains('$') => {
            let (name, usual) =
                if is_permanent { ("permanent-redirect", 301) } else { ("temporal-redirect", 302) };
            let line = annotation(name, to);
            match code == usual {
                true => line,
                false => format!("{line}, {}", annotation(&format!("{name}-code"), &code.to_string())),
            }
        }
        (301 | 302 | 303 | 307 | 308, Some(to)) => match other_host(to) {
            Some((scheme, host)) => format!(
                "in an HTTPRoute: filters: [{{type: RequestRedirect, requestRedirect: {{scheme: {scheme}, hostname: {host}, \
                 statusCode: {code}}}}}]"
            ),
            None => nothing("return", arguments),
        },
        (403, _) => annotation("denylist-source-range", EVERYBODY),
        _ => nothing("return", arguments),
    }
}

/// The scheme and host of `https://other.example$request_uri`.
fn other_host(to: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = to.split_once("://")?;
    let host = rest.strip_suffix("$request_uri")?;
    (!host.contains(['$', '/', ':'])).then_some((scheme, host))
}

/// `rewrite`.
fn rewritten(pattern: &str, target: &str, flag: Option<&str>) -> String {
    let path = pattern.strip_prefix('^').unwrap_or(pattern);
    let line =
        format!("path {path}: {}, {}", annotation("use-regex", "true"), annotation("rewrite-target", target));
    match flag {
        None | Some("break" | "last") if target.starts_with('/') && path.starts_with('/') => line,
        Some("redirect") if target.contains("://") && path.starts_with('/') => line,
        Some("permanent") if target.contains("://") && !target.contains('$') && path.starts_with('/') => {
            format!("path {path}: {}", annotation("permanent-redirect", target))
        }
        flag => nothing("rewrite", &[pattern, target, flag.unwrap_or_default()]),
    }
}

/// A duration in nginx syntax, in whole seconds.
fn seconds(text: &str) -> Option<u64> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn annotation(name: &str, value: &str) -> String {
    format!("{name}: {value:?}")
}

fn nothing(name: &str, arguments: &[&str]) -> String {
    let text = format!("{name} {}", arguments.join(" "));
    format!("{}: no equivalent", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_has_a_typed_equivalent() {
        for (snippet, want) in [
            ("", &[][..]),
            ("deny all;", &[r#"denylist-source-range: "0.0.0.0/0,::/0""#]),
            ("deny 10.0.0.1; deny 10.0.0.2;", &[r#"denylist-source-range: "10.0.0.1,10.0.0.2""#]),
            ("allow 10.0.0.0/8; allow ::1; deny all;", &[r#"allowlist-source-range: "10.0.0.0/8,::1""#]),
            (
                "deny 10.0.0.1; allow 10.0.0.0/8; deny all;",
                &[r#"denylist-source-range: "10.0.0.1""#, r#"allowlist-source-range: "10.0.0.0/8""#],
            ),
            (
                "allow 10.0.0.1; deny 10.0.0.0/8; allow all;",
                &["deny after allow: no equivalent; list the networks to deny without those to allow"],
            ),
            ("return 403;", &[r#"denylist-source-range: "0.0.0.0/0,::/0""#]),
            ("return 404;", &["return 404: no equivalent"]),
            ("return 301 https://b.example/x;", &[r#"permanent-redirect: "https://b.example/x""#]),
            (
                "return 307 https://b.example/x;",
                &[r#"temporal-redirect: "https://b.example/x", temporal-redirect-code: "307""#],
            ),
            ("return https://b.example/;", &[r#"temporal-redirect: "https://b.example/""#]),
            ("return 301 https://$host$request_uri;", &[r#"force-ssl-redirect: "true""#]),
            (
                "return 301 https://b.example$request_uri;",
                &[
                    "in an HTTPRoute: filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: b.example, \
                   statusCode: 301}}]",
                ],
            ),
            ("return 301 https://$arg_to/;", &["return 301 https://$arg_to/: no equivalent"]),
            (
                "rewrite ^/a/(.*)$ /b/$1 break;",
                &[r#"path /a/(.*)$: use-regex: "true", rewrite-target: "/b/$1""#],
            ),
            (
                "rewrite ^/old https://b.example/ permanent;",
                &[r#"path /old: permanent-redirect: "https://b.example/""#],
            ),
            ("rewrite ^/old$ /new permanent;", &["rewrite ^/old$ /new permanent: no equivalent"]),
            ("client_max_body_size 8m;", &[r#"proxy-body-size: "8m""#]),
            ("proxy_read_timeout 5m;", &[r#"proxy-read-timeout: "300""#]),
            ("proxy_read_timeout 500ms;", &["proxy_read_timeout 500ms: no equivalent"]),
            ("proxy_set_header Host api.internal;", &[r#"upstream-vhost: "api.internal""#]),
            (
                "proxy_set_header Upgrade $http_upgrade;",
                &["Upgrade: not needed; WebSocket and other upgrades are supported"],
            ),
            ("proxy_set_header X-Real-IP $remote_addr;", &["X-Real-IP: not needed; it is always sent"]),
            ("gzip on;", &[r#"in the settings ConfigMap: use-gzip: "true""#]),
            ("server_tokens off;", &["server_tokens: not needed; the version is never sent"]),
            ("access_log off;", &[r#"enable-access-log: "false""#]),
            ("set $a b;", &["set $a b: no equivalent"]),
        ] {
            assert_eq!(instead("configuration-snippet", snippet), want, "{snippet}");
        }
    }

    #[test]
    fn invalid_snippets_are_reported_and_long_ones_are_cut() {
        let lines = instead("configuration-snippet", "access_by_lua_block { x = {a} ");
        assert!(lines[0].starts_with("it cannot be parsed as nginx configuration"), "{lines:?}");
        assert_eq!(instead("server-snippet", &"set $a b; ".repeat(80)).len(), MAX_LINES + 1);
        let lines = instead("auth-snippet", "proxy_set_header X-A b; set $a b;");
        assert_eq!(
            lines,
            [
                "auth-proxy-set-headers: a ConfigMap in the namespace with X-A: \"b\"",
                "set $a b: no equivalent"
            ]
        );
    }
}
