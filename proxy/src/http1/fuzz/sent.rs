//! What a backend gets, held against what the client said.

use std::net::IpAddr;

use super::site::{ADDED, Asker, HOST, PATH, REMOVED, SET, VALUE};
use crate::{
    HeaderNames,
    http1::reference::{self, Body, Fields, Request, list, trim, values},
};

/// Reads what was sent as one request and nothing else; its content.
pub(super) fn read(wire: &[u8]) -> (Request, Vec<u8>) {
    let sent = reference::request(wire).unwrap_or_else(|| panic!("no request: {}", wire.escape_ascii()));
    let (content, len) =
        content(&wire[sent.len..], sent.body).unwrap_or_else(|| panic!("not whole: {}", wire.escape_ascii()));
    assert_eq!(sent.len + len, wire.len(), "something behind it: {}", wire.escape_ascii());
    (sent, content)
}

/// The content of a body that is all there, and how many bytes it takes.
pub(super) fn content(bytes: &[u8], body: Body) -> Option<(Vec<u8>, usize)> {
    match body {
        Body::None => Some((Vec::new(), 0)),
        Body::Length(length) => {
            let length = usize::try_from(length).ok()?;
            Some((bytes.get(..length)?.to_vec(), length))
        }
        Body::Chunked => reference::chunked(bytes).ok().map(|body| (body.content, body.len)),
        Body::UntilClose => None,
    }
}

/// Holds a head that was sent against what the client said. `host` is what it named.
pub(super) fn check(sent: &Request, said: &Request, host: &[u8], asker: Asker) {
    assert_eq!((&sent.method, sent.http10), (&said.method, false));
    check_target(sent, said, asker);
    check_claims(sent, said, host, asker);
    let wanted = match asker.changes {
        true => HOST.as_bytes(),
        false if host.is_empty() => b"192.0.2.3:80",
        false => host,
    };
    assert_eq!(values(&sent.fields, b"host"), [wanted]);
    for name in HOP {
        assert!(values(&sent.fields, name).is_empty(), "{}", name.escape_ascii());
    }
    assert!(values(&sent.fields, b"content-length").len() <= 1);
    assert!(values(&sent.fields, b"transfer-encoding").iter().all(|coding| *coding == b"chunked"));
    let named = list(&said.fields, b"connection");
    let mut wanted = others(&said.fields, &named);
    wanted.retain(|(name, _)| !asker.ingress || HeaderNames::Plain.allow(name));
    assert_eq!(others(&sent.fields, &named), wanted);
    if asker.changes {
        let mut added =
            if named.contains(&ADDED.into()) { Vec::new() } else { values(&said.fields, ADDED.as_bytes()) };
        added.push(VALUE.as_bytes());
        assert_eq!(values(&sent.fields, ADDED.as_bytes()), added);
        assert_eq!(values(&sent.fields, SET.as_bytes()), [VALUE.as_bytes()]);
        assert!(values(&sent.fields, REMOVED.as_bytes()).is_empty());
    }
}

/// What concerns one connection alone, or the proxy.
const HOP: &[&[u8]] = &[
    b"connection",
    b"http2-settings",
    b"keep-alive",
    b"proxy",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
];

/// What is looked at by itself.
const OWN: &[&[u8]] = &[
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"close",
    b"x-set",
    b"x-added",
    b"x-removed",
];

/// The path of plain segments is the client's own.
fn check_target(sent: &Request, said: &Request, asker: Asker) {
    let (target, wanted) = (&sent.target, &said.target);
    assert!(target.starts_with(b"/"), "origin form");
    assert!(!target.contains(&b'#'), "a fragment");
    let (path, query) = split_query(target);
    let (said_path, said_query) = split_query(wanted);
    assert_eq!(query, said_query);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    let mut segments = said_path.split(|byte| *byte == b'/').skip(1);
    if asker.changes {
        assert_eq!(path, PATH.as_bytes());
    } else if said_path.starts_with(b"/")
        && segments.all(|segment| !segment.is_empty() && segment.iter().all(plain))
    {
        assert_eq!(path, said_path);
    }
}

/// Path and query, without a fragment.
fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    let Some(query) = target.iter().position(|byte| *byte == b'?') else { return (target, None) };
    (&target[..query], Some(&target[query + 1..]))
}

/// What the backend is told of the client is ours, or from a trusted proxy.
fn check_claims(sent: &Request, said: &Request, host: &[u8], asker: Asker) {
    for (name, _) in &sent.fields {
        assert!(!name.contains(&b'_') || !is_claim(name), "reads as a claim: {}", name.escape_ascii());
    }
    let sent = |name: &str| values(&sent.fields, name.as_bytes());
    let said = |name: &str| values(&said.fields, name.as_bytes());
    assert!(!sent("x-request-id").is_empty(), "an id");
    let address = asker.address();
    if !asker.trusted {
        assert_eq!(sent("x-forwarded-for"), [address.as_bytes()]);
        assert_eq!(sent("x-real-ip"), [address.as_bytes()]);
        assert_eq!(sent("x-forwarded-port"), [b"80"]);
        assert_eq!(sent("x-forwarded-proto"), [b"http"]);
        assert_eq!(sent("x-forwarded-host"), if host.is_empty() { vec![] } else { vec![host] });
        let scheme = if asker.ingress { vec![&b"http"[..]] } else { vec![] };
        assert_eq!((sent("x-scheme"), sent("x-forwarded-scheme")), (scheme.clone(), scheme));
        for name in ["forwarded", "x-forwarded-prefix", "x-original-forwarded-proto"] {
            assert!(sent(name).is_empty(), "{name}");
        }
        check_original(asker, &sent("x-original-forwarded-for"), &said("x-forwarded-for"));
        return;
    }
    let mut before = said("x-forwarded-for");
    before.push(address.as_bytes());
    assert_eq!(sent("x-forwarded-for"), [trim(&before.join(&b", "[..]))]);
    let real = sent("x-real-ip");
    let is_address = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok());
    assert!(real.len() == 1 && is_address(real[0]));
    for name in ["x-forwarded-port", "x-forwarded-proto"] {
        let said = said(name);
        assert!(if said.is_empty() { sent(name).len() == 1 } else { sent(name) == said }, "{name}");
    }
}

/// Backends of Ingresses get what the client sent as `X-Forwarded-For`.
fn check_original(asker: Asker, sent: &[&[u8]], said: &[&[u8]]) {
    let want = (asker.ingress && !said.is_empty()).then(|| said.join(&b", "[..]));
    assert_eq!(sent, want.iter().map(|list| trim(list)).collect::<Vec<_>>());
}

/// Whether a name says something of the client, as backends read names that take `_` for `-`.
fn is_claim(name: &[u8]) -> bool {
    let name: Vec<u8> = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
    matches!(&name[..], b"forwarded" | b"x-real-ip" | b"x-request-id" | b"x-scheme")
        || name.starts_with(b"x-forwarded-")
        || name.starts_with(b"x-original-forwarded-")
}

/// What means nothing to a proxy, and goes on as it came; by name, since HTTP/2 keeps the order of one name alone.
fn others(fields: &Fields, named: &[Vec<u8>]) -> Fields {
    let others = fields.iter().filter(|(name, _)| {
        !HOP.contains(&&**name) && !OWN.contains(&&**name) && !is_claim(name) && !named.contains(name)
    });
    let mut others: Fields = others.cloned().collect();
    others.sort_by(|(a, _), (b, _)| a.cmp(b));
    others
}
