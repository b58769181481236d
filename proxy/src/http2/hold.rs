//! The body of a stream, received for a check that needs it.

use std::future::poll_fn;

use http::{HeaderMap, StatusCode, header};
use portcullis_routing::{Rejection, decide::TOO_LARGE};
use tokio::time::timeout;

use super::Stream;
use crate::{
    accept::Worker,
    body::{Allowance, Full, Held, MOST_HELD, NO_ROOM},
    http::{attempt::Failure, context::Context},
};

const TOO_LARGE_BODY: Failure = (Rejection::ContentTooLarge, TOO_LARGE);
pub(super) const TOO_SLOW: Failure = (Rejection::Timeout, "the request took too long");

/// Receives the body, for a check that may be sent so many bytes of a request of this namespace, and puts it back for the
/// backend.
///
/// # Errors
/// The response to the client if the body is too large, does not arrive, or does not fit; `None` if the client is gone.
pub(super) async fn hold(
    worker: &Worker,
    stream: &mut Stream,
    context: &mut Context,
    (namespace, most): (&str, u32),
) -> Result<(), Option<Failure>> {
    let most = u64::from(most.min(MOST_HELD));
    let announced = stream.head.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let known = context.held.as_ref().map(|held| held.bytes.len() as u64).or(announced);
    if known.is_some_and(|length| length > most) {
        return Err(Some(TOO_LARGE_BODY));
    }
    if context.held.is_some() || stream.is_bodiless() {
        return Ok(());
    }
    if stream.head.remove_header(&header::EXPECT).is_some() {
        stream.inform(StatusCode::CONTINUE, HeaderMap::new()).map_err(|_| None)?;
    }
    let spools = &worker.shared.spools;
    let no_room = |Full: Full| {
        spools.count_refused();
        Some((Rejection::Overloaded, NO_ROOM))
    };
    let (mut receiving, mut allowed) =
        (spools.hold(&context.conn, namespace, announced), Allowance::of(Some(most)));
    loop {
        let left = receiving.time_left().ok_or(Some(TOO_SLOW))?;
        let frame = timeout(left, poll_fn(|cx| stream.poll_body(cx))).await;
        let Some(frame) = frame.map_err(|_| Some(TOO_SLOW))? else { break };
        let bytes = frame.map_err(|_| None)?;
        allowed.take(bytes.len()).map_err(|_| Some(TOO_LARGE_BODY))?;
        receiving.store(&bytes).await.map_err(no_room)?;
    }
    let bytes = receiving.finish().await.map_err(no_room)?.into_bytes().ok_or(None)?;
    stream.head.insert_header(header::CONTENT_LENGTH, bytes.len()).map_err(|_| None)?;
    stream.put_back(bytes.clone());
    context.held = Some(Held { bytes, has_length: true });
    Ok(())
}
