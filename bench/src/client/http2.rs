//! HTTP/2: many streams on one connection.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, Target};
use crate::origin::GRPC_MESSAGE;

/// Windows as a browser has them: a large body needs no second round trip.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// One connection; each clone asks on streams of its own.
#[derive(Clone, Debug)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    request: Request<()>,
    /// A gRPC message, with its prefix.
    message: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Refused {
    /// The server said beforehand that it takes no more streams here (GOAWAY without an error): nothing was sent.
    Retired,
    /// Anything else.
    Failed(anyhow::Error),
}

impl Http2 {
    /// Asks for this target on each [`Http2::ask`]. The connection is driven by a local task of its own.
    ///
    /// # Errors
    /// Where the preface cannot be exchanged.
    pub async fn new(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, target: &Target) -> Result<Self> {
        let request = Request::get(format!("https://{}{}", target.host, target.path))
            .header("user-agent", "load")
            .header("accept", "*/*")
            .body(())?;
        Ok(Self { send: handshake(stream).await?, request, message: None })
    }

    /// Calls a unary gRPC method on each [`Http2::ask`], with a message of [`GRPC_MESSAGE`] bytes.
    ///
    /// # Errors
    /// Where the preface cannot be exchanged.
    pub async fn grpc(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        target: &Target,
    ) -> Result<Self> {
        let request = Request::post(format!("https://{}{}", target.host, target.path))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "load")
            .body(())?;
        // Not compressed, the length in four bytes, the message.
        let mut message = vec![0; GRPC_MESSAGE];
        message[1..5].copy_from_slice(&u32::try_from(GRPC_MESSAGE - 5)?.to_be_bytes());
        Ok(Self { send: handshake(stream).await?, request, message: Some(message.into()) })
    }

    /// Asks once, on a stream of its own, and takes the whole answer.
    ///
    /// # Errors
    /// Where the connection takes no more streams, or this one fails.
    pub async fn ask(&self) -> Result<Answer, Refused> {
        let mut send = self.send.clone().ready().await.map_err(|error| {
            let graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            if graceful { Refused::Retired } else { Refused::Failed(error.into()) }
        })?;
        self.exchange(&mut send).await.map_err(Refused::Failed)
    }

    async fn exchange(&self, send: &mut SendRequest<Bytes>) -> Result<Answer> {
        let (response, mut upload) = send.send_request(self.request.clone(), self.message.is_none())?;
        if let Some(message) = &self.message {
            upload.send_data(message.clone(), true)?;
        }
        let response = response.await?;
        let status = response.status().as_u16();
        let mut stream = response.into_body();
        let mut body = 0;
        while let Some(chunk) = stream.data().await {
            let length = chunk?.len();
            body += length;
            stream.flow_control().release_capacity(length)?;
        }
        if self.message.is_some() {
            let trailers = stream.trailers().await?.unwrap_or_default();
            ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "grpc-status is not 0");
        }
        Ok(Answer { status, body, closes: false })
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<SendRequest<Bytes>> {
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(stream)
        .await
        .context("h2 preface")?;
    // Its streams say why it ended.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(send)
}
