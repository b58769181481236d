//! Peers that stop: windows that stay closed, bytes that nobody takes, answers that do not come. What waits for them is
//! let go.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::support::{
    Running,
    backend::TestBackend,
    client::{H2, connect, finish, h2},
    frames, pki,
    raw::H2Backend,
    site::{Site, backend, h2 as over_h2, rule, share},
    start_with, table, until, within,
};
use bytes::Bytes;
use http::{Request, Response};
use portcullis_proxy::Options;
use portcullis_routing::{Backend, Protocol};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000000\r\n\r\n";

/// A proxy in which nothing but the limit of waiting bytes is short.
fn impatient() -> Running {
    start_with(|options: &mut Options| {
        options.idle_timeout = SHORT;
        options.stream_idle_timeout = LONG;
        options.keepalive_timeout = LONG;
    })
}

async fn serve(proxy: &Running, backend: Backend) -> SocketAddr {
    Site::of(rule([share(1, Ok(backend))])).serve(proxy).await
}

async fn nothing_is_in_flight(proxy: &Running, what: &str) {
    until(&format!("let go: {what}"), || proxy.proxy.in_flight() == 0).await;
}

/// A backend of which nothing is known but that it accepts; what it does with each connection.
async fn accepting<F: Future<Output = ()> + Send>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let serve = Arc::clone(&serve);
            tokio::spawn(async move { serve(tcp).await });
        }
    });
    address
}

/// A backend that takes connections and never reads.
async fn deaf() -> SocketAddr {
    accepting(|tcp| async move {
        let _tcp = tcp;
        std::future::pending().await
    })
    .await
}

/// A backend of HTTP/1 whose answer has no end.
async fn endless() -> SocketAddr {
    accepting(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 4096]).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n").await;
        while tcp.write_all(&[b'a'; 16 << 10]).await.is_ok() {}
    })
    .await
}

/// An upload over h2 whose connection answers PINGs and whatever else the library answers.
async fn upload(client: &mut H2) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let request = Request::post("http://a.example/").body(()).unwrap();
    let mut ready = within(client.send.clone().ready()).await.unwrap();
    ready.send_request(request, false).unwrap()
}

