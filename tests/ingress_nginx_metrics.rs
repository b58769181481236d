//! The metrics of ingress-nginx by their names: what dashboards, alerts and deployment tools query is there.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use support::{Site, bounded, client, ingress, secret, service};

/// A sample: its name, labels and value.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The queries: who sends them, the name of a sample, the labels that they select or group by.
const QUERIES: &[(&str, &str, &[&str])] = &[
    ("Flagger", "requests", &["namespace", "ingress", "canary", "status"]),
    ("Flagger", "response_duration_seconds_sum", &["namespace", "ingress", "canary"]),
    ("Flagger", "response_duration_seconds_count", &["namespace", "ingress", "canary"]),
    ("Argo Rollouts", "requests", &["namespace", "ingress", "service", "canary", "host", "status"]),
    ("board nginx", "config_last_reload_successful_timestamp_seconds", &["controller_class"]),
    ("board nginx", "config_hash", &["controller_namespace", "controller_class", "controller_pod"]),
    ("board nginx", "requests", &["controller_pod", "controller_class", "controller_namespace", "ingress"]),
    ("board nginx", "nginx_process_connections", &["controller_pod", "controller_namespace", "state"]),
    ("board nginx", "success", &["controller_pod", "controller_class", "controller_namespace"]),
    ("board nginx", "config_last_reload_successful", &["controller_pod", "controller_namespace"]),
    ("board nginx", "request_size_sum", &["controller_pod", "controller_namespace", "ingress"]),
    ("board nginx", "response_size_sum", &["controller_pod", "controller_namespace", "ingress"]),
    ("board nginx", "nginx_process_resident_memory_bytes", &["controller_pod", "controller_class"]),
    ("board nginx", "nginx_process_cpu_seconds_total", &["controller_pod", "controller_class"]),
    ("board nginx", "request_duration_seconds_bucket", &["le", "ingress", "controller_class"]),
    ("board nginx", "ssl_expire_time_seconds", &["host", "namespace", "class", "secret_name"]),
    ("board performance", "request_duration_seconds_bucket", &["le", "ingress"]),
    ("board performance", "request_duration_seconds_count", &["method", "host", "path", "status"]),
    ("board performance", "response_duration_seconds_bucket", &["le", "method", "host", "path"]),
    ("board performance", "response_duration_seconds_sum", &["method", "host", "path"]),
    ("board performance", "response_size_sum", &["method", "host", "path"]),
    ("board performance", "response_size_count", &["method", "host", "path"]),
    ("board performance", "response_size_bucket", &["le", "ingress"]),
    ("documented metrics", "header_duration_seconds_sum", &["ingress", "status"]),
    ("documented metrics", "connect_duration_seconds_count", &["ingress", "status"]),
    ("documented metrics", "bytes_sent_bucket", &["ingress", "le"]),
    ("documented metrics", "nginx_process_requests_total", &["controller_pod"]),
    ("alerts", "orphan_ingress", &["controller_pod", "namespace", "ingress", "type"]),
];

fn canary(name: &str, host: &str, service: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, annotations: {{\n\
         nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-header: x-canary}}}},\n\
         spec: {{ingressClassName: portcullis, rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix,\n\
         backend: {{service: {{name: {service}, port: {{name: http}}}}}}}}]}}}}]}}}}\n---\n"
    )
}

/// An Ingress without TLS, with an annotation.
fn plain(name: &str, host: &str, service: &str, annotation: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, annotations: {{{annotation}}}}},\n\
         spec: {{ingressClassName: portcullis, rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix,\n\
         backend: {{service: {{name: {service}, port: {{name: http}}}}}}}}]}}}}]}}}}\n---\n"
    )
}

async fn site(flags: &[&str]) -> Site {
    let (tls, _) = secret("secure-tls", "secure.test");
    let files = [
        ("web.yaml", plain("web", "web.test", "web", "")),
        ("other.yaml", canary("web-canary", "web.test", "next") + &ingress("secure", "secure.test", "web")),
        ("orphan.yaml", plain("orphan", "orphan.test", "missing", "")),
        ("services.yaml", service("web", 18001) + &service("next", 18002) + &tls),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    let mut site = Site::serve_with(&files, flags).await;
    site.backend("web", 18001).await.backend("next", 18002).await;
    site
}

async fn text(site: &Site) -> String {
    let url = format!("http://{}/metrics", site.running.admin());
    client().build().unwrap().get(url).send().await.unwrap().text().await.unwrap()
}

/// All samples whose names begin with that of ingress-nginx, without it.
async fn samples(site: &Site) -> Vec<Sample> {
    let text = text(site).await;
    let lines = text.lines().filter_map(|line| line.strip_prefix("nginx_ingress_controller_"));
    lines.map(parse).collect()
}

fn parse(line: &str) -> Sample {
    let (name, rest) = line.split_once('{').unwrap();
    let (labels, value) = rest.rsplit_once("} ").unwrap();
    let labels = labels.split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}

impl Sample {
    fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let is = |(name, want): &(&str, &str)| self.labels.get(*name).is_some_and(|value| value == want);
        self.name == name && labels.iter().all(is)
    }
}

