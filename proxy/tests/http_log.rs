//! The access log. Alone in its process: what is listened to is set for all threads.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;

use std::time::Duration;

use portcullis_routing::{Rule, Timeouts};
use support::{
    Running,
    client::{connect, exchange, get},
    log::{self, Line, lines},
    raw::{RawBackend, Reply},
    secure::{Issuer, SecureBackend},
    site::{self, Site, backend, h2, listener, refusing, rule, share, tls, to},
    start_with, until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn line(path: &str) -> Line {
    let find = || lines().lock().unwrap().iter().find(|l| l.get("path").is_some_and(|p| p == path)).cloned();
    until("the line is written", || find().is_some()).await;
    find().unwrap()
}

/// Begins a stream from a client to a backend on a port of its own.
async fn begin_stream(proxy: &Running) -> (u16, [TcpStream; 2]) {
    let (backend, port) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), proxy.port());
    proxy.serve_http(site::tcp(port, to(backend.local_addr().unwrap()))).await;
    let mut client = connect(proxy.at(port)).await;
    client.write_all(b"hello").await.unwrap();
    let mut backend = backend.accept().await.unwrap().0;
    backend.read_exact(&mut [0; 5]).await.unwrap();
    (port, [client, backend])
}

async fn end_stream([mut client, mut backend]: [TcpStream; 2]) {
    client.shutdown().await.unwrap();
    backend.write_all(b"hi").await.unwrap();
    drop(backend);
    client.read_to_end(&mut Vec::new()).await.unwrap();
}

async fn stream_line(port: u16) -> Line {
    let is_its = |line: &&Line| line.contains_key("protocol") && line["port"] == port.to_string();
    let find = || lines().lock().unwrap().iter().find(is_its).cloned();
    until("the line is written", || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn every_request_has_one_line_however_it_ends() {
    let up = RawBackend::saying("hello").await;
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin";
    let slow = RawBackend::start(move |_, _| Reply::Hang(begun.into())).await;
    // A client's address counts as a proxy in 127.0.0.0/8 says it.
    let proxy = start_with(|options| options.live.trusted = vec![("127.0.0.0".parse().unwrap(), 8)]);
    // Begun before the log is turned on.
    let (port, early) = begin_stream(&proxy).await;
    log::listen();
    end_stream(early).await;
    let got = stream_line(port).await;
    assert_eq!((&*got["received"], &*got["sent"], &*got["end"]), ("5", "2", "done"));

    let (issuer, other) = (Issuer::new(), Issuer::new());
    let secure = SecureBackend::start(&issuer.certificate(&["shop.example"])).await;
    let untrusted = tls(backend(&[secure.address]), other.tls("shop.example"));
    let untrusted = rule([share(1, Ok(untrusted))]);
    let short = Timeouts { request: Some(Duration::from_secs(1)), ..Timeouts::default() }.of_rule();
    let at = Site::http()
        .add("", listener("all"), "/up", to(up.address))
        .add("", listener("all"), "/refuses", rule([share(1, Ok(backend(&[refusing(), refusing()])))]))
        .add("", listener("all"), "/cut", Rule { timeouts: short, ..to(slow.address) })
        .add("", listener("all"), "/left", to(slow.address))
        .add("", listener("all"), "/untrusted", untrusted)
        .add("", listener("all"), "/h2", rule([share(1, Ok(h2(backend(&[refusing()]))))]))
        .serve(&proxy)
        .await;

    let mut tcp = connect(at).await;
    assert_eq!(get(&mut tcp, "A.example", "/up/./x?secret").await.status, 200);
    let got = line("/up/x").await;
    for (name, want) in [
        ("method", "GET"),
        ("host", "a.example"),
        ("status", "200"),
        ("bytes", "5"),
        ("route", "HTTPRoute test/route"),
        ("backend", "test/backend:80"),
        ("endpoint", &*up.address.to_string()),
        ("attempts", "1"),
        ("carrier", "http1"),
        ("aborted", "false"),
    ] {
        assert_eq!(got.get(name).map(|v| &**v), Some(want), "{name} in {got:?}");
    }
    assert!(got["duration_us"].parse::<u64>().unwrap() > 0);

    assert_eq!(exchange(&mut tcp, "PUT /none HTTP/1.1\r\nHost: a.example\r\n\r\n").await.status, 404);
    let got = line("/none").await;
    assert_eq!((&*got["status"], &*got["rejection"], got.get("route")), ("404", "NoRoute", None));

    let request = "GET /up/client HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 1.2.3.4, 192.0.2.7\r\n\r\n";
    assert_eq!(exchange(&mut tcp, request).await.status, 200);
    assert_eq!(line("/up/client").await["client"], "192.0.2.7");

    assert_eq!(get(&mut tcp, "a.example", "/refuses").await.status, 502);
    let got = line("/refuses").await;
    assert_eq!((&*got["status"], &*got["rejection"], &*got["attempts"]), ("502", "BadGateway", "2"));

    assert_eq!(get(&mut tcp, "a.example", "/untrusted").await.status, 502);
    let got = line("/untrusted").await;
    let said = (&*got["rejection"], &*got["backend"], &*got["why"]);
    assert_eq!(said, ("BadGateway", "test/backend:80", "the backend's certificate is not valid"));

    // Cut by its deadline: the future is dropped and nobody calls `logging`.
    let mut cut = connect(at).await;
    cut.write_all(b"GET /cut HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    let _ = support::within(cut.read_to_end(&mut all)).await;
    let got = line("/cut").await;
    assert_eq!((&*got["status"], &*got["aborted"]), ("200", "true"));

    // Left by the client.
    let mut left = connect(at).await;
    left.write_all(b"GET /left HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut some = [0; 1];
    left.read_exact(&mut some).await.unwrap();
    drop(left);
    assert_eq!(line("/left").await["aborted"], "true");

    // Found malformed before pingora gets the request.
    let request = "POST /h2 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.status, 400);
    let got = line("/h2").await;
    assert_eq!((&*got["status"], &*got["rejection"], &*got["why"]), ("400", "BadRequest", "malformed body"));

    // A connection that is forwarded as a whole.
    let (port, stream) = begin_stream(&proxy).await;
    end_stream(stream).await;
    let got = stream_line(port).await;
    for (name, want) in [
        ("protocol", "tcp"),
        ("client", "127.0.0.1"),
        ("port", &*port.to_string()),
        ("listener", "Gateway test/gateway listener l0"),
        ("route", "HTTPRoute test/route"),
        ("rule", "0"),
        ("backend", "test/backend:80"),
        ("attempts", "1"),
        ("received", "5"),
        ("sent", "2"),
        ("end", "done"),
    ] {
        assert_eq!(got.get(name).map(|v| &**v), Some(want), "{name} in {got:?}");
    }
    proxy.serve_http(site::tcp(port, rule([]))).await;
    let mut closed = connect(proxy.at(port)).await;
    closed.read_to_end(&mut Vec::new()).await.unwrap();
    let find = || {
        lines()
            .lock()
            .unwrap()
            .iter()
            .find(|line| line.get("end").is_some_and(|e| e == "no-backend"))
            .cloned()
    };
    until("the line is written", || find().is_some()).await;
    assert_eq!(find().unwrap()["why"], "the rule has no backend");

    let all = lines().lock().unwrap();
    assert_eq!(all.len(), 11, "{all:?}");
    let documented = include_str!("../../docs/operations.md");
    for field in all.iter().flat_map(|line| line.keys()).filter(|field| **field != "message") {
        assert!(documented.contains(&format!("`{field}`")), "docs/operations.md does not explain {field}");
    }
}
