use http::Method;

use super::*;

#[test]
fn requests_are_counted_by_labels_over_all_workers() {
    let limiter = Arc::new(Limiter::new(100));
    let workers = [Counters::new(&limiter), Counters::new(&limiter)];
    let (web, api) = (labels("shop", "/"), labels("shop", "/api"));
    let canary: Arc<str> = "shop-web-canary-http".into();
    for counters in &workers {
        counters.count(&web, &sample("GET", 200));
        counters.count(&web, &sample("POST", 200));
        counters.count(&web, &sample("GET", 404));
        counters.count(&api, &sample("GET", 200));
        counters.count(&web, &Sample { canary: Some(&canary), ..sample("GET", 200) });
    }
    let want = [
        "shop/web / GET 200: 2",
        "shop/web / GET 404: 2",
        "shop/web / POST 200: 2",
        "shop/web / GET 200 canary shop-web-canary-http: 2",
        "shop/web /api GET 200: 2",
    ];
    assert_eq!(lines(&workers), want);
}

#[test]
fn equal_labels_are_one_series() {
    let counters = Counters::new(&Arc::new(Limiter::new(100)));
    let (one, other) = (labels("shop", "/"), labels("shop", "/"));
    counters.count(&one, &sample("GET", 200));
    counters.count(&other, &sample("GET", 200));
    assert_eq!(lines([&counters]), ["shop/web / GET 200: 2"]);
}

#[test]
fn a_histogram_has_the_bounds_of_its_buckets_included() {
    let counters = Counters::new(&Arc::new(Limiter::new(100)));
    let web = labels("shop", "/");
    for duration in [0, 5_000, 5_001, 10_000_000, 10_000_001] {
        let times = (Some(duration), Some(duration), Some(duration));
        let (response, header, connect) = times;
        let times = Sample { duration, response, header, connect, ..sample("GET", 200) };
        counters.count(&web, &times);
    }
    counters.count(&web, &Sample { received: 100, sent: 101, ..sample("GET", 200) });
    let [IngressSeries { counts, .. }] = &*sum([&counters].into_iter()) else { panic!("one series") };
    let durations = Histogram { buckets: [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], count: 5, sum: 20_010_002 };
    assert_eq!([counts.response_duration, counts.header_duration, counts.connect_duration], [durations; 3]);
    assert_eq!((counts.request_duration.count, counts.request_duration.buckets[0]), (6, 3));
    assert_eq!((counts.request_size.buckets[9], counts.request_size.count), (1, 6));
    assert_eq!((counts.response_size.buckets[9], counts.response_size.count), (0, 6));
    assert_eq!(
        (counts.bytes_sent.buckets[1], counts.bytes_sent.buckets[2], counts.bytes_sent.sum),
        (0, 1, 101)
    );
    assert_eq!(counts.requests, 6);
}

