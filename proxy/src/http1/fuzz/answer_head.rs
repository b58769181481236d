//! The head of an answer: read, and written for a client.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{body, pieces::Sizes};
use crate::http1::{
    answer::{AnswerHead, Form},
    fields::{Room, unfolded},
    reference::{self, Answer, Body, Senders, list, values},
};

/// Input: a byte for the client (1: it speaks HTTP/1.0, 2: it asked by HEAD, 4: its connection ends), the sizes of pieces
/// ([`Sizes::take`]), the head and what follows it.
pub fn answer_head(data: &[u8]) {
    let Some((client, data)) = data.split_first() else { return };
    let [http10, to_head, close] = [1, 2, 4].map(|bit| client & bit != 0);
    let (sizes, bytes) = Sizes::take(data);
    let mut room = Room::new();
    let whole = room.read_answer(bytes);
    for end in sizes.ends(bytes.len()) {
        let mut room = Room::new();
        match (room.read_answer(&bytes[..end]), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(torn)), Ok(Some(whole))) => {
                assert_eq!((torn.status, torn.len), (whole.status, whole.len))
            }
            (torn, whole) => panic!("{:?} of {end} bytes, else {:?}", torn.is_ok(), whole.is_ok()),
        }
    }
    let Ok(Some(head)) = whole else { return };
    let plain = reference::answer(bytes, Senders::Old).expect("the plain reading takes it too");
    assert_eq!((head.status, head.len), (plain.status, plain.len));
    check_passed(&head);
    let Ok(framing) = head.body(to_head) else { return };
    let length = plain.body(to_head);
    assert_eq!(Some(body(&framing)), length, "its body");
    // As the relay has it: nobody has asked for a switch, and HTTP/1.0 knows no informational answers.
    if head.status == 101 || (head.status < 200 && http10) {
        return;
    }
    let (chunked, unbounded) = (length == Some(Body::Chunked), length == Some(Body::UntilClose));
    let form = match head.status {
        ..200 => Form { http10: false, close: false, chunks: false },
        _ => {
            Form { http10, close: close || (http10 && (chunked || unbounded)), chunks: unbounded && !http10 }
        }
    };
    let mut out = Vec::new();
    head.write(form, None, &HeaderMap::new(), &mut out);
    let sent = reference::answer(&out, Senders::Strict).expect("the client reads it");
    assert_eq!((sent.status, sent.len, sent.http10), (plain.status, out.len(), false));
    check_sent(&sent, &plain, form);
    let becomes = match length {
        Some(Body::Chunked) if http10 => Body::UntilClose,
        Some(Body::UntilClose) if !http10 => Body::Chunked,
        other => other.expect("it was read"),
    };
    assert_eq!(sent.body(to_head), Some(becomes), "the body for the client");
}

/// What goes on to a client of HTTP/2 can be said there.
fn check_passed(head: &AnswerHead<'_, '_>) {
    for (_, header) in head.passed() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
        assert!(!OWN.contains(&name.as_str().as_bytes()) || name == "date", "{name}");
        HeaderValue::from_bytes(&unfolded(header.value)).expect("a value");
    }
}

/// What is written anew, or concerns one connection alone.
const OWN: &[&[u8]] = &[
    b"connection",
    b"content-length",
    b"date",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
];

fn check_sent(sent: &Answer, plain: &Answer, form: Form) {
    let named = list(&plain.fields, b"connection");
    let others = |answer: &Answer| {
        let fields = answer.fields.iter();
        let others =
            fields.filter(|(name, _)| !OWN.contains(&&**name) && !is_option(name) && !named.contains(name));
        others.cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(sent), others(plain), "what is neither ours nor the connection's goes on");
    for (name, most) in
        [("content-length", 1), ("transfer-encoding", 1), ("connection", 1), ("keep-alive", 0)]
    {
        assert!(values(&sent.fields, name.as_bytes()).len() <= most, "{name}");
    }
    if form.http10 {
        assert!(values(&sent.fields, b"transfer-encoding").is_empty(), "HTTP/1.0 knows no codings");
    }
    let connection: &[&[u8]] = match form {
        _ if sent.status < 200 => &[],
        Form { close: true, .. } => &[b"close"],
        Form { http10: true, .. } => &[b"keep-alive"],
        Form { .. } => &[],
    };
    assert_eq!(values(&sent.fields, b"connection"), connection);
    assert!(sent.status < 200 || !values(&sent.fields, b"date").is_empty(), "a date");
}

/// Whether `Connection` means something else by it than a header of this name.
fn is_option(name: &[u8]) -> bool {
    matches!(name, b"close" | b"keep-alive" | b"upgrade")
}
