//! HTTP/1, HTTP/2, gRPC, WebSocket and other upgrades, between every kind of client and backend.

use std::{net::SocketAddr, sync::Arc};

use crate::support::{
    client::{self, connect, exchange, get, response},
    pki::{self, Key},
    raw::{H2Backend, RawBackend, Reply, status},
    site::{Site, backend, h2, listener, rule, share, tls, to},
    start, within,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Version};
use portcullis_routing::{Backend, BackendError, BackendTls, Verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

fn only(backend: Backend) -> portcullis_routing::Rule {
    rule([share(1, Ok(backend))])
}

/// The proxy's own server configuration for a backend with TLS, which offers these protocols.
fn server_config(alpn: &[&str]) -> rustls::ServerConfig {
    let names = vec!["backend.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

fn encrypted(verify: Verify) -> BackendTls {
    BackendTls::new("backend.example", verify)
}

#[tokio::test]
async fn h1_and_h2_clients_reach_h1_and_h2_backends() {
    let (one, two) = (RawBackend::saying("one").await, H2Backend::start().await);
    let proxy = start();
    let at = Site::of(to(one.address))
        .add("", listener("all"), "/two", only(h2(backend(&[two.address]))))
        .serve(&proxy)
        .await;
    let mut h1 = connect(at).await;
    assert_eq!(get(&mut h1, "a.example", "/one").await.body, "one");
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/one").await.unwrap(), (200, "one".into()));
    let request = Request::post("http://a.example/two").body(()).unwrap();
    let (answer, mut send) = client.send.send_request(request, false).unwrap();
    send.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(client::finish(answer).await.unwrap(), (200, "hello".into()));
    let url = format!("http://{at}/two");
    let answer = within(reqwest::Client::new().post(url).body("hello").send()).await.unwrap();
    assert_eq!((answer.version(), &*answer.text().await.unwrap()), (Version::HTTP_11, "hello"));
    assert!(two.seen().iter().all(|seen| seen.version == Version::HTTP_2));
}

#[tokio::test]
async fn an_h2_backend_is_told_the_scheme_of_its_own_connection() {
    let (plain, encrypted_) = (H2Backend::start().await, H2Backend::start_tls(server_config(&["h2"])).await);
    let proxy = start();
    let over_tls = tls(h2(backend(&[encrypted_.address])), encrypted(Verify::Nothing));
    let at = Site::of(only(h2(backend(&[plain.address]))))
        .add("", listener("all"), "/tls", only(over_tls))
        .serve(&proxy)
        .await;
    let mut client = client::h2(connect(at).await).await;
    for path in ["/", "/tls"] {
        assert_eq!(client.get(&format!("http://a.example{path}")).await.unwrap().0, 200, "{path}");
        let url = format!("http://{at}{path}");
        within(reqwest::Client::new().get(url).header("host", "a.example").send()).await.unwrap();
    }
    for (backend, want) in [(&plain, "http://a.example/"), (&encrypted_, "https://a.example/tls")] {
        assert_eq!(backend.seen().iter().map(|s| s.uri.to_string()).collect::<Vec<_>>(), [want, want]);
    }
}

#[tokio::test]
async fn streams_share_a_connection_to_an_h2_backend() {
    let two = H2Backend::start().await;
    let proxy = crate::support::start_with(|options| options.workers = 1);
    let at = Site::of(only(h2(backend(&[two.address])))).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 200);
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(client.start("http://a.example/").await.unwrap());
    }
    for answer in answers {
        assert_eq!(client::finish(answer).await.unwrap().0, 200);
    }
    assert_eq!(two.connections(), 1);
}

#[tokio::test]
async fn a_connection_stands_in_for_another_only_with_the_same_tls() {
    let up = H2Backend::start_tls(server_config(&["h2"])).await;
    let proxy = crate::support::start_with(|options| options.workers = 1);
    let with = |verify| only(tls(h2(backend(&[up.address])), encrypted(verify)));
    let at = Site::of(with(Verify::Nothing))
        .add("", listener("all"), "/strict", with(Verify::System))
        .serve(&proxy)
        .await;
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 200);
    // The certificate is nobody's, so the pooled connection must not serve who wants it verified.
    assert_eq!(client.get("http://a.example/strict").await.unwrap().0, 502);
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 200);
}

