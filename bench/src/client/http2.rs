//! HTTP/2: many streams on one connection.

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, Target};

/// Windows as a browser has them: a large body needs no second round trip.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// One connection, for as many streams as it is cloned.
#[derive(Clone, Debug)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    request: Request<()>,
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
    /// Asks for this target on each [`Http2::get`]. The connection is driven by a local task of its own.
    ///
    /// # Errors
    /// Where the preface cannot be exchanged.
    pub async fn new(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, target: &Target) -> Result<Self> {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(stream)
            .await
            .context("h2 preface")?;
        // What ends it, its streams say too.
        tokio::task::spawn_local(async move { drop(connection.await) });
        let request = Request::get(format!("https://{}{}", target.host, target.path))
            .header("user-agent", "load")
            .header("accept", "*/*")
            .body(())?;
        Ok(Self { send, request })
    }

    /// Asks once, on a stream of its own, and reads the whole answer.
    ///
    /// # Errors
    /// Where the connection takes no more streams, or this one fails.
    pub async fn get(&self) -> Result<Answer, Refused> {
        let mut send = self.send.clone().ready().await.map_err(|error| {
            let graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            if graceful { Refused::Retired } else { Refused::Failed(error.into()) }
        })?;
        self.exchange(&mut send).await.map_err(|error| Refused::Failed(anyhow!(error)))
    }

    async fn exchange(&self, send: &mut SendRequest<Bytes>) -> Result<Answer, h2::Error> {
        let (response, _) = send.send_request(self.request.clone(), true)?;
        let response = response.await?;
        let status = response.status().as_u16();
        let mut stream = response.into_body();
        let mut body = 0;
        while let Some(chunk) = stream.data().await {
            let length = chunk?.len();
            body += length;
            stream.flow_control().release_capacity(length)?;
        }
        Ok(Answer { status, body, closes: false })
    }
}
