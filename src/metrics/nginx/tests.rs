use std::sync::Arc;

use portcullis_proxy::{Histogram, IngressCounts, StatusLabel};
use portcullis_routing::IngressLabels;

use super::*;
use crate::metrics::text;

fn figures(nginx: Nginx, leads: Option<bool>) -> Figures {
    let controller = ControllerLabels { class: "c".into(), namespace: "n".into(), pod: "p".into() };
    Figures {
        answered: [1, 0, 2, 0, 0, 0],
        connections: 3,
        leads,
        nginx: Some(Nginx { controller, ..nginx }),
        ..Figures::default()
    }
}

fn series(path: &str, canary: Option<&str>) -> IngressSeries {
    let [namespace, ingress, host, service] = ["shop", "web", "shop.example", "front"].map(Into::into);
    let (path, of_ingress) = (path.into(), None);
    IngressSeries {
        labels: Arc::new(IngressLabels { namespace, ingress, host, path, service, of_ingress }),
        method: "GET",
        status: StatusLabel::Code(200),
        canary: canary.map(Into::into),
        counts: IngressCounts {
            requests: 4,
            request_duration: Histogram {
                buckets: [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
                count: 4,
                sum: 12_500_000,
            },
            request_size: Histogram { buckets: [0, 4, 0, 0, 0, 0, 0, 0, 0, 0], count: 4, sum: 80 },
            ..IngressCounts::default()
        },
    }
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        let line = format!("nginx_ingress_controller_{line}");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn requests_have_the_labels_and_buckets_of_ingress_nginx() {
    let canary = Some("shop-next-http");
    let nginx = Nginx { series: vec![series("/", None), series("/\"a\\", canary)], ..Nginx::default() };
    let text = text(&figures(nginx, None));
    let of = "controller_class=\"c\",controller_namespace=\"n\",controller_pod=\"p\"";
    let labels = |canary, path| {
        format!(
            "{of},canary=\"{canary}\",host=\"shop.example\",ingress=\"web\",method=\"GET\",namespace=\"shop\",path=\"{path}\",service=\"front\",status=\"200\""
        )
    };
    let (main, other) = (labels("", "/"), labels("shop-next-http", r#"/\"a\\"#));
    has(
        &text,
        &[
            &format!("requests{{{main}}} 4"),
            &format!("requests{{{other}}} 4"),
            &format!("request_duration_seconds_bucket{{{main},le=\"0.005\"}} 1"),
            &format!("request_duration_seconds_bucket{{{main},le=\"0.025\"}} 3"),
            &format!("request_duration_seconds_bucket{{{main},le=\"1.0\"}} 3"),
            &format!("request_duration_seconds_bucket{{{main},le=\"10.0\"}} 3"),
            &format!("request_duration_seconds_bucket{{{main},le=\"+Inf\"}} 4"),
            &format!("request_duration_seconds_sum{{{main}}} 12.5"),
            &format!("request_duration_seconds_count{{{main}}} 4"),
            &format!("request_size_bucket{{{main},le=\"20.0\"}} 4"),
            &format!("nginx_process_connections{{{of},state=\"active\"}} 3"),
            &format!("nginx_process_requests_total{{{of}}} 3"),
        ],
    );
    assert!(!text.contains("connect_duration_seconds_count"), "a histogram without values has no series");
    assert_eq!(text.matches("# EOF\n").count(), 1);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn orphans_come_first_and_only_the_leader_reports_certificates() {
    let orphan = |no_service, no_endpoint| Orphan { no_service, no_endpoint };
    let mut orphans: BTreeMap<(Box<str>, Box<str>), _> =
        (0..MOST_OBJECTS).map(|n| (("a".into(), format!("{n}").into()), orphan(false, false))).collect();
    orphans.insert(("z".into(), "last".into()), orphan(false, true));
    let certificates = vec![HostCertificate {
        not_after: 1_900_000_000,
        host: "shop.example".into(),
        namespace: "shop".into(),
        secret: "tls".into(),
        identifier: "-7".into(),
    }];
    let nginx = Nginx { orphans, certificates, tables: 5, published_at: 6, ..Nginx::default() };
    let of = "controller_class=\"c\",controller_namespace=\"n\",controller_pod=\"p\"";
    let led = text(&figures(nginx.clone(), Some(true)));
    has(
        &led,
        &[
            &format!("orphan_ingress{{{of},ingress=\"last\",namespace=\"z\",type=\"no-endpoint\"}} 1"),
            &format!("orphan_ingress{{{of},ingress=\"last\",namespace=\"z\",type=\"no-service\"}} 0"),
            "ssl_expire_time_seconds{class=\"c\",host=\"shop.example\",identifier=\"-7\",namespace=\"shop\",secret_name=\"tls\"} 1900000000",
            &format!("success{{{of}}} 5"),
            &format!("config_last_reload_successful{{{of}}} 1"),
            &format!("config_last_reload_successful_timestamp_seconds{{{of}}} 6"),
        ],
    );
    let lines = led.lines().filter(|line| line.starts_with("nginx_ingress_controller_orphan_ingress{"));
    assert_eq!(lines.count(), 2 * MOST_OBJECTS);
    assert!(!text(&figures(nginx, Some(false))).contains("ssl_expire_time_seconds{"));
}