#[tokio::test]
async fn connect_is_refused_on_h2_too() {
    let proxy = start();
    let at = Site::of(to(crate::support::site::refusing())).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    let request = Request::connect("a.example:443").body(()).unwrap();
    let (answer, _) = client.send.send_request(request, false).unwrap();
    assert_eq!(within(answer).await.unwrap().status(), 405);
}

#[tokio::test]
async fn cookies_in_crumbs_become_one_line_for_http_1() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    let request = Request::get("http://a.example/")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3")
        .body(())
        .unwrap();
    let (answer, _) = client.send.send_request(request, true).unwrap();
    assert_eq!(client::finish(answer).await.unwrap().0, 200);
    assert_eq!(up.last().all("cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn expect_is_answered_by_the_backend_or_for_it() {
    let (one, two) = (RawBackend::saying("one").await, H2Backend::start().await);
    let proxy = start();
    let at = Site::of(to(one.address))
        .add("", listener("all"), "/two", only(h2(backend(&[two.address]))))
        .add("", listener("all"), "/gone", only(backend(&[])))
        .serve(&proxy)
        .await;
    for path in ["/one", "/two", "/gone"] {
        let mut tcp = connect(at).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let first = response(&mut tcp).await;
        if path == "/gone" {
            assert_eq!(first.status, 503);
            continue;
        }
        assert_eq!(first.status, 100, "{path}");
        tcp.write_all(b"hi").await.unwrap();
        let mut rest = String::new();
        while !rest.contains("\r\n\r\n") {
            let n = crate::support::Text(&mut rest).read(&mut tcp).await;
            assert_ne!(n, 0, "{rest}");
        }
        assert!(rest.starts_with("HTTP/1.1 200"), "{path}: {rest}");
    }
    assert_eq!(one.last().body, b"hi");
    assert!(!two.last().headers.contains_key("expect"));
}

#[tokio::test]
async fn a_websocket_is_carried_both_ways() {
    let listener_ = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener_.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener_.accept().await.unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        let _ = socket.send(message).await;
                    }
                }
            });
        }
    });
    let proxy = start();
    let at = Site::of(to(address)).serve(&proxy).await;
    let (mut socket, answer) =
        within(tokio_tungstenite::client_async("ws://a.example/chat", connect(at).await)).await.unwrap();
    assert_eq!(answer.status(), 101);
    for message in [Message::text("hello"), Message::binary(vec![7; 300_000]), Message::text("bye")] {
        within(socket.send(message.clone())).await.unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
    }
    within(socket.close(None)).await.unwrap();
    while let Some(Ok(_)) = within(socket.next()).await {}
}

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";

