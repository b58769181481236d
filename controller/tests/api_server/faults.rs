//! What goes wrong when a test says so, and what was asked for.

use std::{collections::BTreeSet, sync::Mutex};

use serde_json::Value;

/// A request and how it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub status: u16,
    /// What was sent.
    pub body: Value,
}

/// Requests whose method and path hold these texts are answered so, `times` times.
#[derive(Clone, Debug)]
pub struct Fault {
    pub method: &'static str,
    pub path: &'static str,
    pub times: usize,
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A refusal with this code.
    Status(u16),
    /// The priority and fairness of the API server: 429 as plain text, with `Retry-After`.
    TooMany,
    /// It is carried out after two seconds.
    Late,
    /// No answer at all.
    Stall,
    /// The connection ends.
    Cut,
    /// It is carried out, and the connection ends before the answer.
    CutAfter,
}

#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    requests: Vec<Request>,
    /// `(verb, resource)`.
    denied: BTreeSet<(String, String)>,
}

impl Faults {
    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.lock().unwrap().requests.clone()
    }

    pub(super) fn note(&self, request: Request) {
        self.0.lock().unwrap().requests.push(request);
    }

    pub(super) fn add(&self, fault: Fault) {
        self.0.lock().unwrap().faults.push(fault);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    pub(super) fn of(&self, method: &str, path: &str) -> Option<Answer> {
        let mut state = self.0.lock().unwrap();
        let fits = |fault: &&mut Fault| {
            fault.times > 0 && method.contains(fault.method) && path.contains(fault.path)
        };
        let fault = state.faults.iter_mut().find(fits)?;
        fault.times -= 1;
        Some(fault.answer)
    }

    pub(super) fn deny(&self, verb: &str, resource: &str) {
        self.0.lock().unwrap().denied.insert((verb.to_owned(), resource.to_owned()));
    }

    pub(super) fn allow(&self, verb: &str, resource: &str) {
        self.0.lock().unwrap().denied.remove(&(verb.to_owned(), resource.to_owned()));
    }

    pub(super) fn is_denied(&self, verb: &str, resource: &str) -> bool {
        self.0.lock().unwrap().denied.contains(&(verb.to_owned(), resource.to_owned()))
    }
}
