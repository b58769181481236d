//! External authentication of Ingresses (`auth-url`): a service is asked about each request, as nginx does.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderName, Method};
use portcullis_proxy::{LocalBackends, Own};
use portcullis_routing::{
    ExternalNames, Rule, Template, Timeouts,
    step::{AuthCaching, CacheTime, IngressAuth, OwnUrl, SignIn},
};

use super::http_check::{names, service};
use crate::support::{
    Running,
    client::{connect, exchange, get, h2 as h2_client},
    raw::{H2Backend, RawBackend, Reply, Seen, status},
    site::{Site, auth_url, backend, checked, h2, ingress, listener, refusing, rule, share, to},
    start, start_with,
};

fn template(text: &str) -> Template {
    Template::parse(text, &[]).unwrap()
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(text.into())
}

fn caching(place: &str, key: &str) -> Option<AuthCaching> {
    let times = [CacheTime { statuses: Some([200, 401].into()), time: Duration::from_secs(60) }].into();
    Some(AuthCaching { key: template(key), times, place: place.into() })
}

/// The status of an answer to a request on a connection of its own.
async fn status_of(at: SocketAddr, path: &str) -> u16 {
    get(&mut connect(at).await, "a.example", path).await.status
}

#[tokio::test]
async fn the_service_gets_the_clients_headers_and_the_backend_what_the_service_says() {
    let said = "HTTP/1.1 200 OK\r\nX-User: jo\r\nX-Role: a\r\nX-Role: b\r\nX-Other: no\r\nContent-Length: 2\r\n\r\nhi";
    let (auth, up) = (service(|_| Some(bytes(said))).await, RawBackend::saying("up").await);
    let proxy = start();
    let by = IngressAuth {
        answer_headers: names(["x-user", "x-role", "x-none"]),
        ..auth_url(auth.address, "/check?a=b")
    };
    let at = Site::of(checked(by, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let request = "POST /a/../b?q=%2e HTTP/1.1\r\nHost: A.example:81\r\nAuthorization: Basic eDp5\r\nCookie: c=d\r\n\
                   X-User: admin\r\nX-None: root\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: evil\r\n\
                   X-Original-URL: http://evil/\r\nX-Original-URI: /evil\r\nX_Original_URL: http://evil/\r\n\
                   X-Forwarded-Uri: /evil\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
                   X-Portcullis-Checked: a\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    // Twice: the body of the first answer must not be left on the connection.
    for _ in 0..2 {
        assert_eq!(exchange(&mut client, request).await.body, "up");
        let (asked, sent) = (auth.last(), up.last());
        assert_eq!((asked.line(), &*asked.body), ("GET /check?a=b HTTP/1.1", &b""[..]));
        for (name, want) in [
            ("host", Some("127.0.0.1")),
            ("x-original-url", Some("http://A.example:81/a/../b?q=%2e")),
            ("x-original-method", Some("POST")),
            ("x-sent-from", Some("nginx-ingress-controller")),
            ("x-real-ip", Some("127.0.0.1")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-auth-request-redirect", Some("/a/../b?q=%2e")),
            ("authorization", Some("Basic eDp5")),
            ("cookie", Some("c=d")),
            ("x-user", Some("admin")),
            ("content-type", Some("text/plain")),
            ("content-length", None),
            ("x-original-uri", None),
            ("x_original_url", None),
            ("x-forwarded-proto", None),
            ("x-forwarded-host", None),
            ("x-forwarded-port", None),
            ("x-forwarded-uri", None),
            ("x-scheme", None),
            ("x-hop", None),
            ("te", None),
            ("x-portcullis-checked", None),
        ] {
            assert_eq!(asked.header(name), want, "{name}");
        }
        assert_eq!((sent.line(), &*sent.body), ("POST /b?q=%2e HTTP/1.1", &b"hello"[..]));
        assert_eq!((sent.header("x-user"), sent.header("x-role")), (Some("jo"), Some("a, b")));
        assert_eq!((sent.header("x-none"), sent.header("x-other")), (None, None));
        assert_eq!(sent.header("x-portcullis-checked"), None);
        assert_eq!(asked.header("x-request-id").map(str::len), Some(32));
        assert_eq!(sent.header("x-request-id"), asked.header("x-request-id"), "one request, one identifier");
    }
}

#[tokio::test]
async fn a_method_of_its_own_tells_more() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start();
    let by = IngressAuth { method: Some(Method::POST), ..auth_url(auth.address, "/check") };
    let at = Site::of(checked(by, to(up.address))).serve(&proxy).await;
    assert_eq!(status_of(at, "/a?b").await, 200);
    let asked = auth.last();
    assert_eq!((asked.line(), asked.header("content-length")), ("POST /check HTTP/1.1", Some("0")));
    assert_eq!((asked.header("x-original-uri"), asked.header("x-scheme")), (Some("/a?b"), Some("http")));
    assert_eq!(up.last().line(), "GET /a?b HTTP/1.1");
}

#[tokio::test]
async fn only_what_the_service_lets_pass_reaches_the_backend() {
    let auth = service(|line| match line {
        line if line.contains("/401") => Some(bytes(
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: a=1\r\nContent-Length: 6\r\n\r\nsecret",
        )),
        line if line.contains("/302") => {
            Some(bytes("HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n"))
        }
        line if line.contains("/close") => Some(Reply::Close),
        line if line.contains("/broken") => Some(Reply::Last(b"nonsense\r\n\r\n".into())),
        line if line.contains("/late") => Some(Reply::Hang(Vec::new())),
        line if line.contains("/half") => Some(Reply::Hang(b"HTTP/1.1 200 OK\r\nX-User: j".into())),
        _ => Some(status(403)),
    });
    let (auth, up) = (auth.await, RawBackend::saying("up").await);
    let proxy = start();
    let by = || auth_url(auth.address, "$uri");
    let at = Site::of(checked(by(), to(up.address))).serve(&proxy).await;
    let answer = get(&mut connect(at).await, "a.example", "/401").await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.to_lowercase().contains("\r\nwww-authenticate: bearer\r\n"), "{}", answer.head);
    assert!(!answer.head.to_lowercase().contains("set-cookie"), "{}", answer.head);
    assert!(!answer.body.contains("secret"), "the service's body is its own");
    let answer = get(&mut connect(at).await, "a.example", "/302").await;
    assert_eq!(answer.status, 500);
    assert!(!answer.head.to_lowercase().contains("location"), "{}", answer.head);
    for (path, want) in [("/close", 500), ("/broken", 500), ("/403", 403)] {
        assert_eq!(status_of(at, path).await, want, "{path}");
    }
    let timeouts = Timeouts { request: Some(Duration::from_millis(300)), ..Timeouts::default() }.of_rule();
    let limited = Rule { timeouts, ..to(up.address) };
    let at = Site::of(checked(by(), limited)).serve(&proxy).await;
    for path in ["/late", "/half"] {
        assert_eq!(status_of(at, path).await, 504, "{path}");
    }
    let at = Site::of(checked(auth_url(refusing(), "/"), to(up.address))).serve(&proxy).await;
    assert_eq!(status_of(at, "/").await, 500, "nobody listens");
    assert!(up.seen().is_empty());
}

/// The head decides; nobody waits for a body that nobody reads.
#[tokio::test]
async fn the_body_of_an_answer_holds_nobody_up() {
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(200_000));
    let auth = service(move |line| match line {
        line if line.contains("/huge") => Some(Reply::Hang(huge.clone().into())),
        line if line.contains("/endless") => {
            Some(Reply::Hang(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".into()))
        }
        _ => None,
    });
    let (auth, up) = (auth.await, RawBackend::saying("up").await);
    let proxy = start();
    let at = Site::of(checked(auth_url(auth.address, "$uri"), to(up.address))).serve(&proxy).await;
    for path in ["/huge", "/endless", "/plain"] {
        assert_eq!(status_of(at, path).await, 200, "{path}");
    }
    let seen: Vec<Seen> = auth.seen();
    let on = |n: usize| seen[n].connection;
    assert!(on(0) != on(1) && on(1) != on(2), "a connection with an answer on it carries no other request");
}

#[tokio::test]
async fn headers_of_one_connection_are_no_answer() {
    let said =
        "HTTP/1.1 200 OK\r\nConnection: X-User\r\nX-User: root\r\nKeep-Alive: x\r\nContent-Length: 0\r\n\r\n";
    let (auth, up) = (service(|_| Some(bytes(said))).await, RawBackend::saying("up").await);
    let proxy = start();
    let by = IngressAuth { answer_headers: names(["x-user"]), ..auth_url(auth.address, "/") };
    let at = Site::of(checked(by, to(up.address))).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-User: admin\r\n\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.status, 200);
    assert_eq!(up.last().header("x-user"), None);
}

#[tokio::test]
async fn cookies_of_the_service_reach_the_client_as_one() {
    let said = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nContent-Length: 0\r\n\r\n";
    let auth = service(|_| Some(bytes(said))).await;
    let own =
        |code: u16| bytes(&format!("HTTP/1.1 {code} Own\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n"));
    let up =
        RawBackend::start(move |_, seen| own(if seen.line().contains("/404") { 404 } else { 200 })).await;
    let gone = refusing();
    let proxy = start();
    let by = |always| IngressAuth { always_set_cookie: always, ..auth_url(auth.address, "/") };
    let at = Site::http()
        .add("", listener("all"), "/always", checked(by(true), to(up.address)))
        .add("", listener("all"), "/gone", checked(by(false), to(gone)))
        .add("", listener("all"), "/always/gone", checked(by(true), to(gone)))
        .add("", listener("all"), "/", checked(by(false), to(up.address)))
        .serve(&proxy)
        .await;
    let own = "set-cookie: own=1";
    let both = "set-cookie: own=1, set-cookie: a=1, b=2; path=/";
    for (path, status, want) in [
        ("/", 200, both),
        ("/404", 404, own),
        ("/always", 200, both),
        ("/always/404", 404, both),
        ("/gone", 502, ""),
        ("/always/gone", 502, "set-cookie: a=1, b=2; path=/"),
    ] {
        let answer = get(&mut connect(at).await, "a.example", path).await;
        let head = answer.head.to_lowercase();
        let cookies: Vec<_> = head.lines().filter(|line| line.starts_with("set-cookie")).collect();
        assert_eq!((answer.status, &*cookies.join(", ")), (status, want), "{path}");
        let mut client = h2_client(connect(at).await).await;
        assert_eq!(client.get(&format!("http://a.example{path}")).await.unwrap().0, status, "{path}");
    }
}

#[tokio::test]
async fn no_variable_adds_a_header() {
    let (auth, up) = (service(|_| Some(status(401))).await, RawBackend::saying("up").await);
    let proxy = start();
    let by = IngressAuth {
        set_headers: [(HeaderName::from_static("x-path"), template("$uri"))].into(),
        redirect: Some(template("$uri")),
        sign_in: Some(SignIn { url: template("http://login/?to=$uri"), own: OwnUrl::default() }),
        ..auth_url(auth.address, "/check$uri")
    };
    let at = Site::http()
        .add("a.example", ingress("a.example"), "/", checked(by, to(up.address)))
        .serve(&proxy)
        .await;
    let path = "/a%0d%0aX-Evil:%201%0d%0a%0d%0aGET%20/evil";
    let answer = get(&mut connect(at).await, "a.example", path).await;
    assert_eq!(answer.status, 302, "{}", answer.head);
    assert!(!answer.head.contains("\nX-Evil"), "{}", answer.head);
    let asked = auth.last();
    assert_eq!(asked.header("x-evil"), None);
    assert!(asked.line().starts_with("GET /check/a%0D%0AX-Evil:%201"), "{}", asked.line());
    assert_eq!(auth.seen().len(), 1);
}

#[tokio::test]
async fn requests_over_http2_and_to_http2_backends_are_checked() {
    let auth = service(|line| line.contains("/no").then(|| status(403))).await;
    let (up, up2) = (RawBackend::saying("up").await, H2Backend::start().await);
    let proxy = start();
    let to_h2 = rule([share(1, Ok(h2(backend(&[up2.address]))))]);
    for rule in [to(up.address), to_h2] {
        let by = IngressAuth { answer_headers: names(["x-user"]), ..auth_url(auth.address, "/check$uri") };
        let at = Site::of(checked(by, rule)).serve(&proxy).await;
        assert_eq!(status_of(at, "/no").await, 403);
        let mut client = h2_client(connect(at).await).await;
        assert_eq!(client.get("http://a.example/no").await.unwrap().0, 403);
        assert_eq!(client.get("http://a.example/yes?x").await.unwrap().0, 200);
        let asked = auth.last();
        assert_eq!(asked.line(), "GET /check/yes HTTP/1.1");
        assert_eq!(asked.header("x-original-url"), Some("http://a.example/yes?x"));
        assert_eq!(asked.header("x-forwarded-host"), None);
    }
    assert_eq!((up.seen().len(), up2.seen().len()), (1, 1));
}

/// The number of requests that the proxy has answered.
fn answered(proxy: &Running) -> u64 {
    proxy.proxy.answered().iter().sum()
}

#[tokio::test]
async fn a_service_behind_our_own_listener_is_asked_and_a_circle_ends() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start();
    let port = proxy.port();
    let us = proxy.at(port);
    let table = Site::http()
        .add("", listener("all"), "/oauth2", to(auth.address))
        .add("", listener("all"), "/circle", checked(auth_url(us, "/circle"), to(up.address)))
        .add("", listener("all"), "/", checked(auth_url(us, "/oauth2/auth"), to(up.address)))
        .table(port);
    proxy.serve_http(table).await;
    assert_eq!(status_of(us, "/page").await, 200);
    assert_eq!(auth.last().line(), "GET /oauth2/auth HTTP/1.1");
    assert_eq!(auth.last().header("x-portcullis-checked"), None, "that is said to proxies alone");
    assert_eq!(up.seen().len(), 1);
    let answer = get(&mut connect(us).await, "a.example", "/circle").await;
    assert_eq!(answer.status, 500);
    // The check had an answer: that of a check of it, which was refused one more.
    assert!(answer.body.contains("responds with neither 2xx nor 401 nor 403"), "{}", answer.body);
    let requests = answered(&proxy);
    assert!(requests <= 5, "two before; then the client's, a check, and a check of it: {requests}");
    assert_eq!(up.seen().len(), 1);
}

