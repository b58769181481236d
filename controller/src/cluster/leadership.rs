//! Whether this process may write.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::watch::{self, error::RecvError},
    time::Instant,
};

/// Whether this process may write: it is told so, and its term is not over.
#[derive(Clone, Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
    term: Option<Term>,
}

/// Until when this process leads. It is asked right before a write: a process that was frozen finds that its term is over
/// before anybody tells it.
#[derive(Clone, Debug, Default)]
pub struct Term(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// The leadership that `leads` tells of, for as long as the term runs.
    pub fn within(leads: watch::Receiver<bool>, term: Term) -> Self {
        Self { leads, term: Some(term) }
    }

    /// Waits until it is told something, which may be the same again.
    ///
    /// # Errors
    /// Where nobody tells any more.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        self.leads.changed().await
    }

    /// Whether it was told last that it leads. Its term may be over all the same.
    pub fn is_told(&mut self) -> bool {
        *self.leads.borrow_and_update()
    }

    /// Whether it may write now.
    pub fn holds(&self) -> bool {
        *self.leads.borrow() && !self.is_over()
    }

    /// Whether its term is over, whatever it was told.
    pub fn is_over(&self) -> bool {
        self.term.as_ref().is_some_and(|term| !term.runs())
    }
}

/// Without a term: for as long as it is told so.
impl From<watch::Receiver<bool>> for Leadership {
    fn from(leads: watch::Receiver<bool>) -> Self {
        Self { leads, term: None }
    }
}

impl Term {
    /// Whether it is not over.
    pub fn runs(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|end| Instant::now() < end)
    }

    /// Sets its end; `None` ends it now.
    pub fn set(&self, end: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}