/// Waits until there is a sample with these labels and at least this value.
async fn until(site: &Site, name: &str, labels: &[(&str, &str)], least: f64) -> Sample {
    bounded(&format!("{name} {labels:?}"), async {
        loop {
            let all = samples(site).await;
            if let Some(found) =
                all.into_iter().find(|sample| sample.has(name, labels) && sample.value >= least)
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_dashboards_and_deployment_tools_find_their_metrics_and_labels() {
    let site = site(&["--ingress-nginx-metrics"]).await;
    site.until("web.test", "/", "web").await;
    let by_canary = site.get(&client().build().unwrap(), "web.test", "/").header("x-canary", "always");
    assert_eq!(by_canary.send().await.unwrap().status(), 200);
    assert_eq!(site.status("orphan.test", "/").await, 503);

    let of_web = [("namespace", "default"), ("ingress", "web"), ("status", "200"), ("method", "GET")];
    let main = [("host", "web.test"), ("path", "/"), ("service", "web"), ("canary", "")];
    until(&site, "requests", &[of_web, main].concat(), 1.0).await;
    let canary = [("canary", "default-next-http"), ("service", "web")];
    assert_eq!(until(&site, "requests", &[&of_web[..], &canary].concat(), 1.0).await.value, 1.0);
    until(&site, "requests", &[("ingress", "orphan"), ("status", "503")], 1.0).await;

    let all = samples(&site).await;
    for (by, name, labels) in QUERIES {
        let is = |sample: &&Sample| {
            sample.name == *name && labels.iter().all(|label| sample.labels.contains_key(*label))
        };
        assert!(all.iter().any(|sample| is(&sample)), "{by}: {name} {labels:?}");
    }
    for (ingress, kind, want) in
        [("orphan", "no-service", 1.0), ("orphan", "no-endpoint", 0.0), ("web", "no-service", 0.0)]
    {
        let orphan = all.iter().find(|s| s.has("orphan_ingress", &[("ingress", ingress), ("type", kind)]));
        assert_eq!(orphan.unwrap().value, want, "{ingress} {kind}");
    }
    let secure = [("host", "secure.test"), ("secret_name", "secure-tls"), ("namespace", "default")];
    let certificate = all.iter().find(|sample| sample.has("ssl_expire_time_seconds", &secure)).unwrap();
    assert!(certificate.value > 1e9 && certificate.labels["identifier"].starts_with('-'), "{certificate:?}");
    let class = [("controller_class", "portcullis.dev/ingress-controller")];
    assert!(all.iter().any(|sample| sample.has("success", &class) && sample.value >= 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_outlive_edits_of_the_ingress_and_end_with_it() {
    let site = site(&["--ingress-nginx-metrics", "--ingress-nginx"]).await;
    site.until("web.test", "/", "web").await;
    for _ in 0..5 {
        assert_eq!(site.status("web.test", "/").await, 200);
    }
    let of_web = [("ingress", "web"), ("status", "200"), ("controller_class", "k8s.io/ingress-nginx")];
    let before = until(&site, "requests", &of_web, 5.0).await.value;
    let redirect = "nginx.ingress.kubernetes.io/permanent-redirect: 'http://other.test/'";
    site.edit("web.yaml", &plain("web", "web.test", "web", redirect));
    site.until("web.test", "/", "301").await;
    site.edit("web.yaml", &plain("web", "web.test", "web", ""));
    site.until("web.test", "/", "web").await;
    // By then, workers have released the tables from before.
    tokio::time::sleep(Duration::from_secs(3)).await;
    until(&site, "requests", &of_web, before + 1.0).await;
    site.remove("web.yaml");
    bounded("the series are gone", async {
        while samples(&site)
            .await
            .iter()
            .any(|sample| sample.labels.get("ingress").is_some_and(|i| i == "web"))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_there_are_none() {
    let site = site(&[]).await;
    site.until("web.test", "/", "web").await;
    let text = text(&site).await;
    assert!(
        text.contains("portcullis_requests_total") && !text.contains("nginx_ingress_controller"),
        "{text}"
    );
}
