//! What the client got.

use std::collections::BTreeSet;

use super::{
    Difference, Rules,
    headers::{Values, by_name, differences, with_ports, without_default_port, without_id},
};
use crate::{
    case::{Seen, Send},
    player::Answer,
    wire::{Header, bytes, digest, value},
};

/// Nobody compares these.
const FREE: [&str; 9] = [
    "date",
    "server",
    "connection",
    "keep-alive",
    "content-length",
    "transfer-encoding",
    "alt-svc",
    "via",
    "accept-ranges",
];
/// These are free on a controller's own pages, unless ingress-nginx sent them.
const FREE_ON_PAGES: [&str; 3] = ["x-content-type-options", "cache-control", "allow"];
/// A controller's own certificate equals another's.
const OWN_CERTIFICATES: [&str; 2] =
    ["Kubernetes Ingress Controller Fake Certificate", "Portcullis default certificate"];
/// How much longer or shorter an answer may take.
const TIME: f64 = 0.8;

pub(super) fn compare(send: &Send, seen: &Seen, answer: &Answer, rules: Rules) -> Vec<Difference> {
    let mut out = Vec::new();
    out.extend(Difference::unless_equal("status", &seen.status, &answer.status));
    let wanted_headers = headers_of(seen);
    let by_backend = ["x-backend", "x-errors-by"].iter().any(|name| value(&wanted_headers, name).is_some());
    let mut wanted = normal(&wanted_headers, send);
    let mut got = normal(&answer.headers, send);
    if !by_backend {
        got.retain(|name, _| wanted.contains_key(name) || !FREE_ON_PAGES.contains(&name.as_str()));
    }
    // It belongs to a backend's body, and was recorded with one.
    if !by_backend || (seen.from.is_none() && seen.body.is_none()) {
        wanted.remove("content-type");
        got.remove("content-type");
    }
    if send.anybackend {
        wanted.remove("x-backend");
        got.remove("x-backend");
    }
    out.extend(differences("header ", &wanted, &got));
    if by_backend && rules.bodies {
        out.extend(body(send, seen, answer));
    }
    out.extend(Difference::unless_equal("ws", &seen.ws, &answer.ws));
    let trailers = |headers: &[Header]| by_name(headers, |_| true);
    out.extend(differences("trailer ", &trailers(&seen.trailers), &trailers(&answer.trailers)));
    out.extend(tls(seen, answer));
    if let (true, true, Some(wanted)) = (rules.times, send.time, seen.elapsed) {
        let got = answer.elapsed.as_secs_f64();
        if (wanted - got).abs() > TIME {
            out.push(Difference::new("elapsed", format!("{wanted:.1}"), format!("{got:.1}")));
        }
    }
    out
}

/// The recorded headers, with those that `from` stands for.
fn headers_of(seen: &Seen) -> Vec<Header> {
    let mut headers = seen.headers.clone();
    if let Some(name) = &seen.from {
        headers.push(("Content-Type".into(), "text/plain".into()));
        headers.push(("X-Backend".into(), name.clone()));
    }
    headers
}

fn normal(headers: &[Header], send: &Send) -> Values {
    let mut out = by_name(headers, |name| !FREE.contains(&name));
    for (name, values) in &mut out {
        for value in &mut *values {
            *value = without_id(&with_ports(name, value));
        }
        match name.as_str() {
            "location" => values.iter_mut().for_each(|value| *value = without_default_port(value)),
            "vary" => {
                let words =
                    values.iter().flat_map(|value| value.split(',')).map(|word| word.trim().to_lowercase());
                *values = words.collect::<BTreeSet<_>>().into_iter().collect();
            }
            "set-cookie" => {
                let cookies = values.iter().map(|cookie| self::cookie(cookie, send.mask_cookies));
                *values = cookies.collect::<BTreeSet<_>>().into_iter().collect();
            }
            _ => {}
        }
    }
    out
}

/// A cookie whose attributes have no order and whose end is only there.
fn cookie(text: &str, mask: bool) -> String {
    let mut parts = text.split(';').map(str::trim);
    let pair = parts.next().unwrap_or_default();
    let pair = match pair.split_once('=') {
        Some((name, _)) if mask => format!("{name}=(masked)"),
        _ => pair.to_owned(),
    };
    let attribute = |part: &str| match part.split_once('=') {
        Some((name, _)) if name.eq_ignore_ascii_case("expires") => "expires".to_owned(),
        Some((name, value)) => format!("{}={value}", name.to_ascii_lowercase()),
        None => part.to_ascii_lowercase(),
    };
    let attributes: BTreeSet<_> = parts.map(attribute).collect();
    [pair].into_iter().chain(attributes).collect::<Vec<_>>().join("; ")
}

fn body(send: &Send, seen: &Seen, answer: &Answer) -> Option<Difference> {
    let plain = |name: &str| format!("echo {name}\n");
    let name = if send.anybackend { answer.backend() } else { seen.from.as_deref() };
    let text = match (&seen.body, &seen.from) {
        (Some(body), _) => body.text.clone(),
        (None, Some(_)) if send.method != "HEAD" => name.map(plain),
        (None, _) => Some(String::new()),
    };
    let got = (answer.body.len(), digest(&answer.body), answer.cut);
    let wanted = match (&text, &seen.body) {
        (None, Some(body)) => (body.len, body.sha256.clone(), seen.cut),
        (text, _) => {
            let text = bytes(text.as_deref().unwrap_or_default());
            (text.len(), digest(&text), seen.cut)
        }
    };
    let say = |(len, sha256, cut): &(usize, String, bool)| {
        format!("{len} bytes {sha256}{}", if *cut { ", cut" } else { "" })
    };
    (wanted != got).then(|| match text {
        Some(text) if answer.body.len() < 200 => Difference::new(
            "body",
            format!("{text:?}"),
            format!("{:?}", String::from_utf8_lossy(&answer.body)),
        ),
        _ => Difference::new("body", say(&wanted), say(&got)),
    })
}

fn tls(seen: &Seen, answer: &Answer) -> Option<Difference> {
    let same = |wanted: &str, got: &str| {
        wanted == got || OWN_CERTIFICATES.contains(&wanted) && OWN_CERTIFICATES.contains(&got)
    };
    let equal = match (&seen.tls, &answer.tls) {
        (Some(wanted), Some(got)) => wanted.alpn == got.alpn && same(&wanted.cn, &got.cn),
        (wanted, got) => wanted == got,
    };
    (!equal).then(|| Difference::new("tls", format!("{:?}", seen.tls), format!("{:?}", answer.tls)))
}
