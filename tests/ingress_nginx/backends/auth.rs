//! What the authentication service says.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::wire::{Header, value};

/// An answer of the service, and how long it takes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    pub(super) body: String,
    pub(super) after: Duration,
}

/// The last part of the path and the query say what is answered.
pub(super) fn answer(target: &str, headers: &[Header]) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    let status = status(path, headers);
    let mut out = Vec::new();
    let mut after = Duration::ZERO;
    let mut first = Vec::new();
    for (name, value) in &query {
        let repeated = first.contains(&name);
        first.push(name);
        let header = match name.as_str() {
            "groups" => "X-Auth-Groups",
            "cookie" => "Set-Cookie",
            // Of the others the first value counts.
            _ if repeated => continue,
            "user" => "X-Auth-User",
            "empty" => "X-Auth-Empty",
            "location" => "Location",
            "www" => "WWW-Authenticate",
            "token" => "Authorization",
            "sleep" => {
                after = Duration::from_secs_f64(value.parse().unwrap_or_default());
                "X-Slept"
            }
            _ => continue,
        };
        let value = if name == "empty" { "" } else { value };
        out.push((header.to_owned(), value.to_owned()));
    }
    if status == 302 && !query.iter().any(|(name, _)| name == "location") {
        out.push(("Location".into(), "http://login.oracle.test/start".into()));
    }
    Answer { status, headers: out, body: format!("auth says {status}\n"), after }
}

fn status(path: &str, headers: &[Header]) -> u16 {
    let allowed = |is| if is { 200 } else { 401 };
    match path.rsplit('/').next().unwrap_or_default() {
        "header" => value(headers, "x-auth-want").and_then(|status| status.parse().ok()).unwrap_or(401),
        "token" => allowed(value(headers, "authorization") == Some("Bearer good")),
        "cookie" => allowed(value(headers, "cookie").is_some_and(|cookies| cookies.contains("session=good"))),
        other => other.parse().unwrap_or(200),
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    (decode(name), decode(value))
}
