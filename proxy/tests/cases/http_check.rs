//! ExternalAuth: a service is asked whether a request may go on.

use std::{
    collections::HashSet,
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Response};
use portcullis_routing::{
    Rule, Timeouts,
    step::{AuthProtocol, HttpAuth},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::support::{
    client::{connect, exchange, get, h2 as h2_client},
    raw::{H2Backend, RawBackend, Reply, ok, status},
    site::{Site, backend, guarded, h2, refusing, rule, share, to},
    start_with, until, within,
};

pub(super) fn names<const N: usize>(names: [&'static str; N]) -> Box<[HeaderName]> {
    names.map(HeaderName::from_static).into()
}

fn by_http() -> AuthProtocol {
    AuthProtocol::Http(HttpAuth {
        path_prefix: "/check".into(),
        request_headers: names(["cookie", "x-forwarded-for"]),
        answer_headers: names(["x-user", "x-role"]),
    })
}

/// A service that answers by `reply`, and lets pass what it says nothing of.
pub(super) async fn service(reply: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> RawBackend {
    RawBackend::start(move |_, seen| reply(seen.line()).unwrap_or_else(|| ok(""))).await
}

#[tokio::test]
async fn a_request_goes_on_with_what_the_service_says() {
    let named = "HTTP/1.1 200 OK\r\nX-User: jo\r\nX-Other: no\r\nContent-Length: 2\r\n\r\nhi";
    let (auth, up) = (service(|_| Some(Reply::Bytes(named.into()))).await, RawBackend::saying("up").await);
    let proxy = start_with(|_| {});
    let at = Site::of(guarded(auth.address, by_http(), to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let request = "POST /a/../b?q=%2e HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic eDp5\r\nCookie: c=d\r\n\
                   X-User: admin\r\nX-Role: root\r\nX-Forwarded-For: 203.0.113.7\r\nContent-Length: 5\r\n\r\nhello";
    // Twice: the body of the first must not be left on the connection.
    for _ in 0..2 {
        assert_eq!(exchange(&mut client, request).await.body, "up");
        let (asked, sent) = (auth.last(), up.last());
        assert_eq!(asked.line(), "POST /check/b?q=%2e HTTP/1.1");
        assert_eq!(asked.header("host"), Some("a.example"));
        assert_eq!(asked.header("authorization"), Some("Basic eDp5"));
        assert_eq!(asked.header("cookie"), Some("c=d"));
        assert_eq!(asked.header("content-length"), Some("0"));
        assert_eq!(asked.header("x-forwarded-for"), Some("127.0.0.1"), "what the backend would be told");
        assert_eq!(asked.header("x-user"), None);
        assert_eq!((sent.line(), &*sent.body), ("POST /b?q=%2e HTTP/1.1", &b"hello"[..]));
        assert_eq!(sent.header("x-user"), Some("jo"));
        assert_eq!(sent.header("x-role"), None, "the client must not say what the service has not said");
        assert_eq!(sent.header("x-other"), None);
    }
}

#[tokio::test]
async fn a_denial_is_the_answer_and_the_backend_is_not_asked() {
    let denied = "HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: a=b\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                  Content-Length: 7\r\n\r\nsign in";
    let no_content = "HTTP/1.1 204 No Content\r\n\r\n";
    let auth = service(move |line| match line {
        line if line.contains("/deny") => Some(Reply::Bytes(denied.into())),
        line if line.contains("/empty") => Some(Reply::Bytes(no_content.into())),
        _ => None,
    });
    let (auth, up) = (auth.await, RawBackend::saying("up").await);
    let proxy = start_with(|_| {});
    let at = Site::of(guarded(auth.address, by_http(), to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let answer = get(&mut client, "a.example", "/deny").await;
    assert_eq!((answer.status, &*answer.body), (302, "sign in"));
    for header in ["location: /login", "set-cookie: a=b", "content-length: 7"] {
        assert!(answer.head.contains(&format!("\r\n{header}\r\n")), "{header}: {}", answer.head);
    }
    assert!(!answer.head.contains("x-hop"), "{}", answer.head);
    assert_eq!(
        get(&mut client, "a.example", "/empty").await.status,
        403,
        "a denial must not look like success"
    );
    assert!(up.seen().is_empty());
    assert_eq!(get(&mut client, "a.example", "/").await.body, "up", "the connection goes on");
}

#[tokio::test]
async fn a_service_that_gives_no_answer_closes_the_rule() {
    let auth = service(|line| match line {
        line if line.contains("/close") => Some(Reply::Close),
        line if line.contains("/part") => {
            Some(Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".into()))
        }
        line if line.contains("/broken") => Some(Reply::Last(b"nonsense\r\n\r\n".into())),
        line if line.contains("/late") => Some(Reply::Hang(Vec::new())),
        _ => None,
    });
    let (auth, up) = (auth.await, RawBackend::saying("up").await);
    let proxy = start_with(|_| {});
    let at = Site::of(guarded(auth.address, by_http(), to(up.address))).serve(&proxy).await;
    for path in ["/close", "/part", "/broken"] {
        assert_eq!(get(&mut connect(at).await, "a.example", path).await.status, 500, "{path}");
    }
    let timeouts = Timeouts { request: Some(Duration::from_millis(300)), ..Timeouts::default() }.of_rule();
    let limited = Rule { timeouts, ..to(up.address) };
    let at = Site::of(guarded(auth.address, by_http(), limited)).serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/late").await.status, 504);
    let at = Site::of(guarded(refusing(), by_http(), to(up.address))).serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 500);
    assert!(up.seen().is_empty());
}

#[tokio::test]
async fn a_connection_that_the_service_closes_costs_no_request() {
    let used = Mutex::new(HashSet::new());
    // It closes each connection when a second request comes on it.
    let auth = RawBackend::start(move |_, seen| match used.lock().unwrap().insert(seen.connection) {
        true => ok(""),
        false => Reply::Close,
    });
    let (auth, up) = (auth.await, RawBackend::saying("up").await);
    let proxy = start_with(|_| {});
    let at = Site::of(guarded(auth.address, by_http(), to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    for _ in 0..4 {
        assert_eq!(get(&mut client, "a.example", "/").await.status, 200);
    }
    let connections: Vec<_> = auth.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.windows(2).any(|two| two[0] == two[1]), "a pooled one was used: {connections:?}");
}

#[tokio::test]
async fn requests_over_http2_and_to_http2_backends_are_checked() {
    let auth = service(|line| line.contains("/no").then(|| status(403))).await;
    let (up, up2) = (RawBackend::saying("up").await, H2Backend::start().await);
    let proxy = start_with(|_| {});
    let to_h2 = rule([share(1, Ok(h2(backend(&[up2.address]))))]);
    for rule in [to(up.address), to_h2] {
        let at = Site::of(guarded(auth.address, by_http(), rule)).serve(&proxy).await;
        assert_eq!(get(&mut connect(at).await, "a.example", "/no").await.status, 403);
        let mut client = h2_client(connect(at).await).await;
        assert_eq!(client.get("http://a.example/no").await.unwrap().0, 403);
        assert_eq!(client.get("http://a.example/yes").await.unwrap().0, 200);
        assert_eq!(auth.last().line(), "GET /check/yes HTTP/1.1");
    }
    assert_eq!((up.seen().len(), up2.seen().len()), (1, 1));
}

/// A service that speaks Envoy's external authorization: what it was sent has to contain `wanted`, each, and it answers by
/// this message.
pub(super) async fn grpc_service(wanted: Vec<Vec<u8>>, answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (wanted, answer) = (Arc::new(wanted), Arc::new(answer));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (wanted, answer) = (Arc::clone(&wanted), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(tcp).await.ok()?;
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (wanted, answer) = (Arc::clone(&wanted), Arc::clone(&answer));
                    tokio::spawn(async move {
                        let (head, mut body) = request.into_parts();
                        let mut sent = Vec::new();
                        while let Some(Ok(chunk)) = body.data().await {
                            let _ = body.flow_control().release_capacity(chunk.len());
                            sent.extend_from_slice(&chunk);
                        }
                        let is_call = head.uri.path() == "/envoy.service.auth.v3.Authorization/Check"
                            && head.headers["content-type"] == "application/grpc"
                            && head.headers["te"] == "trailers";
                        let has = |part: &Vec<u8>| sent.windows(part.len()).any(|window| window == part);
                        let right = is_call && wanted.iter().all(has);
                        let head = Response::builder().status(if right { 200 } else { 500 });
                        let head = head.header("content-type", "application/grpc").body(()).unwrap();
                        let mut send = respond.send_response(head, false).ok()?;
                        let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
                        let message = [&[0], &length[..], &answer[..]].concat();
                        send.send_data(Bytes::from(message), false).ok()?;
                        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                        send.send_trailers(trailers.into_iter().collect()).ok()
                    });
                }
                Some(())
            });
        }
    });
    at
}

/// A field of protobuf with a text or a message; shorter than 128 bytes.
pub(super) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len().try_into().unwrap()], content].concat()
}

