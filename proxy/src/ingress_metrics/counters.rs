//! The counters of one worker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use foldhash::HashMap;
use portcullis_routing::IngressLabels;

use super::{
    Admitted, DURATION_BUCKETS, IngressCounts, Limiter, MethodLabel, Named, SENT_BUCKETS, SIZE_BUCKETS,
    Sample, StatusLabel,
};

/// The counters of one worker. Only this worker counts, and metrics are read a few times a minute, so that its lock is free
/// almost always.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    limiter: Arc<Limiter>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    series: HashMap<Key, Counted>,
    /// The numbers of requests of Ingresses beyond the limit.
    of_ingresses: HashMap<Key, CountedOfIngress>,
    /// The series that requests with other labels are counted in, because there is no room for a series of their own.
    /// Emptied once a second, and when it is full.
    instead: HashMap<Key, Instead>,
}

/// Where requests are counted that have no series of their own.
#[derive(Clone, Copy, Debug)]
struct Instead {
    key: Key,
    /// The series of the Ingress that has the number of requests.
    of_ingress: Option<Key>,
}

/// What distinguishes the series of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The address of the labels. It is not used again while the series exists, since that has a weak reference to them.
    pub(super) labels: usize,
    pub(super) method: MethodLabel,
    pub(super) status: StatusLabel,
    /// The hash of the canary; 0 if the request was not sent to one.
    pub(super) canary: u64,
}

#[derive(Debug)]
struct Counted {
    labels: Weak<IngressLabels>,
    canary: Option<Arc<str>>,
    counts: IngressCounts,
}

#[derive(Debug)]
struct CountedOfIngress {
    labels: Weak<IngressLabels>,
    requests: u64,
}

/// The maximum number of entries in [`Inner::instead`].
const MOST_INSTEAD: usize = 4096;

impl Counters {
    pub(crate) fn new(limiter: &Arc<Limiter>) -> Self {
        Self { limiter: Arc::clone(limiter), inner: Mutex::default() }
    }

    /// Counts a request with these labels.
    pub(crate) fn count(&self, labels: &Arc<IngressLabels>, sample: &Sample<'_>) {
        let key = Key {
            labels: Arc::as_ptr(labels).addr(),
            method: sample.method,
            status: StatusLabel::Code(sample.status),
            canary: sample.canary.map_or(0, |canary| self.limiter.hash(canary)),
        };
        let mut inner = self.lock();
        if let Some(counted) = inner.series.get_mut(&key) {
            return counted.counts.count(sample);
        }
        let instead = match inner.instead.get(&key) {
            Some(instead) => *instead,
            None => inner.create(&self.limiter, labels, key, sample.canary),
        };
        inner.count(instead, sample);
    }

    /// Removes the series of paths that do not exist any more. Workers call this once a second.
    pub(crate) fn sweep(&self) {
        self.limiter.sweep();
        let Inner { series, of_ingresses, instead } = &mut *self.lock();
        if series.is_empty() {
            return;
        }
        series.retain(|_, counted| counted.labels.strong_count() > 0);
        of_ingresses.retain(|_, counted| counted.labels.strong_count() > 0);
        instead.clear();
    }

    /// Adds all series to those of other workers.
    pub(super) fn add_to(&self, all: &mut BTreeMap<Named, IngressCounts>) {
        let inner = self.lock();
        for (key, Counted { labels, canary, counts }) in &inner.series {
            let Some(labels) = labels.upgrade() else { continue };
            let (canary, method, status) = (canary.clone(), key.method, key.status);
            all.entry(Named { labels, canary, method, status }).or_default().add(counts);
        }
        for (key, CountedOfIngress { labels, requests }) in &inner.of_ingresses {
            let Some(labels) = labels.upgrade() else { continue };
            let named = Named { labels, canary: None, method: key.method, status: key.status };
            all.entry(named).or_default().requests += requests;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is a single insertion or addition, so a poisoned lock guards maps that are whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Creates the series for a key, or finds those that are counted in instead.
    #[cold]
    fn create(
        &mut self,
        limiter: &Limiter,
        labels: &Arc<IngressLabels>,
        key: Key,
        canary: Option<&Arc<str>>,
    ) -> Instead {
        let Admitted { key: admitted, labels, of_ingress } = limiter.admit(labels, key);
        let instead = Instead { key: admitted, of_ingress: of_ingress.map(|(key, _)| key) };
        if admitted != key {
            if self.instead.len() >= MOST_INSTEAD {
                self.instead.clear();
            }
            self.instead.insert(key, instead);
        }
        let canary = canary.filter(|_| admitted.canary != 0).cloned();
        let labels = Arc::downgrade(labels);
        let new = || Counted { labels, canary, counts: IngressCounts::default() };
        self.series.entry(admitted).or_insert_with(new);
        if let Some((key, labels)) = of_ingress {
            let new = || CountedOfIngress { labels: Arc::downgrade(labels), requests: 0 };
            self.of_ingresses.entry(key).or_insert_with(new);
        }
        instead
    }

    /// Counts a request in series that exist.
    fn count(&mut self, Instead { key, of_ingress }: Instead, sample: &Sample<'_>) {
        let Some(Counted { counts, .. }) = self.series.get_mut(&key) else { return };
        match of_ingress.and_then(|key| self.of_ingresses.get_mut(&key)) {
            Some(counted) => {
                counted.requests += 1;
                counts.observe(sample);
            }
            None => counts.count(sample),
        }
    }
}

impl IngressCounts {
    fn count(&mut self, sample: &Sample<'_>) {
        self.requests += 1;
        self.observe(sample);
    }

    /// Adds a request to the histograms.
    fn observe(&mut self, sample: &Sample<'_>) {
        let durations = &DURATION_BUCKETS;
        self.request_duration.observe(sample.duration, durations);
        for (histogram, value) in [
            (&mut self.response_duration, sample.response),
            (&mut self.header_duration, sample.header),
            (&mut self.connect_duration, sample.connect),
        ] {
            if let Some(value) = value {
                histogram.observe(value, durations);
            }
        }
        self.request_size.observe(sample.received, &SIZE_BUCKETS);
        self.response_size.observe(sample.sent, &SIZE_BUCKETS);
        self.bytes_sent.observe(sample.sent, &SENT_BUCKETS);
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.request_duration.add(&other.request_duration);
        self.response_duration.add(&other.response_duration);
        self.header_duration.add(&other.header_duration);
        self.connect_duration.add(&other.connect_duration);
        self.request_size.add(&other.request_size);
        self.response_size.add(&other.response_size);
        self.bytes_sent.add(&other.bytes_sent);
    }
}
