//! Plays the requests of a case, as a client that puts nothing right.

mod connection;
mod http1;
mod http2;
mod jar;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
pub use jar::Jar;

use crate::{
    case::{Case, Exchange, Failure, Send, ServerTls},
    wire::{Header, value},
};

/// Added to 80 and 443.
pub const OFFSET: u16 = 10000;

/// What the client got.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    /// The body ended early.
    pub cut: bool,
    pub trailers: Vec<Header>,
    pub tls: Option<ServerTls>,
    /// What came back through a tunnel.
    pub ws: Option<String>,
    pub elapsed: Duration,
}

/// One of many requests: the index of its variation, and what became of it.
pub type Played = (usize, Result<Answer, Failure>);

/// Where a case is played.
#[derive(Debug)]
pub struct Player<'c> {
    case: &'c Case,
    proxy: IpAddr,
    offset: u16,
}

impl Answer {
    /// The backend that answered.
    pub fn backend(&self) -> Option<&str> {
        value(&self.headers, "x-backend")
    }
}

impl<'c> Player<'c> {
    pub fn new(case: &'c Case, proxy: IpAddr) -> Self {
        Self { case, proxy, offset: OFFSET }
    }

    /// Without a proxy: the requests name the port of a backend.
    pub fn direct(case: &'c Case, backend: IpAddr) -> Self {
        Self { case, proxy: backend, offset: 0 }
    }

    /// Sends all requests of an exchange.
    pub async fn play(&self, exchange: &Exchange, jar: &mut Jar) -> Vec<Played> {
        let sends = exchange.sends();
        let first = &sends[0];
        let requests = sends.iter().enumerate().cycle().take(sends.len() * first.repeat.unwrap_or(1));
        let concurrency = first.concurrency.unwrap_or(1);
        if concurrency > 1 {
            let one = async |(index, send)| (index, self.one(send, &[]).await);
            return stream::iter(requests).map(one).buffered(concurrency).collect().await;
        }
        let mut out = Vec::new();
        for (index, send) in requests {
            if send.fresh && out.is_empty() {
                *jar = Jar::default();
            }
            let cookies = if send.jar { jar.header() } else { Vec::new() };
            let answer = self.one(send, &cookies).await;
            if let (true, Ok(answer)) = (send.jar, &answer) {
                jar.keep(&answer.headers);
            }
            out.push((index, answer));
        }
        out
    }

    async fn one(&self, send: &Send, cookies: &[Header]) -> Result<Answer, Failure> {
        if send.wait > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(send.wait)).await;
        }
        let begin = Instant::now();
        let limit = Duration::from_secs_f64(send.timeout);
        let answer = tokio::time::timeout(limit, self.request(send, cookies)).await;
        let answer = answer.unwrap_or(Err(Failure::Timeout))?;
        Ok(Answer { elapsed: begin.elapsed(), ..answer })
    }

    async fn request(&self, send: &Send, cookies: &[Header]) -> Result<Answer, Failure> {
        let host = send.host.clone().unwrap_or_else(|| Some(self.case.host.clone()));
        let port = send.port.unwrap_or(if send.tls { 443 } else { 80 });
        let at = SocketAddr::new(self.proxy, port + self.offset);
        let mut tcp = connection::open(send.src.as_deref(), at).await?;
        if let Some(line) = self.proxy_line(send, port) {
            connection::write(&mut tcp, format!("{line}\r\n").as_bytes()).await?;
        }
        let body = body(send);
        let headers = [&send.headers, cookies].concat();
        let request = Request { send, host: host.as_deref(), headers, body };
        if !send.tls {
            return request.send(tcp).await;
        }
        let name = send.sni.as_deref().filter(|sni| !sni.is_empty()).or(host.as_deref());
        let (stream, tls) = connection::handshake(send, name.unwrap_or_default(), tcp).await?;
        Ok(Answer { tls: Some(tls), ..request.send(stream).await? })
    }

    /// The PROXY protocol line that goes first.
    fn proxy_line(&self, send: &Send, port: u16) -> Option<String> {
        let fitting = || {
            let src = send.src.as_deref().unwrap_or("127.0.0.1");
            format!("PROXY TCP4 {src} {} 40000 {port}", self.proxy)
        };
        match &send.proxy {
            Some(line) => (!line.is_empty()).then(|| line.clone()),
            None => (self.case.variant == "proxy-protocol").then(fitting),
        }
    }
}

/// A request on its connection.
#[derive(Debug)]
struct Request<'s> {
    send: &'s Send,
    host: Option<&'s str>,
    headers: Vec<Header>,
    body: Option<Vec<u8>>,
}

impl Request<'_> {
    async fn send(&self, stream: impl crate::wire::Stream + 'static) -> Result<Answer, Failure> {
        if self.send.http == "2" {
            http2::request(self, stream).await
        } else {
            http1::request(self, stream).await
        }
    }
}

fn body(send: &Send) -> Option<Vec<u8>> {
    let text = send.body.as_ref().map(|text| text.clone().into_bytes());
    let hex = || {
        let digits = send.body_hex.as_ref()?.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        Some(digits.map(byte).collect())
    };
    text.or_else(hex).or_else(|| send.body_size.map(|size| vec![b'x'; size]))
}