/// `HeaderValueOption`.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

#[tokio::test]
async fn a_service_is_asked_over_grpc() {
    let entry =
        |name: &str, value: &str| field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    // HttpRequest: method, a header, path, host; and the client's address.
    let wanted = vec![
        field(2, b"POST"),
        entry("cookie", "c=d"),
        field(4, b"/a?b=c"),
        field(5, b"a.example"),
        field(6, b"http"),
        field(2, b"127.0.0.1"),
    ];
    let passes = field(
        3,
        &[field(2, &header("x-user", "jo")), field(5, b"x-secret"), field(6, &header("x-checked", "yes"))]
            .concat(),
    );
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let by_grpc = || AuthProtocol::Grpc { request_headers: Box::default() };
    let request = "POST /a?b=c HTTP/1.1\r\nHost: a.example\r\nCookie: c=d\r\nX-User: admin\r\nX-Secret: s\r\n\
                   Content-Length: 5\r\n\r\nhello";
    let auth = grpc_service(wanted, passes).await;
    let at = Site::of(guarded(auth, by_grpc(), to(up.address))).serve(&proxy).await;
    let answer = exchange(&mut connect(at).await, request).await;
    assert_eq!((answer.status, &*answer.body), (200, "up"));
    assert!(answer.head.contains("\r\nx-checked: yes\r\n"), "{}", answer.head);
    let sent = up.last();
    assert_eq!((sent.header("x-user"), sent.header("x-secret")), (Some("jo"), None));

    // PERMISSION_DENIED, with 401, a header and a body; then without a word; then bytes that are not a message.
    let status_7 = field(1, &[1 << 3, 7]);
    let status_401 = field(1, &[1 << 3, 0x91, 0x03]);
    let reply = field(2, &[status_401, field(2, &header("x-why", "because")), field(3, b"go away")].concat());
    let bare = status_7.clone();
    for (answer, wanted, body) in [
        ([status_7, reply].concat(), 401, "go away"),
        (bare, 403, ""),
        (vec![0xff; 4], 500, "500 Internal Server Error: the authorization service sent no valid response\n"),
    ] {
        let auth = grpc_service(Vec::new(), answer).await;
        let at = Site::of(guarded(auth, by_grpc(), to(up.address))).serve(&proxy).await;
        let answer = exchange(&mut connect(at).await, request).await;
        assert_eq!((answer.status, &*answer.body), (wanted, body));
        assert_eq!(answer.head.contains("\r\nx-why: because\r\n"), wanted == 401);
    }
    assert_eq!(up.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_check() {
    let auth = service(|_| Some(Reply::Hang(Vec::new()))).await;
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let at = Site::of(guarded(auth.address, by_http(), to(up.address))).serve(&proxy).await;
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let (mut stays, mut client) = (connect(at).await, connect(at).await);
    within(stays.write_all(request)).await.unwrap();
    auth.has_seen(1).await;
    within(client.write_all(request)).await.unwrap();
    auth.has_seen(2).await;
    drop(client);
    until("the check's connection to be closed", || auth.closed() > 0).await;
    // Not by the check's own limit, which would have ended the older one first.
    assert_eq!(stays.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(up.seen().is_empty());
}

#[tokio::test]
async fn checks_count_as_requests_in_flight() {
    let auth = service(|line| line.contains("/wait").then(|| Reply::Hang(Vec::new()))).await;
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|options| options.max_requests = 1);
    let at = Site::of(guarded(auth.address, by_http(), to(up.address))).serve(&proxy).await;
    let mut waits = connect(at).await;
    within(waits.write_all(b"GET /wait HTTP/1.1\r\nHost: a.example\r\n\r\n")).await.unwrap();
    auth.has_seen(1).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 503);
    assert_eq!(auth.seen().len(), 1, "the service is spared, too");
}
