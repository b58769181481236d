//! Backends that speak HTTP/1: echoes, the authentication service, error pages.

use std::{io::Result, time::Duration};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Backend, Kind, auth};
use crate::wire::{Framing, Header, Stream, Wire, bytes, says, value};

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Serves a connection to its end.
pub(super) async fn serve(backend: &Backend, stream: impl Stream) -> Result<()> {
    let mut wire = Wire::new(stream);
    loop {
        match wire.peek().await? {
            None => return Ok(()),
            Some(HANDSHAKE) => {
                let bad = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                wire.from.write_all(bad).await?;
                return wire.from.shutdown().await;
            }
            Some(_) => {}
        }
        if !request(backend, &mut wire).await? {
            return wire.from.shutdown().await;
        }
    }
}

/// Serves a request; whether another may follow.
async fn request(backend: &Backend, wire: &mut Wire<impl Stream>) -> Result<bool> {
    let (line, headers) = wire.head().await?;
    let mut words = line.splitn(3, ' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let line = [word(), word(), word()];
    let [method, target, version] = line.clone();
    if says(&headers, "expect", "100-continue") {
        wire.from.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let open = backend.hits.open(backend, line, &headers);
    let mut body = Vec::new();
    let framing = if says(&headers, "transfer-encoding", "chunked") {
        Framing::Chunked
    } else {
        let length = value(&headers, "content-length").and_then(|length| length.parse().ok());
        Framing::Length(length.unwrap_or(0))
    };
    wire.body(framing, &mut body).await?;
    open.complete(&body);
    let keep = version == "HTTP/1.1" && !says(&headers, "connection", "close");
    if value(&headers, "upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        tunnel(backend, wire).await?;
        return Ok(false);
    }
    let answer = match backend.kind {
        Kind::Auth => Answer::of_auth(auth::answer(&target, &headers)).await,
        Kind::Errors => Answer::of_errors(&backend.name, &headers),
        _ => match Answer::of_echo(&backend.name, &headers).await {
            Some(answer) => answer,
            None => return Ok(false),
        },
    };
    answer.write(&mut wire.from, method == "HEAD", keep).await?;
    Ok(keep)
}

/// Every message comes back behind `ws:`.
async fn tunnel(backend: &Backend, wire: &mut Wire<impl Stream>) -> Result<()> {
    let name = &backend.name;
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Backend: {name}\r\n\r\n"
    );
    wire.from.write_all(head.as_bytes()).await?;
    loop {
        let message = wire.some().await?;
        if message.is_empty() {
            return Ok(());
        }
        wire.from.write_all(&[b"ws:", message.as_slice()].concat()).await?;
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<Header>,
    body: Vec<u8>,
    chunked: bool,
    /// Between two halves of the body.
    pause: Duration,
}

impl Answer {
    async fn of_auth(said: auth::Answer) -> Self {
        tokio::time::sleep(said.after).await;
        Self::plain(said.status, said.headers, said.body.into_bytes())
    }

    fn of_errors(name: &str, headers: &[Header]) -> Self {
        let code = value(headers, "x-code").unwrap_or("404");
        let body = format!("{name} {code}\n").into_bytes();
        let headers = vec![header("X-Errors-By", name), header("Content-Type", "text/html")];
        Self::plain(code.parse().unwrap_or(404), headers, body)
    }

    /// What an echo answers; `None` where it closes instead.
    async fn of_echo(name: &str, headers: &[Header]) -> Option<Self> {
        let on = first(headers, "x-want-on");
        let obeys = on.is_none_or(|names| names.split(',').any(|one| one.trim() == name));
        let headers = if obeys { headers } else { &[] };
        let want = |key: &str| first(headers, &format!("x-want-{key}"));
        if want("close").is_some() {
            return None;
        }
        tokio::time::sleep(seconds(want("sleep"))).await;
        let mut out = vec![header("X-Backend", name)];
        let more = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-want-header"));
        out.extend(more.map(|(_, wanted)| {
            let (name, value) = wanted.split_once(':').unwrap_or((wanted, ""));
            header(name.trim(), value.trim())
        }));
        if let Some(size) = want("big").and_then(|size| size.parse().ok()) {
            out.push(("X-Big".into(), "b".repeat(size)));
        }
        let body = match (want("size").and_then(|size| size.parse::<usize>().ok()), want("body")) {
            (Some(size), _) => b"0123456789abcde\n".repeat(size / 16),
            (None, Some(text)) => bytes(text),
            (None, None) => format!("echo {name}\n").into_bytes(),
        };
        let status = want("status").and_then(|status| status.parse().ok()).unwrap_or(200);
        let chunked = want("chunked").is_some();
        Some(Self { chunked, pause: seconds(want("pause")), ..Self::plain(status, out, body) })
    }

    fn plain(status: u16, headers: Vec<Header>, body: Vec<u8>) -> Self {
        Self { status, headers, body, chunked: false, pause: Duration::ZERO }
    }

    async fn write(mut self, to: &mut (impl AsyncWrite + Unpin), head_only: bool, keep: bool) -> Result<()> {
        let no_body = matches!(self.status, 100..200 | 204 | 304);
        if !no_body {
            if value(&self.headers, "content-type").is_none() {
                self.headers.push(header("Content-Type", "text/plain"));
            }
            self.headers.push(if self.chunked {
                header("Transfer-Encoding", "chunked")
            } else {
                header("Content-Length", &self.body.len().to_string())
            });
        }
        if !keep {
            self.headers.push(header("Connection", "close"));
        }
        let reason =
            http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or("Status"));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        to.write_all(&bytes(&(head + "\r\n"))).await?;
        if !no_body && !head_only {
            self.write_body(to).await?;
        }
        to.flush().await
    }

    async fn write_body(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let half = if self.pause.is_zero() { self.body.len() } else { self.body.len() / 2 };
        let (begin, rest) = self.body.split_at(half);
        for (part, pause) in [(begin, Duration::ZERO), (rest, self.pause)] {
            to.flush().await?;
            tokio::time::sleep(pause).await;
            if self.chunked && !part.is_empty() {
                to.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
                to.write_all(part).await?;
                to.write_all(b"\r\n").await?;
            } else {
                to.write_all(part).await?;
            }
        }
        if self.chunked {
            to.write_all(b"0\r\n\r\n").await?;
        }
        Ok(())
    }
}

fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), value.to_owned())
}

fn first<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn seconds(text: Option<&str>) -> Duration {
    Duration::from_secs_f64(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}