#[tokio::test]
async fn other_upgrades_are_carried_too() {
    let up = RawBackend::start(|_, _| Reply::Echo(UPGRADED.into())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, X-Hop\r\nUpgrade: chat\r\nX-Hop: 1\r\n\r\n";
    let got = exchange(&mut tcp, request).await;
    assert_eq!(got.status, 101);
    assert!(got.head.contains("\r\nupgrade: chat\r\n"), "{}", got.head);
    tcp.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    within(tcp.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
    let seen = up.last();
    assert_eq!((seen.header("connection"), seen.header("upgrade")), (Some("Upgrade"), Some("chat")));
    assert_eq!(seen.header("x-hop"), None);
    assert!(seen.header("x-forwarded-for").is_some());
}

#[tokio::test]
async fn an_upgrade_past_the_routes_is_not_asked_for() {
    let up = RawBackend::saying("plain").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(exchange(&mut connect(at).await, request).await.body, "plain");
    let seen = up.last();
    assert_eq!((seen.all("upgrade"), seen.all("http2-settings"), &*seen.body), (vec![], vec![], &b"hi"[..]));
}

#[tokio::test]
async fn switching_protocols_unasked_is_a_bad_gateway() {
    let up = RawBackend::start(|_, _| Reply::Echo(UPGRADED.into())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 502);
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 502);
}

#[tokio::test]
async fn an_upgrade_that_the_backend_refuses_is_an_answer() {
    let up = RawBackend::start(|_, _| status(403)).await;
    let proxy = start();
    let at = Site::of(to(up.address))
        .add("", listener("all"), "/two", only(h2(backend(&[up.address]))))
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    let request = |path| {
        format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
    };
    assert_eq!(exchange(&mut tcp, &request("/")).await.status, 403);
    let got = exchange(&mut connect(at).await, &request("/two")).await;
    assert_eq!(got.status, 502);
    assert!(got.body.contains("HTTP/2"), "{}", got.body);
}

#[tokio::test]
async fn a_websocket_reaches_a_backend_with_tls() {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    // It would speak h2, were it asked to.
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server_config(&["h2", "http/1.1"])));
    tokio::spawn(async move {
        let stream = acceptor.accept(tcp.accept().await.unwrap().0).await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            let _ = socket.send(message).await;
        }
    });
    let proxy = start();
    let at = Site::of(only(tls(backend(&[address]), encrypted(Verify::Nothing)))).serve(&proxy).await;
    let (mut socket, _) =
        within(tokio_tungstenite::client_async("ws://a.example/", connect(at).await)).await.unwrap();
    within(socket.send(Message::text("hello"))).await.unwrap();
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn informational_answers_pass_on_http_1() {
    let answer =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    within(tcp.read_to_string(&mut all)).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 103") && all.contains("HTTP/1.1 200") && all.ends_with("ok"), "{all}");
}

