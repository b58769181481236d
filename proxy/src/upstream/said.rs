//! Limits how often the log says the same thing.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long the same thing is not logged again.
const SILENCE: Duration = Duration::from_secs(60);
/// The maximum number of things that are remembered. Further ones are not logged.
const MOST: usize = 1024;

/// When each thing was logged last.
#[derive(Debug)]
pub(crate) struct Said<K>(Mutex<HashMap<K, Instant>>);

impl<K: Clone + Eq + Hash> Said<K> {
    /// Returns whether this has to be logged now, and if so, notes that it was.
    pub(crate) fn is_new(&self, what: &K) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.get(what).is_some_and(|at| now < *at + SILENCE) {
            return false;
        }
        if said.len() >= MOST {
            said.retain(|_, at| now < *at + SILENCE);
        }
        let has_room = said.len() < MOST;
        if has_room {
            said.insert(what.clone(), now);
        }
        has_room
    }
}

impl<K> Default for Said<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_once_a_minute() {
        let said = Said::default();
        assert!(said.is_new(&0));
        assert!(!said.is_new(&0));
        assert!(said.is_new(&1));
        tokio::time::advance(SILENCE).await;
        assert!(said.is_new(&0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let said = Said::default();
        let new = (0..2 * MOST).filter(|what| said.is_new(what)).count();
        assert_eq!((new, said.0.lock().unwrap().len()), (MOST, MOST));
        tokio::time::advance(SILENCE).await;
        assert!(said.is_new(&(2 * MOST)));
    }
}
