//! Addresses that were refused: counted each time, and said in the log, but not with each request.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use portcullis_routing::BackendKey;

use super::{dial::Refusal, said::Said};

/// What was refused so far.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: [AtomicU64; Refusal::COUNT],
    said: Said<(BackendKey, usize)>,
}

impl Refusals {
    /// Notes that a backend's address (or its name, where there is none) was refused.
    pub(crate) fn note(&self, backend: &BackendKey, address: Option<SocketAddr>, refusal: &Refusal) {
        let reason = refusal.index();
        self.counts[reason].fetch_add(1, Ordering::Relaxed);
        if self.said.is_new(&(backend.clone(), reason)) {
            tracing::warn!(
                %backend,
                address = address.map(tracing::field::display),
                "requests are not sent to this backend: {refusal}"
            );
        }
    }

    /// How often each reason was given.
    pub(crate) fn counts(&self) -> [(&'static str, u64); Refusal::COUNT] {
        std::array::from_fn(|reason| (Refusal::NAMES[reason], self.counts[reason].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_routing::{BackendObject, PortKey};

    use super::*;

    #[test]
    fn a_reason_is_counted_each_time() {
        let backend = BackendKey {
            kind: BackendObject::Service,
            namespace: "shop".into(),
            service: "a".into(),
            port: PortKey::tcp(80),
        };
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.note(&backend, None, &Refusal::Own);
        }
        assert_eq!(refusals.counts()[Refusal::Own.index()], ("own", 3));
    }
}
