//! The metrics of ingress-nginx: the requests of rules with labels.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portcullis_proxy::IngressSeries;
use portcullis_routing::{
    Backends, IngressLabels, Rule, Step, Steps,
    balance::Canary,
    step::{ErrorOrigin, ErrorPages},
};
use tokio::io::AsyncWriteExt;

use super::http_check::service;
use crate::support::{
    Running,
    client::{self, connect, exchange, get},
    raw::{H2Backend, RawBackend, Reply, ok, status},
    site::{Site, auth_url, backend, checked, h2, listener, of_ingress, refusing, rule, share, to},
    start, start_with, until,
};

fn labels(path: &str) -> Option<Arc<IngressLabels>> {
    let [namespace, ingress, host, service] = ["shop", "web", "a.example", "web"].map(Into::into);
    let (path, of_ingress) = (path.into(), None);
    Some(Arc::new(IngressLabels { namespace, ingress, host, path, service, of_ingress }))
}

fn labelled(path: &str, rule: Rule) -> Rule {
    Rule { labels: labels(path), ..of_ingress(rule) }
}

/// The number of requests by path, method, status and canary.
fn counts(proxy: &Running) -> BTreeMap<String, u64> {
    let line = |series: &IngressSeries| {
        let canary = series.canary.as_ref().map(|label| format!(" {label}")).unwrap_or_default();
        format!("{} {} {}{canary}", series.labels.path, series.method, series.status)
    };
    proxy.proxy.ingress_metrics().iter().map(|series| (line(series), series.counts.requests)).collect()
}

/// Waits until these are the numbers of requests: a request is counted after its response was sent.
async fn counted(proxy: &Running, want: &[(&str, u64)]) {
    let want: BTreeMap<_, _> = want.iter().map(|(line, count)| ((*line).to_owned(), *count)).collect();
    let all = want.values().sum::<u64>();
    until("all requests are counted", || counts(proxy).values().sum::<u64>() >= all).await;
    assert_eq!(counts(proxy), want);
}

#[tokio::test]
async fn requests_are_counted_by_path_method_and_status() {
    let up = RawBackend::start(|_, seen| match seen.header("x-code") {
        Some(code) => status(code.parse().unwrap()),
        None => ok("up"),
    })
    .await;
    let proxy = start();
    let none = rule([]);
    let at = Site::of(labelled("/", to(up.address)))
        .add("", listener("all"), "/none", labelled("/none", none))
        .add("", listener("all"), "/plain", of_ingress(to(up.address)))
        .serve(&proxy)
        .await;
    let mut io = connect(at).await;
    for (request, want) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 200),
        ("GET /b HTTP/1.1\r\nHost: a.example\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nX-Code: 404\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc", 200),
        ("PURGE / HTTP/1.1\r\nHost: a.example\r\n\r\n", 200),
        ("GET /none HTTP/1.1\r\nHost: a.example\r\n\r\n", 500),
        ("GET /plain HTTP/1.1\r\nHost: a.example\r\n\r\n", 200),
    ] {
        assert_eq!(exchange(&mut io, request).await.status, want, "{request}");
        if want == 500 {
            io = connect(at).await;
        }
    }
    let mut over_h2 = client::h2(connect(at).await).await;
    assert_eq!(over_h2.get("http://a.example/").await.unwrap().0, 200);
    let want =
        [("/ GET 200", 3), ("/ GET 404", 1), ("/ POST 200", 1), ("/ _other 200", 1), ("/none GET 500", 1)];
    counted(&proxy, &want).await;
}

#[tokio::test]
async fn sizes_and_durations_are_those_of_the_request() {
    let up = RawBackend::start(|_, _| {
        std::thread::sleep(Duration::from_millis(30));
        ok(&"x".repeat(1000))
    })
    .await;
    let proxy = start();
    let at = Site::of(labelled("/", to(up.address))).serve(&proxy).await;
    let head = "POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 500\r\n\r\n";
    let request = head.to_owned() + &"y".repeat(500);
    let mut io = connect(at).await;
    let mut heads = 0;
    for _ in 0..2 {
        heads += exchange(&mut io, &request).await.head.len() as u64;
    }
    counted(&proxy, &[("/ POST 200", 2)]).await;
    let [series] = &*proxy.proxy.ingress_metrics() else { panic!("one series") };
    assert_eq!(
        (series.counts.request_size.count, series.counts.request_size.sum),
        (2, 2 * request.len() as u64)
    );
    let sent = (series.counts.response_size.count, series.counts.response_size.sum);
    assert!(sent.0 == 2 && sent.1.abs_diff(heads + 2000) < 100, "{sent:?}, heads of {heads}");
    assert_eq!(series.counts.bytes_sent.sum, series.counts.response_size.sum);
    // The first buckets end at 5, 10 and 25 ms.
    for durations in
        [series.counts.request_duration, series.counts.response_duration, series.counts.header_duration]
    {
        assert_eq!((durations.count, durations.buckets[..3].iter().sum::<u64>()), (2, 0), "{series:?}");
    }
    assert!(series.counts.response_duration.sum <= series.counts.request_duration.sum, "{series:?}");
    assert!(series.counts.header_duration.sum <= series.counts.response_duration.sum, "{series:?}");
    // The backend waits for 30 ms after it is connected, each time.
    let (connects, heads) = (series.counts.connect_duration, series.counts.header_duration);
    assert!(connects.count == 2 && connects.sum + 60_000 <= heads.sum, "{series:?}");
}

