//! What our own carrier does beyond pingora: pipelining, the plain form of chunks, trailers, answers without a length.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use http::Request;
use portcullis_proxy::Options;
use portcullis_routing::{
    Carrier,
    step::{AuthProtocol, HttpAuth},
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Text,
    client::{self, connect, exchange, get},
    raw::{H2Backend, RawBackend, Reply, ok, status},
    site::{Site, backend, guarded, h2, listener, rule, share, to},
    start, start_with, until, within,
};

/// Sends a request and reads until the proxy closes the connection.
async fn ask_once(at: SocketAddr, request: &str) -> String {
    let mut tcp = connect(at).await;
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut all = String::new();
    within(tcp.read_to_string(&mut all)).await.unwrap();
    all
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let up = RawBackend::start(|_, seen| ok(seen.line().split(' ').nth(1).unwrap())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut requests = String::new();
    for n in 0..50 {
        match n % 3 {
            0 => requests.push_str(&format!("GET /{n} HTTP/1.1\r\nHost: a.example\r\n\r\n")),
            1 => requests.push_str(&format!(
                "POST /{n} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc\r\n"
            )),
            _ => requests.push_str(&format!(
                "PUT /{n} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
            )),
        }
    }
    requests.push_str("GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let all = ask_once(at, &requests).await;
    let bodies: Vec<_> =
        all.split("HTTP/1.1 200").skip(1).map(|one| one.split("\r\n\r\n").nth(1).unwrap()).collect();
    let want: Vec<_> = (0..50).map(|n| format!("/{n}")).chain(["/last".to_owned()]).collect();
    assert_eq!(bodies, want);
    let seen = up.seen();
    assert!(seen.iter().all(|seen| matches!(&*seen.body, b"" | b"abc" | b"x")), "{seen:?}");
}

#[tokio::test]
async fn requests_that_come_together_are_each_checked() {
    let auth =
        RawBackend::start(|_, seen| if seen.line().contains("/no") { status(401) } else { ok("") }).await;
    let up = RawBackend::start(|_, seen| ok(seen.line())).await;
    let proxy = start();
    let by_http = AuthProtocol::Http(HttpAuth::default());
    let at = Site::of(guarded(auth.address, by_http, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let requests = ["/1", "/no", "/3"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    within(client.write_all(requests.concat().as_bytes())).await.unwrap();
    for wanted in [(200, "GET /1 HTTP/1.1"), (401, ""), (200, "GET /3 HTTP/1.1")] {
        let answer = client::response(&mut client).await;
        assert_eq!((answer.status, &*answer.body), wanted);
    }
}

#[tokio::test]
async fn requests_that_come_together_are_each_checked_by_the_filters_of_their_listener() {
    let auth =
        RawBackend::start(|_, seen| if seen.line().contains("/no") { status(401) } else { ok("") }).await;
    let up = RawBackend::start(|_, seen| ok(seen.line())).await;
    let proxy = start();
    let by_http = AuthProtocol::Http(HttpAuth::default());
    let site = Site::http().add("", listener("all"), "/up", to(up.address));
    let at = site.filtered("", auth.address, by_http).serve(&proxy).await;
    let mut client = connect(at).await;
    let requests = [("/up/1", "1"), ("/up/no", "22"), ("/such", "333"), ("/such/no", ""), ("/up/5", "1")];
    let requests = requests.map(|(path, body)| {
        format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    within(client.write_all(requests.concat().as_bytes())).await.unwrap();
    for wanted in [200, 401, 404, 401, 200] {
        assert_eq!(client::response(&mut client).await.status, wanted);
    }
    let asked: Vec<_> = auth.seen().iter().map(|seen| seen.line().to_owned()).collect();
    let paths = ["/up/1", "/up/no", "/such", "/such/no", "/up/5"];
    assert_eq!(asked, paths.map(|path| format!("POST {path} HTTP/1.1")));
    assert_eq!(up.seen().len(), 2);
}

/// Old clients send an empty line after a body; it does not begin a request.
#[tokio::test]
async fn an_empty_line_begins_no_request() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|options: &mut Options| options.header_timeout = Duration::from_secs(1));
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc\r\n";
    for _ in 0..2 {
        assert_eq!(exchange(&mut tcp, post).await.status, 200);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    assert_eq!(get(&mut tcp, "a.example", "/").await.status, 200);
}

#[tokio::test]
async fn chunks_reach_the_backend_in_their_plain_form() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n\
                   3;name=\"value\"\r\nabc\r\n2 \r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n";
    assert!(ask_once(at, request).await.starts_with("HTTP/1.1 200"));
    let seen = up.last();
    assert_eq!(seen.wire.escape_ascii().to_string(), "3\\r\\nabc\\r\\n2\\r\\nde\\r\\n0\\r\\n\\r\\n");
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
}

#[tokio::test]
async fn what_is_no_body_ends_its_request_alone() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["x\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\nabc\n0\n\n", "-1\r\n", "3\r\nabc0\r\n\r\n"] {
        let got = ask_once(at, &format!("{head}{body}")).await;
        assert!(got.starts_with("HTTP/1.1 400") && got.matches("HTTP/1.1").count() == 1, "{body:?}: {got}");
    }
    assert!(up.seen().is_empty(), "{:?}", up.seen());
}

/// What of a body comes with its head is looked at before the client gets any of it.
#[tokio::test]
async fn an_answer_whose_body_begins_malformed_is_a_bad_gateway() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n";
    let up = RawBackend::start(move |_, _| Reply::Last(answer.into())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let got = ask_once(at, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 502") && got.matches("HTTP/1.1").count() == 1, "{got}");
}

#[tokio::test]
async fn an_answer_without_a_length_comes_in_chunks_and_the_connection_stays() {
    let up =
        RawBackend::start(|_, _| Reply::Last(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end".to_vec()))
            .await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    for _ in 0..2 {
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        let mut got = String::new();
        while !got.ends_with("0\r\n\r\n") {
            assert!(Text(&mut got).read(&mut tcp).await > 0, "{got}");
        }
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked") && !head.contains("Connection:"), "{head}");
        assert_eq!(body, "d\r\nuntil the end\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn trailers_of_an_http_1_backend_reach_http_2_clients() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\
                  Content-Length: 9\r\n\r\n";
    let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let client = client::h2(connect(at).await).await;
    let request = Request::get("http://a.example/").body(()).unwrap();
    let mut ready = within(client.send.clone().ready()).await.unwrap();
    let mut body = within(ready.send_request(request, true).unwrap().0).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "hi");
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!((trailers.len(), trailers.get("x-sum").unwrap().as_bytes()), (1, &b"7"[..]));
    // An HTTP/1 client gets none.
    let got = ask_once(at, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await;
    assert!(got.ends_with("2\r\nhi\r\n0\r\n\r\n"), "{got}");
}

/// Its body may never come.
#[tokio::test]
async fn a_client_that_waited_for_a_word_and_got_the_last_one_is_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = start();
    let at = Site::of(to(listener.local_addr().unwrap())).serve(&proxy).await;
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 4096]).await;
        tcp.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    let got = ask_once(at, request).await;
    assert!(got.starts_with("HTTP/1.1 413") && got.contains("Connection: close"), "{got}");
}

#[tokio::test]
async fn a_connection_works_with_requests_for_either_carrier_in_turn() {
    let (one, two) = (RawBackend::saying("one").await, H2Backend::start().await);
    let proxy = start();
    let to_h2 = rule([share(1, Ok(h2(backend(&[two.address]))))]);
    let at = Site::http()
        .add("", listener("all"), "/one", to(one.address))
        .add("", listener("all"), "/two", to_h2)
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    for n in 0..6 {
        // Together, so that what follows a request is kept while the other carrier has the connection.
        let pair = "POST /two HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi\
                    GET /one HTTP/1.1\r\nHost: a.example\r\n\r\n";
        tcp.write_all(pair.as_bytes()).await.unwrap();
        let mut got = String::new();
        while !got.ends_with("one") {
            assert!(Text(&mut got).read(&mut tcp).await > 0, "{n}: {got}");
        }
        assert_eq!(got.matches("HTTP/1.1 200").count(), 2, "{n}: {got}");
        assert!(got.find("hi").unwrap() < got.rfind("HTTP/1.1").unwrap(), "{n}: {got}");
    }
    assert_eq!((one.seen().len(), two.seen().len()), (6, 6));
    drop(tcp);
    until("all requests are counted", || proxy.proxy.answered()[2] == 12).await;
    assert_eq!(proxy.proxy.forwarded(), [(Carrier::Http1, 6), (Carrier::Pingora, 6)]);
}

/// A hundred clients over one connection's worth of backend: every byte gets to whom it belongs.
#[tokio::test]
async fn no_byte_of_one_exchange_gets_into_another() {
    let up = RawBackend::start(|_, seen| {
        let name = seen.line().split(' ').nth(1).unwrap().to_owned();
        ok(&format!("{name} {}", String::from_utf8_lossy(&seen.body)))
    })
    .await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let clients = (0..100).map(|client| {
        tokio::spawn(async move {
            let mut tcp = connect(at).await;
            for n in 0..20 {
                let body = format!("{client}-{n}").repeat(1 + (client * n) % 300);
                let request = format!(
                    "POST /{client}/{n} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                // In two pieces, torn somewhere.
                let tear = (client * 31 + n * 7) % request.len();
                tcp.write_all(&request.as_bytes()[..tear]).await.unwrap();
                tokio::task::yield_now().await;
                tcp.write_all(&request.as_bytes()[tear..]).await.unwrap();
                let got = client::response(&mut tcp).await;
                assert_eq!((got.status, got.body), (200, format!("/{client}/{n} {body}")));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}
