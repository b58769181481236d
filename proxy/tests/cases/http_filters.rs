//! What filters do to requests and answers.

use crate::support::{
    client::{connect, exchange, get},
    pki::{self, Key},
    raw::{H2Backend, RawBackend, Reply},
    site::{Site, backend, h2, listener, refusing, rule, share, to},
    start, start_with, until,
};
use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_routing::{
    Backend, BackendError, PortKey, Rule, Step, Steps, Template,
    step::{Cors, HeaderModifier, HeaderTemplates, Mirror, PathRewrite, Redirect, UrlRewrite},
};

fn with(rule: Rule, steps: impl IntoIterator<Item = Step>) -> Rule {
    Rule { steps: Steps::new(steps), ..rule }
}

fn modifier(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderModifier {
    let name = |n: &str| n.parse::<HeaderName>().unwrap();
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(n, v)| (name(n), HeaderValue::from_str(v).unwrap())).collect()
    };
    let remove: Vec<_> = remove.iter().map(|n| name(n)).collect();
    HeaderModifier::new(pairs(set), pairs(add), remove).unwrap()
}

#[tokio::test]
async fn headers_are_changed_both_ways_by_the_rule_and_then_by_the_backend() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Secret: 1\r\nX-Said: backend\r\n\r\n";
    let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
    let proxy = start();
    let mut choice = share(1, Ok(backend(&[up.address])));
    choice.steps = Steps::new([
        Step::RequestHeaders(modifier(&[("x-set", "backend")], &[("x-add", "backend")], &[])),
        Step::ResponseHeaders(modifier(&[("x-said", "filter")], &[], &[])),
    ]);
    let of_rule = modifier(&[("x-set", "rule"), ("x-rule", "1")], &[("x-add", "rule")], &["x-gone"]);
    let of_answer = modifier(&[], &[("x-said", "too")], &["x-secret"]);
    let rule = with(rule([choice]), [Step::RequestHeaders(of_rule), Step::ResponseHeaders(of_answer)]);
    let at = Site::of(rule).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Gone: 1\r\nX-Set: client\r\nX-Add: client\r\n\r\n";
    let got = exchange(&mut connect(at).await, request).await;
    let seen = up.last();
    assert_eq!(seen.all("x-set"), ["backend"]);
    assert_eq!(seen.all("x-add"), ["client", "rule", "backend"]);
    assert_eq!((seen.header("x-rule"), seen.header("x-gone")), (Some("1"), None));
    assert!(!got.head.contains("x-secret") && got.head.contains("\r\nx-said: filter\r\n"), "{}", got.head);
    assert!(!got.head.contains("x-said: backend") && !got.head.contains("x-said: too"), "{}", got.head);
}

#[tokio::test]
async fn headers_with_variables_are_set_both_ways_and_in_answers_of_the_proxy() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Said: backend\r\nX-Empty: 1\r\n\r\n";
    let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
    let proxy = start();
    let templates = |headers: &[(&'static str, &str)]| {
        let parse = |(name, text): &(&'static str, &str)| {
            (HeaderName::from_static(name), Template::parse(text, &[]).unwrap())
        };
        HeaderTemplates::new(headers.iter().map(parse).collect::<Vec<_>>()).unwrap()
    };
    let sent = templates(&[("x-target", "to $request_uri"), ("x-none", "$arg_none"), ("x-fixed", "$scheme")]);
    let of_answers =
        templates(&[("x-said", "$request_method $host"), ("x-empty", "$arg_none"), ("x-own", "$uri")]);
    let fixed = Step::AnswerHeaders(modifier(&[("x-own", "fixed")], &[], &[]));
    let steps =
        || [Step::RequestTemplates(sent.clone()), Step::AnswerTemplates(of_answers.clone()), fixed.clone()];
    let redirect = Step::Redirect(Box::new(Redirect {
        scheme: None,
        hostname: Some("b.example".into()),
        port: None,
        path: None,
        status: StatusCode::FOUND,
    }));
    let site = Site::of(with(to(up.address), steps())).add(
        "away.example",
        listener("away"),
        "/",
        with(rule([]), steps().into_iter().chain([redirect])),
    );
    let at = site.serve(&proxy).await;
    for (host, status) in [("a.example", 200), ("away.example", 302)] {
        let request = format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nX-Target: client\r\nX-None: 1\r\n\r\n");
        let got = exchange(&mut connect(at).await, &request).await;
        assert_eq!(got.status, status);
        // The client of the test reads heads in lower case.
        let said = format!("\r\nx-said: get {host}\r\n");
        // A fixed value of the rule takes precedence.
        assert!(got.head.contains(&said) && got.head.contains("\r\nx-own: fixed\r\n"), "{}", got.head);
        assert!(!got.head.contains("backend") && !got.head.contains("x-empty"), "{}", got.head);
    }
    let seen = up.last();
    assert_eq!((seen.all("x-target"), seen.header("x-none")), (vec!["to /a?b=c"], None));
    assert_eq!(seen.header("x-fixed"), Some("http"));
}