#[tokio::test]
async fn requests_that_no_backend_answers_have_no_durations_of_one() {
    let auth = service(|_| Some(status(401))).await;
    let proxy = start();
    let denied = checked(auth_url(auth.address, "/check"), to(refusing()));
    let at = Site::of(labelled("/", to(refusing())))
        .add("", listener("all"), "/denied", labelled("/denied", denied))
        .serve(&proxy)
        .await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 502);
    assert_eq!(get(&mut connect(at).await, "a.example", "/denied").await.status, 401);
    counted(&proxy, &[("/ GET 502", 1), ("/denied GET 401", 1)]).await;
    for series in proxy.proxy.ingress_metrics() {
        let attempts = if &*series.labels.path == "/" { 1 } else { 0 };
        assert_eq!(
            (series.counts.request_duration.count, series.counts.response_duration.count),
            (1, attempts)
        );
        assert_eq!(
            (series.counts.header_duration.count, series.counts.connect_duration.count),
            (0, 0),
            "{series:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_disconnects_is_counted_as_499() {
    let up = RawBackend::start(|_, _| Reply::Hang(Vec::new())).await;
    let proxy = start();
    let at = Site::of(labelled("/", to(up.address))).serve(&proxy).await;
    let mut io = connect(at).await;
    io.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    up.has_seen(1).await;
    drop(io);
    counted(&proxy, &[("/ GET 499", 1)]).await;
}

#[tokio::test]
async fn a_canary_has_its_label_also_if_its_errors_are_replaced() {
    let (main, errors) = (RawBackend::saying("main").await, RawBackend::saying("page").await);
    let failing = RawBackend::start(|_, _| status(503)).await;
    let canary = |weight| Canary {
        header: None,
        cookie: None,
        total: 100,
        weight,
        label: "shop-web-canary-http".into(),
    };
    let backends = |weight| {
        let backends = [backend(&[main.address]), backend(&[failing.address])];
        let [main, other] = backends.map(|backend| share(1, Ok(backend)));
        Backends::with_canary(main, other, canary(weight))
    };
    let pages = |path| {
        Step::ErrorPages(Box::new(ErrorPages {
            statuses: [503].into(),
            of_backends: true,
            rule: Arc::new(Rule { labels: labels(path), ..to(errors.address) }),
            origin: Arc::new(ErrorOrigin { namespace: None, ingress: None, service: None, port: None }),
        }))
    };
    let proxy = start();
    let all = |path| labelled(path, Rule { backends: backends(100), ..to(main.address) });
    let replaced = Rule { steps: Steps::new([pages("/replaced")]), ..all("/replaced") };
    let at = Site::of(labelled("/", Rule { backends: backends(0), ..to(main.address) }))
        .add("", listener("all"), "/all", all("/all"))
        .add("", listener("all"), "/replaced", replaced)
        .serve(&proxy)
        .await;
    for (path, want) in [("/", 200), ("/all", 503), ("/replaced", 200)] {
        assert_eq!(get(&mut connect(at).await, "a.example", path).await.status, want, "{path}");
    }
    let want = [
        ("/ GET 200", 1),
        ("/all GET 503 shop-web-canary-http", 1),
        ("/replaced GET 200 shop-web-canary-http", 1),
    ];
    counted(&proxy, &want).await;
}

#[tokio::test]
async fn requests_to_http2_backends_are_counted() {
    let up = H2Backend::start().await;
    let proxy = start();
    let to_h2 = rule([share(1, Ok(h2(backend(&[up.address]))))]);
    let at = Site::of(labelled("/", to_h2)).serve(&proxy).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    let url = format!("http://{at}/");
    let answer = reqwest::Client::new().post(&url).body("hello").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 200);
    counted(&proxy, &[("/ GET 200", 1), ("/ POST 200", 1)]).await;
    for series in proxy.proxy.ingress_metrics() {
        assert_eq!(
            (series.counts.header_duration.count, series.counts.connect_duration.count),
            (1, 1),
            "{series:?}"
        );
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n".len() as u64;
        assert!(series.counts.response_size.sum >= head, "{series:?}");
        if series.method == "POST" {
            let most = request.len() as u64 + 200;
            assert!((50..most).contains(&series.counts.request_size.sum), "{series:?}");
        }
    }
}

#[tokio::test]
async fn label_sets_are_limited() {
    let up = RawBackend::start(|n, _| status(400 + n as u16 % 50)).await;
    let proxy = start_with(|options| options.ingress_label_sets = 4);
    let at = Site::of(labelled("/", to(up.address))).serve(&proxy).await;
    let mut io = connect(at).await;
    for _ in 0..10 {
        get(&mut io, "a.example", "/").await;
    }
    let want = [("/ GET 400", 1), ("/ GET 401", 1), (" _other 4xx", 8)];
    counted(&proxy, &want).await;
}
