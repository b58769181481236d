//! The echo backend over real sockets, asked by clients that are not ours.

#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use portcullis::echo::{
    Description, Echo, Identity,
    proto::{EchoRequest, EchoResponse},
    tls,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tonic::{Code, Request, Streaming, transport::Channel};
use tonic_prost::ProstCodec;

#[tokio::test]
async fn a_request_is_described_over_http1_and_http2() {
    let echo = echo().await;
    for (name, client, protocol) in [
        ("HTTP/1", client().build().unwrap(), "HTTP/1.1"),
        ("h2c by prior knowledge", client().http2_prior_knowledge().build().unwrap(), "HTTP/2.0"),
    ] {
        let url = format!("http://{}/a/b?x=1&y", echo.address());
        let request = client.post(url).header("x-a", "1").header("x-a", "2").body("hello");
        let told: Description = request.send().await.unwrap().json().await.unwrap();
        assert_eq!((told.method.as_str(), told.path.as_str()), ("POST", "/a/b"), "{name}");
        assert_eq!(told.query.as_deref(), Some("x=1&y"), "{name}");
        assert_eq!(told.protocol, protocol, "{name}");
        assert_eq!(told.host, Some(echo.address().to_string()), "{name}");
        assert_eq!(told.headers["x-a"], ["1", "2"], "{name}");
        assert_eq!((told.body.bytes, told.body.text.as_deref()), (5, Some("hello")), "{name}");
        assert_eq!(told.tls, None, "{name}");
        assert_eq!(told.identity, identity(), "{name}");
    }
    echo.stop().await;
}

#[tokio::test]
async fn tls_is_described_with_its_name_and_protocol() {
    let config = tls::self_signed(&["echo.example.com".to_owned()]).unwrap();
    let echo = Echo::bind_tls(loopback(), identity(), config).await.unwrap();
    let client = client()
        .tls_danger_accept_invalid_certs(true)
        .resolve("echo.example.com", echo.address())
        .build()
        .unwrap();
    let url = format!("https://echo.example.com:{}/", echo.address().port());
    let told: Description = client.get(url).send().await.unwrap().json().await.unwrap();
    let tls = told.tls.unwrap();
    assert_eq!((tls.version.as_str(), tls.alpn.as_deref()), ("TLSv1.3", Some("h2")));
    assert_eq!(tls.server_name.as_deref(), Some("echo.example.com"));
}

#[tokio::test]
async fn the_query_asks_for_the_answer() {
    let echo = echo().await;
    for (query, status, has_length, body) in [
        ("status=503&size=3", 503, true, "abc"),
        ("size=30", 200, true, "abcdefghijklmnopqrstuvwxyzabcd"),
        ("size=30&chunks=4&interval=1ms", 200, false, "abcdefghijklmnopqrstuvwxyzabcd"),
        ("size=0", 200, true, ""),
        ("echo", 200, true, "as sent"),
        ("status=1", 400, true, "{\n  \"error\": \"?status=1: a status from 200 to 599\"\n}\n"),
    ] {
        let url = format!("http://{}/?{query}", echo.address());
        let response = client().build().unwrap().post(url).body("as sent").send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
        let said =
            response.headers().get("content-length").map(|v| v.to_str().unwrap().parse::<u64>().unwrap());
        let text = response.text().await.unwrap();
        assert_eq!(text, body, "{query}");
        assert_eq!(said, has_length.then_some(text.len() as u64), "{query}");
    }
}

#[tokio::test]
async fn a_large_answer_is_the_alphabet_from_end_to_end() {
    let echo = echo().await;
    let url = format!("http://{}/?size=1000000&chunks=7", echo.address());
    let body = client().build().unwrap().get(url).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 1_000_000);
    assert!(body.iter().enumerate().all(|(index, byte)| *byte == b'a' + (index % 26) as u8));
}