#[test]
fn a_backend_that_sends_any_status_gets_classes_instead() {
    let limiter = Arc::new(Limiter::new(10_000));
    let workers = [Counters::new(&limiter), Counters::new(&limiter)];
    let web = labels("shop", "/");
    for (counters, codes) in workers.iter().zip([100..600, 300..999]) {
        for code in codes {
            counters.count(&web, &sample("GET", code));
        }
    }
    let all = sum(workers.iter());
    assert_eq!(all.iter().map(|series| series.counts.requests).sum::<u64>(), 500 + 699);
    let combined: Vec<_> = all.iter().filter(|series| series.method == OTHER_METHOD).collect();
    let classes: Vec<_> = combined.iter().map(|series| series.status.to_string()).collect();
    assert_eq!(classes, ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"]);
    assert_eq!(all.len(), 50 + classes.len());
}

#[test]
fn all_label_sets_are_limited_and_a_namespace_takes_half_of_them() {
    let limiter = Arc::new(Limiter::new(10));
    let counters = Counters::new(&limiter);
    let paths: Vec<_> = (0..20).map(|n| labels("greedy", &format!("/{n:02}"))).collect();
    for path in &paths {
        counters.count(path, &sample("GET", 503));
        counters.count(path, &sample("GET", 503));
    }
    let others = |lines: &[String]| lines[0].clone();
    let before = lines([&counters]);
    assert_eq!((before.len(), &*others(&before)), (1 + 5, "/_others  _other 5xx: 30"), "{before:?}");
    let modest: Vec<_> = (0..20).map(|n| labels("modest", &format!("/{n:02}"))).collect();
    modest.iter().for_each(|path| counters.count(path, &sample("GET", 200)));
    let after = lines([&counters]);
    assert_eq!(after.len(), 2 + 10, "{after:?}");
    assert!(after.contains(&"modest/web /04 GET 200: 1".to_owned()), "{after:?}");
}

#[test]
fn the_series_of_a_path_that_is_gone_make_room_for_others() {
    let limiter = Arc::new(Limiter::new(2));
    let counters = Counters::new(&limiter);
    let (web, other) = (labels("shop", "/"), labels("shop", "/other"));
    counters.count(&web, &sample("GET", 200));
    counters.count(&other, &sample("GET", 200));
    assert_eq!(lines([&counters]), ["/_others  _other 2xx: 1", "shop/web / GET 200: 1"]);
    drop(web);
    assert_eq!(lines([&counters]), ["/_others  _other 2xx: 1"], "also before they are removed");
    counters.sweep();
    counters.count(&other, &sample("GET", 200));
    assert_eq!(lines([&counters]), ["/_others  _other 2xx: 1", "shop/web /other GET 200: 1"]);
}

#[test]
fn an_ingress_counts_its_requests_for_which_there_is_no_room() {
    let limiter = Arc::new(Limiter::new(2));
    let workers = [Counters::new(&limiter), Counters::new(&limiter)];
    let (first, web, api) = (root_of("shop", "first"), root_of("shop", "web"), root_of("shop", "api"));
    for counters in &workers {
        counters.count(&first, &sample("GET", 200));
        for code in [503, 502, 200, 404] {
            counters.count(&web, &Sample { duration: 1, ..sample("GET", code) });
        }
        counters.count(&api, &sample("POST", 500));
    }
    let want = [
        "/_others  _other 2xx: 0",
        "/_others  _other 4xx: 0",
        "/_others  _other 5xx: 0",
        "shop/api  _other 5xx: 2",
        "shop/first / GET 200: 2",
        "shop/web  _other 2xx: 2",
        "shop/web  _other 4xx: 2",
        "shop/web  _other 5xx: 4",
    ];
    assert_eq!(lines(&workers), want);
    let observed = |series: &IngressSeries| {
        let IngressCounts { request_duration, bytes_sent, .. } = series.counts;
        (request_duration.count, bytes_sent.count)
    };
    let of = |ingress: &str| {
        let all = sum(workers.iter());
        let of_ingress = all.iter().filter(|series| &*series.labels.ingress == ingress);
        of_ingress.map(observed).collect::<Vec<_>>()
    };
    assert_eq!(of("_others"), [(2, 2), (2, 2), (6, 6)], "durations and sizes are not lost");
    assert_eq!(of("web"), [(0, 0); 3]);
    drop(web);
    workers.iter().for_each(Counters::sweep);
    assert!(lines(&workers).iter().all(|line| !line.starts_with("shop/web")));
}

#[test]
fn the_label_sets_of_ingresses_are_limited_and_errors_have_precedence() {
    let limiter = Arc::new(Limiter::new(2));
    let counters = Counters::new(&limiter);
    let ingresses = |namespace, count| (0..count).map(move |n| root_of(namespace, &format!("{n:03}")));
    let greedy: Vec<_> = ingresses("greedy", 100).collect();
    greedy.iter().for_each(|ingress| counters.count(ingress, &sample("GET", 200)));
    let of = |namespace: &str| lines([&counters]).iter().filter(|line| line.starts_with(namespace)).count();
    // One has a label set of its own.
    assert_eq!(of("greedy/"), 1 + 5);
    greedy.iter().for_each(|ingress| counters.count(ingress, &sample("GET", 503)));
    assert_eq!(of("greedy/"), 1 + 10, "half of 20");
    let modest: Vec<_> = ingresses("modest", 4).collect();
    modest.iter().for_each(|ingress| counters.count(ingress, &sample("GET", 503)));
    assert_eq!(of("modest/"), 4);
    let requests: u64 = sum([&counters].into_iter()).iter().map(|series| series.counts.requests).sum();
    assert_eq!(requests, 204, "each request is counted once");
}

/// Each series in a line, in their order.
fn lines<'c>(workers: impl IntoIterator<Item = &'c Counters>) -> Vec<String> {
    let line = |series: IngressSeries| {
        let IngressSeries { labels, method, status, canary, counts } = series;
        let canary = canary.map(|label| format!(" canary {label}")).unwrap_or_default();
        let IngressLabels { namespace, ingress, path, .. } = &*labels;
        format!("{namespace}/{ingress} {path} {method} {status}{canary}: {}", counts.requests)
    };
    sum(workers.into_iter()).into_iter().map(line).collect()
}

fn labels(namespace: &str, path: &str) -> Arc<IngressLabels> {
    let [ingress, host, service] = ["web", "shop.example", "web"].map(Into::into);
    let (namespace, path, of_ingress) = (namespace.into(), path.into(), None);
    Arc::new(IngressLabels { namespace, ingress, host, path, service, of_ingress })
}

/// The labels of the root path of an Ingress for which there is no room.
fn root_of(namespace: &str, ingress: &str) -> Arc<IngressLabels> {
    let label = |path: &str, of_ingress| {
        let [host, service] = ["", ""].map(Into::into);
        let (namespace, ingress, path) = (namespace.into(), ingress.into(), path.into());
        Arc::new(IngressLabels { namespace, ingress, host, path, service, of_ingress })
    };
    label("/", Some(label("", None)))
}

fn sample(method: &str, status: u16) -> Sample<'static> {
    Sample {
        method: (&method.parse::<Method>().unwrap()).into(),
        status,
        canary: None,
        duration: 0,
        response: None,
        header: None,
        connect: None,
        received: 0,
        sent: 0,
    }
}
