//! Addresses that were refused: counted each time, and said in the log, but not with each request.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use portcullis_routing::BackendKey;
use tokio::time::Instant;

use super::dial::Refusal;

/// A backend and a reason are said once in so long a time.
const SILENCE: Duration = Duration::from_secs(60);
/// So many of them are told apart; beyond, they are counted alone.
const MOST: usize = 1024;

/// What was refused so far.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: [AtomicU64; Refusal::COUNT],
    said: Mutex<HashMap<(BackendKey, usize), Instant>>,
}

impl Refusals {
    /// Notes that a backend's address (or its name, where there is none) was refused.
    pub(crate) fn note(&self, backend: &BackendKey, address: Option<SocketAddr>, refusal: &Refusal) {
        let reason = refusal.index();
        self.counts[reason].fetch_add(1, Ordering::Relaxed);
        if self.is_new(backend, reason) {
            tracing::warn!(
                %backend,
                address = address.map(tracing::field::display),
                "requests are not carried to this backend: {refusal}"
            );
        }
    }

    /// How often each reason was given.
    pub(crate) fn counts(&self) -> [(&'static str, u64); Refusal::COUNT] {
        std::array::from_fn(|reason| (Refusal::NAMES[reason], self.counts[reason].load(Ordering::Relaxed)))
    }

    fn is_new(&self, backend: &BackendKey, reason: usize) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let key = (backend.clone(), reason);
        if said.get(&key).is_some_and(|at| now < *at + SILENCE) {
            return false;
        }
        if said.len() >= MOST {
            said.retain(|_, at| now < *at + SILENCE);
        }
        let has_room = said.len() < MOST;
        if has_room {
            said.insert(key, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use portcullis_routing::PortKey;

    use super::*;

    fn backend(service: usize) -> BackendKey {
        BackendKey { namespace: "shop".into(), service: service.to_string().into(), port: PortKey::tcp(80) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_counted_each_time_and_said_once_a_minute() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.note(&backend(0), None, &Refusal::Own);
        }
        assert_eq!(refusals.counts()[Refusal::Own.index()], ("own", 3));
        assert!(!refusals.is_new(&backend(0), Refusal::Own.index()));
        assert!(refusals.is_new(&backend(0), Refusal::Name.index()));
        assert!(refusals.is_new(&backend(1), Refusal::Own.index()));
        tokio::time::advance(SILENCE).await;
        assert!(refusals.is_new(&backend(0), Refusal::Own.index()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let refusals = Refusals::default();
        let new = (0..2 * MOST).filter(|service| refusals.is_new(&backend(*service), 0)).count();
        assert_eq!((new, refusals.said.lock().unwrap().len()), (MOST, MOST));
        tokio::time::advance(SILENCE).await;
        assert!(refusals.is_new(&backend(2 * MOST), 0));
    }
}
