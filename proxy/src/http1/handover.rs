//! Requests of HTTP/1 clients that pingora carries: those for an HTTP/2 backend, and upgrades to another protocol.
//!
//! pingora gets the head in plain form and exactly the body that belongs to it. Bytes that follow the body stay here, and
//! so does the connection when pingora is done.

use portcullis_routing::Rejection;

use super::{
    buffer::Buffer,
    client::{Client, Next},
    framing::{ChunkWriter, Framing, Malformed, Part},
};
use crate::{
    accept::{Port, Worker},
    app,
    body::Held,
    http::context::Context,
    io::{DownIo, Message},
    refusal::Refusal,
};

/// Has pingora carry a request that was decided about.
pub(super) async fn carry(
    worker: &Worker,
    client: &mut Client,
    mut context: Box<Context>,
    mut head: Vec<u8>,
    mut body: Framing,
    port: &Port,
) -> Next {
    if let Some(held) = context.held.take() {
        put_held(&held, &mut head);
    }
    if take_body(client, &mut body, &mut head).is_err() {
        context.status = 400;
        context.rejection = Some((Rejection::BadRequest, "malformed body"));
        context.finish(0, false);
        let _ = client.write_all(Refusal::Unreadable.answer()).await;
        return Next::Close;
    }
    let beyond = client.input.bytes().to_vec();
    client.input = Buffer::default();
    let message = Message::new(body, beyond);
    let (transport, admitted) = client.take_out();
    let down = DownIo::of_message(transport, &context.conn, context.conn.limits, admitted, head, message);
    let Some(down) = app::serve_one_http1(worker, Box::new(down), context, port).await else {
        // pingora ended it.
        client.ended = true;
        return Next::Close;
    };
    let (transport, admitted, message) = down.into_message();
    client.put_back(transport, admitted);
    match message {
        Some(message) if message.is_over() => {
            client.input.put(message.beyond());
            Next::Request
        }
        _ => Next::Close,
    }
}

/// Writes a body that was received for a check behind its head, framed as the head says.
fn put_held(held: &Held, head: &mut Vec<u8>) {
    let mut chunks = (!held.has_length).then(ChunkWriter::default);
    if let Some(chunks) = chunks.as_mut().filter(|_| !held.bytes.is_empty()) {
        chunks.begin(held.bytes.len(), head);
    }
    head.extend_from_slice(&held.bytes);
    if let Some(chunks) = &mut chunks {
        chunks.end(head);
    }
}

/// Moves the part of the body that was read to the end of `head`, without chunk extensions and trailers.
fn take_body(client: &mut Client, body: &mut Framing, head: &mut Vec<u8>) -> Result<(), Malformed> {
    while !body.is_done() && !client.input.is_empty() {
        let bytes = client.input.bytes();
        let (n, part) = body.next(bytes)?;
        if n == 0 {
            break;
        }
        if matches!(part, Part::Content | Part::Coding) {
            head.extend_from_slice(&bytes[..n]);
        }
        client.input.used(n);
    }
    Ok(())
}
