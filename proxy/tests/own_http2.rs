//! What only our own carrier does for HTTP/2 clients: informational answers, refused heads that get an answer, GOAWAY.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response, request::Builder};
use portcullis_proxy::Options;
use portcullis_routing::{Protocol, Table};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    Running,
    client::{connect, finish, get, h2},
    frames, pki,
    raw::{H2Backend, RawBackend, Reply},
    secure::{Issuer, server_config},
    site::{Site, backend, h2 as h2_only, rule, share, tls as over_tls, to},
    start, start_with, table, until, within,
};

async fn client(at: SocketAddr) -> SendRequest<Bytes> {
    within(h2(connect(at).await).await.send.ready()).await.unwrap()
}

fn request(method: &str) -> Builder {
    Request::builder().method(method).uri("http://a.example/")
}

/// The next informational answer.
async fn informed(response: &mut ResponseFuture) -> Response<()> {
    within(poll_fn(|cx| response.poll_informational(cx))).await.expect("one comes").unwrap()
}

#[tokio::test]
async fn early_hints_reach_http_2_clients() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: close\r\n\r\n\
                  HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut client = client(at).await;
    let (mut response, _) = client.send_request(request("GET").body(()).unwrap(), true).unwrap();
    for link in ["</a.css>", "</b.css>"] {
        let hints = informed(&mut response).await;
        assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &link.parse().unwrap()));
        assert_eq!(hints.headers().len(), 1, "{hints:?}");
    }
    assert_eq!(finish(response).await.unwrap(), (200, "ok".to_owned()));
}

