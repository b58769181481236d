//! Which requests are taken, and what the backend is told of them.

use crate::support::{
    client::{connect, exchange, response},
    raw::RawBackend,
    site::{Site, backend, h2, listener, rule, share, to},
    start, start_with, within,
};
use http::HeaderName;
use portcullis_proxy::{Carriers, Options};
use portcullis_routing::{HeaderMatch, ValueMatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Rude by nature: sends these bytes and reads what comes until the end or the first answer.
async fn send(address: std::net::SocketAddr, request: &[u8]) -> crate::support::client::Raw {
    let mut tcp = connect(address).await;
    tcp.write_all(request).await.unwrap();
    response(&mut tcp).await
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_reaches_nobody() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for (request, want) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.example/../x y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.example:port\r\n\r\n", 400),
        ("GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET a/b HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n", 405),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", 204),
    ] {
        assert_eq!(send(at, request.as_bytes()).await.status, want, "{request:?}");
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[tokio::test]
async fn what_is_odd_but_right_is_served() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: A.Example:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "OPTIONS /x HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        assert_eq!(send(at, request.as_bytes()).await.status, 200, "{request:?}");
    }
}

#[tokio::test]
async fn a_backend_is_told_some_host_even_where_the_client_named_none() {
    let (one, two) = (RawBackend::saying("reached").await, crate::support::raw::H2Backend::start().await);
    let proxy = start();
    let to_h2 = rule([share(1, Ok(h2(backend(&[two.address]))))]);
    let at = Site::of(to(one.address)).add("", listener("all"), "/two", to_h2).serve(&proxy).await;
    assert_eq!(send(at, b"GET / HTTP/1.0\r\nX-Forwarded-Host: evil.example\r\n\r\n").await.status, 200);
    let seen = one.last();
    assert_eq!((seen.header("host"), seen.header("x-forwarded-host")), (Some(&*at.to_string()), None));
    let mut tcp = connect(at).await;
    tcp.write_all(b"GET /two HTTP/1.0\r\n\r\n").await.unwrap();
    let mut all = String::new();
    within(tcp.read_to_string(&mut all)).await.unwrap();
    assert!(all.contains(" 200 "), "{all}");
    assert_eq!(two.last().uri.authority().unwrap().as_str(), at.to_string());
}

#[tokio::test]
async fn the_target_is_forwarded_in_origin_form_and_without_dot_segments() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for (target, want) in [
        ("/a?b=c", "/a?b=c"),
        ("http://a.example/x?y", "/x?y"),
        ("http://a.example", "/"),
        ("/a/../b/./c", "/b/c"),
        ("/%61%2Fb%2e", "/%61%2Fb%2e"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/a#fragment", "/a"),
        ("/a?x=%2e%2e/", "/a?x=%2e%2e/"),
    ] {
        send(at, format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes()).await;
        assert_eq!(backend.last().line(), format!("GET {want} HTTP/1.1"), "{target}");
    }
}

#[tokio::test]
async fn a_path_is_matched_in_its_canonical_form() {
    let (open, secret) = (RawBackend::saying("open").await, RawBackend::saying("secret").await);
    let proxy = start();
    let at = Site::of(to(open.address))
        .add("", listener("all"), "/secret", to(secret.address))
        .serve(&proxy)
        .await;
    for target in ["/secret", "/open/../secret", "/%73ecret", "/x/%2e%2e/secret", "/./secret/"] {
        let got = send(at, format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes()).await;
        assert_eq!(got.body, "secret", "{target}");
    }
}

#[tokio::test]
async fn a_length_said_twice_is_forwarded_once() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for lengths in ["Content-Length: 3\r\nContent-Length: 3", "Content-Length: 3, 3"] {
        let request = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{lengths}\r\n\r\nabc");
        assert_eq!(send(at, request.as_bytes()).await.status, 200);
        let seen = backend.last();
        assert_eq!((seen.header("content-length"), &*seen.body), (Some("3"), &b"abc"[..]), "{lengths}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused_or_dropped_and_ends_the_connection() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                   1\r\na\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut tcp = connect(at).await;
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    within(tcp.read_to_end(&mut all)).await.unwrap();
    let all = String::from_utf8(all).unwrap();
    let seen = backend.seen();
    if crate::CARRIERS == Carriers::All {
        assert!(all.starts_with("HTTP/1.1 400") && all.matches("HTTP/1.1").count() == 1, "{all}");
        return assert!(seen.is_empty(), "{seen:?}");
    }
    assert_eq!(all.matches("HTTP/1.1 200").count(), 1, "{all}");
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].header("content-length"), &*seen[0].body), (None, &b"a"[..]));
}

