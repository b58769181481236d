//! Receives the body of a request as a whole before a backend is asked.

use std::{future::poll_fn, task::Poll, time::Duration};

use portcullis_routing::step::Spool;
use tokio::time::timeout;

use super::{
    attempts::Broken,
    client::Client,
    fields::put,
    framing::{Framing, Part},
    plan::About,
    replay,
};
use crate::{
    accept::Worker,
    body::{Allowance, Full, Held, MOST_HELD, Receiving, Spooled, TooLarge},
    clock::Ticks,
    http::context::Context,
    limits::until,
};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whether all of the body has come with its head, so that there is nothing to wait for, and can be sent again from there.
pub(super) fn has_come(client: &Client, body: &Framing) -> bool {
    let most = client.input.bytes().len().min(replay::KEPT) as u64;
    length(body).is_some_and(|length| length <= most)
}

/// Receives the body of a request that is spooled.
///
/// # Errors
/// If it does not come, is malformed or too large, or there is no room for it.
pub(super) async fn spool(
    worker: &Worker,
    client: &mut Client,
    context: &Context,
    spool: Spool,
    asked: &About,
    body: Framing,
) -> Result<Spooled, Broken> {
    let namespace = context.rule().map_or("", |rule| &rule.route.namespace);
    let receiving = worker.shared.spools.receive(&context.conn, namespace, spool, length(&body));
    let received = receive(worker, client, asked, body, receiving, context.body_size(true));
    until(context.deadline, received).await.ok_or(Broken::ClientLate)?
}

/// Receives the body of a request for a check that may be sent so many bytes.
///
/// # Errors
/// As [`spool`].
pub(super) async fn hold(
    worker: &Worker,
    client: &mut Client,
    context: &mut Context,
    (namespace, most): (&str, u32),
    asked: &About,
    body: &mut Framing,
) -> Result<(), Broken> {
    let most = u64::from(most.min(MOST_HELD));
    let known = context.held.as_ref().map(|held| held.bytes.len() as u64).or(length(body));
    if known.is_some_and(|length| length > most) {
        return Err(Broken::TooLarge);
    }
    if context.held.is_some() || body.is_done() {
        return Ok(());
    }
    let receiving = worker.shared.spools.hold(&context.conn, namespace, length(body));
    let has_length = length(body).is_some();
    let whole = std::mem::replace(body, Framing::Done);
    let received = receive(worker, client, asked, whole, receiving, Some(most));
    let received = until(context.deadline, received).await.ok_or(Broken::ClientLate)??;
    let bytes = received.into_bytes().ok_or(Broken::NoRoom)?;
    context.held = Some(Held { bytes, has_length });
    Ok(())
}

fn length(body: &Framing) -> Option<u64> {
    match body {
        Framing::Length(length) => Some(*length),
        _ => None,
    }
}

/// Receives a body of at most so many bytes.
async fn receive(
    worker: &Worker,
    client: &mut Client,
    asked: &About,
    mut body: Framing,
    mut receiving: Receiving,
    most: Option<u64>,
) -> Result<Spooled, Broken> {
    let mut allowed = Allowance::of(most);
    if asked.expects && client.input.is_empty() {
        let sent = timeout(worker.limits.idle, client.write_all(CONTINUE)).await;
        sent.ok().and_then(Result::ok).ok_or(Broken::ClientGone)?;
    }
    while !body.is_done() {
        if client.input.is_empty() {
            let left = receiving.time_left().ok_or(Broken::Stalled { client: true })?;
            read(client, left).await?;
        }
        let bytes = client.input.bytes();
        let (n, part) = body.next(bytes).map_err(|_| Broken::ClientMalformed)?;
        if part == Part::Content {
            allowed.take(n)?;
            receiving.store(&bytes[..n]).await?;
        }
        client.input.used(n);
    }
    client.input.give_back();
    Ok(receiving.finish().await?)
}

/// Reads more from the client within this time.
async fn read(client: &mut Client, limit: Duration) -> Result<(), Broken> {
    client.watch.set(Ticks::of(limit));
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
