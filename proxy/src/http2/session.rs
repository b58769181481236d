//! A stream as pingora sees it: we have accepted it and made the decision, and pingora carries it.

use std::{future::poll_fn, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream as Messages;
use h2::Reason;
use http::{HeaderMap, Response, header, response::Parts};
use pingora_core::protocols::{
    Digest,
    http::{
        HttpTask,
        body_buffer::FixedBuffer,
        custom::{CustomMessageWrite, server},
    },
    l4::socket::SocketAddr,
};
use pingora_error::{Error, ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::Stream;
use crate::http::hop::{KEEP_ALIVE, PROXY_CONNECTION};

/// How many bytes of a request's body are kept for a retry.
const KEPT_BODY: usize = 64 << 10;

/// A stream that pingora carries.
pub(super) struct Session {
    stream: Box<Stream>,
    digest: Arc<Digest>,
    /// The head of the answer, once it was sent.
    answer: Option<ResponseHeader>,
    /// Whether that head has its headers.
    keeps_headers: bool,
    /// Whether the answer is complete.
    ended: bool,
    received: usize,
    sent: usize,
    kept: Option<FixedBuffer>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

/// Messages of a protocol that is not HTTP: there are none.
type CustomMessages = Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

impl Session {
    /// `keeps_headers`: the headers of the answer are needed after they were sent. `read_timeout`: the time between two reads of
    /// the body, as long as the answer has not begun.
    pub(super) fn new(
        stream: Box<Stream>,
        digest: Arc<Digest>,
        keeps_headers: bool,
        read_timeout: Option<Duration>,
    ) -> Self {
        Self {
            stream,
            digest,
            answer: None,
            keeps_headers,
            ended: false,
            received: 0,
            sent: 0,
            kept: None,
            read_timeout,
            write_timeout: None,
            drain_timeout: None,
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        // After that, both sides can be silent for long.
        let limit = self.read_timeout.filter(|_| self.answer.is_none());
        let next = poll_fn(|cx| self.stream.poll_body(cx));
        let received = match limit {
            None => next.await,
            Some(limit) => timeout(limit, next).await.map_err(|_| {
                Error::explain(ErrorType::ReadTimedout, "the client sends nothing of its body").into_down()
            })?,
        };
        let received = received.transpose();
        let received = received.or_err(ErrorType::ReadError, "while reading the body of an HTTP/2 request");
        let Some(bytes) = received.map_err(|error| error.into_down())? else { return Ok(None) };
        self.received += bytes.len();
        if let Some(kept) = &mut self.kept {
            kept.write_to_buffer(&bytes);
        }
        Ok(Some(bytes))
    }

    fn send_head(&mut self, head: ResponseHeader, end: bool) -> Result<()> {
        if self.ended || self.answer.is_some() {
            return Ok(());
        }
        let Parts { status, mut headers, .. } = Parts::from(head);
        // HTTP/2 has none of these (RFC 9113, 8.2.2).
        for name in [
            &header::TRANSFER_ENCODING,
            &header::CONNECTION,
            &header::UPGRADE,
            &KEEP_ALIVE,
            &PROXY_CONNECTION,
        ] {
            // Few heads have one of them. Comparing names costs less than looking one up, for which it is hashed.
            if headers.keys().any(|present| present == name) {
                headers.remove(name);
            }
        }
        if status.is_informational() {
            return self.stream.inform(status, headers).map_err(gone);
        }
        let mut sent = Response::new(());
        *sent.status_mut() = status;
        if self.keeps_headers {
            sent.headers_mut().clone_from(&headers);
        }
        self.stream.send_head(status, headers, end).map_err(gone)?;
        (self.answer, self.ended) = (Some(sent.into_parts().0.into()), end);
        Ok(())
    }

    /// Sends a part of the body, as far as the client's window is open.
    async fn send(&mut self, mut bytes: Bytes, end: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let limit = self.write_timeout;
        let Some(content) = self.stream.content() else {
            return Error::e_explain(ErrorType::H2Error, "a body before its head");
        };
        while !bytes.is_empty() {
            content.reserve_capacity(bytes.len());
            let room = match content.capacity() {
                0 => {
                    let opens = poll_fn(|cx| content.poll_capacity(cx));
                    let opened = match limit {
                        None => opens.await,
                        Some(limit) => timeout(limit, opens).await.map_err(|_| {
                            Error::explain(ErrorType::WriteTimedout, "the client's window stays closed")
                                .into_down()
                        })?,
                    };
                    let closed = || Error::explain(ErrorType::WriteError, "the stream is closed").into_down();
                    opened.ok_or_else(closed)?.map_err(gone)?
                }
                room => room,
            };
            let part = bytes.split_to(room.min(bytes.len()));
            self.sent += part.len();
            self.ended = end && bytes.is_empty();
            content.send_data(part, self.ended).map_err(gone)?;
        }
        if end { self.end() } else { Ok(()) }
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let Some(content) = self.stream.content() else {
            return Error::e_explain(ErrorType::H2Error, "trailers before a head");
        };
        content.send_trailers(trailers).map_err(gone)
    }

    /// Ends the answer if it has begun and not ended. If it has not begun, dropping the stream resets it.
    fn end(&mut self) -> Result<()> {
        let Some(content) = self.stream.content().filter(|_| !self.ended) else { return Ok(()) };
        self.ended = true;
        content.send_data(Bytes::new(), true).map_err(gone)
    }

    fn reset(&mut self) {
        if !self.ended {
            self.stream.reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// The client is gone, or has closed the stream.
fn gone(error: h2::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "while answering an HTTP/2 client", error).into_down()
}

#[async_trait]
impl server::Session for Session {
    fn req_header(&self) -> &RequestHeader {
        &self.stream.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.stream.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.receive().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        if self.is_body_done() {
            return Ok(());
        }
        let limit = self.drain_timeout;
        let drained = async {
            while self.receive().await?.is_some() {}
            Ok(())
        };
        match limit {
            None => drained.await,
            Some(limit) => timeout(limit, drained).await.unwrap_or_else(|_| {
                Error::e_explain(ErrorType::ReadTimedout, "the rest of the body did not come in time")
            }),
        }
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.send_head(*head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.send_head(head.clone(), end)
    }

    async fn write_body(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        self.send(bytes, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.send_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= match task {
                HttpTask::Header(head, end) => self.send_head(*head, end).map(|()| end)?,
                HttpTask::Body(Some(bytes), end) if !bytes.is_empty() => {
                    self.send(bytes, end).await.map(|()| end)?
                }
                HttpTask::Body(_, end) => end,
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "a tunnel in an HTTP/2 stream");
                }
                HttpTask::Trailer(Some(trailers)) => self.send_trailers(*trailers).map(|()| true)?,
                HttpTask::Trailer(None) | HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if ended {
            self.end()?;
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        let head = &self.stream.head;
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        format!("{} {path}, Host: {}", head.method, head.uri.authority().map_or("", |host| host.as_str()))
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.answer.as_ref()
    }

    async fn shutdown(&mut self, _code: u32, _why: &str) {
        self.reset();
    }

    fn is_body_done(&mut self) -> bool {
        // The end of the stream is behind a lock.
        if self.received == 0 { self.stream.is_bodiless() } else { self.stream.has_ended() }
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        self.received == 0 && self.stream.is_bodiless()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.receive().await;
        }
        // Nothing is left to read; wait for the client to leave.
        match poll_fn(|cx| self.stream.poll_reset(cx)).await {
            Ok(reason) => Err(Error::explain(ErrorType::H2Error, format!("reset by the client: {reason}"))),
            Err(error) => Err(Error::because(ErrorType::H2Error, "the client is gone", error)),
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.received
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    /// For pingora's subrequests, which we do not use.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.kept.get_or_insert_with(|| FixedBuffer::new(KEPT_BODY));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.kept.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.kept.as_ref().filter(|kept| !kept.is_truncated())?.get_buffer()
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
}
