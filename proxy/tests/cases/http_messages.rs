//! Messages of HTTP/1 as they have to be, from clients and from backends: heads, codings, versions.

use std::net::SocketAddr;

use crate::support::{
    client::{self, connect},
    raw::{H2Backend, RawBackend, Reply},
    site::{Site, backend, h2, rule, share, to},
    start, start_with, within,
};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends a request and reads until the proxy closes the connection.
async fn told(at: SocketAddr, request: &str) -> String {
    let mut tcp = connect(at).await;
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    within(tcp.read_to_end(&mut all)).await.unwrap();
    String::from_utf8(all).unwrap()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

/// A client that means HTTP/2 and gets the preface wrong waits for an end, and for nothing else (RFC 9113, 3.4).
#[tokio::test]
async fn what_is_neither_http_1_nor_a_preface_is_ended_without_a_word() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    for bytes in [
        "INVALID CONNECTION PREFACE\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        "PRI * HTTP/2.0\r\nHost: a.example\r\n\r\n",
        "PRI / HTTP/2.0\r\n\r\n",
        "PRI * HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        assert_eq!(told(at, bytes).await, "", "{bytes:?}");
    }
    assert!(up.seen().is_empty());
}

/// Found by fuzzing: the type of names permits quotation marks, and HTTP/1 does not (RFC 9110, 5.6.2).
#[tokio::test]
async fn a_name_that_http_1_cannot_express_is_refused_over_http_2() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let client = client::h2(connect(at).await).await;
    for (name, want) in [("x-plain", 200), ("x\"y", 400), ("\"", 400)] {
        // As a frame of HTTP/2 is read: the stricter reading of text knows no such names.
        let name = http::HeaderName::from_lowercase(name.as_bytes()).unwrap();
        let request = Request::get("http://a.example/").header(&name, "1").body(()).unwrap();
        let mut ready = within(client.send.clone().ready()).await.unwrap();
        let answer = within(ready.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(answer.status(), want, "{name}");
    }
    assert_eq!(up.seen().len(), 1);
}

#[tokio::test]
async fn a_target_is_refused_and_not_repaired() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    for line in
        ["GET /a b HTTP/1.1", "GET  / HTTP/1.1", "GET /a\tb HTTP/1.1", "GET / HTTP/1.1 ", "GET /\t HTTP/1.1"]
    {
        let answer = told(at, &format!("{line}\r\nHost: a.example\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), "400", "{line:?}: {answer}");
    }
    assert!(up.seen().is_empty(), "{:?}", up.seen());
}

#[tokio::test]
async fn what_is_too_long_or_too_many_is_said_to_be_so() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|options| options.max_header_bytes = 64 << 10);
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let head = |n: usize, target: usize, field: usize| {
        let (fields, target, field) = ("X-A: b\r\n".repeat(n), "b".repeat(target), "c".repeat(field));
        format!(
            "GET /{target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX-B: {field}\r\n{fields}\r\n"
        )
    };
    for (request, want) in [
        (head(250, 0, 0), "200"),
        (head(300, 0, 0), "431"),
        (head(5000, 0, 0), "431"),
        (head(0, 60_000, 0), "200"),
        (head(0, 65_530, 0), "414"),
        (head(0, 66_000, 0), "414"),
        (head(0, 500_000, 0), "414"),
        (head(0, 0, 60_000), "200"),
        (head(0, 0, 65_500), "431"),
        (head(0, 0, 500_000), "431"),
    ] {
        let answer = told(at, &request).await;
        assert_eq!(status(&answer), want, "{} bytes, {} lines", request.len(), request.lines().count());
    }
}

#[tokio::test]
async fn a_request_in_another_coding_than_chunked_is_refused() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    for (coding, want) in [
        ("chunked", "200"),
        ("Chunked", "200"),
        ("gzip, chunked", "400"),
        ("chunked, chunked", "400"),
        ("gzip\r\nTransfer-Encoding: chunked", "400"),
        ("identity, chunked", "400"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: {coding}\r\n");
        let answer = told(at, &format!("{head}Connection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n")).await;
        assert_eq!(status(&answer), want, "{coding:?}: {answer}");
    }
    assert_eq!(up.seen().len(), 2, "{:?}", up.seen());
}