#[tokio::test]
async fn a_body_is_streamed_and_not_collected() {
    let up = RawBackend::start(|_, _| {
        Reply::Hang(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec())
    })
    .await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut got = String::new();
    while !got.contains("first") {
        let n = crate::support::Text(&mut got).read(&mut tcp).await;
        assert_ne!(n, 0, "{got}");
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
}

async fn grpc(at: SocketAddr) -> tonic::client::Grpc<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{at}")).unwrap();
    let mut client = tonic::client::Grpc::new(within(endpoint.connect()).await.unwrap());
    client.ready().await.unwrap();
    client
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

#[tokio::test]
async fn grpc_streams_both_ways_and_keeps_its_trailers() {
    let up = H2Backend::start().await;
    let proxy = start();
    let at = Site::of(only(h2(backend(&[up.address])))).serve(&proxy).await;
    let mut client = grpc(at).await;
    let codec = tonic_prost::ProstCodec::<Note, Note>::default();
    let path = "/test.Echo/Once".parse().unwrap();
    let answer = within(client.unary(tonic::Request::new(note("hello")), path, codec)).await.unwrap();
    assert_eq!(answer.into_inner(), note("hello"));
    assert_eq!(up.last().headers["te"], "trailers");

    let (send, receive) = tokio::sync::mpsc::channel::<Note>(1);
    let notes = futures_util::stream::unfold(receive, |mut r| async { r.recv().await.map(|n| (n, r)) });
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Note, Note>::default();
    let path = "/test.Echo/Stream".parse().unwrap();
    let mut answers =
        within(client.streaming(tonic::Request::new(notes), path, codec)).await.unwrap().into_inner();
    for text in ["one", "two", "three"] {
        // Each answer comes before the next question is asked.
        send.send(note(text)).await.unwrap();
        assert_eq!(within(answers.message()).await.unwrap(), Some(note(text)));
    }
    drop(send);
    assert_eq!(within(answers.message()).await.unwrap(), None);
}

#[tokio::test]
async fn grpc_clients_are_told_no_in_their_own_terms() {
    let proxy = start();
    let at = Site::http()
        .add("", listener("all"), "/none", only(backend(&[])))
        .add("", listener("all"), "/broken", rule([share(1, Err(BackendError::NotFound("test/x".into())))]))
        .add("", listener("all"), "/refuses", only(h2(backend(&[crate::support::site::refusing()]))))
        .serve(&proxy)
        .await;
    let mut client = grpc(at).await;
    for (path, want) in [
        ("/none/Call", tonic::Code::Unavailable),
        ("/broken/Call", tonic::Code::Unavailable),
        ("/refuses/Call", tonic::Code::Unavailable),
        ("/other/Call", tonic::Code::Unimplemented),
    ] {
        let codec = tonic_prost::ProstCodec::<Note, Note>::default();
        client.ready().await.unwrap();
        let call = client.unary(tonic::Request::new(note("x")), path.parse().unwrap(), codec);
        let status = within(call).await.unwrap_err();
        assert_eq!(status.code(), want, "{path}: {status:?}");
        assert!(!status.message().is_empty());
    }
}

#[tokio::test]
async fn grpc_over_tls_works_as_well() {
    let up = H2Backend::start_tls(server_config(&["h2"])).await;
    let proxy = start();
    let port = proxy.port();
    let over_tls = tls(h2(backend(&[up.address])), encrypted(Verify::Nothing));
    let table = Site::https().add("", listener("all"), "/", only(over_tls)).table(port);
    let shown = pki::certificate(Key::Rsa, &["a.example"]);
    proxy.serve(table, pki::on(port, &[("", &[&shown])])).await;
    let config = Arc::new(pki::client(rustls::ALL_VERSIONS, &["h2"]));
    let mut client = client::h2(pki::tls(&config, proxy.at(port), "a.example").await.unwrap()).await;
    let request = Request::post("https://a.example/test.Echo/Once")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut send) = client.send.send_request(request, false).unwrap();
    send.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let mut body = within(answer).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), &b"\0\0\0\0\0"[..]);
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

/// Frames over TLS are gathered before they are sent; none may be forgotten.
#[tokio::test]
async fn large_answers_over_h2_and_tls_are_whole_and_come_as_they_are_made() {
    let whole: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let part = whole.len() / 7;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len());
    let (all, some) = ([head.as_bytes(), &whole].concat(), [head.as_bytes(), &whole[..part]].concat());
    let up = RawBackend::start(move |_, seen| match seen.line().contains("/whole") {
        true => Reply::Bytes(all.clone()),
        false => Reply::Hang(some.clone()),
    })
    .await;
    let proxy = start();
    let port = proxy.port();
    let shown = pki::certificate(Key::Ecdsa, &["a.example"]);
    let table = Site::https().add("", listener("all"), "/", to(up.address)).table(port);
    proxy.serve(table, pki::on(port, &[("", &[&shown])])).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(pki::client(&[version], &["h2"]));
        let mut client = client::h2(pki::tls(&config, proxy.at(port), "a.example").await.unwrap()).await;
        let mut answers = Vec::new();
        for (path, length) in [("/part", part), ("/whole/1", whole.len()), ("/whole/2", whole.len())] {
            let answer = client.start(&format!("https://a.example{path}")).await.unwrap();
            answers.push(async move {
                let mut body = within(answer).await.unwrap().into_body();
                let mut got = Vec::new();
                while got.len() < length {
                    let data = within(body.data()).await.unwrap().unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    got.extend_from_slice(&data);
                }
                got
            });
        }
        for got in futures_util::future::join_all(answers).await {
            assert!(got == whole[..got.len()], "{} bytes", got.len());
        }
    }
}
