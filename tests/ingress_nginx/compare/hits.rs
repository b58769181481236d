//! What backends received.

use super::{
    Difference,
    headers::{Values, by_name, differences, with_ports, without_id},
};
use crate::{
    backends::Hit,
    case::{Seen, SeenHit, Send},
    wire::Header,
};

/// These belong to a connection and count only where the case is about them.
const HOP: [&str; 3] = ["connection", "keep-alive", "transfer-encoding"];
/// It was never recorded; the body's length says the same.
const LENGTH: &str = "content-length";

/// A request in the form in which it is compared.
#[derive(Debug)]
struct Form {
    name: String,
    method: String,
    target: String,
    version: String,
    headers: Values,
    body: (usize, String),
    tls: Option<(Option<String>, String)>,
}

pub(super) fn compare(send: &Send, seen: &Seen, hits: &[Hit]) -> Vec<Difference> {
    let wanted = sorted(seen.hits.iter().map(|hit| Form::recorded(hit, send)).collect());
    let got = sorted(hits.iter().map(|hit| Form::received(hit, send)).collect());
    if wanted.len() != got.len() {
        let say = |forms: &[Form]| {
            let line = |hit: &Form| format!("{} {} {}", hit.name, hit.method, hit.target);
            format!("{} [{}]", forms.len(), forms.iter().map(line).collect::<Vec<_>>().join(", "))
        };
        return vec![Difference::new("hits", say(&wanted), say(&got))];
    }
    wanted.iter().zip(&got).flat_map(|(wanted, got)| wanted.differences(got, send.hop)).collect()
}

fn sorted(mut forms: Vec<Form>) -> Vec<Form> {
    forms.sort_by(|a, b| (&a.name, &a.target).cmp(&(&b.name, &b.target)));
    forms
}

impl Form {
    fn recorded(hit: &SeenHit, send: &Send) -> Self {
        let mut headers = hit.headers.clone();
        if let Some(std) = &hit.std {
            let values = [
                ("Host", &std.host),
                ("X-Real-IP", &std.client),
                ("X-Forwarded-For", &std.client),
                ("X-Forwarded-Host", &std.host),
                ("X-Forwarded-Port", &std.port),
                ("X-Forwarded-Proto", &std.scheme),
                ("X-Forwarded-Scheme", &std.scheme),
                ("X-Scheme", &std.scheme),
                ("X-Request-ID", &"0".repeat(32)),
            ];
            headers.splice(0..0, values.map(|(name, value)| (name.to_owned(), value.clone())));
        }
        Self {
            name: name(&hit.name, send),
            method: hit.method.clone(),
            target: hit.target.clone(),
            version: hit.version.clone(),
            headers: normal(&headers, send),
            // One that was cut equals none.
            body: (usize::try_from(hit.body_len).unwrap_or(0), hit.body_sha256.replace("cut", "")),
            tls: hit.tls.then(|| (hit.sni.clone(), hit.cert.clone())),
        }
    }

    fn received(hit: &Hit, send: &Send) -> Self {
        Self {
            name: name(&hit.name, send),
            method: hit.method.clone(),
            target: hit.target.clone(),
            version: hit.version.clone(),
            headers: normal(&hit.headers, send),
            body: hit.body.clone(),
            tls: hit.tls.then(|| (hit.sni.clone(), hit.cert.clone())),
        }
    }

    fn differences(&self, got: &Self, hop: bool) -> Vec<Difference> {
        let of = format!("hit {} ", self.name);
        let line = |form: &Self| format!("{} {} {}", form.name, form.method, form.target);
        let mut out = Vec::new();
        out.extend(Difference::unless_equal("hit", &line(self), &line(got)));
        out.extend(Difference::unless_equal(&format!("{of}body"), &self.body, &got.body));
        out.extend(Difference::unless_equal(&format!("{of}tls"), &self.tls, &got.tls));
        if hop {
            out.extend(Difference::unless_equal(&format!("{of}version"), &self.version, &got.version));
        }
        out.extend(differences(&format!("{of}header "), &self.headers, &got.headers));
        out
    }
}

fn name(name: &str, send: &Send) -> String {
    if send.anybackend { "any".into() } else { name.into() }
}

fn normal(headers: &[Header], send: &Send) -> Values {
    let is_free = |name: &str| name == LENGTH || name.starts_with("x-want-");
    let mut out = by_name(headers, |name| !is_free(name) && (send.hop || !HOP.contains(&name)));
    for (name, values) in &mut out {
        for value in &mut *values {
            *value = with_ports(name, value);
            if name == "x-request-id" {
                *value = without_id(value);
            }
        }
        if name == "cookie" {
            *values = vec![cookies(values, send.jar)];
        }
    }
    out
}

/// All of them in one; with a jar, their names.
fn cookies(values: &[String], names_only: bool) -> String {
    let all = values.join("; ");
    if !names_only {
        return all;
    }
    let mut names: Vec<_> =
        all.split(';').map(|cookie| cookie.split('=').next().unwrap_or_default().trim()).collect();
    names.sort_unstable();
    names.join("; ")
}