/// Sends as much of a body as is taken, until nothing has been for a while.
async fn pour(body: &mut h2::SendStream<Bytes>) {
    loop {
        body.reserve_capacity(16 << 10);
        let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
        match tokio::time::timeout(Duration::from_millis(300), room).await {
            Ok(Some(Ok(room))) => body.send_data(Bytes::from(vec![b'a'; room]), false).unwrap(),
            Ok(_) => return,
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn answers_for_which_a_client_opens_no_window_are_let_go() {
    let up = TestBackend::start("a").await;
    let proxy = impatient();
    for (name, backend) in [("HTTP/1", backend(&[up.address])), ("HTTP/2", over_h2(backend(&[up.address])))] {
        let at = serve(&proxy, backend).await;
        let mut closed = h2::client::Builder::new();
        closed.initial_window_size(0);
        let (send, connection) = within(closed.handshake(connect(at).await)).await.unwrap();
        let mut client = H2 { send, driver: tokio::spawn(connection) };
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(client.start("http://a.example/").await.unwrap());
        }
        for answer in answers {
            assert!(finish(answer).await.is_err(), "{name}");
        }
        nothing_is_in_flight(&proxy, name).await;
        // The connection answered every PING and is as good as ever.
        assert!(!client.driver.is_finished(), "{name}");
    }
}

async fn stops_reading(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
    proxy: &Running,
    what: &str,
) {
    frames::send(&mut io, request).await;
    until(&format!("a request: {what}"), || proxy.proxy.in_flight() == 1).await;
    until(&format!("let go: {what}"), || proxy.proxy.in_flight() == 0 && proxy.proxy.connections() == 0)
        .await;
}

#[tokio::test]
async fn a_client_that_stops_reading_its_socket_is_let_go() {
    let proxy = impatient();
    let up = endless().await;
    let shown = pki::certificate(pki::Key::Ecdsa, &["a.example"]);
    let (plain, encrypted) = (proxy.port(), proxy.port());
    let table =
        table::to(table::to(Default::default(), plain, Protocol::Http, up), encrypted, Protocol::Tls, up);
    proxy.serve(table, pki::on(encrypted, &[("", &[&shown])])).await;
    let http1 = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let http2 = [frames::open_windows(), frames::get(1)].concat();
    let tls = async |alpn: &[&str]| {
        let config = Arc::new(pki::client(rustls::ALL_VERSIONS, alpn));
        pki::tls(&config, proxy.at(encrypted), "a.example").await.unwrap()
    };
    stops_reading(connect(proxy.at(plain)).await, http1, &proxy, "HTTP/1").await;
    stops_reading(connect(proxy.at(plain)).await, &http2, &proxy, "HTTP/2").await;
    stops_reading(tls(&["http/1.1"]).await, http1, &proxy, "HTTP/1 over TLS").await;
    stops_reading(tls(&["h2"]).await, &http2, &proxy, "HTTP/2 over TLS").await;
}

#[tokio::test]
async fn an_upload_that_the_backend_does_not_read_is_let_go() {
    let proxy = impatient();
    let deaf = deaf().await;
    for (name, backend) in [("HTTP/1", backend(&[deaf])), ("HTTP/2", over_h2(backend(&[deaf])))] {
        let at = serve(&proxy, backend).await;
        let mut http1 = connect(at).await;
        http1.write_all(UPLOAD.as_bytes()).await.unwrap();
        let piece = [b'a'; 64 << 10];
        while let Ok(Ok(())) = tokio::time::timeout(BLOCKED, http1.write_all(&piece)).await {}
        nothing_is_in_flight(&proxy, &format!("HTTP/1 to {name}")).await;

        let mut client = h2(connect(at).await).await;
        let (_answer, mut body) = upload(&mut client).await;
        pour(&mut body).await;
        nothing_is_in_flight(&proxy, &format!("HTTP/2 to {name}")).await;
    }
}

/// A write that takes longer is one that waits for the proxy.
const BLOCKED: Duration = Duration::from_millis(200);

#[tokio::test]
async fn an_upload_ends_with_its_client_whatever_the_backend_does() {
    // Long enough that what ends these is not the limit: the client that left is counted as 4xx (499), and one that is
    // let go as 5xx.
    let proxy = start_with(|options| options.idle_timeout = Duration::from_secs(8));
    let at = serve(&proxy, backend(&[deaf().await])).await;
    let mut http1 = connect(at).await;
    http1.write_all(UPLOAD.as_bytes()).await.unwrap();
    let piece = [b'a'; 64 << 10];
    while let Ok(Ok(())) = tokio::time::timeout(BLOCKED, http1.write_all(&piece)).await {}
    // As the kernel of a process that was killed does it, where bytes are left that nobody takes.
    http1.set_zero_linger().unwrap();
    drop(http1);
    nothing_is_in_flight(&proxy, "HTTP/1").await;
    assert_eq!(proxy.proxy.answered(), [0, 0, 0, 0, 1, 0]);

    let mut client = h2(connect(at).await).await;
    let (_answer, mut body) = upload(&mut client).await;
    pour(&mut body).await;
    client.driver.abort();
    nothing_is_in_flight(&proxy, "HTTP/2").await;
    assert_eq!(proxy.proxy.answered(), [0, 0, 0, 0, 2, 0]);
}

#[tokio::test]
async fn an_upload_that_falls_silent_is_let_go() {
    let up = TestBackend::start("a").await;
    let proxy = impatient();
    for (name, backend) in [("HTTP/1", backend(&[up.address])), ("HTTP/2", over_h2(backend(&[up.address])))] {
        let at = serve(&proxy, backend).await;
        let mut client = h2(connect(at).await).await;
        let (answer, mut body) = upload(&mut client).await;
        body.send_data(Bytes::from_static(b"some"), false).unwrap();
        match (name, within(answer).await) {
            (_, Ok(answer)) => assert_eq!(answer.status(), 504, "{name}"),
            // If pingora accepted the stream.
            ("HTTP/2", Err(_)) => {}
            (_, answer) => panic!("{name}: {answer:?}"),
        }
        drop(body);
        nothing_is_in_flight(&proxy, name).await;
        assert_eq!(client.get("http://a.example/next").await.unwrap().0, 200, "{name}");

        let mut http1 = connect(at).await;
        http1.write_all(format!("{UPLOAD}some").as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(http1.read_to_string(&mut answer)).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 408 ") || answer.starts_with("HTTP/1.1 504 "),
            "{name}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_call_on_a_dead_h2_backend_is_let_go() {
    let proxy = impatient();
    let at = serve(&proxy, over_h2(backend(&[deaf().await]))).await;
    let mut http1 = connect(at).await;
    http1.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(http1.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let mut client = h2(connect(at).await).await;
    assert!(client.get("http://a.example/").await.is_err());
    nothing_is_in_flight(&proxy, "both").await;
    assert!(!client.driver.is_finished());
    assert_eq!(proxy.proxy.answered(), [0, 0, 0, 0, 0, 2]);
}

/// An h2c backend that answers with a head, and then neither reads nor writes.
async fn frozen() -> SocketAddr {
    accepting(|tcp| async move {
        let mut connection = h2::server::handshake(tcp).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let _body = respond.send_response(Response::new(()), false).unwrap();
        let flushed = std::future::poll_fn(|cx| connection.poll_closed(cx));
        let _ = tokio::time::timeout(Duration::from_millis(50), flushed).await;
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn an_h2_backend_that_answers_no_ping_is_let_go() {
    let proxy = start_with(|options| {
        options.idle_timeout = LONG;
        options.stream_idle_timeout = LONG;
        options.backend_ping_interval = Duration::from_millis(500);
    });
    let at = serve(&proxy, over_h2(backend(&[frozen().await]))).await;
    let mut client = h2(connect(at).await).await;
    let answer = client.start("http://a.example/").await.unwrap();
    assert!(finish(answer).await.is_err());
    nothing_is_in_flight(&proxy, "a stream").await;
}

#[tokio::test]
async fn a_quiet_stream_of_an_h2_backend_has_a_limit_of_its_own() {
    let up = H2Backend::start().await;
    for (limit, lives) in [(LONG, true), (SHORT * 2, false)] {
        let proxy = start_with(|options| {
            options.idle_timeout = SHORT;
            options.stream_idle_timeout = limit;
        });
        let at = serve(&proxy, over_h2(backend(&[up.address]))).await;
        let mut client = h2(connect(at).await).await;
        let (answer, mut body) = upload(&mut client).await;
        let mut stream = within(answer).await.unwrap().into_body();
        if !lives {
            assert!(within(stream.data()).await.unwrap().is_err());
            nothing_is_in_flight(&proxy, "a stream").await;
            continue;
        }
        for _ in 0..2 {
            // Much longer than what waits may: the sleep is the subject here, not a way to wait for something.
            tokio::time::sleep(SHORT * 2).await;
            body.send_data(Bytes::from_static(b"event"), false).unwrap();
            assert_eq!(within(stream.data()).await.unwrap().unwrap(), "event");
        }
    }
}

#[tokio::test]
async fn an_http1_backend_that_goes_on_slowly_is_waited_for() {
    let pieces = accepting(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 4096]).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\n").await;
        for _ in 0..8 {
            tokio::time::sleep(SHORT / 2).await;
            let _ = tcp.write_all(b"a").await;
        }
    })
    .await;
    // Longer than between two pieces, and shorter than all of them.
    let proxy = start_with(|options| options.idle_timeout = SHORT * 3);
    let at = serve(&proxy, backend(&[pieces])).await;
    let mut client = h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap(), (200, "aaaaaaaa".into()));
    let mut http1 = connect(at).await;
    assert_eq!(crate::support::client::get(&mut http1, "a.example", "/").await.body, "aaaaaaaa");
}