#[tokio::test]
async fn websocket_messages_come_back() {
    let echo = echo().await;
    let mut request = format!("ws://{}/any", echo.address()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "first, second".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "first");
    for message in [Message::text("hello"), Message::binary(vec![0, 159, 146, 150])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    echo.stop().await;
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap();
    assert!(matches!(closed, Some(Ok(Message::Close(_)))), "a stop says goodbye: {closed:?}");
}

#[tokio::test]
async fn a_typed_grpc_call_is_answered() {
    let echo = echo().await;
    let mut request = Request::new(EchoRequest { message: "hello".into(), status: 0 });
    request.metadata_mut().insert("x-a", "1".parse().unwrap());
    let answer: EchoResponse =
        grpc(&echo).await.unary(request, method("Echo"), ProstCodec::default()).await.unwrap().into_inner();
    assert_eq!((answer.message.as_str(), answer.service.as_str()), ("hello", "foo"));
    assert_eq!(answer.method, "/portcullis.echo.v1.Echo/Echo");
    assert!(answer.metadata.iter().any(|m| m.name == "x-a" && m.value == "1"), "{:?}", answer.metadata);
}

#[tokio::test]
async fn a_grpc_call_ends_with_the_status_that_it_asks_for() {
    let echo = echo().await;
    for (name, path, status, code, message) in [
        ("asked for", "Echo", 7, Code::PermissionDenied, "50 % größer\n"),
        ("no such method", "Other", 0, Code::Unimplemented, "/portcullis.echo.v1.Echo/Other is not served"),
    ] {
        let request = Request::new(EchoRequest { message: "50 % größer\n".into(), status });
        let codec = ProstCodec::<EchoRequest, EchoResponse>::default();
        let error = grpc(&echo).await.unary(request, method(path), codec).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (code, message), "{name}");
    }
}

#[tokio::test]
async fn grpc_messages_are_answered_one_by_one() {
    let echo = echo().await;
    let (to_echo, messages) = stream_of_messages();
    let answers: Streaming<EchoResponse> = grpc(&echo)
        .await
        .streaming(Request::new(messages), method("Chat"), ProstCodec::default())
        .await
        .unwrap()
        .into_inner();
    exchange(to_echo, answers, |answer| answer.message).await;
}

#[tokio::test]
async fn a_grpc_method_of_any_service_gets_its_messages_back() {
    let echo = echo().await;
    let (to_echo, messages) = stream_of_messages();
    let path = "/any.Service/Method".parse().unwrap();
    let answers: Streaming<EchoRequest> = grpc(&echo)
        .await
        .streaming(Request::new(messages), path, ProstCodec::default())
        .await
        .unwrap()
        .into_inner();
    exchange(to_echo, answers, |answer| answer.message).await;
}

#[tokio::test]
async fn a_stop_lets_what_is_in_flight_end() {
    let echo = echo().await;
    let url = format!("http://{}/?chunks=3&interval=100ms", echo.address());
    let client = client().build().unwrap();
    let response = client.get(&url).send().await.unwrap();
    let address = echo.address();
    let (body, ()) = tokio::join!(response.text(), echo.stop());
    assert_eq!(body.unwrap().len(), 78);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// Sends the next message only when the last one has come back.
async fn exchange<T>(
    to_echo: tokio::sync::mpsc::Sender<EchoRequest>,
    mut answers: Streaming<T>,
    text: impl Fn(T) -> String,
) {
    for message in ["one", "two", "three"] {
        to_echo.send(EchoRequest { message: message.into(), status: 0 }).await.unwrap();
        assert_eq!(answers.message().await.unwrap().map(&text).as_deref(), Some(message));
    }
    drop(to_echo);
    assert!(answers.message().await.unwrap().is_none(), "the call ends well when the client has ended");
}

fn stream_of_messages()
-> (tokio::sync::mpsc::Sender<EchoRequest>, impl futures_util::Stream<Item = EchoRequest> + Send + 'static) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|message| (message, receiver))
    });
    (sender, stream)
}

async fn grpc(echo: &Echo) -> tonic::client::Grpc<Channel> {
    let channel =
        Channel::from_shared(format!("http://{}", echo.address())).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    grpc
}

fn method(name: &str) -> http::uri::PathAndQuery {
    format!("/portcullis.echo.v1.Echo/{name}").parse().unwrap()
}

async fn echo() -> Echo {
    Echo::bind(loopback(), identity()).await.unwrap()
}

fn identity() -> Identity {
    Identity::of_service("default", "foo")
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn client() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20))
}
