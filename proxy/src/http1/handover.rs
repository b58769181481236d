//! A request that pingora carries: to an HTTP/2 backend, or one that turns its connection into another protocol's. pingora
//! gets the head in plain form and exactly the body behind it; what came beyond that stays here, and the connection comes
//! back.

use super::{
    buffer::Buffer,
    client::{Client, Next},
    framing::{Framing, Part},
};
use crate::{
    accept::{Port, Worker},
    app,
    http::context::Context,
    io::{DownIo, Message},
};

/// Has pingora carry a request that was decided about.
pub(super) async fn carry(
    worker: &Worker,
    client: &mut Client,
    context: Context,
    mut head: Vec<u8>,
    mut body: Framing,
    port: &Port,
) -> Next {
    if take_body(client, &mut body, &mut head).is_err() {
        // pingora would find the same, and could say no more.
        let mut context = context;
        context.status = 400;
        context.finish(0, false);
        let _ = client.write_all(crate::refusal::Refusal::Unreadable.answer()).await;
        return Next::Close;
    }
    let beyond = client.input.bytes().to_vec();
    client.input = Buffer::default();
    let message = Message::new(body, beyond);
    let (transport, admitted) = client.take_out();
    let down = DownIo::of_message(transport, &context.conn, worker.limits, admitted, head, message);
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

/// Moves what is there of the body behind the head.
fn take_body(
    client: &mut Client,
    body: &mut Framing,
    head: &mut Vec<u8>,
) -> Result<(), super::framing::Malformed> {
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
