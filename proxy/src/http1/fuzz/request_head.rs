//! The head of a request, whole and in pieces.

use super::{body, pieces::Sizes};
use crate::http1::{
    fields::Room,
    head::{Read, RequestHead},
    plan::Arriving,
    reference::{self, Request},
};

const LIMIT: usize = 64 << 10;

/// Input: the sizes of pieces ([`Sizes::take`]), the head and what follows it.
pub fn request_head(data: &[u8]) {
    let (sizes, bytes) = Sizes::take(data);
    let whole = read(bytes, LIMIT);
    if let Outcome::Whole(head, _) = &whole {
        let mut plain = reference::request(bytes).expect("the plain reading takes it too");
        let end = plain.target.iter().position(|byte| *byte == b'#').unwrap_or(plain.target.len());
        plain.target.truncate(end);
        assert_eq!(*head, plain);
        // What follows has no part in it, and the head may have just as many bytes.
        assert_eq!(read(&bytes[..head.len], head.len), whole);
        assert!(matches!(read(bytes, head.len - 1), Outcome::Refused), "over the limit");
        assert!(matches!(read(&bytes[..head.len - 1], LIMIT), Outcome::Begun), "one byte less");
    }
    let mut arriving = Arriving::default();
    for end in sizes.ends(bytes.len()) {
        let come = &bytes[..end];
        let looked_at = arriving.may_be_read(come);
        match read(come, LIMIT) {
            read @ Outcome::Whole(..) => {
                assert_eq!(read, whole, "of {end} bytes");
                assert!(looked_at, "{end} bytes are looked at");
                return;
            }
            Outcome::Refused => {
                assert!(matches!(whole, Outcome::Refused), "refused after {end} bytes: {whole:?}");
                return;
            }
            Outcome::Begun => {}
        }
    }
}

/// What came of a head: for a whole one its meaning, and the name of its host.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Begun,
    Whole(Request, Option<String>),
    Refused,
}

fn read(bytes: &[u8], limit: usize) -> Outcome {
    let mut room = Room::new();
    match room.read_request(bytes, limit) {
        Read::Begun => Outcome::Begun,
        Read::Refused(_) => Outcome::Refused,
        Read::Whole(head) => Outcome::Whole(as_plain(&head), host(&head)),
    }
}

/// What was read, as the plain reading would say it.
pub(in crate::http1) fn as_plain(head: &RequestHead<'_, '_>) -> Request {
    let fields =
        head.fields().map(|(_, header)| (header.name.to_ascii_lowercase().into(), header.value.to_vec()));
    Request {
        method: head.method.as_str().into(),
        target: head.target.as_bytes().to_vec(),
        http10: head.http10,
        fields: fields.collect(),
        body: body(&head.body),
        len: head.len,
    }
}

/// The name that routes are looked up by, held against where it stands in the head.
fn host(head: &RequestHead<'_, '_>) -> Option<String> {
    let host = head.host().ok()?;
    let plain = as_plain(head);
    let said = reference::values(&plain.fields, b"host");
    let authority =
        plain.target.windows(3).position(|three| three == b"://").map(|at| &plain.target[at + 3..]);
    let authority = authority.filter(|_| !matches!(plain.target[0], b'/' | b'*'));
    let authority =
        authority.map(|rest| rest.split(|byte| matches!(byte, b'/' | b'?')).next().unwrap_or(rest));
    match (&said[..], authority) {
        ([said], authority) => {
            assert_eq!(*said, host.value.as_bytes());
            assert!(authority.is_none_or(|authority| authority == *said), "two authorities");
        }
        ([], Some(authority)) if plain.http10 => assert_eq!(authority, host.value.as_bytes()),
        ([], None) if plain.http10 => assert_eq!(host.value, ""),
        (said, _) => panic!("{} hosts", said.len()),
    }
    let in_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    let is_name = host.name.bytes().all(in_name);
    let address = host.name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    assert!(is_name || is_address, "{:?}", host.name);
    let begin = host.value.get(..host.name.len()).unwrap_or_default();
    assert!(begin.eq_ignore_ascii_case(&host.name), "{:?} of {:?}", host.name, host.value);
    Some(host.name.into_owned())
}