#[tokio::test]
async fn the_backend_is_told_who_asks() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let lies = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n\
                X-Forwarded-Port: 1\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Scheme: https\r\n\
                X-Forwarded-Scheme: https\r\nX_Forwarded_For: 1.2.3.4\r\nX_Custom: kept\r\nX-Request-ID: mine\r\n\
                Proxy: http://evil.example\r\nX-Original-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Prefix: /evil\r\n\
                X_Original-Forwarded_For: 1.2.3.4\r\n";
    // In lower case headers take another way through the proxy.
    for (host, headers) in [("Host", ""), ("Host", lies), ("host", ""), ("host", &*lies.to_lowercase())] {
        send(at, format!("GET / HTTP/1.1\r\n{host}: A.example:8080\r\n{headers}\r\n").as_bytes()).await;
        let seen = backend.last();
        for (name, want) in [
            ("X-Forwarded-For", Some("127.0.0.1")),
            ("X-Real-IP", Some("127.0.0.1")),
            ("X-Forwarded-Proto", Some("http")),
            ("X-Forwarded-Host", Some("A.example:8080")),
            ("X-Forwarded-Port", Some(&*at.port().to_string())),
            ("Host", Some("A.example:8080")),
            ("Forwarded", None),
            ("X-Scheme", None),
            ("X-Forwarded-Scheme", None),
            ("X_Forwarded_For", None),
            ("X-Forwarded-Prefix", None),
            ("X-Original-Forwarded-For", None),
            ("X_Original-Forwarded_For", None),
            ("Proxy", None),
        ] {
            // The client's own address is whatever loopback address the system gave it.
            let want = want.map(|w| w.to_owned());
            let got = seen.header(name).map(str::to_owned);
            match name {
                "X-Forwarded-For" | "X-Real-IP" => {
                    let ip: std::net::IpAddr = got.unwrap().parse().unwrap();
                    assert!(ip.is_loopback(), "{name}");
                }
                _ => assert_eq!(got, want, "{name} with {headers:?}"),
            }
        }
    }
    assert_eq!(backend.last().header("x_custom"), Some("kept"));
    assert_eq!(backend.last().header("x-request-id"), Some("mine"));
    assert_eq!(backend.seen()[0].header("x-request-id").unwrap().len(), 32);
}

