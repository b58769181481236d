//! A request over HTTP/1, in its own bytes.

use std::{
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Answer, Request};
use crate::{
    case::Failure,
    wire::{Framing, Stream, Wire, bytes, says, value},
};

const CHUNK: usize = 8 << 10;
/// How long a message may be on its way through a tunnel.
const MESSAGE: Duration = Duration::from_secs(5);

pub(super) async fn request(
    request: &Request<'_>,
    stream: impl Stream,
) -> std::result::Result<Answer, Failure> {
    let (read, mut write) = tokio::io::split(stream);
    let mut wire = Wire::new(read);
    let writing = async {
        // The answer counts, also where it comes before everything is written.
        let _ = send(request, &mut write).await;
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = answer(request, &mut wire) => answer,
        () = writing => unreachable!("it never ends"),
    };
    let mut answer = answer.map_err(|error| failure(&error))?;
    if answer.status == 101 {
        answer.ws = tunnel(&mut write, &mut wire).await;
    }
    Ok(answer)
}

fn failure(error: &Error) -> Failure {
    // An alert ends a connection without an answer.
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if error.kind() == ErrorKind::InvalidData && !is_tls { Failure::Protocol } else { Failure::Closed }
}

async fn send(request: &Request<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    let send = request.send;
    let mut head = format!("{} {} HTTP/{}\r\n", send.method, send.target, send.http);
    if let Some(host) = request.host {
        head += &format!("Host: {host}\r\n");
    }
    for (name, value) in &request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match &request.body {
        Some(_) if send.chunked => head += "Transfer-Encoding: chunked\r\n",
        Some(body) => head += &format!("Content-Length: {}\r\n", body.len()),
        None => {}
    }
    if send.http == "1.1" && value(&request.headers, "connection").is_none() {
        head += "Connection: close\r\n";
    }
    to.write_all(&bytes(&(head + "\r\n"))).await?;
    if let Some(body) = &request.body {
        if send.chunked {
            for chunk in body.chunks(CHUNK) {
                to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
                to.write_all(chunk).await?;
                to.write_all(b"\r\n").await?;
            }
            to.write_all(b"0\r\n\r\n").await?;
        } else {
            to.write_all(body).await?;
        }
    }
    to.flush().await
}

async fn answer(request: &Request<'_>, wire: &mut Wire<impl tokio::io::AsyncRead + Unpin>) -> Result<Answer> {
    loop {
        let (line, headers) = wire.head().await?;
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or(ErrorKind::InvalidData)?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let length = value(&headers, "content-length").and_then(|length| length.parse().ok());
        let framing = if request.send.method == "HEAD" || matches!(status, 101 | 204 | 304) {
            Framing::Length(0)
        } else if says(&headers, "transfer-encoding", "chunked") {
            Framing::Chunked
        } else {
            length.map_or(Framing::Close, Framing::Length)
        };
        let mut body = Vec::new();
        let ended = wire.body(framing, &mut body).await;
        // Many servers end TLS without a word.
        let cut = ended.is_err() && !matches!(framing, Framing::Close);
        return Ok(Answer { status, headers, body, cut, ..Answer::default() });
    }
}

/// What comes back for `hi`.
async fn tunnel(
    to: &mut (impl AsyncWrite + Unpin),
    wire: &mut Wire<impl tokio::io::AsyncRead + Unpin>,
) -> Option<String> {
    to.write_all(b"hi").await.ok()?;
    to.flush().await.ok()?;
    let message = async {
        let mut message = Vec::new();
        wire.body(Framing::Length("ws:hi".len()), &mut message).await.ok()?;
        String::from_utf8(message).ok()
    };
    tokio::time::timeout(MESSAGE, message).await.ok()?
}
