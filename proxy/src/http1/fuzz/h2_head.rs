//! A request that comes in frames of HTTP/2. They go through the parsers that a connection has.

use std::task::{Context as Task, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header;
use portcullis_routing::Carrier;
use tokio::io::AsyncWriteExt;

use super::{
    sent,
    site::{Asker, shared},
};
use crate::{
    http::{context::Context, host::LastAuthority, request as decided},
    http1::{
        frames::Frames,
        reference::{Body, Fields, Request, trim, values},
        request,
    },
    http2::Stream,
};

/// Input: a byte for who asks ([`Asker::of`]); then lines. Each up to an empty one is a field, `name: value`, in which
/// `\r`, `\n` and `\0` stand for those bytes; each further one is a DATA frame.
pub fn h2_head(data: &[u8]) {
    let Some((asker, data)) = data.split_first() else { return };
    if data.len() > 8 << 10 {
        return;
    }
    let asker = Asker::of(*asker);
    let (fields, frames) = read(data);
    if let Some(accepted) = accept(&wire(&fields, frames.as_deref())) {
        check(accepted, &fields, &frames.unwrap_or_default().concat(), asker);
    }
}

/// A request that was accepted, and what has come of its body; `None` where that is malformed, or goes on.
struct Accepted {
    stream: Stream,
    bodiless: bool,
    frames: Option<Vec<Bytes>>,
}

/// It becomes one request.
fn check(Accepted { mut stream, bodiless, frames }: Accepted, fields: &Fields, content: &[u8], asker: Asker) {
    let mut context = Context::of(asker.conn());
    // As `http2` does it.
    decided::prepare(&mut stream.head, &mut context);
    let forwards =
        decided::decide(&shared(), &stream.head, &mut LastAuthority::default(), &mut context).is_ok();
    if !forwards || context.carrier != Carrier::Http1 {
        return;
    }
    // As `streams` does it.
    let head = &stream.head;
    let chunked = !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH);
    let mut out = Vec::new();
    request::write_h2(head, &context, chunked, &mut out);
    let head_len = out.len();
    let Some(frames) = frames else {
        let sent = crate::http1::reference::request(&out).expect("a head");
        assert_eq!(sent.len, head_len);
        return sent::check(&sent, &said(fields), host(fields), asker);
    };
    let mut upload = Frames::new(bodiless, chunked, false, None);
    let mut drain = |upload: &mut Frames| {
        while upload.has_bytes() {
            let bytes = upload.slices().concat();
            upload.sent(bytes.len());
            out.extend(bytes);
        }
    };
    for bytes in frames.into_iter().filter(|bytes| !bytes.is_empty()) {
        upload.put(bytes).expect("there is no limit");
        drain(&mut upload);
    }
    upload.end();
    drain(&mut upload);
    let (sent, received) = sent::read(&out);
    assert_eq!((sent.len, &*received), (head_len, content));
    assert!(sent.body != Body::UntilClose);
    sent::check(&sent, &said(fields), host(fields), asker);
}

/// What the client said, as a request of HTTP/1 would: with one line of cookies (RFC 9113, 8.2.3).
fn said(fields: &Fields) -> Request {
    let pseudo = |name: &[u8]| values(fields, name).first().map(|value| value.to_vec()).unwrap_or_default();
    let plain = fields.iter().filter(|(name, _)| !name.starts_with(b":") && name != b"cookie");
    let mut plain: Fields = plain.map(|(name, value)| (name.clone(), trim(value).to_vec())).collect();
    let crumbs: Vec<_> = values(fields, b"cookie").into_iter().map(trim).collect();
    if !crumbs.is_empty() {
        plain.push((b"cookie".into(), trim(&crumbs.join(&b"; "[..])).to_vec()));
    }
    Request {
        method: pseudo(b":method"),
        target: pseudo(b":path"),
        http10: false,
        fields: plain,
        body: Body::None,
        len: 0,
    }
}

fn host(fields: &Fields) -> &[u8] {
    [&b"host"[..], b":authority"]
        .iter()
        .find_map(|name| values(fields, name).first().copied())
        .map(trim)
        .unwrap_or_default()
}

/// The fields, and the frames where there are any.
fn read(data: &[u8]) -> (Fields, Option<Vec<Vec<u8>>>) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut fields = Fields::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        // Names may hold a colon, as those of pseudo-headers do.
        let colon = line.windows(2).position(|two| two == b": ").unwrap_or(line.len());
        let value = line.get(colon + 2..).unwrap_or_default();
        fields.push((unescaped(&line[..colon]), unescaped(value)));
    }
    let frames: Vec<_> = lines.map(<[u8]>::to_vec).collect();
    (fields, (!frames.is_empty()).then_some(frames))
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let byte = match &text[at..] {
            [b'\\', b'r', ..] => b'\r',
            [b'\\', b'n', ..] => b'\n',
            [b'\\', b'0', ..] => 0,
            [byte, ..] => *byte,
            [] => break,
        };
        at += if byte == text[at] { 1 } else { 2 };
        out.push(byte);
    }
    out
}

/// A connection with this request, as its client writes it (RFC 9113, 3.4 and 4.1).
fn wire(fields: &Fields, frames: Option<&[Vec<u8>]>) -> Vec<u8> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let len = u32::try_from(payload.len()).expect("inputs are short").to_be_bytes();
        wire.extend_from_slice(&len[1..]);
        wire.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
        wire.extend_from_slice(payload);
    };
    frame(SETTINGS, 0, 0, b"");
    // Literals that are in no table (RFC 7541, 6.2.2).
    let literal = |(name, value): &(Vec<u8>, Vec<u8>)| [&[0][..], &text(name), &text(value)].concat();
    let block: Vec<u8> = fields.iter().flat_map(literal).collect();
    let end = |last: bool| if last { END_STREAM } else { 0 };
    frame(HEADERS, END_HEADERS | end(frames.is_none()), 1, &block);
    let frames = frames.unwrap_or_default();
    for (at, payload) in frames.iter().enumerate() {
        frame(DATA, end(at + 1 == frames.len()), 1, payload);
    }
    wire
}

/// A string of HPACK (RFC 7541, 5.1 and 5.2).
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match bytes.len() {
        len @ 0..127 => out.push(len as u8),
        len => {
            out.push(127);
            let mut rest = len - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(bytes);
    out
}

/// Accepts the request of a connection, and reads what came of its body. All bytes are there, so nothing waits.
fn accept(wire: &[u8]) -> Option<Accepted> {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    client.write_all(wire).now_or_never().expect("there is room").expect("it is open");
    let mut connection = h2::server::handshake(server).now_or_never()?.ok()?;
    let (request, respond) = connection.accept().now_or_never()??.ok()?;
    let mut stream = Stream::new(request, respond);
    // The frames after the head are read while the next stream is waited for.
    let _ = connection.accept().now_or_never();
    let bodiless = stream.is_bodiless();
    let mut frames = Vec::new();
    let frames = loop {
        match stream.poll_body(&mut Task::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(bytes))) => frames.push(bytes),
            Poll::Ready(None) => break Some(frames),
            Poll::Ready(Some(Err(_))) | Poll::Pending => break None,
        }
    };
    Some(Accepted { stream, bodiless, frames })
}
