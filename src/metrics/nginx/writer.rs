//! Writes samples in the text format of OpenMetrics.

use std::fmt::{Display, Write as _};

use portcullis_proxy::{Histogram, IngressCounts, IngressSeries};

use super::ControllerLabels;

const PREFIX: &str = "nginx_ingress_controller_";

/// Writes the metrics of a process.
pub(super) struct Writer<'t> {
    text: &'t mut String,
    controller: String,
    /// The labels of each series of requests, in their order.
    requests: Vec<String>,
}

/// What the values of a histogram are.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    /// Microseconds, which are written as seconds.
    Seconds,
    Bytes,
}

/// Labels, escaped. The result has no braces.
pub(super) fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let separator = if text.is_empty() { "" } else { "," };
        // Only a String is written to, which cannot fail.
        let _ = write!(text, "{separator}{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str(r"\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str(r"\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

impl<'t> Writer<'t> {
    pub(super) fn new(text: &'t mut String, controller: &ControllerLabels) -> Self {
        let controller = labels(&[
            ("controller_class", &controller.class),
            ("controller_namespace", &controller.namespace),
            ("controller_pod", &controller.pod),
        ]);
        Self { text, controller, requests: Vec::new() }
    }

    /// Begins a family.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {PREFIX}{name} {help}.\n# TYPE {PREFIX}{name} {kind}");
    }

    /// Writes a sample with these labels and those of the process.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let separator = if labels.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "{PREFIX}{name}{{{}{separator}{labels}}} {value}", self.controller);
    }

    /// Writes a sample with these labels alone.
    pub(super) fn sample_of_cluster(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "{PREFIX}{name}{{{labels}}} {value}");
    }

    /// Takes the labels of the series of requests that follow.
    pub(super) fn begin_requests(&mut self, labels: impl Iterator<Item = String>) {
        self.requests = labels.map(|labels| format!("{},{labels}", self.controller)).collect();
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        all: &[IngressSeries],
        value: impl Fn(&IngressCounts) -> u64,
    ) {
        self.family(name, "unknown", help);
        for (series, labels) in all.iter().zip(&self.requests) {
            let _ = writeln!(self.text, "{PREFIX}{name}{{{labels}}} {}", value(&series.counts));
        }
    }

    /// Writes the histograms that have values.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        (bounds, scale): (&[u64; N], Scale),
        all: &[IngressSeries],
        histogram: impl Fn(&IngressCounts) -> &Histogram<N>,
    ) {
        self.family(name, "histogram", help);
        for (series, labels) in all.iter().zip(&self.requests) {
            let Histogram { buckets, count, sum } = histogram(&series.counts);
            if *count == 0 {
                continue;
            }
            let mut below = 0;
            for (bound, n) in bounds.iter().zip(buckets) {
                below += n;
                // A bound is a floating-point number in its canonical form: `1.0`.
                let bound = scale.of(*bound);
                let _ = writeln!(self.text, "{PREFIX}{name}_bucket{{{labels},le=\"{bound:?}\"}} {below}");
            }
            let sum = scale.of(*sum);
            let _ = write!(
                self.text,
                "{PREFIX}{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n\
                 {PREFIX}{name}_sum{{{labels}}} {sum}\n\
                 {PREFIX}{name}_count{{{labels}}} {count}\n"
            );
        }
    }
}

impl Scale {
    fn of(self, value: u64) -> f64 {
        match self {
            Self::Seconds => value as f64 / 1e6,
            Self::Bytes => value as f64,
        }
    }
}