/// For proxies in front that pass on what their clients invent (docs/install.md).
#[tokio::test]
async fn a_rule_may_take_away_or_set_what_a_trusted_proxy_says_of_the_client() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|options| options.live.trusted = vec![("127.0.0.0".parse().unwrap(), 8)]);
    let taken = modifier(&[("x-forwarded-port", "443")], &[], &["x-forwarded-host", "x-forwarded-prefix"]);
    let at = Site::of(with(to(up.address), [Step::RequestHeaders(taken)])).serve(&proxy).await;
    let invented = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\n";
    for sent in [invented, ""] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{sent}\r\n");
        assert_eq!(exchange(&mut connect(at).await, &request).await.status, 200);
        let seen = up.last();
        let got =
            ["host", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"].map(|name| seen.all(name));
        assert_eq!(got, [vec!["a.example"], vec![], vec!["443"], vec![]], "{}", seen.head);
    }
}

#[tokio::test]
async fn host_and_path_are_rewritten_and_the_query_stays() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    for (path, request, want) in [
        (Some(PathRewrite::Prefix("/v2".into())), "/api/x?q=1", "/v2/x?q=1"),
        (Some(PathRewrite::Prefix("".into())), "/api", "/"),
        (Some(PathRewrite::Prefix("".into())), "/api/x", "/x"),
        (Some(PathRewrite::Full("/whole".into())), "/api/x?q", "/whole?q"),
        (None, "/api/x", "/api/x"),
    ] {
        let rewrite = UrlRewrite { hostname: Some("new.example".into()), path };
        let rule = with(to(up.address), [Step::Rewrite(Box::new(rewrite.clone()))]);
        let at = Site::http().add("", listener("all"), "/api", rule).serve(&proxy).await;
        assert_eq!(get(&mut connect(at).await, "a.example", request).await.status, 200);
        let seen = up.last();
        assert_eq!(seen.line(), format!("GET {want} HTTP/1.1"), "{rewrite:?}");
        assert_eq!(seen.header("host"), Some("new.example"));
        assert_eq!(seen.header("x-forwarded-host"), Some("a.example"));
    }
}

#[tokio::test]
async fn a_rewrite_reaches_h2_backends_too() {
    let up = H2Backend::start().await;
    let proxy = start();
    let rewrite =
        UrlRewrite { hostname: Some("new.example".into()), path: Some(PathRewrite::Prefix("/v2".into())) };
    let rule = with(rule([share(1, Ok(h2(backend(&[up.address]))))]), [Step::Rewrite(Box::new(rewrite))]);
    let at = Site::http().add("", listener("all"), "/api", rule).serve(&proxy).await;
    get_any(at, "/api/x?q").await;
    let mut client = crate::support::client::h2(connect(at).await).await;
    client.get("http://a.example/api/x?q").await.unwrap();
    for seen in up.seen() {
        assert_eq!(seen.uri, "http://new.example/v2/x?q", "{seen:?}");
    }
    assert_eq!(up.seen().len(), 2);
}

