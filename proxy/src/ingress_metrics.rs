//! The requests of Ingresses, counted as the metrics of ingress-nginx count them.
//!
//! ```text
//! request -> Measured (in its context) -> Sample -> Counters of its worker -> sums of all workers, for the admin port
//!                                                       |
//!                                                   Limiter: which label sets may exist, for all workers
//! ```
//!
//! Labels come from objects (`Rule::labels`), from the closed list of methods and from status codes. Backends can send any
//! status code, so the number of label sets is limited: for each path, for each namespace and in total. Beyond a limit, the
//! method is `_other` and the status a class (`5xx`). Beyond the limits of a namespace and in total, the requests of an Ingress
//! are counted together, without the labels of their paths, so that errors can be attributed to it; such a label set only has
//! the number of requests, and their durations and sizes are those of the Ingress `_others`. The number of these label sets is
//! limited as well; beyond it, requests are counted as those of `_others`. Counters of a path are removed when no rule has its
//! labels any more.

mod counters;
mod limiter;
mod measured;
mod method;

use std::{collections::BTreeMap, fmt, sync::Arc};

use portcullis_routing::IngressLabels;

pub(crate) use self::{counters::Counters, limiter::Limiter, measured::Measured};
use self::{limiter::Admitted, method::MethodLabel};

/// The upper bounds of the buckets of durations, in microseconds.
pub const DURATION_BUCKETS: [u64; 11] =
    [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// The upper bounds of the buckets of `request_size` and `response_size`, in bytes.
pub const SIZE_BUCKETS: [u64; 10] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];

/// The upper bounds of the buckets of `bytes_sent`, in bytes.
pub const SENT_BUCKETS: [u64; 7] = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The label for methods that are not on the list.
pub const OTHER_METHOD: &str = "_other";

/// The label `ingress` of requests beyond the limit of label sets.
pub const OTHER_INGRESSES: &str = "_others";

/// The requests with one set of labels.
#[derive(Clone, Debug)]
pub struct IngressSeries {
    /// The labels of the path.
    pub labels: Arc<IngressLabels>,
    /// The method; [`OTHER_METHOD`] if it is not on the list, or beyond a limit.
    pub method: &'static str,
    /// The status of the response.
    pub status: StatusLabel,
    /// The label of the canary of the path, if it received the requests.
    pub canary: Option<Arc<str>>,
    /// What was counted.
    pub counts: IngressCounts,
}

/// The counters of one set of labels.
#[derive(Clone, Debug, Default)]
pub struct IngressCounts {
    /// The number of requests.
    pub requests: u64,
    /// The time until the response was sent, in microseconds.
    pub request_duration: Histogram<11>,
    /// The time from the beginning of the last attempt at a backend to the end of its response, in microseconds.
    pub response_duration: Histogram<11>,
    /// The time from the beginning of the last attempt to the head of the response, in microseconds.
    pub header_duration: Histogram<11>,
    /// The time from the beginning of the last attempt until there was a connection, in microseconds; 0 for a pooled one.
    pub connect_duration: Histogram<11>,
    /// The sizes of requests, in bytes.
    pub request_size: Histogram<10>,
    /// The sizes of responses, in bytes.
    pub response_size: Histogram<10>,
    /// The same with other buckets.
    pub bytes_sent: Histogram<7>,
}

/// The status of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusLabel {
    /// A status code.
    Code(u16),
    /// All status codes with this first digit.
    Class(u8),
}

/// A histogram; the bounds of its buckets are known elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// The number of values in each bucket and in no smaller one.
    pub buckets: [u64; N],
    /// The number of all values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Sample<'s> {
    method: MethodLabel,
    status: u16,
    canary: Option<&'s Arc<str>>,
    /// Durations in microseconds.
    duration: u64,
    response: Option<u64>,
    header: Option<u64>,
    connect: Option<u64>,
    /// Sizes in bytes.
    received: u64,
    sent: u64,
}

/// The sums of all workers, sorted by labels.
pub(crate) fn sum<'c>(workers: impl Iterator<Item = &'c Counters>) -> Vec<IngressSeries> {
    let mut all = BTreeMap::new();
    for counters in workers {
        counters.add_to(&mut all);
    }
    let series = |(of, counts)| {
        let Named { labels, canary, method, status } = of;
        IngressSeries { labels, method: method.as_str(), status, canary, counts }
    };
    all.into_iter().map(series).collect()
}

/// The labels of a series, in order. Equal labels are one series, even if they are not the same value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    labels: Arc<IngressLabels>,
    canary: Option<Arc<str>>,
    method: MethodLabel,
    status: StatusLabel,
}

impl StatusLabel {
    /// Whether it is the status of an error.
    fn is_error(self) -> bool {
        match self {
            Self::Code(code) => code >= 400,
            Self::Class(class) => class >= 4,
        }
    }

    /// The class of a status code.
    fn class(self) -> Self {
        match self {
            Self::Code(code) => Self::Class(u8::try_from(code / 100).unwrap_or_default()),
            class => class,
        }
    }
}

impl fmt::Display for StatusLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&mut self, value: u64, bounds: &[u64; N]) {
        if let Some(bucket) =
            bounds.iter().zip(&mut self.buckets).find_map(|(most, n)| (value <= *most).then_some(n))
        {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(n, more)| *n += more);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: [0; N], count: 0, sum: 0 }
    }
}

#[cfg(test)]
mod tests;
