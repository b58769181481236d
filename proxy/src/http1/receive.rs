//! Receives the body of a request as a whole before a backend is asked.

use std::{future::poll_fn, task::Poll};

use portcullis_routing::step::Spool;
use tokio::time::timeout;

use super::{
    attempts::Broken,
    client::Client,
    fields::put,
    framing::{Framing, Part},
    plan::About,
};
use crate::{
    accept::Worker,
    body::{Allowance, Full, Spooled, TooLarge},
    clock::Ticks,
    http::context::Context,
    limits::Limits,
};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whether all of the body has come with its head, so that there is nothing to wait for.
pub(super) fn has_come(client: &Client, body: &Framing) -> bool {
    matches!(body, Framing::Length(length) if client.input.bytes().len() as u64 >= *length)
}

/// Receives the body of a request.
///
/// # Errors
/// If it does not come, is malformed or too large, or there is no room for it.
pub(super) async fn receive(
    worker: &Worker,
    client: &mut Client,
    context: &Context,
    spool: Spool,
    asked: &About,
    mut body: Framing,
) -> Result<Spooled, Broken> {
    let length = match body {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    let namespace = context.rule().map_or("", |rule| &rule.route.namespace);
    let mut receiving = worker.shared.spools.receive(namespace, spool, length);
    let mut allowed = Allowance::of(context.body_size(true));
    if asked.expects && client.input.is_empty() {
        let sent = timeout(worker.limits.idle, client.write_all(CONTINUE)).await;
        sent.ok().and_then(Result::ok).ok_or(Broken::ClientGone)?;
    }
    while !body.is_done() {
        if client.input.is_empty() {
            read(client, &worker.limits).await?;
        }
        let room = receiving.room().await?;
        let bytes = client.input.bytes();
        let bytes = &bytes[..bytes.len().min(room)];
        let (n, part) = body.next(bytes).map_err(|_| Broken::ClientMalformed)?;
        if part == Part::Content {
            allowed.take(n)?;
            receiving.put(&bytes[..n]);
        }
        client.input.used(n);
    }
    client.input.give_back();
    Ok(receiving.finish().await?)
}

/// Reads more from the client.
async fn read(client: &mut Client, limits: &Limits) -> Result<(), Broken> {
    client.watch.set(Ticks::of(limits.idle));
    let read = poll_fn(|cx| {
        client.watch.set_waker(cx.waker());
        // The next read takes a buffer of the size that fits by now.
        client.input.give_back();
        match client.poll_read(cx) {
            Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Broken::ClientGone)),
            Poll::Pending if client.watch.is_due() => Poll::Ready(Err(Broken::Stalled { client: true })),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    client.watch.lift();
    read
}

/// Writes the length of a body behind the last header of its head.
pub(super) fn put_length(head: &mut Vec<u8>, length: u64) {
    head.truncate(head.len().saturating_sub(2));
    put(head, &[b"Content-Length: ", length.to_string().as_bytes(), b"\r\n\r\n"]);
}

impl From<Full> for Broken {
    fn from(Full: Full) -> Self {
        Self::NoRoom
    }
}

impl From<TooLarge> for Broken {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLarge
    }
}
