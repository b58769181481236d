//! Clients: raw HTTP/1 over anything, and HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// A response as it came over the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Raw {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

impl Raw {
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close")
    }
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    within(TcpStream::connect(address)).await.unwrap()
}

/// Sends a request and reads its response.
pub async fn exchange(io: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Raw {
    within(io.write_all(request.as_bytes())).await.unwrap();
    within(io.flush()).await.unwrap();
    response(io).await
}

/// `GET path` of HTTP/1.1, with `Host: host`.
pub async fn get(io: &mut (impl AsyncRead + AsyncWrite + Unpin), host: &str, path: &str) -> Raw {
    exchange(io, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

/// Reads a response with a `Content-Length`.
pub async fn response(io: &mut (impl AsyncRead + Unpin)) -> Raw {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        let n = within(io.read_buf(&mut bytes)).await.unwrap();
        assert_ne!(n, 0, "the connection ended in a head: {:?}", String::from_utf8_lossy(&bytes));
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse::<usize>().unwrap());
    while bytes.len() < head + length {
        let n = within(io.read_buf(&mut bytes)).await.unwrap();
        assert_ne!(n, 0, "the connection ended in a body");
    }
    Raw {
        status: text.split(' ').nth(1).unwrap().parse().unwrap(),
        body: String::from_utf8_lossy(&bytes[head..]).into_owned(),
        head: text,
    }
}

/// Whether the other side has ended the connection, cleanly or not, without sending anything more.
pub async fn is_closed(io: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut byte = [0; 1];
    match tokio::time::timeout(super::BOUND, io.read(&mut byte)).await {
        Ok(Ok(n)) => n == 0,
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

/// An HTTP/2 connection; its driver tells when it has ended.
pub struct H2 {
    pub send: h2::client::SendRequest<Bytes>,
    pub driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

pub async fn h2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> H2 {
    let (send, connection) = within(h2::client::handshake(io)).await.unwrap();
    H2 { send, driver: tokio::spawn(connection) }
}

impl H2 {
    /// Begins a `GET`.
    pub async fn start(&mut self, uri: &str) -> Result<h2::client::ResponseFuture, h2::Error> {
        let request = Request::get(uri).body(()).unwrap();
        let mut ready = within(self.send.clone().ready()).await?;
        Ok(ready.send_request(request, true)?.0)
    }

    /// Begins a `POST` whose body follows.
    pub async fn post(&self, uri: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::post(uri).body(()).unwrap();
        let mut ready = within(self.send.clone().ready()).await.unwrap();
        ready.send_request(request, false).unwrap()
    }

    /// `GET`: the status and the body.
    pub async fn get(&mut self, uri: &str) -> Result<(u16, String), h2::Error> {
        let response = self.start(uri).await?;
        finish(response).await
    }
}

/// Waits for a response and its body.
pub async fn finish(response: h2::client::ResponseFuture) -> Result<(u16, String), h2::Error> {
    let response = within(response).await?;
    let status = response.status().as_u16();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(data) = within(stream.data()).await {
        let data = data?;
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
