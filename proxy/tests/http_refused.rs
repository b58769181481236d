//! Requests and connections that end before they are read as a whole: told, logged, counted. Alone in its process, as it
//! listens to the access log.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;

use std::time::Duration;

use portcullis_routing::{Protocol, Table};
use support::{
    backend::TestBackend,
    client::{connect, exchange},
    log::{self, Line, lines},
    pki::{Key, any_client, certificate, on, tls},
    start_with, table, until,
};

async fn line(number: usize) -> Line {
    until("the line is written", || lines().lock().unwrap().len() > number).await;
    lines().lock().unwrap()[number].clone()
}

#[tokio::test]
async fn what_is_refused_before_it_is_read_is_answered_logged_and_counted() {
    log::listen();
    let up = TestBackend::start("up").await;
    let proxy = start_with(|o| {
        o.header_timeout = Duration::from_secs(1);
        o.max_header_bytes = 8 << 10;
    });
    let (plain, secure) = (proxy.port(), proxy.port());
    let table = table::to(Table::default(), plain, Protocol::Http, up.address);
    let table = table::to(table, secure, Protocol::Tls, up.address);
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    proxy.serve(table, on(secure, &[("a.example.com", &[&shown])])).await;

    let many = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: {}", "a".repeat(9 << 10));
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9 << 10));
    let cases = [
        ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", 400, "BadRequest"),
        ("GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400, "BadRequest"),
        (&*long, 414, "HeaderTooLarge"),
        (&*many, 431, "HeaderTooLarge"),
        ("GET / HTTP/1.1\r\nHost: a.exa", 408, "HeaderTimeout"),
    ];
    for (number, (request, status, rejection)) in cases.into_iter().enumerate() {
        let answer = exchange(&mut connect(proxy.at(plain)).await, request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.head.to_lowercase().contains("server:") && answer.closes(), "{answer:?}");
        let line = line(number).await;
        assert_eq!((&*line["status"], &*line["rejection"]), (&*status.to_string(), rejection), "{line:?}");
        assert_eq!(line["client"], "127.0.0.1", "{line:?}");
    }
    assert_eq!(proxy.proxy.answered(), [0, 0, 0, 0, 5, 0]);

    tls(&any_client(), proxy.at(secure), "b.example.com").await.unwrap_err();
    let got = line(5).await;
    assert_eq!(
        (&*got["rejection"], &*got["why"]),
        ("Handshake", "no listener or route for this server name")
    );
    // As health checks do: counted, and not logged.
    drop(connect(proxy.at(secure)).await);
    let counts = || proxy.proxy.failed_handshakes();
    until("it is counted", || counts().contains(&("closed", 1))).await;
    assert_eq!(counts(), [("server-name", 1), ("timeout", 0), ("closed", 1), ("tls", 0)]);
    assert_eq!(lines().lock().unwrap().len(), 6);
}
