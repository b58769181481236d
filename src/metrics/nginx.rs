//! The metrics of ingress-nginx by their names and labels (`--ingress-nginx-metrics`).
//!
//! Counters without the suffix `_total` are of type `unknown`, since OpenMetrics does not permit such a name for a counter.
//! Queries do not depend on the type.

mod found;
mod writer;

use std::collections::BTreeMap;

use portcullis_proxy::{DURATION_BUCKETS, IngressSeries, SENT_BUCKETS, SIZE_BUCKETS};

pub use self::found::{HostCertificate, Orphan, certificates, orphans};
use self::writer::{Scale, Writer, labels};
use super::{Figures, Usage};

/// What is served by the names of ingress-nginx.
#[derive(Clone, Debug, Default)]
pub struct Nginx {
    pub controller: ControllerLabels,
    /// The requests of Ingresses.
    pub series: Vec<IngressSeries>,
    /// Ingresses by namespace and name.
    pub orphans: BTreeMap<(Box<str>, Box<str>), Orphan>,
    /// The certificates of hosts of Ingresses.
    pub certificates: Vec<HostCertificate>,
    /// The number of tables that were published.
    pub tables: u64,
    /// When the last of them was, in seconds since 1970.
    pub published_at: u64,
}

/// The labels of ingress-nginx for the process.
#[derive(Clone, Debug, Default)]
pub struct ControllerLabels {
    /// The `controller` of the IngressClass.
    pub class: String,
    pub namespace: String,
    pub pod: String,
}

/// The maximum number of Ingresses and of hosts that have series of their own.
const MOST_OBJECTS: usize = 5000;

/// Appends them to a text.
pub(super) fn write(figures: &Figures, usage: Option<&Usage>, nginx: &Nginx, text: &mut String) {
    let mut writer = Writer::new(text, &nginx.controller);
    requests(&mut writer, &nginx.series);
    process(&mut writer, figures, usage);
    configuration(&mut writer, nginx);
    objects(&mut writer, figures, nginx);
}

fn requests(writer: &mut Writer<'_>, all: &[IngressSeries]) {
    writer.begin_requests(all.iter().map(request_labels));
    writer.counter("requests", "The number of requests", all, |of| of.requests);
    let seconds = (&DURATION_BUCKETS, Scale::Seconds);
    let help = "The time until the response was sent";
    writer.histogram("request_duration_seconds", help, seconds, all, |of| &of.request_duration);
    let help = "The time until the response of the backend was received";
    writer.histogram("response_duration_seconds", help, seconds, all, |of| &of.response_duration);
    let help = "The time until the head of the response of the backend was received";
    writer.histogram("header_duration_seconds", help, seconds, all, |of| &of.header_duration);
    let help = "The time until there was a connection to the backend";
    writer.histogram("connect_duration_seconds", help, seconds, all, |of| &of.connect_duration);
    let bytes = (&SIZE_BUCKETS, Scale::Bytes);
    writer.histogram("request_size", "The size of the request in bytes", bytes, all, |of| &of.request_size);
    writer
        .histogram("response_size", "The size of the response in bytes", bytes, all, |of| &of.response_size);
    let (help, bytes) = ("The same as response_size, with other buckets", (&SENT_BUCKETS, Scale::Bytes));
    writer.histogram("bytes_sent", help, bytes, all, |of| &of.bytes_sent);
}

fn request_labels(series: &IngressSeries) -> String {
    let IngressSeries { labels: of, method, status, canary, .. } = series;
    labels(&[
        ("canary", canary.as_deref().unwrap_or_default()),
        ("host", &of.host),
        ("ingress", &of.ingress),
        ("method", method),
        ("namespace", &of.namespace),
        ("path", &of.path),
        ("service", &of.service),
        ("status", &status.to_string()),
    ])
}

fn process(writer: &mut Writer<'_>, figures: &Figures, usage: Option<&Usage>) {
    let active = labels(&[("state", "active")]);
    writer.family("nginx_process_connections", "gauge", "The number of client connections");
    writer.sample("nginx_process_connections", &active, figures.connections);
    writer.family("nginx_process_requests_total", "unknown", "The number of client requests");
    writer.sample("nginx_process_requests_total", "", figures.answered.iter().sum::<u64>());
    let Some(usage) = usage else { return };
    writer.family("nginx_process_cpu_seconds_total", "unknown", "CPU time");
    writer.sample("nginx_process_cpu_seconds_total", "", usage.cpu_seconds);
    writer.family("nginx_process_resident_memory_bytes", "gauge", "Resident memory");
    writer.sample("nginx_process_resident_memory_bytes", "", usage.resident_bytes);
    writer.family("nginx_process_virtual_memory_bytes", "gauge", "Virtual memory");
    writer.sample("nginx_process_virtual_memory_bytes", "", usage.virtual_bytes);
    writer.family("nginx_process_oldest_start_time_seconds", "gauge", "The start of the process");
    writer.sample("nginx_process_oldest_start_time_seconds", "", usage.started_at);
}

fn configuration(writer: &mut Writer<'_>, nginx: &Nginx) {
    writer.family("config_hash", "gauge", "The number of the routing table that is active");
    writer.sample("config_hash", "", nginx.tables);
    writer.family("config_last_reload_successful", "gauge", "1 if a routing table is active");
    writer.sample("config_last_reload_successful", "", u8::from(nginx.tables > 0));
    let help = "The time at which the routing table was published";
    writer.family("config_last_reload_successful_timestamp_seconds", "gauge", help);
    writer.sample("config_last_reload_successful_timestamp_seconds", "", nginx.published_at);
    writer.family("success", "unknown", "The number of routing tables that were published");
    writer.sample("success", "", nginx.tables);
}

fn objects(writer: &mut Writer<'_>, figures: &Figures, nginx: &Nginx) {
    let help = "1 if a Service of the Ingress does not exist (no-service) or has no endpoints (no-endpoint)";
    writer.family("orphan_ingress", "gauge", help);
    // Orphans first: the others are left out beyond the limit.
    let (orphans, others): (Vec<_>, Vec<_>) = nginx.orphans.iter().partition(|(_, orphan)| orphan.is_any());
    for ((namespace, ingress), orphan) in orphans.into_iter().chain(others).take(MOST_OBJECTS) {
        for (kind, is_orphan) in [("no-service", orphan.no_service), ("no-endpoint", orphan.no_endpoint)] {
            let labels = labels(&[("ingress", ingress), ("namespace", namespace), ("type", kind)]);
            writer.sample("orphan_ingress", &labels, u8::from(is_orphan));
        }
    }
    // As ingress-nginx: certificates are reported by one replica.
    if figures.leads == Some(false) {
        return;
    }
    let help = "The time at which the certificate of a host expires, in seconds since 1970";
    writer.family("ssl_expire_time_seconds", "gauge", help);
    for certificate in nginx.certificates.iter().take(MOST_OBJECTS) {
        let HostCertificate { host, namespace, secret, identifier, not_after } = certificate;
        let labels = labels(&[
            ("class", &nginx.controller.class),
            ("host", host),
            ("identifier", identifier),
            ("namespace", namespace),
            ("secret_name", secret),
        ]);
        writer.sample_of_cluster("ssl_expire_time_seconds", &labels, not_after);
    }
}

#[cfg(test)]
mod tests;
