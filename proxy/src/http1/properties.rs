//! What heads mean, held against a plain reading (reference): whatever is accepted here is accepted there
//! with the same meaning, and what goes on to a backend reads as the same one request.

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{
    fields::Room,
    fuzz::as_plain,
    head::Read,
    reference::{self, values},
    request,
};
use crate::{conn::tests::conn, http::context::Context};

/// Pieces of heads, whole and broken, that are put together at random.
const PIECES: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"get ",
    b"G\x01T ",
    b"/ ",
    b"/a?b ",
    b"/a b ",
    b"http://a.example/ ",
    b"* ",
    b"/a#b ",
    b"/\xc3\xa9 ",
    b"/\t ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b"Host: a.example",
    b"Host: b.example",
    b"host:a.example ",
    b"Host:",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"content-length: 5, 5",
    b"Content-Length : 5",
    b"Content-Length: +5",
    b"Content-Length: 6",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding",
    b"Connection: close",
    b"Connection: X-One, keep-alive",
    b"Connection: Content-Length",
    b"X-One: 1",
    b"X-Two:\t a \xff b ",
    b" folded",
    b"X_Forwarded_For: 1",
    b"Expect: 100-continue",
    b"X-\x80: 1",
    b"5\r\nhello\r\n0\r\n\r\n",
];

fn head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        30 => proptest::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    let any = proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat());
    // Of nothing but chance few are whole: most are lines that are lines.
    let line = proptest::sample::select(&PIECES[26..]).prop_map(|line| [line, b"\r\n"].concat());
    let lines = proptest::collection::vec(line, 0..5);
    // Mostly good ones: a method, a target and a version, by their places in `PIECES`.
    let first = (
        prop_oneof![6 => 0_usize..3, 1 => Just(3)],
        prop_oneof![6 => proptest::sample::select(&[4_usize, 5, 7, 8, 9, 10][..]), 1 => Just(6), 1 => Just(11)],
        prop_oneof![6 => 12_usize..14, 1 => 14_usize..16],
    );
    let likely = (first, lines).prop_map(|((method, target, version), lines)| {
        let first = [PIECES[method], PIECES[target], PIECES[version], b"\r\n"].concat();
        [first, lines.concat(), b"\r\nrest".to_vec()].concat()
    });
    prop_oneof![1 => any, 3 => likely]
}

/// The properties below say little of heads that are refused.
#[test]
fn a_good_part_of_the_heads_is_accepted() {
    let (mut runner, strategy) = (TestRunner::deterministic(), head());
    let accepted = (0..1000).filter(|_| {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        matches!(Room::new().read_request(&bytes, 64 << 10), Read::Whole(_))
    });
    let accepted = accepted.count();
    assert!((100..900).contains(&accepted), "{accepted} of 1000");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_means_what_it_says_and_goes_on_as_one_request(bytes in head()) {
        let mut room = Room::new();
        let Read::Whole(head) = room.read_request(&bytes, 64 << 10) else { return Ok(()) };
        let Some(mut want) = reference::request(&bytes) else {
            return Err(TestCaseError::fail(format!("accepted: {}", bytes.escape_ascii())));
        };
        let end = want.target.iter().position(|byte| *byte == b'#').unwrap_or(want.target.len());
        want.target.truncate(end);
        prop_assert_eq!(&as_plain(&head), &want);
        let (Ok(host), false) = (head.host(), head.takes_away_essentials()) else { return Ok(()) };
        let mut out = Vec::new();
        request::write(&head, &host, &Context::of(conn()), &mut out);
        let Some(sent) = reference::request(&out) else {
            return Err(TestCaseError::fail(format!("sent: {}", out.escape_ascii())));
        };
        prop_assert_eq!(sent.len, out.len());
        prop_assert_eq!((&sent.method, sent.http10, &sent.body), (&want.method, false, &want.body));
        prop_assert_eq!(values(&sent.fields, b"host").len(), 1, "{}", out.escape_ascii());
        prop_assert!(values(&sent.fields, b"content-length").len() <= 1);
        prop_assert!(values(&sent.fields, b"connection").is_empty());
        prop_assert!(values(&sent.fields, b"transfer-encoding").iter().all(|value| *value == b"chunked"));
        let mut plain_out = Vec::new();
        request::write_plain(&head, true, &mut plain_out);
        let again = reference::request(&plain_out);
        prop_assert_eq!(again.as_ref().map(|again| (&again.method, &again.body, again.len)),
            Some((&want.method, &want.body, plain_out.len())));
    }

    #[test]
    fn a_head_reads_the_same_however_it_comes(bytes in head(), tear in 0_usize..200) {
        let whole = {
            let mut room = Room::new();
            match room.read_request(&bytes, 64 << 10) {
                Read::Whole(head) => Some(as_plain(&head)),
                _ => None,
            }
        };
        // What is torn off is no head yet, or the same one.
        let mut room = Room::new();
        if let Read::Whole(head) = room.read_request(&bytes[..tear.min(bytes.len())], 64 << 10) {
            prop_assert_eq!(Some(as_plain(&head)), whole);
        }
    }
}
