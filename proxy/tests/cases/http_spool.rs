//! Bodies of requests that are received as a whole before a backend gets them.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use portcullis_proxy::Options;
use portcullis_routing::{
    Backends, Repeats, Retry, Rule, Step, Steps, Timeouts,
    step::{BodySize, Spool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use crate::support::{
    Running,
    client::{self, Raw, connect},
    raw::{H2Backend, RawBackend, Reply, Seen, ok, status},
    site::{Site, backend, h2, refusing, rule, share, to},
    start, start_with, until, within,
};

/// A rule whose requests have bodies of 2 MiB at most, which are spooled.
fn spooled(rule: Rule) -> Rule {
    let steps = [Step::BodySize(BodySize(2 << 20)), Step::Spool(Spool { memory: 100 << 10 })];
    Rule { steps: Steps::new(steps), ..rule }
}

/// A proxy with a directory for bodies; it is gone with the returned value.
fn start_with_files(change: impl FnOnce(&mut Options)) -> (Running, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let proxy = start_with(|options| {
        options.spool_directory = Some(path);
        change(options);
    });
    (proxy, directory)
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect()
}

/// A request's head and its body in chunks.
fn chunked(method: &str, body: &[u8]) -> Vec<u8> {
    let mut wire =
        format!("{method} / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(10_000) {
        wire.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nX-Trailer: a\r\n\r\n");
    wire
}

/// The same with a length.
fn with_length(method: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn send(at: SocketAddr, wire: &[u8]) -> Raw {
    let mut client = connect(at).await;
    within(client.write_all(wire)).await.unwrap();
    client::response(&mut client).await
}

/// Sends a body over HTTP/2, in several frames, with its length or without.
async fn send_h2(
    at: SocketAddr,
    method: &str,
    body: &[u8],
    length: bool,
) -> Result<(u16, String), ::h2::Error> {
    let client = client::h2(connect(at).await).await;
    let mut request = Request::builder().method(method).uri("http://a.example/");
    if length {
        request = request.header("content-length", body.len());
    }
    let mut ready = within(client.send.clone().ready()).await.unwrap();
    let (response, mut stream) = ready.send_request(request.body(()).unwrap(), false)?;
    if send_frames(&mut stream, body).await {
        let _ = stream.send_data(Bytes::new(), true);
    }
    client::finish(response).await
}

/// Sends a body without its end; returns whether the proxy has received it.
async fn send_frames(stream: &mut ::h2::SendStream<Bytes>, body: &[u8]) -> bool {
    for part in body.chunks(30_000) {
        stream.reserve_capacity(part.len());
        let mut left = Bytes::copy_from_slice(part);
        while !left.is_empty() {
            let room = within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
            let Some(Ok(room)) = room else { return false };
            let n = room.min(left.len());
            let _ = stream.send_data(left.split_to(n), false);
            stream.reserve_capacity(left.len());
        }
    }
    true
}

fn assert_whole(seen: &Seen, body: &[u8]) {
    assert_eq!(seen.header("content-length"), Some(&*body.len().to_string()));
    assert_eq!((seen.header("transfer-encoding"), seen.header("expect")), (None, None));
    assert!(seen.body == body, "{} of {}", seen.body.len(), body.len());
}

async fn nothing_is_held(proxy: &Running) {
    until("the budgets to be given back", || {
        proxy.proxy.spooled_bytes().iter().all(|(_, bytes)| *bytes == 0)
    })
    .await;
}

#[tokio::test]
async fn a_body_gets_to_the_backend_with_its_length_however_it_comes() {
    let up = RawBackend::saying("up").await;
    let (proxy, directory) = start_with_files(|_| {});
    let memory = start();
    for (proxy, name) in [(&proxy, "files"), (&memory, "memory")] {
        let at = Site::of(spooled(to(up.address))).serve(proxy).await;
        for len in [0, 1, 70_000, 100 << 10, 1_000_000] {
            let body = body(len);
            assert_eq!(send(at, &chunked("POST", &body)).await.status, 200, "{name} {len}");
            assert_whole(&up.last(), &body);
            assert_eq!(send(at, &with_length("POST", &body)).await.status, 200, "{name} {len}");
            assert_whole(&up.last(), &body);
            for length in [true, false] {
                assert_eq!(send_h2(at, "POST", &body, length).await.unwrap().0, 200, "{name} {len}");
                // One that is empty has no length where it came with none.
                if len > 0 {
                    assert_whole(&up.last(), &body);
                }
            }
        }
        nothing_is_held(proxy).await;
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files have no name");
}

#[tokio::test]
async fn a_backend_gets_nothing_before_all_has_come() {
    let up = RawBackend::saying("up").await;
    let (proxy, _directory) = start_with_files(|_| {});
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    for wire in [chunked("POST", &body(300_000)), with_length("POST", &body(300_000))] {
        let before = up.seen().len();
        let (most, last) = wire.split_at(wire.len() - 3);
        let mut client = connect(at).await;
        within(client.write_all(most)).await.unwrap();
        until("the body to be held", || {
            proxy.proxy.spooled_bytes().iter().any(|(_, bytes)| *bytes > 100_000)
        })
        .await;
        assert_eq!(up.seen().len(), before);
        client.write_all(last).await.unwrap();
        assert_eq!(client::response(&mut client).await.status, 200);
        assert_whole(&up.last(), &body(300_000));
    }
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn a_connection_goes_on_after_a_body_that_was_spooled() {
    let up = RawBackend::saying("up").await;
    let (proxy, _directory) = start_with_files(|_| {});
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    for len in [10, 20_000, 0] {
        let wire = chunked("POST", &body(len));
        let next = with_length("POST", b"next");
        // The next request follows at once; pingora has it wait for the answer.
        let writes = match crate::CARRIERS {
            portcullis_proxy::Carriers::All => vec![[wire, next].concat(), Vec::new()],
            portcullis_proxy::Carriers::Pingora => vec![wire, next],
        };
        for write in writes {
            within(client.write_all(&write)).await.unwrap();
            let answer = client::response(&mut client).await;
            assert_eq!(answer.status, 200, "{len}");
            assert!(!answer.closes());
        }
        assert_whole(&up.last(), b"next");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_it_from_us() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    for chunks in [false, true] {
        let wire = if chunks { chunked("PUT", b"hello") } else { with_length("PUT", b"hello") };
        let end = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 2;
        let (head, body) = wire.split_at(end);
        let mut client = connect(at).await;
        let head = [head, b"Expect: 100-continue\r\n\r\n"].concat();
        client.write_all(&head).await.unwrap();
        let mut got = [0; 25];
        within(client.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(up.seen().len(), usize::from(chunks), "the backend is not asked");
        client.write_all(&body[2..]).await.unwrap();
        assert_eq!(client::response(&mut client).await.status, 200);
        assert_whole(&up.last(), b"hello");
    }
}

#[tokio::test]
async fn what_was_spooled_is_sent_again() {
    for len in [20, 90_000, 700_000] {
        let up = RawBackend::start(|n, _| match n % 3 {
            0 => status(503),
            1 => Reply::Close,
            _ => ok("up"),
        })
        .await;
        let (proxy, _directory) = start_with_files(|_| {});
        let retry = Retry {
            codes: [503].into(),
            attempts: 2,
            backoff: Some(Duration::ZERO),
            repeats: Repeats::All,
            ..Retry::default()
        };
        let at = Site::of(Rule { retry: Some(retry.into()), ..spooled(to(up.address)) }).serve(&proxy).await;
        let body = body(len);
        assert_eq!(send(at, &chunked("POST", &body)).await.status, 200, "{len}");
        assert_eq!(send(at, &with_length("PUT", &body)).await.status, 200, "{len}");
        assert_eq!(send_h2(at, "POST", &body, false).await.unwrap().0, 200, "{len}");
        assert_eq!(up.seen().len(), 9);
        up.seen().iter().for_each(|seen| assert_whole(seen, &body));
        nothing_is_held(&proxy).await;
    }
}

#[tokio::test]
async fn another_endpoint_gets_all_of_it() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let endpoints = backend(&[refusing(), refusing(), up.address]);
    let at = Site::of(spooled(rule([share(1, Ok(endpoints))]))).serve(&proxy).await;
    for _ in 0..4 {
        assert_eq!(send(at, &chunked("POST", &body(200_000))).await.status, 200);
    }
    up.seen().iter().for_each(|seen| assert_whole(seen, &body(200_000)));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_and_gets_nowhere() {
    let up = RawBackend::saying("up").await;
    let (proxy, _directory) = start_with_files(|_| {});
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    let body = body((2 << 20) + 1);
    assert_eq!(send(at, &with_length("POST", &body)).await.status, 413);
    let mut client = connect(at).await;
    let (mut read, mut write) = client.split();
    let wire = chunked("POST", &body);
    let (_, answer) = tokio::join!(write.write_all(&wire), client::response(&mut read));
    assert_eq!(answer.status, 413);
    assert!(answer.closes());
    // The stream may be reset with the answer, as more was sent than is read.
    assert!(send_h2(at, "POST", &body, false).await.map_or(true, |(status, _)| status == 413));
    assert_eq!(up.seen().len(), 0);
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn a_malformed_body_is_a_400() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    let wire = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n";
    assert_eq!(send(at, wire).await.status, 400);
    assert_eq!(up.seen().len(), 0);
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn a_client_that_leaves_gives_back_what_it_held() {
    let up = RawBackend::saying("up").await;
    let (proxy, _directory) = start_with_files(|_| {});
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    for len in [50_000, 500_000] {
        let wire = with_length("POST", &body(len + 1));
        let mut client = connect(at).await;
        within(client.write_all(&wire[..wire.len() - 1])).await.unwrap();
        until("the body to be held", || {
            proxy.proxy.spooled_bytes().iter().map(|(_, bytes)| *bytes).sum::<u64>() > 40_000
        })
        .await;
        drop(client);
        nothing_is_held(&proxy).await;
    }
    until("the requests to end", || proxy.proxy.in_flight() == 0).await;
    assert_eq!(up.seen().len(), 0);
}

#[tokio::test]
async fn a_body_that_stays_away_is_given_up() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|options| options.idle_timeout = Duration::from_secs(1));
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhell").await.unwrap();
    let answer = client::response(&mut client).await;
    assert!(matches!(answer.status, 408 | 504), "{}", answer.status);
    assert_eq!(up.seen().len(), 0);
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let up = RawBackend::saying("up").await;
    // The rate is measured over this time.
    let proxy = start_with(|options| options.idle_timeout = Duration::from_secs(1));
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let (mut read, mut write) = client.split();
    write.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n").await.unwrap();
    let trickle = async {
        while write.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    let answer = within(async {
        tokio::select! {
            answer = client::response(&mut read) => answer,
            () = trickle => panic!("the connection is closed"),
        }
    });
    let answer = answer.await;
    assert!(matches!(answer.status, 408 | 504), "{}", answer.status);

    // Frames without bytes are no progress.
    for frame in [b"".as_slice(), b"x"] {
        let client = client::h2(connect(at).await).await;
        let (response, mut stream) = client.post("http://a.example/").await;
        let trickle = async {
            while stream.send_data(Bytes::from_static(frame), false).is_ok() {
                sleep(Duration::from_millis(200)).await;
            }
            std::future::pending().await
        };
        let status = within(async {
            tokio::select! {
                answer = client::finish(response) => answer.unwrap().0,
                () = trickle => 0,
            }
        });
        assert!(matches!(status.await, 408 | 504));
    }
    assert_eq!(up.seen().len(), 0);
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn the_time_for_a_request_includes_its_body() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let timeouts = Timeouts { request: Some(Duration::from_millis(500)), ..Timeouts::default() }.of_rule();
    let at = Site::of(Rule { timeouts, ..spooled(to(up.address)) }).serve(&proxy).await;
    let mut client = hold(at, 100_000).await;
    assert_eq!(client::response(&mut client).await.status, 504);
    let client = client::h2(connect(at).await).await;
    let (response, mut stream) = client.post("http://a.example/").await;
    stream.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(client::finish(response).await.unwrap().0, 504);
    assert_eq!(up.seen().len(), 0);
    nothing_is_held(&proxy).await;
}

/// Sends all of a body but its last byte, and returns the connection.
async fn hold(at: SocketAddr, len: usize) -> TcpStream {
    let wire = with_length("POST", &body(len));
    let mut client = connect(at).await;
    within(client.write_all(&wire[..wire.len() - 1])).await.unwrap();
    client
}

#[tokio::test]
async fn what_does_not_fit_is_a_503_and_others_have_their_share() {
    let up = RawBackend::saying("up").await;
    let of = |namespace: &str| {
        let route =
            portcullis_routing::RouteId { namespace: namespace.into(), ..(*to(up.address).route).clone() };
        spooled(Rule { route: route.into(), ..to(up.address) })
    };
    let site = || {
        use crate::support::site::listener;
        Site::http().add("a.example", listener("a"), "/", of("a")).add(
            "b.example",
            listener("b"),
            "/",
            of("b"),
        )
    };
    let limits = |options: &mut Options| (options.spool_memory, options.spool_bytes) = (400_000, 1 << 20);
    let (with_files, _directory) = start_with_files(limits);
    let memory = start_with(limits);
    for (proxy, len) in [(&memory, 150_000), (&with_files, 400_000)] {
        let at = site().serve(proxy).await;
        let mut held = hold(at, len).await;
        until("the body to be held", || {
            proxy.proxy.spooled_bytes().iter().map(|(_, bytes)| *bytes).sum::<u64>() > len as u64 * 3 / 4
        })
        .await;
        // More than half of all.
        assert_eq!(send(at, &with_length("POST", &body(len))).await.status, 503);
        assert_eq!(send_h2(at, "POST", &body(len), true).await.unwrap().0, 503);
        assert_eq!(proxy.proxy.refused_bodies(), 2);
        // Another tenant.
        let other =
            String::from_utf8(with_length("POST", &body(len / 2))).unwrap().replace("a.example", "b.example");
        assert_eq!(send(at, other.as_bytes()).await.status, 200);
        // What needs no room.
        assert_eq!(send(at, &with_length("POST", b"little")).await.status, 200);
        held.write_all(&body(len)[len - 1..]).await.unwrap();
        assert_eq!(client::response(&mut held).await.status, 200);
        nothing_is_held(proxy).await;
        assert_eq!(send(at, &with_length("POST", &body(len))).await.status, 200);
    }
}

#[tokio::test]
async fn slow_bodies_do_not_stop_those_that_fit_into_files() {
    let up = RawBackend::saying("up").await;
    let (proxy, _directory) = start_with_files(|options| options.spool_memory = 400_000);
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    let mut slow = Vec::new();
    for n in 1..=3 {
        slow.push(hold(at, 64_000).await);
        until("the body to be held", || {
            proxy.proxy.spooled_bytes().iter().map(|(_, bytes)| *bytes).sum::<u64>() > n * 48_000
        })
        .await;
    }
    let body = body(150_000);
    assert_eq!(send(at, &chunked("POST", &body)).await.status, 200);
    assert_whole(&up.last(), &body);
    assert_eq!(send_h2(at, "POST", &body, false).await.unwrap().0, 200);
    assert_whole(&up.last(), &body);
    drop(slow);
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn the_bodies_of_a_connection_are_limited() {
    let up = RawBackend::saying("up").await;
    let (with_files, _directory) = start_with_files(|_| {});
    for (proxy, want) in [(&start(), 503), (&with_files, 200)] {
        let at = Site::of(spooled(to(up.address))).serve(proxy).await;
        let client = client::h2(connect(at).await).await;
        let mut slow = Vec::new();
        for _ in 0..45 {
            let (response, mut stream) = client.post("http://a.example/").await;
            // Without a directory, the last ones are rejected.
            send_frames(&mut stream, &body(90_000)).await;
            slow.push((response, stream));
        }
        // 128 KiB each without a file, 100 KiB with one.
        until("the memory to be used", || proxy.proxy.spooled_bytes()[0].1 > (4 << 20) - (256 << 10)).await;
        assert!(proxy.proxy.spooled_bytes()[0].1 <= 4 << 20);
        let (response, mut stream) = client.post("http://a.example/").await;
        if send_frames(&mut stream, &body(150_000)).await {
            let _ = stream.send_data(Bytes::new(), true);
        }
        assert_eq!(client::finish(response).await.unwrap().0, want);
        // Other connections are not affected.
        assert_eq!(send(at, &chunked("POST", &body(150_000))).await.status, 200);
        drop((slow, client));
        nothing_is_held(proxy).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_is_passed_on() {
    let up =
        RawBackend::start(|_, _| Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly".to_vec()))
            .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let early = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = tcp.read(&mut [0; 512]).await;
                let _ = tcp
                    .write_all(b"HTTP/1.1 401 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")
                    .await;
                // It reads no more of the body.
                std::future::pending::<()>().await;
            });
        }
    });
    let (proxy, _directory) = start_with_files(|_| {});
    let at = Site::of(spooled(to(early))).serve(&proxy).await;
    let answer = send(at, &chunked("POST", &body(1_900_000))).await;
    assert_eq!((answer.status, &*answer.body), (401, "early"));
    nothing_is_held(&proxy).await;
    drop(up);
}

#[tokio::test]
async fn requests_to_h2_backends_are_streamed() {
    let up = H2Backend::start().await;
    let proxy = start();
    let at = Site::of(spooled(rule([share(1, Ok(h2(backend(&[up.address]))))]))).serve(&proxy).await;
    let client = client::h2(connect(at).await).await;
    let (response, mut body) = client.post("http://a.example/").await;
    body.send_data(Bytes::from_static(b"first"), false).unwrap();
    // The backend answers what it gets, before the end.
    let response = within(response).await.unwrap();
    let mut answer = response.into_body();
    assert_eq!(within(answer.data()).await.unwrap().unwrap(), "first");
    body.send_data(Bytes::new(), true).unwrap();
}

#[tokio::test]
async fn the_body_of_an_upgrade_is_spooled() {
    let up = RawBackend::start(|_, seen| match seen.header("x-refuse") {
        Some(_) => ok("up"),
        None => Reply::Echo(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n".to_vec(),
        ),
    })
    .await;
    let (proxy, _directory) = start_with_files(|_| {});
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    for len in [10, 300_000] {
        for (refuse, status) in [("", 101), ("X-Refuse: 1\r\n", 200)] {
            let body = body(len);
            let head = format!("Host: a.example\r\nConnection: Upgrade\r\nUpgrade: chat\r\n{refuse}");
            let wire = String::from_utf8(chunked("POST", &body)).unwrap();
            let wire = wire.replacen("Host: a.example\r\n", &head, 1).into_bytes();
            let before = up.seen().len();
            let (most, last) = wire.split_at(wire.len() - 3);
            let mut client = connect(at).await;
            within(client.write_all(most)).await.unwrap();
            sleep(Duration::from_millis(200)).await;
            assert_eq!(up.seen().len(), before, "{len}");
            client.write_all(last).await.unwrap();
            assert_eq!(client::response(&mut client).await.status, status, "{len}");
            assert_whole(&up.last(), &body);
            if status == 101 {
                client.write_all(b"hello").await.unwrap();
                let mut back = [0; 5];
                within(client.read_exact(&mut back)).await.unwrap();
                assert_eq!(&back, b"hello");
            }
        }
    }
    nothing_is_held(&proxy).await;
}

#[tokio::test]
async fn rules_without_the_step_are_streamed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let got = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"5\r\nhello\r\n") {
            assert_ne!(tcp.read_buf(&mut got).await.unwrap(), 0);
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        String::from_utf8(got).unwrap()
    });
    let proxy = start();
    let rule = Rule { backends: Backends::new([share(1, Ok(backend(&[address])))]), ..to(address) };
    let at = Site::of(rule).serve(&proxy).await;
    let mut client = connect(at).await;
    let wire = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.write_all(wire).await.unwrap();
    assert!(within(got).await.unwrap().to_lowercase().contains("transfer-encoding: chunked"));
}

#[tokio::test]
async fn the_end_of_a_chunked_body_needs_no_memory() {
    let up = RawBackend::saying("up").await;
    // 16 KiB for a body fit, 32 do not.
    let proxy = start_with(|options| options.spool_memory = 40 << 10);
    let at = Site::of(spooled(to(up.address))).serve(&proxy).await;
    assert_eq!(send(at, &chunked("POST", &body(16 << 10))).await.status, 200);
    assert_eq!(send(at, &chunked("POST", &body((16 << 10) + 1))).await.status, 503);
}
