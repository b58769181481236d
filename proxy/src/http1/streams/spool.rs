//! Receives the body of a stream as a whole before a backend is asked.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::Error;
use http::{HeaderMap, StatusCode, header};
use portcullis_routing::step::Spool;
use tokio::time::timeout;

use super::super::{
    attempts::{Broken, note_cut},
    buffer::Out,
    frames::Frames,
    request,
};
use crate::{
    accept::Worker,
    body::Allowance,
    http::{context::Context, retry},
    http2::Stream,
    limits::until,
};

/// Receives the whole body, then carries the request to a backend.
pub(super) async fn serve(worker: &Worker, mut stream: Box<Stream>, mut context: Box<Context>) {
    let Some(spool) = context.spool(true) else { return };
    let received = until(context.deadline, receive(worker, &mut stream, &context, spool));
    match received.await.unwrap_or(Err(Broken::ClientLate)) {
        Ok(upload) => {
            let mut out = Out::take();
            request::write_h2(&stream.head, &context, false, &mut out.bytes);
            super::exchange(worker, stream, context, out, upload, false).await;
        }
        Err(broken) => {
            if broken == Broken::NoRoom {
                worker.shared.spools.count_refused();
            }
            match broken.rejection() {
                Some(failure) => super::reject(stream, context, failure),
                None => note_cut(&mut context, broken, 0),
            }
        }
    }
}

/// Receives the body of a request, and writes its length to the head.
///
/// # Errors
/// If it does not come, is too large, or there is no room for it.
async fn receive(
    worker: &Worker,
    stream: &mut Stream,
    context: &Context,
    spool: Spool,
) -> Result<Frames, Broken> {
    let length = stream.head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stream.head.remove_header(&header::EXPECT).is_some() && !stream.has_ended() {
        stream.inform(StatusCode::CONTINUE, HeaderMap::new()).map_err(|_| Broken::ClientGone)?;
    }
    let mut allowed = Allowance::of(context.body_size(true));
    let mut next = frame(stream, context.conn.limits.body).await?;
    if let Some(bytes) = &next
        && length == Some(bytes.len() as u64)
    {
        // All of it came at once, and is not copied.
        allowed.take(bytes.len())?;
        let keeps = retry::keeps(retry::is_idempotent(&stream.head.method), context);
        let mut frames = Frames::new(false, false, keeps, None);
        frames.put(bytes.clone())?;
        return Ok(frames);
    }
    let namespace = context.rule().map_or("", |rule| &rule.route.namespace);
    let mut receiving = worker.shared.spools.receive(&context.conn, namespace, spool, length);
    while let Some(bytes) = next {
        allowed.take(bytes.len())?;
        receiving.store(&bytes).await?;
        let left = receiving.time_left().ok_or(Broken::Stalled { client: true })?;
        next = frame(stream, left).await?;
    }
    let spooled = receiving.finish().await?;
    let written = stream.head.insert_header(header::CONTENT_LENGTH, spooled.len());
    written.map_err(|_| Broken::ClientMalformed)?;
    Ok(Frames::of_spooled(spooled))
}

/// The next part of the body within this time, or `None` at its end.
async fn frame(stream: &mut Stream, limit: Duration) -> Result<Option<Bytes>, Broken> {
    let frame = timeout(limit, poll_fn(|cx| stream.poll_body(cx))).await;
    let frame = frame.map_err(|_| Broken::Stalled { client: true })?;
    frame.transpose().map_err(|_: Error| Broken::ClientGone)
}
