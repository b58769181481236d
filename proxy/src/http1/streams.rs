//! A stream of an HTTP/2 client whose request goes to an HTTP/1 backend or is answered by us.

mod head;
mod relay;
mod spool;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use h2::Reason;
use http::{Method, header};
use portcullis_routing::{Answer, Rejection};
use tokio::time::Sleep;

use self::relay::Relay;
use super::{
    attempts::{self, Attempted, End, note_cut},
    backend::Connection,
    buffer::Out,
    frames::Frames,
    request,
};
use crate::{
    accept::Worker,
    clock::Watch,
    http::{answer as own, attempt::Failure, context::Context, retry},
    http2::Stream,
    limits::Silence,
};

/// Serves a request that the table has sent to an HTTP/1 backend.
pub(crate) async fn serve(worker: &Worker, stream: Box<Stream>, mut context: Box<Context>) {
    if context.is_copied_as_sent() {
        context.sent = Some(Box::new(stream.head.clone()));
    }
    let bodiless = stream.is_bodiless();
    if !bodiless && context.spool(true).is_some() {
        // Boxed, so that other requests do not pay for its size.
        return Box::pin(spool::serve(worker, stream, context)).await;
    }
    let head = &stream.head;
    let idempotent = retry::is_idempotent(&head.method);
    let bodiless = bodiless || context.is_bodiless();
    let chunked = !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH);
    let mut out = Out::take();
    request::write_h2(head, &context, chunked, &mut out.bytes);
    let keeps = retry::keeps(idempotent, &context);
    let upload = Frames::new(bodiless, chunked, keeps, context.body_size(!bodiless));
    exchange(worker, stream, context, out, upload, chunked).await;
}

/// Makes attempts at backends, and passes an answer on. `chunked`: the body is sent without a length.
async fn exchange(
    worker: &Worker,
    stream: Box<Stream>,
    mut context: Box<Context>,
    head: Out,
    upload: Frames,
    chunked: bool,
) {
    let idempotent = retry::is_idempotent(&stream.head.method);
    let expects = !upload.ended && stream.head.headers.contains_key(header::EXPECT);
    let silence = Silence::of(context.own_timeouts(), &context.conn.limits);
    let mut side = Side { stream, upload, chunked, expects, watch: Watch::new(), silence };
    let end = attempts::carry(worker, &mut context, head, idempotent, &mut side).await;
    if let Some(measured) = &mut context.measured {
        measured.received(side.upload.received());
    }
    match end {
        End::Answered { content, .. } => context.finish(content, false),
        End::Cut(broken, content) => {
            note_cut(&mut context, broken, content);
            side.stream.reset(Reason::INTERNAL_ERROR);
        }
        End::Failed(failure) => reject(side.stream, context, failure),
    }
}

/// Tells the client why no backend answers.
fn reject(stream: Box<Stream>, context: Box<Context>, (rejection, why): Failure) {
    // 408 speaks of the whole connection; the client of one slow stream gets another status.
    let rejection = if rejection == Rejection::HeaderTimeout { Rejection::Timeout } else { rejection };
    answer(stream, context, &Answer::reject(rejection, why));
}

/// Answers without a backend.
pub(crate) fn answer(mut stream: Box<Stream>, mut context: Box<Context>, answer: &Answer) {
    context.rejection = answer.rejection;
    let reply = own::reply(answer, context.grpc, context.route.as_ref(), &stream.head.headers);
    context.status = reply.status.as_u16();
    context.measure_reply(&reply);
    let bare = stream.head.method == Method::HEAD || reply.body.is_empty();
    let sent = send_reply(&mut stream, &reply, bare);
    context.finish(if bare { 0 } else { reply.body.len() }, sent.is_err());
}

/// Sends an answer of our own. `bare`: without its body.
///
/// # Errors
/// If the client is gone.
fn send_reply(stream: &mut Stream, reply: &own::Reply, bare: bool) -> Result<(), h2::Error> {
    let headers = reply.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    stream.send_head(reply.status, headers.collect(), bare)?;
    match stream.content().filter(|_| !bare) {
        Some(content) => content.send_data(Bytes::copy_from_slice(&reply.body), true),
        None => Ok(()),
    }
}

/// The client's side of a stream.
struct Side {
    stream: Box<Stream>,
    upload: Frames,
    /// Whether the body has no length.
    chunked: bool,
    /// Whether the client waits for a 100 before it sends the body.
    expects: bool,
    watch: Watch,
    silence: Silence,
}

impl attempts::Client for Side {
    fn is_repeatable(&self) -> bool {
        self.upload.is_repeatable()
    }

    fn is_bodiless(&self) -> bool {
        self.upload.ended && !self.upload.has_bytes()
    }

    fn poll_gone(&mut self, cx: &mut Task<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(drop)
    }

    fn write_head(&self, context: &Context, head: &mut Out) -> bool {
        head.clear();
        request::write_h2(&self.stream.head, context, self.chunked, &mut head.bytes);
        true
    }

    async fn attempt(
        &mut self,
        context: &mut Context,
        connection: &mut Connection,
        head: &mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Attempted {
        self.upload.rewind();
        let mut relay = Relay::new(self, context, connection, head, deadline);
        let end = poll_fn(|cx| relay.poll(cx)).await;
        let (answered, content) = relay.passed_on();
        self.watch.lift();
        Attempted { end, answered, content }
    }
}