#[tokio::test]
async fn a_check_goes_nowhere_that_it_may_not_go() {
    let (admin, up) = (RawBackend::saying("secrets").await, RawBackend::saying("up").await);
    let in_a_cluster = start_with(|o| o.local_backends = LocalBackends::Refused);
    let in_a_folder = start();
    in_a_folder.proxy.set_own(Own { admin: Some(admin.address), ..Own::default() });
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    for (proxy, service, reason) in [
        (&in_a_cluster, admin.address, "loopback"),
        (&in_a_cluster, metadata, "link-local"),
        (&in_a_folder, admin.address, "own"),
        (&in_a_folder, metadata, "link-local"),
    ] {
        let at = Site::of(checked(auth_url(service, "/"), to(up.address))).serve(proxy).await;
        assert_eq!(status_of(at, "/").await, 500, "{service}");
        let refused = proxy.proxy.refused_addresses();
        assert!(refused.iter().any(|(name, count)| *name == reason && *count > 0), "{service}: {refused:?}");
    }
    let none = start_with(|o| o.external_names = ExternalNames::None);
    let at = Site::of(checked(auth_url(admin.address, "/"), to(up.address))).serve(&none).await;
    assert_eq!(status_of(at, "/").await, 500);
    let operators = IngressAuth { namespace: None, ..auth_url(admin.address, "/") };
    let at = Site::of(checked(operators, to(up.address))).serve(&none).await;
    assert_eq!(status_of(at, "/").await, 200, "the operator is not held to what tenants are");
    assert_eq!(admin.seen().len(), 1);
}

