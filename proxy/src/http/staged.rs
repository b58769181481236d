//! The body stage of the requests that pingora carries ([`crate::body`]).
//!
//! A request body is buffered before pingora selects a backend. pingora buffers 64 KiB for retries, and sends a body of up to that
//! size from there. For a larger one, and if the rate of the response is limited, [`Staged`] replaces pingora's session and
//! returns the buffered body.

use std::{future::poll_fn, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream as Messages;
use http::{HeaderMap, header};
use pingora_core::protocols::{
    Digest,
    http::{
        HttpTask, ServerSession,
        custom::{CustomMessageWrite, server},
    },
    l4::socket::SocketAddr,
};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use portcullis_routing::{Rejection, decide::TOO_LARGE};
use tokio::time::timeout;

use super::{coded::Coded, context::Context, headers::Has};
use crate::{
    body::{Allowance, Full, Held, MOST_HELD, NO_ROOM, Pacer, Receiving, Spooled},
    limits::until,
    shared::Shared,
};

const TOO_SLOW: &str = "the request took too long";

/// Whether the stage applies to a request.
pub(super) fn is_wanted(session: &mut Session, context: &Context) -> bool {
    context.pace().is_some() || context.spool(!session.is_body_empty()).is_some()
}

/// Buffers the request body, and limits the rate of the response.
///
/// # Errors
/// If the body does not come, is too large, or there is no room for it.
pub(super) async fn stage(shared: &Shared, session: &mut Session, context: &mut Context) -> Result<()> {
    let spooled = match context.spool(!session.is_body_empty()) {
        Some(_) => receive(shared, session, context).await?,
        None => None,
    };
    let pacer = context.pacer();
    if spooled.is_some() || pacer.is_some() {
        // pingora does not return the connection of a custom session.
        session.set_keepalive(None);
        replace(session, |session| Staged { session, spooled, pacer, coded: None });
    }
    Ok(())
}

/// Buffers the body. `None`: pingora has buffered it for all attempts.
async fn receive(shared: &Shared, session: &mut Session, context: &mut Context) -> Result<Option<Spooled>> {
    let Some(spool) = context.spool(true) else { return Ok(None) };
    go_on(session, context).await?;
    let namespace = context.rule().map_or("", |rule| &rule.route.namespace);
    let receiving = shared.spools.receive(&context.conn, namespace, spool, length(session));
    let most = context.body_size(true);
    let spooled = read(shared, session, context, receiving, most).await?;
    Ok(session.as_ref().retry_buffer_truncated().then_some(spooled))
}

/// Receives the body of a request for a check that may be sent so many bytes of it.
///
/// # Errors
/// As [`stage`].
pub(super) async fn hold(
    shared: &Shared,
    session: &mut Session,
    context: &mut Context,
    (namespace, most): (&str, u32),
) -> Result<()> {
    let most = u64::from(most.min(MOST_HELD));
    let known = context.held.as_ref().map(|held| held.bytes.len() as u64).or(length(session));
    if known.is_some_and(|length| length > most) {
        return Err(context.fail(Rejection::ContentTooLarge, TOO_LARGE).into_down());
    }
    if context.held.is_some() || session.is_body_empty() {
        return Ok(());
    }
    go_on(session, context).await?;
    let receiving = shared.spools.hold(&context.conn, namespace, length(session));
    let Some(bytes) = read(shared, session, context, receiving, Some(most)).await?.into_bytes() else {
        return Err(context.fail(Rejection::Overloaded, NO_ROOM).into_down());
    };
    if session.as_ref().retry_buffer_truncated() {
        session.set_keepalive(None);
        let spooled = Some(Spooled::of(bytes.clone()));
        replace(session, |session| Staged { session, spooled, pacer: None, coded: None });
    }
    context.held = Some(Held { bytes, has_length: true });
    Ok(())
}

/// Sends the 100 that the client expects.
async fn go_on(session: &mut Session, context: &mut Context) -> Result<()> {
    if context.has.any(Has::EXPECT) {
        session.req_header_mut().remove_header(&header::EXPECT);
        context.has.forget(Has::EXPECT);
        session.write_continue_response().await?;
    }
    Ok(())
}

/// How long the body is, if the client says so.
fn length(session: &Session) -> Option<u64> {
    session.req_header().headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body of at most so many bytes within the time for the request, and writes its length to the head.
async fn read(
    shared: &Shared,
    session: &mut Session,
    context: &mut Context,
    receiving: Receiving,
    most: Option<u64>,
) -> Result<Spooled> {
    let received = until(context.deadline, read_all(shared, session, context, receiving, most)).await;
    received.unwrap_or_else(|| Err(context.fail(Rejection::Timeout, TOO_SLOW).into_down()))
}

/// Reads the body.
async fn read_all(
    shared: &Shared,
    session: &mut Session,
    context: &mut Context,
    mut receiving: Receiving,
    most: Option<u64>,
) -> Result<Spooled> {
    let mut allowed = Allowance::of(most);
    let no_room = |context: &mut Context, Full: Full| {
        shared.spools.count_refused();
        context.fail(Rejection::Overloaded, NO_ROOM).into_down()
    };
    session.as_mut().enable_retry_buffering();
    loop {
        let part = match receiving.time_left() {
            Some(left) => timeout(left, session.read_request_body()).await.ok(),
            None => None,
        };
        let part = part.ok_or_else(|| context.fail(Rejection::HeaderTimeout, TOO_SLOW).into_down())?;
        let Some(bytes) = part.map_err(|error| error.into_down())? else { break };
        let taken = allowed.take(bytes.len());
        taken.map_err(|_| context.fail(Rejection::ContentTooLarge, TOO_LARGE).into_down())?;
        receiving.store(&bytes).await.map_err(|full| no_room(context, full))?;
    }
    let spooled = receiving.finish().await.map_err(|full| no_room(context, full))?;
    let head = session.req_header_mut();
    head.remove_header(&header::TRANSFER_ENCODING);
    head.insert_header(header::CONTENT_LENGTH, spooled.len())?;
    Ok(spooled)
}

/// Replaces the session.
pub(super) fn replace(session: &mut Session, stage: impl FnOnce(ServerSession) -> Staged) {
    let own = std::mem::replace(&mut *session.downstream_session, placeholder());
    *session.downstream_session = ServerSession::new_custom(Box::new(stage(own)));
}

/// A session that is never used.
pub(super) fn placeholder() -> ServerSession {
    ServerSession::new_custom(Box::new(()))
}

/// A session with a buffered request body, a limited response rate, or a compressed response. After an upgrade, none of these
/// applies.
pub(super) struct Staged {
    session: ServerSession,
    spooled: Option<Spooled>,
    pacer: Option<Box<Pacer>>,
    coded: Option<Coded>,
}

/// Messages of a protocol that is not HTTP: there are none.
type CustomMessages = Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

impl Staged {
    /// A session with a response that may be compressed.
    pub(super) fn coding(session: ServerSession, coded: Coded) -> Self {
        Self { session, spooled: None, pacer: None, coded: Some(coded) }
    }

    /// The body that pingora gets in place of the client's.
    fn body(&self) -> Option<&Spooled> {
        self.spooled.as_ref().filter(|_| !self.session.was_upgraded())
    }

    /// Sends a part of the body of the answer.
    async fn send(&mut self, mut bytes: Bytes, end: bool) -> Result<bool> {
        let Some(pacer) = &mut self.pacer else {
            return self.session.response_duplex_vec(vec![HttpTask::Body(Some(bytes), end)]).await;
        };
        let mut ended = false;
        while !bytes.is_empty() {
            let n = pacer.room(bytes.len()).await;
            let part = bytes.split_to(n);
            pacer.sent(part.len());
            let task = HttpTask::Body(Some(part), end && bytes.is_empty());
            ended = self.session.response_duplex_vec(vec![task]).await?;
        }
        Ok(ended)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(coded) = self.coded.take() {
            coded.give_back(std::mem::replace(&mut self.session, placeholder()));
        }
    }
}

#[async_trait]
impl server::Session for Staged {
    fn req_header(&self) -> &RequestHeader {
        self.session.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let was_upgraded = self.session.was_upgraded();
        let Some(spooled) = self.spooled.as_mut().filter(|_| !was_upgraded) else {
            return self.session.read_request_body().await;
        };
        let more = poll_fn(|cx| spooled.poll_piece(cx)).await;
        let more = more.or_err(ErrorType::FileReadError, "while reading a body that was spooled")?;
        Ok(more.then(|| spooled.take_piece()))
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.session.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.session.write_response_header(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _end: bool) -> Result<()> {
        self.session.write_response_header_ref(head).await
    }

    async fn write_body(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        self.session.write_response_body(bytes, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.session.write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let tasks = match &mut self.coded {
            Some(coded) => coded.through(tasks)?,
            None => tasks,
        };
        if self.pacer.is_none() {
            return self.session.response_duplex_vec(tasks).await;
        }
        let mut ended = false;
        for task in tasks {
            ended |= match task {
                HttpTask::Body(Some(bytes), end) if !bytes.is_empty() => self.send(bytes, end).await?,
                task => self.session.response_duplex_vec(vec![task]).await?,
            };
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.session.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.session.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.session.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.session.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.session.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _why: &str) {
        self.session.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        match self.body() {
            Some(spooled) => spooled.has_ended(),
            None => self.session.is_body_done(),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        self.session.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        match self.body() {
            Some(spooled) => spooled.len() == 0,
            None => self.session.is_body_empty(),
        }
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        match self.body() {
            Some(spooled) if !no_body_expected && !spooled.has_ended() => self.read_body_bytes().await,
            // All of it was received: the client is watched.
            Some(_) => self.session.read_body_or_idle(true).await,
            None => self.session.read_body_or_idle(no_body_expected).await,
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.session.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.session.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.session.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.session.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.session.server_addr()
    }

    /// For pingora's subrequests, which we do not use.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    /// Called when an attempt begins.
    fn enable_retry_buffering(&mut self) {
        match &mut self.spooled {
            Some(spooled) => spooled.rewind(),
            None => self.session.enable_retry_buffering(),
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.spooled.is_none() && self.session.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        match self.spooled {
            Some(_) => None,
            None => self.session.get_retry_buffer(),
        }
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<CustomMessages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: CustomMessages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.session.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.session.was_upgraded()
    }
}
