//! The requests of one connection in turn, on their way to a backend.

use super::{
    body,
    pieces::{Carried, Sizes, carry},
    sent,
    site::{Asker, shared},
};
use crate::http1::{
    last_host::LastHost,
    plan::{self, Outcome},
    reference::{self, Request, list, values},
};

/// Input: a byte for who asks ([`Asker::of`]), the sizes of pieces ([`Sizes::take`]), what the client sends.
pub fn differential(data: &[u8]) {
    let Some((asker, data)) = data.split_first() else { return };
    let (asker, (sizes, mut bytes)) = (Asker::of(*asker), Sizes::take(data));
    let (conn, mut last) = (asker.conn(), LastHost::default());
    last.begin();
    while let Ok(Some((plan, len))) = plan::begin(&shared(), &conn, bytes, 64 << 10, &mut last) {
        let said = reference::request(bytes).expect("the plain reading takes it too");
        assert_eq!((len, body(&plan.body)), (said.len, said.body));
        assert_eq!(plan.asked.keep_alive, persists(&said), "whether another request may follow");
        let rest = &bytes[len..];
        let content = sent::content(rest, said.body);
        let Ok(carried) = carry(plan.body.clone(), rest, &sizes) else {
            assert_eq!(content, None, "its body is malformed");
            return;
        };
        assert_eq!(carried.whole, content.is_some(), "whether its body is whole");
        match &plan.outcome {
            Outcome::Answer(_) => {}
            Outcome::Forward(head, _) => check_sent(&head.bytes, &carried, &said, asker),
            Outcome::Handover(head) => check_handover(head, &said),
            Outcome::Check(_) => panic!("no rule of the site has a check"),
        }
        let Some((content, len)) = content else { return };
        assert_eq!((&carried.content, carried.len), (&content, len));
        if !plan.asked.keep_alive {
            return;
        }
        bytes = &rest[len..];
    }
}

/// A backend gets the same one request.
fn check_sent(head: &[u8], carried: &Carried, said: &Request, asker: Asker) {
    let sent = match carried.whole {
        true => {
            let (sent, content) = sent::read(&[head, &carried.goes_on].concat());
            assert_eq!(content, carried.content);
            sent
        }
        false => reference::request(head).expect("a head"),
    };
    assert_eq!((sent.len, sent.body), (head.len(), said.body));
    sent::check(&sent, said, host(said), asker);
}

/// pingora gets the head as the client sent it.
fn check_handover(head: &[u8], said: &Request) {
    let mut handed = reference::request(head).expect("a head");
    assert_eq!(handed.len, head.len());
    let lengths = values(&handed.fields, b"content-length").len();
    assert_eq!(lengths, values(&said.fields, b"content-length").len().min(1));
    let mut said = said.clone();
    said.target.truncate(said.target.iter().position(|byte| *byte == b'#').unwrap_or(said.target.len()));
    for request in [&mut handed, &mut said] {
        request.len = 0;
        request.fields.retain(|(name, _)| name != b"content-length");
    }
    assert_eq!(handed, said);
}

/// The host that the client named; empty where it did not.
fn host(said: &Request) -> &[u8] {
    if let [host] = values(&said.fields, b"host")[..] {
        return host;
    }
    let scheme = said.target.windows(3).position(|three| three == b"://");
    let Some(begin) = scheme.filter(|_| said.target[0] != b'/') else { return b"" };
    said.target[begin + 3..].split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default()
}

/// Whether the connection stays (RFC 9112, 9.3).
fn persists(said: &Request) -> bool {
    let options = list(&said.fields, b"connection");
    let has = |option: &[u8]| options.iter().any(|other| other == option);
    !has(b"close") && (!said.http10 || has(b"keep-alive"))
}