#[tokio::test]
async fn names_are_spelt_as_the_client_spells_them() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for (headers, want) in [
        (
            "Host: a.example\r\nX-CamelCase: 1\r\nsoapaction: 2\r\nX-CAMELCASE: 3",
            &["Host", "X-CamelCase", "soapaction", "X-CAMELCASE", "X-Forwarded-For", "X-Request-ID"][..],
        ),
        (
            "host: a.example\r\nx-one: 1\r\ncookie: a=b\r\nx-one: 2",
            match crate::CARRIERS {
                Carriers::All => &["x-one", "cookie", "X-Forwarded-For", "X-Request-ID"],
                Carriers::Pingora => &["x-one", "cookie", "x-forwarded-for", "x-request-id"],
            },
        ),
    ] {
        send(at, format!("GET /a?b=%2F HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes()).await;
        let seen = backend.last();
        assert_eq!(seen.line(), "GET /a?b=%2F HTTP/1.1");
        let names: Vec<_> = seen.head.lines().filter_map(|l| Some(l.split_once(':')?.0)).collect();
        want.iter().for_each(|name| assert!(names.contains(name), "{name} in {names:?}"));
        for sent in headers.lines().filter(|line| !line.starts_with("host")) {
            assert!(seen.head.lines().any(|line| line == sent), "{sent} in {}", seen.head);
        }
    }
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start_with(|options| options.live.trusted = vec![("127.0.0.0".parse().unwrap(), 8)]);
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\
                   X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Prefix: /shop\r\n\
                   X-Original-Forwarded-For: 192.0.2.9\r\nX_Forwarded_For: 192.0.2.9\r\nProxy: x\r\n\r\n";
    send(at, request.as_bytes()).await;
    let seen = backend.last();
    let list = seen.header("X-Forwarded-For").unwrap();
    assert!(list.starts_with("192.0.2.1, 192.0.2.2, 127."), "{list}");
    for (name, want) in [
        ("X-Forwarded-Proto", Some("https")),
        ("X-Forwarded-Host", Some("shop.example")),
        ("X-Forwarded-Prefix", Some("/shop")),
        ("X-Original-Forwarded-For", Some("192.0.2.9")),
        ("X_Forwarded_For", None),
        ("Proxy", None),
    ] {
        assert_eq!(seen.header(name), want, "{name}");
    }
    proxy.proxy.set_live_options(Options::default().live);
    send(at, request.as_bytes()).await;
    let list = backend.last().header("X-Forwarded-For").unwrap().to_owned();
    assert!(list.starts_with("127."), "no longer: {list}");
}

#[tokio::test]
async fn the_client_is_the_last_address_that_a_trusted_proxy_vouches_for() {
    let backend = RawBackend::saying("reached").await;
    let networks = [("127.0.0.0", 8), ("10.0.0.0", 8), ("fd00::", 8)];
    let trusted = networks.map(|(network, length)| (network.parse().unwrap(), length));
    let proxy = start_with(|options| options.live.trusted = trusted.into());
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for (lists, want) in [
        // The proxy in front only appends: what stands before, and X-Real-IP, is the client's invention.
        (&["1.2.3.4, 192.0.2.7"][..], "192.0.2.7"),
        (&["1.2.3.4", "192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (&["1.2.3.4, 192.0.2.7", "::ffff:10.0.0.1, fd00::1"], "192.0.2.7"),
        (&["[2001:db8::7]:4711 , 10.0.0.1:80"], "2001:db8::7"),
        (&["::ffff:192.0.2.7"], "192.0.2.7"),
        (&["192.0.2.7, unknown, 10.0.0.1"], "10.0.0.1"),
        (&["10.0.0.2, 10.0.0.1"], "10.0.0.2"),
    ] {
        let lists: String = lists.iter().map(|list| format!("X-Forwarded-For: {list}\r\n")).collect();
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lists}X-Real-IP: 6.6.6.6\r\n\r\n");
        send(at, request.as_bytes()).await;
        assert_eq!(backend.last().header("X-Real-IP"), Some(want), "{lists}");
    }
    send(at, b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Real-IP: 6.6.6.6\r\n\r\n").await;
    assert!(backend.last().header("X-Real-IP").unwrap().starts_with("127."));
}

#[tokio::test]
async fn blanks_around_a_value_are_no_part_of_it_whatever_the_protocol() {
    let (some, beta) = (RawBackend::saying("some").await, RawBackend::saying("beta").await);
    let proxy = start();
    let value = ValueMatch::Exact("beta".into());
    let header = HeaderMatch { name: HeaderName::from_static("x-version"), value };
    let at = Site::of(to(some.address))
        .add_where("", listener("all"), "/", [header], to(beta.address))
        .serve(&proxy)
        .await;
    for sent in ["beta", " beta", "beta ", "\t beta \t"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Version:{sent}\r\n\r\n");
        assert_eq!(send(at, request.as_bytes()).await.body, "beta", "HTTP/1, {sent:?}");
        let client = crate::support::client::h2(connect(at).await).await;
        let request = http::Request::get("http://a.example/").header("x-version", sent).body(()).unwrap();
        let (response, _) =
            within(client.send.clone().ready()).await.unwrap().send_request(request, true).unwrap();
        assert_eq!(
            crate::support::client::finish(response).await.unwrap(),
            (200, "beta".into()),
            "HTTP/2, {sent:?}"
        );
        let last = beta.last();
        assert!(last.head.contains("\r\nx-version: beta\r\n"), "{}", last.head);
        drop(client.send);
    }
}

#[tokio::test]
async fn hop_by_hop_headers_end_here_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                  Upgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-End: 2\r\n\r\n";
    let backend = RawBackend::start(move |_, _| crate::support::raw::Reply::Bytes(answer.into())).await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                   TE: trailers\r\nProxy-Authorization: secret\r\nProxy-Connection: x\r\nX-End: 2\r\n\r\n";
    let got = send(at, request.as_bytes()).await;
    for name in ["x-hop:", "keep-alive:", "upgrade:", "proxy-authenticate:"] {
        assert!(!got.head.contains(name), "{name} in {}", got.head);
    }
    assert!(got.head.contains("\r\nx-end: 2"), "{}", got.head);
    let seen = backend.last();
    for name in ["X-Hop", "Keep-Alive", "TE", "Proxy-Authorization", "Proxy-Connection"] {
        assert_eq!(seen.all(name), [""; 0], "{name}");
    }
    assert_eq!(seen.header("X-End"), Some("2"));
}

#[tokio::test]
async fn connection_cannot_take_away_what_we_say_of_the_client() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for name in ["X-Forwarded-For", "Host"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: {name}\r\n\r\n");
        assert_eq!(send(at, request.as_bytes()).await.status, 400, "{name}");
    }
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: X-Real-IP\r\nX-Real-IP: 1.2.3.4\r\n\r\n";
    send(at, request.as_bytes()).await;
    assert!(backend.last().header("x-real-ip").unwrap().starts_with("127."));
}

#[tokio::test]
async fn our_own_answers_are_plain_text_and_name_no_software() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::http().add("a.example", listener("a"), "/a", to(backend.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let got = exchange(&mut tcp, "GET /x'script HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(got.status, 404);
    assert!(got.head.contains("content-type: text/plain"), "{}", got.head);
    assert!(!got.head.contains("\r\nserver:"), "{}", got.head);
    assert!(!got.body.contains("script") && got.body.contains("no route"), "{}", got.body);
    // The connection lives on, and an answer to HEAD has no body.
    tcp.write_all(b"HEAD /b HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    within(tcp.read_to_string(&mut all)).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 404") && !all.contains("no route"), "{all}");
    let got = send(at, b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").await;
    assert!(got.head.contains("\r\nallow: ") && !got.head.contains("\r\nserver:"), "{}", got.head);
}