#[tokio::test]
async fn an_answer_in_another_coding_than_chunked_is_a_bad_gateway() {
    let proxy = start();
    for (coding, want) in
        [("chunked", "200"), ("cow", "502"), ("gzip, chunked", "502"), ("chunked, cow", "502")]
    {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
        let up = RawBackend::start(move |_, _| Reply::Last(answer.clone().into())).await;
        let at = Site::of(to(up.address)).serve(&proxy).await;
        let got = told(at, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await;
        assert_eq!(status(&got), want, "{coding}: {got}");
        assert!(!got.contains("cow") && !got.contains("gzip"), "{got}");
    }
}

/// RFC 9110, 8.6, and RFC 9112, 6.1.
#[tokio::test]
async fn an_answer_that_has_no_body_says_nothing_of_its_length() {
    let proxy = start();
    for length in ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"] {
        let answer = format!("HTTP/1.1 204 No Content\r\n{length}\r\nX-Kept: 1\r\n\r\n");
        let up = RawBackend::start(move |_, _| Reply::Bytes(answer.clone().into())).await;
        let at = Site::of(to(up.address)).serve(&proxy).await;
        let got =
            told(at, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.to_lowercase();
        assert!(got.starts_with("http/1.1 204 ") && got.contains("\r\nx-kept: 1\r\n"), "{got}");
        assert!(!got.contains("content-length") && !got.contains("transfer-encoding"), "{length}: {got}");
        let mut client = client::h2(connect(at).await).await;
        let request = Request::get("http://a.example/").body(()).unwrap();
        let (answer, _) = client.send.send_request(request, true).unwrap();
        let answer = within(answer).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers().get("content-length")),
            (204, None),
            "{length}"
        );
    }
}

/// It knows neither chunks nor informational answers (RFC 9112, 6.1; RFC 9110, 15.2).
#[tokio::test]
async fn a_client_of_http_1_0_is_answered_in_its_version() {
    let chunked = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
                   HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n";
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhiyou";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhiyou";
    let proxy = start();
    for (answer, lasts) in [(chunked, false), (closing, false), (length, true)] {
        for keep_alive in ["", "Connection: keep-alive\r\n"] {
            let what = format!("{answer:?} {keep_alive:?}");
            let up = RawBackend::start(move |_, _| match answer == closing {
                true => Reply::Last(answer.into()),
                false => Reply::Bytes(answer.into()),
            })
            .await;
            let at = Site::of(to(up.address)).serve(&proxy).await;
            let request =
                format!("POST / HTTP/1.0\r\n{keep_alive}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
            if lasts && !keep_alive.is_empty() {
                let mut tcp = connect(at).await;
                for _ in 0..2 {
                    assert_eq!(client::exchange(&mut tcp, &request).await.body, "hiyou", "{what}");
                }
                continue;
            }
            let got = told(at, &request).await.to_lowercase();
            assert!(got.starts_with("http/1.1 200 ") && got.ends_with("\r\n\r\nhiyou"), "{what}: {got}");
            assert!(!got.contains("transfer-encoding") && !got.contains("keep-alive"), "{what}: {got}");
            assert_eq!(up.last().header("expect"), None, "{what}");
        }
    }
}

/// They are for the proxy that asked for them (RFC 9110, 11.7.2).
#[tokio::test]
async fn credentials_for_a_proxy_reach_no_backend() {
    let (one, two) = (RawBackend::saying("one").await, H2Backend::start().await);
    let proxy = start();
    let to_h2 = rule([share(1, Ok(h2(backend(&[two.address]))))]);
    for rule in [to(one.address), to_h2] {
        let at = Site::of(rule).serve(&proxy).await;
        let mut client = client::h2(connect(at).await).await;
        let request =
            Request::get("http://a.example/").header("proxy-authorization", "Basic x").body(()).unwrap();
        let (answer, _) = client.send.send_request(request, true).unwrap();
        assert_eq!(client::finish(answer).await.unwrap().0, 200);
    }
    assert_eq!(one.last().header("proxy-authorization"), None);
    assert_eq!(two.last().headers.get("proxy-authorization"), None);
}