/// The proxy stops asking h2 for streams once it has accepted as many as the client's frames have opened. Until the last of these
/// streams is accepted, nothing else happens on the connection.
#[tokio::test]
async fn streams_that_come_together_are_all_accepted() {
    let up = RawBackend::start(|_, _| Reply::Hang(Vec::new())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    for count in [1, 2, 3, 15, 16, 17, 33] {
        let mut client = client(at).await;
        let refused = || request("GET").header("host", "b.example").body(()).unwrap();
        // By then both sides know each other's settings.
        let (first, _) = client.send_request(refused(), true).unwrap();
        assert_eq!(finish(first).await.unwrap().0, 400);
        let mut hanging = Vec::new();
        for _ in 1..count {
            client = within(client.ready()).await.unwrap();
            hanging.push(client.send_request(request("GET").body(()).unwrap(), true).unwrap());
        }
        client = within(client.ready()).await.unwrap();
        let (last, _) = client.send_request(refused(), true).unwrap();
        assert_eq!(finish(last).await.unwrap().0, 400, "the last of {count}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_the_backends() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut client = client(at).await;
    let asks = request("POST").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut body) = client.send_request(asks, false).unwrap();
    assert_eq!(informed(&mut response).await.status(), 100);
    body.send_data(Bytes::from_static(b"hi"), true).unwrap();
    assert_eq!(finish(response).await.unwrap().0, 200);
    assert_eq!(up.last().body, b"hi");
    assert_eq!(up.last().header("expect"), Some("100-continue"));
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_a_refusal_instead() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut seen = [0; 4096];
            let n = tcp.read(&mut seen).await.unwrap();
            assert!(seen[..n].ends_with(b"\r\n\r\n"), "no body");
            tcp.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            kept.push(tcp);
        }
    });
    let proxy = start();
    let at = Site::of(to(address)).serve(&proxy).await;
    let mut client = client(at).await;
    for _ in 0..2 {
        let asks = request("POST").header("expect", "100-continue").header("content-length", "5");
        let (response, mut body) = client.send_request(asks.body(()).unwrap(), false).unwrap();
        assert_eq!(finish(response).await.unwrap(), (403, "no".to_owned()));
        // The client is told to stop sending the body, and the connection stays usable.
        let reason = within(poll_fn(|cx| body.poll_reset(cx))).await.unwrap();
        assert_eq!(reason, h2::Reason::NO_ERROR);
        client = within(client.ready()).await.unwrap();
    }
    within(async {
        while proxy.proxy.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The client reads in it which of its requests were processed, and need not guess when its connection is closed.
#[tokio::test]
async fn an_idle_connection_is_closed_with_a_goaway() {
    let up = RawBackend::saying("up").await;
    let expires = |options: &mut Options| options.keepalive_timeout = Duration::from_secs(3);
    let makes_room = |options: &mut Options| options.live.connections.process = 1;
    for (why, change) in [("idle", &expires as &dyn Fn(&mut Options)), ("shed", &makes_room)] {
        let running = start_with(|options| change(options));
        let [plain, encrypted] = [(); 2].map(|()| running.port());
        let shown = pki::certificate(pki::Key::Ecdsa, &["a.example"]);
        let table = table::to(Table::default(), plain, Protocol::Http, up.address);
        let table = table::to(table, encrypted, Protocol::Tls, up.address);
        running.serve(table, pki::on(encrypted, &[("", &[&shown])])).await;
        let other = (why == "shed").then(|| running.at(plain));
        ends_with_goaway(&running, connect(running.at(plain)).await, other).await;
        let config = Arc::new(pki::client(rustls::ALL_VERSIONS, &["h2"]));
        ends_with_goaway(
            &running,
            pki::tls(&config, running.at(encrypted), "a.example").await.unwrap(),
            other,
        )
        .await;
    }
}

/// Sends a request, and checks that its connection then ends with a GOAWAY; a connection to `other`, if given, displaces it.
async fn ends_with_goaway(
    running: &Running,
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    other: Option<SocketAddr>,
) {
    let before = running.proxy.answered()[2];
    frames::send(&mut io, &[frames::open_windows(), frames::get(1)].concat()).await;
    let mut seen = Vec::new();
    within(io.read_buf(&mut seen)).await.unwrap();
    until("it is answered", || running.proxy.answered()[2] > before && running.proxy.in_flight() == 0).await;
    let other = match other {
        Some(at) => Some(connect(at).await),
        None => None,
    };
    within(io.read_to_end(&mut seen)).await.unwrap();
    // GOAWAY, NO_ERROR; stream 1 was processed.
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    assert!(seen.ends_with(&goaway), "{other:?}: {seen:?}");
    if let Some(mut other) = other {
        // It has the place now. Were it left while it is still to be accepted, it would displace the next connection, too.
        assert_eq!(get(&mut other, "a.example", "/").await.status, 200);
    }
    drop(io);
    until("they have gone", || running.proxy.connections() == 0).await;
}

#[tokio::test]
async fn what_is_answered_by_us_needs_no_backend() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let asks = request("GET").header("host", "b.example").body(()).unwrap();
    let (response, _) = client(at).await.send_request(asks, true).unwrap();
    let (status, body) = finish(response).await.unwrap();
    assert_eq!(status, 400);
    assert!(body.contains("Host differs"), "{body}");
    assert_eq!(proxy.proxy.answered()[4], 1, "it is counted");
    assert!(up.seen().is_empty());
    // A route without a backend is answered by us, as well.
    let at = Site::of(rule([share(1, Ok(backend(&[])))])).serve(&proxy).await;
    let (response, _) = client(at).await.send_request(request("HEAD").body(()).unwrap(), true).unwrap();
    assert_eq!(finish(response).await.unwrap(), (503, String::new()));
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_ours_where_the_backend_speaks_http_2() {
    let up = H2Backend::start().await;
    let proxy = start();
    let at = Site::of(rule([share(1, Ok(h2_only(backend(&[up.address]))))])).serve(&proxy).await;
    let mut client = client(at).await;
    let asks = request("POST").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut body) = client.send_request(asks, false).unwrap();
    assert_eq!(informed(&mut response).await.status(), 100);
    body.send_data(Bytes::from_static(b"hi"), true).unwrap();
    assert_eq!(finish(response).await.unwrap().0, 200);
    assert!(!up.last().headers.contains_key("expect"));
}

#[tokio::test]
async fn a_backend_under_a_policy_is_told_the_scheme_of_its_own_connection() {
    let ours = Issuer::new();
    let config = server_config(&ours.certificate(&["shop.example"]), None, &["h2"]);
    let up = H2Backend::start_tls(config).await;
    let proxy = start();
    let backend = over_tls(h2_only(backend(&[up.address])), ours.tls("shop.example"));
    let at = Site::of(rule([share(1, Ok(backend))])).serve(&proxy).await;
    let mut client = client(at).await;
    let (response, _) = client.send_request(request("GET").body(()).unwrap(), true).unwrap();
    assert_eq!(finish(response).await.unwrap().0, 200);
    let seen: Vec<_> = up.seen().iter().map(|seen| seen.uri.to_string()).collect();
    assert_eq!(seen, ["https://a.example/"]);
}

#[tokio::test]
async fn an_upload_to_an_http_2_backend_may_be_silent_for_as_long_as_the_body_of_another_until_the_response_begins()
 {
    const LIMIT: Duration = Duration::from_millis(300);
    let (late, early) = (answering_at_the_end().await, H2Backend::start().await.address);
    let proxy = start_with(|options| options.live.clients.body_timeout = Some(LIMIT));
    for (what, up, content_type, want) in [
        ("an upload", late, "text/plain", (504, "the request took too long")),
        ("a call", late, "application/grpc", (200, "")),
        ("a response that has begun", early, "text/plain", (200, "halfhalf")),
    ] {
        let at = Site::of(rule([share(1, Ok(h2_only(backend(&[up]))))])).serve(&proxy).await;
        let mut client = client(at).await;
        let asks = request("POST").header("content-type", content_type).body(()).unwrap();
        let (response, mut body) = client.send_request(asks, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(2 * LIMIT).await;
        // The stream is closed if it was too slow.
        let _ = body.send_data(Bytes::from_static(b"half"), true);
        let head = within(response).await.unwrap();
        // The status of a call that fails is there.
        assert_eq!(head.headers().get("grpc-status"), None, "{what}");
        let (status, mut body, mut received) = (head.status().as_u16(), head.into_body(), Vec::new());
        while let Some(bytes) = within(body.data()).await {
            received.extend(bytes.unwrap());
        }
        let received = String::from_utf8(received).unwrap();
        assert!(status == want.0 && received.contains(want.1), "{what}: {status} {received}");
    }
}

/// An HTTP/2 backend that answers when it has received the whole request.
async fn answering_at_the_end() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(tcp).await.ok()?;
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(Ok(bytes)) = body.data().await {
                            let _ = body.flow_control().release_capacity(bytes.len());
                        }
                        let _ =
                            body.is_end_stream() && respond.send_response(Response::new(()), true).is_ok();
                    });
                }
                Some(())
            });
        }
    });
    address
}