#[tokio::test]
async fn answers_are_kept_for_requests_of_the_same_key_and_place() {
    let auth = RawBackend::start(|_, seen| match seen.header("cookie") {
        Some("s=good") => bytes("HTTP/1.1 200 OK\r\nX-User: jo\r\nContent-Length: 0\r\n\r\n"),
        Some("s=cookie") => bytes("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"),
        Some("s=private") => bytes("HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 0\r\n\r\n"),
        Some("s=admin") => status(403),
        Some("s=broken") => status(500),
        _ => status(401),
    });
    let (auth, up) = (auth.await, RawBackend::saying("up").await);
    let proxy = start();
    let by = |place: &str, key: &str| IngressAuth {
        answer_headers: names(["x-user"]),
        caching: caching(place, key),
        ..auth_url(auth.address, "/")
    };
    let site = || {
        Site::http().add("", listener("all"), "/a", checked(by("a", "$cookie_s"), to(up.address))).add(
            "",
            listener("all"),
            "/b",
            checked(by("b", "$cookie_s"), to(up.address)),
        )
    };
    let mut at = site().serve(&proxy).await;
    let mut asked = 0;
    for (path, cookie, want, asks) in [
        ("/a", "s=good", 200, true),
        ("/a/x", "s=good", 200, false),
        ("/b", "s=good", 200, true),
        ("/b", "s=good", 200, false),
        ("/a", "s=bad", 401, true),
        ("/a", "s=bad", 401, false),
        ("/a", "s=good", 200, false),
        ("/a", "s=admin", 403, true),
        ("/a", "s=admin", 403, true),
        ("/a", "s=broken", 500, true),
        ("/a", "s=broken", 500, true),
        ("/a", "s=cookie", 200, true),
        ("/a", "s=cookie", 200, true),
        ("/a", "s=private", 200, true),
        ("/a", "s=private", 200, true),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a.example\r\nCookie: {cookie}\r\nX-User: root\r\nRange: bytes=0-1\r\n\r\n"
        );
        assert_eq!(exchange(&mut connect(at).await, &request).await.status, want, "{path} {cookie}");
        asked += usize::from(asks);
        assert_eq!(auth.seen().len(), asked, "{path} {cookie}");
        if cookie == "s=good" {
            assert_eq!(up.last().header("x-user"), Some("jo"), "{path} {cookie}");
        }
        assert_eq!(auth.last().header("range"), None, "a part of an answer is none for others");
    }
    // They outlive the table.
    at = site().serve(&proxy).await;
    let request = "GET /a HTTP/1.1\r\nHost: a.example\r\nCookie: s=good\r\n\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.status, 200);
    assert_eq!(auth.seen().len(), asked);
}
