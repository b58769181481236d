//! What heads mean, held against a plain reading that was written for the purpose: whatever is accepted here is accepted there
//! with the same meaning, and what goes on to a backend reads as the same one request.

use proptest::prelude::*;

use super::{
    fields::Room,
    framing::{Chunks, Framing},
    head::{Read, RequestHead},
    request,
};
use crate::{conn::tests::conn, http::context::Context};

/// A request as the plain reading has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    method: Vec<u8>,
    target: Vec<u8>,
    http10: bool,
    /// Names in lower case.
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Framing,
    len: usize,
}

/// Lines, each without its end; a CR stands nowhere but in front of a LF.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let line = &rest[..rest.iter().position(|byte| *byte == b'\n')?];
        self.at += line.len() + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.contains(&b'\r')).then_some(line)
    }
}

/// Reads a head by the letter of RFC 9112; `None` where it is none, or goes on.
fn plain(bytes: &[u8]) -> Option<Plain> {
    let mut lines = Lines { bytes, at: 0 };
    let first = lines.find(|line| !line.is_empty())?;
    let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else { return None };
    let http10 = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return None,
    };
    let is_target = |byte: &u8| matches!(byte, 0x21..=0x7e | 0x80..);
    if !is_token(method) || target.is_empty() || !target.iter().all(is_target) {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        let is_text = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
        if !is_token(name) || !value.iter().all(is_text) {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.to_vec()));
    }
    let body = body(&headers, http10)?;
    let (method, target) = (method.to_vec(), target.to_vec());
    Some(Plain { method, target, http10, headers, body, len: lines.at })
}

/// The body, where there is one way to read it.
fn body(headers: &[(Vec<u8>, Vec<u8>)], http10: bool) -> Option<Framing> {
    let values = |wanted: &'static [u8]| {
        headers.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value)
    };
    let codings: Vec<_> = values(b"transfer-encoding").collect();
    let mut lengths = values(b"content-length").flat_map(|value| value.split(|byte| *byte == b',').map(trim));
    let first = lengths.next();
    match (&codings[..], first) {
        ([], None) => Some(Framing::Done),
        ([], Some(first)) => {
            let number = |text: &[u8]| {
                let digits = !text.is_empty() && text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
                digits.then(|| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap())
            };
            let length = number(first)?;
            if !lengths.all(|other| number(other) == Some(length)) {
                return None;
            }
            Some(if length == 0 { Framing::Done } else { Framing::Length(length) })
        }
        ([one], None) if !http10 && one.eq_ignore_ascii_case(b"chunked") => {
            Some(Framing::Chunked(Chunks::default()))
        }
        _ => None,
    }
}

fn is_token(text: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is)
}

fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    &text[begin..end]
}

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
    let lines = proptest::collection::vec(line, 0..7);
    let first = (0_usize..4, 4_usize..12, 12_usize..16);
    let likely = (first, lines).prop_map(|((method, target, version), lines)| {
        let first = [PIECES[method], PIECES[target], PIECES[version], b"\r\n"].concat();
        [first, lines.concat(), b"\r\nrest".to_vec()].concat()
    });
    prop_oneof![1 => any, 3 => likely]
}

/// What was read here, as the plain reading would say it.
fn as_plain(head: &RequestHead<'_, '_>) -> Plain {
    let headers =
        head.fields().map(|(_, header)| (header.name.to_ascii_lowercase().into(), header.value.to_vec()));
    Plain {
        method: head.method.as_str().into(),
        target: head.target.to_vec(),
        http10: head.http10,
        headers: headers.collect(),
        body: head.body.clone(),
        len: head.len,
    }
}

fn values<'p>(plain: &'p Plain, wanted: &'p str) -> Vec<&'p [u8]> {
    let same = plain.headers.iter().filter(move |(name, _)| name == wanted.as_bytes());
    same.map(|(_, value)| &**value).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_means_what_it_says_and_goes_on_as_one_request(bytes in head()) {
        let mut room = Room::new();
        let Read::Whole(head) = room.read_request(&bytes, 64 << 10) else { return Ok(()) };
        let Some(mut want) = plain(&bytes) else {
            return Err(TestCaseError::fail(format!("accepted: {}", bytes.escape_ascii())));
        };
        let end = want.target.iter().position(|byte| *byte == b'#').unwrap_or(want.target.len());
        want.target.truncate(end);
        prop_assert_eq!(&as_plain(&head), &want);
        let (Ok(host), false) = (head.host(), head.takes_away_essentials()) else { return Ok(()) };
        let mut out = Vec::new();
        request::write(&head, &host, &Context::of(conn()), &mut out);
        let Some(sent) = plain(&out) else {
            return Err(TestCaseError::fail(format!("sent: {}", out.escape_ascii())));
        };
        prop_assert_eq!(sent.len, out.len());
        prop_assert_eq!((&sent.method, sent.http10, &sent.body), (&want.method, false, &want.body));
        prop_assert_eq!(values(&sent, "host").len(), 1, "{}", out.escape_ascii());
        prop_assert!(values(&sent, "content-length").len() <= 1);
        prop_assert!(values(&sent, "connection").is_empty());
        prop_assert!(values(&sent, "transfer-encoding").iter().all(|value| *value == b"chunked"));
        let mut plain_out = Vec::new();
        request::write_plain(&head, &mut plain_out);
        let again = plain(&plain_out);
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
