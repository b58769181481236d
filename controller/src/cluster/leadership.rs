//! Whether this process may write.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::watch::{self, error::RecvError},
    time::Instant,
};

/// The right to write: it lasts while this process is the leader and its term is not over.
#[derive(Clone, Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
    term: Option<Term>,
}

/// The time until which this process leads. It is checked right before each write, so that a process that was frozen
/// finds its term over before it learns of the next leader.
#[derive(Clone, Debug, Default)]
pub struct Term(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// The leadership that `leads` reports, limited to the term.
    pub fn within(leads: watch::Receiver<bool>, term: Term) -> Self {
        Self { leads, term: Some(term) }
    }

    /// Waits for the next report, which may be the same as the last.
    ///
    /// # Errors
    /// If the sender of reports is gone.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        self.leads.changed().await
    }

    /// The last report. The term may be over even if it says that this process leads.
    pub fn is_told(&mut self) -> bool {
        *self.leads.borrow_and_update()
    }

    /// Whether it may write now.
    pub fn holds(&self) -> bool {
        *self.leads.borrow() && !self.is_over()
    }

    /// Whether the term is over, whatever the last report says.
    pub fn is_over(&self) -> bool {
        self.term.as_ref().is_some_and(|term| !term.runs())
    }
}

/// A leadership without a term: only the reports count.
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
