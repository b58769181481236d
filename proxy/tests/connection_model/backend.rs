//! The backend of all scripts: its answers, its faults, and what it must not get.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};

use super::{
    Findings, LIMIT,
    script::{Body, Exchange, Fault, judge},
    wire::{Reader, framed, write},
};

/// What the backend knows of a script.
pub(super) struct Part {
    pub(super) exchanges: Vec<Exchange>,
    /// Whether nonsense may get into the bodies of its requests.
    pub(super) garbled: bool,
}

/// Serves until the test's runtime ends.
pub(super) async fn start(parts: Vec<Part>, findings: Findings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, parts) = (listener.local_addr().unwrap(), Arc::new(parts));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (parts, findings) = (Arc::clone(&parts), Arc::clone(&findings));
            tokio::spawn(async move {
                if let Err(what) = serve(tcp, &parts, &findings).await {
                    findings.lock().unwrap().push(format!("a backend got {what}"));
                }
            });
        }
    });
    address
}

/// Serves one connection of the proxy as the scripts have it.
///
/// # Errors
/// If a request is in none of them.
async fn serve(tcp: TcpStream, parts: &[Part], findings: &Findings) -> Result<(), String> {
    let (read, mut writer) = tcp.into_split();
    let mut reader = Reader::new(read);
    // The proxy keeps a connection idle for longer than a test waits.
    while let Some(head) = tokio::time::timeout(LIMIT * 100, reader.head()).await.ok().flatten() {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let Some((number, n)) = place(path) else { return Err(head) };
        let Some(part) = parts.get(number).filter(|part| n < part.exchanges.len()) else { return Err(head) };
        let exchange = &part.exchanges[n];
        let wire = answer(exchange, path, &exchange.answers(number, n));
        let fault = exchange.fault.map(|fault| inside(fault, wire.len()));
        let mut check_body = async || {
            let (got, whole) = reader.body(&head).await;
            if let Err(what) = judge(&got, whole, &exchange.requests(number, n), part.garbled) {
                findings.lock().unwrap().push(format!("a backend got {head:?}, whose body {what}"));
            }
            whole
        };
        let goes_on = if exchange.early {
            let answer = write(&mut writer, &wire, &exchange.pieces, fault);
            let (written, read) = tokio::join!(answer, check_body());
            written && read
        } else {
            check_body().await && write(&mut writer, &wire, &exchange.pieces, fault).await
        };
        if !goes_on || matches!(exchange.answer, Body::Close(_)) {
            break;
        }
    }
    Ok(())
}

/// The script and the exchange that a path names.
fn place(path: &str) -> Option<(usize, usize)> {
    let (number, n) = path.strip_prefix('/')?.split_once('/')?;
    Some((number.parse().ok()?, n.parse().ok()?))
}

/// All that the backend sends for a request.
fn answer(exchange: &Exchange, path: &str, content: &[u8]) -> Vec<u8> {
    let (lines, body) = framed(exchange.answer, content);
    let status = if exchange.answer == Body::None { "204 No Content" } else { "200 OK" };
    [format!("HTTP/1.1 {status}\r\nX-Of: {path}\r\n{lines}\r\n").into_bytes(), body].concat()
}

/// A fault lies inside the answer: a backend that breaks its connection between two requests can always break the next one,
/// whosever that is.
fn inside(fault: Fault, len: usize) -> Fault {
    Fault { after: fault.after.min(len - 1), ..fault }
}