/// Only the request matters.
async fn get_any(at: std::net::SocketAddr, path: &str) {
    let url = format!("http://{at}{path}");
    let client = reqwest::Client::new();
    crate::support::within(client.get(url).header("host", "a.example").send()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_answers_by_itself() {
    let proxy = start();
    let redirect = |change: fn(&mut Redirect)| {
        let mut redirect =
            Redirect { scheme: None, hostname: None, port: None, path: None, status: StatusCode::FOUND };
        change(&mut redirect);
        with(rule([]), [Step::Redirect(Box::new(redirect))])
    };
    for (rule, status, location) in [
        (redirect(|r| r.scheme = Some("https".into())), 302, "https://a.example/old/x?q".to_owned()),
        (redirect(|r| r.hostname = Some("b.example".into())), 302, "http://b.example:PORT/old/x?q".into()),
        (redirect(|r| r.port = Some(8443)), 302, "http://a.example:8443/old/x?q".into()),
        (
            redirect(|r| r.status = StatusCode::PERMANENT_REDIRECT),
            308,
            "http://a.example:PORT/old/x?q".into(),
        ),
        (
            redirect(|r| r.path = Some(PathRewrite::Prefix("/new".into()))),
            302,
            "http://a.example:PORT/new/x?q".into(),
        ),
    ] {
        let at = Site::http().add("", listener("all"), "/old", rule).serve(&proxy).await;
        let mut tcp = connect(at).await;
        // A body that nobody wants does not disturb the next request.
        let got = exchange(&mut tcp, "GET /old/x?q HTTP/1.1\r\nHost: a.example:1\r\n\r\n").await;
        let want = location.replace("PORT", &at.port().to_string());
        assert_eq!(got.status, status);
        assert!(got.head.contains(&format!("\r\nlocation: {want}\r\n")), "{want} in {}", got.head);
        assert_eq!(get(&mut tcp, "a.example", "/old").await.status, status);
    }
}

#[tokio::test]
async fn a_port_is_the_one_that_clients_connect_to() {
    let (proxy, backend) = (start(), RawBackend::saying("reached").await);
    let redirect = |scheme: Option<&str>| Redirect {
        scheme: scheme.map(Into::into),
        hostname: None,
        port: None,
        path: None,
        status: StatusCode::FOUND,
    };
    // Behind a Service clients connect to the listener's own port; without one, to that and an offset.
    for (number, offset, told, here, https) in [
        (80, 0, "80", "http://a.example/here", "https://a.example/https"),
        (8080, 0, "8080", "http://a.example:8080/here", "https://a.example/https"),
        (80, 8000, "8080", "http://a.example:8080/here", "https://a.example:8443/https"),
    ] {
        let port = proxy.port();
        let site = Site::http()
            .add("", listener("all"), "/", to(backend.address))
            .add("", listener("all"), "/here", with(rule([]), [Step::Redirect(Box::new(redirect(None)))]))
            .add(
                "",
                listener("all"),
                "/https",
                with(rule([]), [Step::Redirect(Box::new(redirect(Some("https"))))]),
            );
        let mut table = site.table(port);
        let served = std::sync::Arc::make_mut(table.ports.get_mut(&PortKey::tcp(port)).unwrap());
        (served.number, served.offset) = (number, offset);
        proxy.serve_http(table).await;
        let mut tcp = connect(proxy.at(port)).await;
        get(&mut tcp, "a.example", "/").await;
        assert_eq!(backend.last().header("x-forwarded-port"), Some(told));
        for (path, want) in [("/here", here), ("/https", https)] {
            let got = get(&mut tcp, "a.example", path).await;
            assert!(got.head.contains(&format!("\r\nlocation: {want}\r\n")), "{want} in {}", got.head);
        }
    }
}

#[tokio::test]
async fn a_redirect_knows_the_scheme_that_a_trusted_peer_tells() {
    let proxy = start_with(|options| options.live.trusted = vec![("127.0.0.0".parse().unwrap(), 8)]);
    let redirect = Redirect {
        scheme: None,
        hostname: Some("b.example".into()),
        port: None,
        path: None,
        status: StatusCode::FOUND,
    };
    let at = Site::of(with(rule([]), [Step::Redirect(Box::new(redirect))])).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\n\r\n";
    let got = exchange(&mut connect(at).await, request).await;
    assert!(got.head.contains("\r\nlocation: https://b.example/\r\n"), "{}", got.head);
}

fn cors() -> Cors {
    Cors {
        allow_origins: ["https://page.example".into()].into(),
        allow_credentials: true,
        allow_methods: ["GET".into(), "PUT".into()].into(),
        allow_headers: ["X-Mine".into()].into(),
        expose_headers: ["X-Shown".into()].into(),
        max_age: HeaderValue::from_static("60"),
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_backend() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(with(to(up.address), [Step::Cors(cors().into())])).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: a.example\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\r\n"
        )
    };
    let got = exchange(&mut tcp, &preflight("https://page.example")).await;
    assert_eq!(got.status, 204);
    for line in [
        "access-control-allow-origin: https://page.example",
        "access-control-allow-credentials: true",
        "access-control-allow-methods: get, put",
        "access-control-max-age: 60",
    ] {
        assert!(got.head.contains(&format!("\r\n{line}\r\n")), "{line} in {}", got.head);
    }
    let got = exchange(&mut tcp, &preflight("https://other.example")).await;
    assert!(!got.head.contains("access-control-allow"), "{}", got.head);
    assert!(up.seen().is_empty());
    // Without what makes it a preflight it is the backend's.
    let got = exchange(&mut tcp, "OPTIONS / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!((got.status, up.seen().len()), (200, 1));
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers_and_errors() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\r\n";
    let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
    let proxy = start();
    let cors = |rule| with(rule, [Step::Cors(cors().into())]);
    let at = Site::of(cors(to(up.address)))
        .add("", listener("all"), "/none", cors(rule([share(1, Ok(backend(&[])))])))
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    for (path, status) in [("/", 200), ("/none", 503)] {
        let request = |origin| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nOrigin: {origin}\r\n\r\n");
        let got = exchange(&mut tcp, &request("https://page.example")).await;
        assert_eq!(got.status, status);
        assert!(
            got.head.contains("\r\naccess-control-allow-origin: https://page.example\r\n"),
            "{}",
            got.head
        );
        assert!(!got.head.contains("allow-origin: *"), "{}", got.head);
        let got = exchange(&mut tcp, &request("https://other.example")).await;
        assert!(!got.head.contains("access-control-allow-origin"), "{}", got.head);
    }
}

fn mirror(backend: Result<Backend, BackendError>, numerator: u32, denominator: u32) -> Mirror {
    Mirror { backend: backend.map(std::sync::Arc::new), numerator, denominator }
}

#[tokio::test]
async fn mirrors_get_the_request_and_the_client_gets_the_backends_answer() {
    let up = RawBackend::saying("up").await;
    let (one, two) = (RawBackend::saying("one").await, RawBackend::start(|_, _| Reply::Close).await);
    let proxy = start();
    let mirrors = [
        mirror(Ok(backend(&[one.address])), 1, 1),
        mirror(Ok(backend(&[two.address])), 100, 100),
        mirror(Ok(backend(&[refusing()])), 1, 1),
        mirror(Err(BackendError::NotFound("test/gone".into())), 1, 1),
    ];
    let at = Site::of(with(to(up.address), mirrors.map(|mirror| Step::Mirror(Box::new(mirror)))))
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    let requests = [
        "POST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nX-Mine: 1\r\n\r\nhello",
        "POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "GET /d HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ];
    for request in requests {
        assert_eq!(exchange(&mut tcp, request).await.body, "up");
    }
    for copy in [&one, &two] {
        let mut seen: Vec<_> =
            copy.has_seen(3).await.iter().map(|s| (s.line().to_owned(), s.body.clone())).collect();
        seen.sort();
        let want = [("GET /d HTTP/1.1", ""), ("POST /a?b HTTP/1.1", "hello"), ("POST /c HTTP/1.1", "abcde")];
        assert_eq!(seen, want.map(|(line, body)| (line.to_owned(), body.as_bytes().to_vec())));
    }
    let first = one.seen().into_iter().find(|s| s.line().contains("/a?b")).unwrap();
    assert_eq!((first.header("host"), first.header("x-mine")), (Some("a.example"), Some("1")));
}

#[tokio::test]
async fn a_mirror_may_speak_another_protocol() {
    let (plain, two) = (RawBackend::saying("up").await, H2Backend::start().await);
    let proxy = start();
    let to_h2 = [mirror(Ok(h2(backend(&[two.address]))), 1, 1)];
    let at = Site::of(with(to(plain.address), to_h2.map(|mirror| Step::Mirror(Box::new(mirror)))))
        .serve(&proxy)
        .await;
    let request =
        "POST /a?b HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.body, "up");
    until("the mirror has it", || !two.seen().is_empty()).await;
    assert_eq!(two.last().uri, "http://a.example/a?b");
    // And the other way round.
    let copy = RawBackend::saying("copy").await;
    let to_h1 = [mirror(Ok(backend(&[copy.address])), 1, 1)];
    let rule = with(
        rule([share(1, Ok(h2(backend(&[two.address]))))]),
        to_h1.map(|mirror| Step::Mirror(Box::new(mirror))),
    );
    let at = Site::of(rule).serve(&proxy).await;
    crate::support::client::h2(connect(at).await).await.get("http://b.example/c").await.unwrap();
    let seen = copy.has_seen(1).await;
    assert_eq!((seen[0].line(), seen[0].header("host")), ("GET /c HTTP/1.1", Some("b.example")));
}

#[tokio::test]
async fn a_mirror_gets_its_percentage() {
    let (up, copy, never) =
        (RawBackend::saying("up").await, RawBackend::saying("copy").await, RawBackend::saying("never").await);
    let proxy = start();
    let mirrors = [mirror(Ok(backend(&[copy.address])), 1, 4), mirror(Ok(backend(&[never.address])), 0, 100)];
    let at = Site::of(with(to(up.address), mirrors.map(|mirror| Step::Mirror(Box::new(mirror)))))
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    for _ in 0..400 {
        get(&mut tcp, "a.example", "/").await;
    }
    // 100 on average; six standard deviations either way.
    copy.has_seen(48).await;
    assert!(copy.seen().len() < 152, "{}", copy.seen().len());
    assert!(never.seen().is_empty());
}

#[tokio::test]
async fn a_mirror_that_takes_nothing_holds_up_nobody() {
    let up = RawBackend::saying("up").await;
    // It accepts, in the system's queue, and never reads.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = start();
    let mirrors = [mirror(Ok(backend(&[deaf.local_addr().unwrap()])), 1, 1)];
    let at = Site::of(with(to(up.address), mirrors.map(|mirror| Step::Mirror(Box::new(mirror)))))
        .serve(&proxy)
        .await;
    let body = "x".repeat(16 << 20);
    let request =
        format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(exchange(&mut connect(at).await, &request).await.body, "up");
    assert_eq!(up.last().body.len(), body.len());
}

#[tokio::test]
async fn an_attempt_that_follows_another_makes_no_second_copy() {
    let up = RawBackend::start(|n, _| {
        if n == 0 { crate::support::raw::status(503) } else { crate::support::raw::ok("up") }
    })
    .await;
    let copy = RawBackend::saying("copy").await;
    let proxy = start();
    let mut rule = with(
        to(up.address),
        [mirror(Ok(backend(&[copy.address])), 1, 1)].map(|mirror| Step::Mirror(Box::new(mirror))),
    );
    let retry = portcullis_routing::Retry { codes: [503].into(), attempts: 1, ..Default::default() };
    rule.retry = Some(retry.into());
    let at = Site::of(rule).serve(&proxy).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    let mut tcp = connect(at).await;
    assert_eq!(exchange(&mut tcp, request).await.body, "up");
    assert_eq!(exchange(&mut tcp, &request.replace("hello", "after")).await.body, "up");
    let bodies: Vec<_> = copy.has_seen(2).await.into_iter().map(|s| s.body).collect();
    assert_eq!(up.seen().len(), 3);
    assert!(bodies.contains(&b"hello".to_vec()) && bodies.contains(&b"after".to_vec()), "{bodies:?}");
    assert_eq!(copy.seen().len(), 2);
}

#[tokio::test]
async fn filters_work_over_tls_and_h2_alike() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let port = proxy.port();
    let said = modifier(&[("x-said", "1")], &[], &[]);
    let asked = modifier(&[("x-asked", "1")], &[], &[]);
    let rule = with(to(up.address), [Step::ResponseHeaders(said), Step::RequestHeaders(asked)]);
    let table = Site::https().add("", listener("all"), "/", rule).table(port);
    let shown = pki::certificate(Key::Ecdsa, &["a.example"]);
    proxy.serve(table, pki::on(port, &[("", &[&shown])])).await;
    let config = std::sync::Arc::new(pki::client(rustls::ALL_VERSIONS, &["h2"]));
    let tls = pki::tls(&config, proxy.at(port), "a.example").await.unwrap();
    let mut client = crate::support::client::h2(tls).await;
    let answer = crate::support::within(client.start("https://a.example/").await.unwrap()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-said"]),
        (200, &HeaderValue::from_static("1"))
    );
    let seen = up.last();
    assert_eq!((seen.header("x-asked"), seen.header("host")), (Some("1"), Some("a.example")));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
}
