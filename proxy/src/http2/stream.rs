//! A request of an HTTP/2 client, and the answer to it.

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use pingora_http::RequestHeader;

use crate::clock;

/// A request whose head has come. Dropping it before its answer is complete resets the stream.
pub(crate) struct Stream {
    pub(crate) head: RequestHeader,
    body: RecvStream,
    /// Whether the request ended with its head.
    ended: bool,
    /// Whether it did not, and the Content-Length is 0.
    is_empty: bool,
    /// The body, if it was received before anybody took it.
    early: Option<Bytes>,
    respond: SendResponse<Bytes>,
    /// Takes the answer's body, once its head has been sent.
    content: Option<SendStream<Bytes>>,
}

impl Stream {
    /// A stream that was accepted.
    pub(crate) fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        // Asked once: h2 locks the connection for each answer.
        let ended = body.is_end_stream();
        let length = if ended { None } else { head.headers.get(header::CONTENT_LENGTH) };
        let is_empty = length.is_some_and(|length| length.as_bytes() == b"0");
        Self { head: head.into(), body, ended, is_empty, early: None, respond, content: None }
    }

    /// Whether the request has no body: it ended with its head, or its Content-Length is 0.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.is_empty || self.has_ended()
    }

    /// Whether all of the body was received.
    pub(crate) fn has_ended(&self) -> bool {
        self.early.is_none() && (self.ended || self.body.is_end_stream())
    }

    /// Puts the whole body back, which was received.
    pub(crate) fn put_back(&mut self, body: Bytes) {
        self.early = Some(body).filter(|body| !body.is_empty());
    }

    /// Receives a part of the body, or `None` at its end, and opens the client's window by that much.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(early) = self.early.take() {
            return Poll::Ready(Some(Ok(early)));
        }
        let Some(received) = ready!(self.body.poll_data(cx)) else { return Poll::Ready(None) };
        let released = received.and_then(|bytes| {
            self.body.flow_control().release_capacity(bytes.len())?;
            Ok(bytes)
        });
        Poll::Ready(Some(released))
    }

    /// Sends an informational answer (RFC 9110, 15.2).
    ///
    /// # Errors
    /// If the final answer has begun, or the stream is closed.
    pub(crate) fn inform(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), h2::Error> {
        let mut head = Response::new(());
        (*head.status_mut(), *head.headers_mut()) = (status, headers);
        self.respond.send_informational(head)
    }

    /// Sends the head of the answer, with a Date if it has none (RFC 9110, 6.6.1). `ended`: no body follows.
    ///
    /// # Errors
    /// If the answer has begun already, or the stream is closed.
    pub(crate) fn send_head(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
        ended: bool,
    ) -> Result<(), h2::Error> {
        let mut head = Response::new(());
        (*head.status_mut(), *head.headers_mut()) = (status, headers);
        // With a few headers, comparing their names costs less than a hash lookup.
        if !head.headers().keys().any(|name| name == header::DATE) {
            head.headers_mut().insert(header::DATE, clock::with_date(HeaderValue::clone));
        }
        self.content = Some(self.respond.send_response(head, ended)?);
        Ok(())
    }

    /// Takes the answer's body; `None` before its head was sent.
    pub(crate) fn content(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.content.as_mut()
    }

    /// Ready when the client has reset the stream, or closed its connection.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.content {
            Some(content) => content.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        }
    }

    /// Resets the stream, whose answer is not complete.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("head", &self.head).finish_non_exhaustive()
    }
}
