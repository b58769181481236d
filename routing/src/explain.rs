//! Explains why a request goes where it goes: makes the decision itself, and records what it passes.
//!
//! Nothing is decided here. The listener, the rule and the steps are those that [`decide`](crate::decide()) passed.
//! Added is what it does not look at: the rule that comes next, and the rule that nearly took the request. Checks are
//! taken as passed; the request's headers are taken as what a listener's filters have left of them.

mod listen;
mod next;
mod stream;
mod text;

use serde::{Deserialize, Serialize};

use crate::{
    Backend, Backends, Canary, Connection, Decision, Endpoints, Rejection, Request, Step, Table,
    WeightedBackend, decide::decide_with,
};
use listen::Listened;
pub use stream::explain_stream;

/// What happens to a request, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request: method, host, path and query.
    pub request: String,
    /// The listener of its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ExplainedListener>,
    /// The rule that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<ExplainedRule>,
    /// The rule that would take it if that one did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextRule>,
    /// Where no rule takes it: the rule that nearly did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestMiss>,
    /// What the rule does, in the order of work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The backends; one of them answers, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<ExplainedBackend>,
    /// What comes out.
    pub outcome: ExplainedOutcome,
}

/// A listener, as it is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedListener {
    /// The port that clients connect to.
    pub port: u16,
    /// Its hostname; `*` is every host.
    pub hostname: String,
    /// Whose it is.
    pub owner: String,
    /// What it checks before a rule is chosen, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
}

/// A rule, as it is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// The object that it was written in, with its kind.
    pub route: String,
    /// Its place in the object, from 0.
    pub index: usize,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The hostname of the route; `*` is every host.
    pub hostname: String,
    /// The match.
    pub matched: String,
}

/// The rule that comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: ExplainedRule,
    /// Why the other one comes before it.
    pub because: String,
}

/// A rule that nearly took a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearestMiss {
    /// The rule.
    #[serde(flatten)]
    pub rule: ExplainedRule,
    /// The conditions that do not hold.
    pub missing: Vec<String>,
}

/// A backend, as it is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedBackend {
    /// `namespace/service:port`, or why there is none.
    pub backend: String,
    /// Its share of the requests is this divided by the sum of all.
    pub weight: u32,
    /// Which requests it gets as a canary, and how its requests are spread over its endpoints, where an Ingress says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// The protocol that is spoken to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What is done for this backend alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The addresses that are ready, or the name that is looked up.
    pub endpoints: Vec<String>,
}

/// What comes out of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedOutcome {
    /// A backend is asked.
    Forwarded {
        /// Path and query, if they differ from the client's.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// What carries the request, unless `--carriers` says otherwise ([`crate::Carrier`]).
        carrier: Option<String>,
    },
    /// A connection is closed, or datagrams are dropped.
    Closed {
        /// Why no backend gets them.
        why: String,
    },
    /// The proxy answers by itself.
    Answered {
        /// The status.
        status: u16,
        /// Where a redirect leads to.
        #[serde(skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// Why no backend is asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// Up to so many endpoints are listed; the others are counted.
const ENDPOINTS: usize = 16;

/// Explains what happens to a request.
pub fn explain(table: &Table, request: Request<'_>, connection: Connection<'_>) -> Explanation {
    let mut listened = Listened::default();
    let decision = decide_with(table, request, connection, 0, &mut listened);
    let Listened { listener, selected } = listened;
    let found = selected.as_ref().zip(listener.as_ref());
    let next = found.and_then(|(selected, (_, listener))| next::next(selected, listener, &request));
    let nearest = match (&selected, &listener) {
        (None, Some((_, listener))) if no_route(&decision) => next::nearest(listener, &request),
        _ => None,
    };
    Explanation {
        request: text::request(&request),
        listener: listener.map(|(port, listener)| text::listener(port, listener, request.host)),
        rule: found.and_then(|(selected, (_, listener))| next::rule(selected, listener, &request)),
        next,
        nearest,
        steps: selected.map_or_else(Vec::new, |s| s.rule.steps.iter().map(Step::to_string).collect()),
        backends: selected.map_or_else(Vec::new, |s| backends(&s.rule.backends)),
        outcome: outcome(decision),
    }
}

fn no_route(decision: &Decision) -> bool {
    matches!(decision, Decision::Answer(answer) if matches!(answer.rejection, Some((Rejection::NoRoute, _))))
}

fn backends(backends: &Backends) -> Vec<ExplainedBackend> {
    let canaries = [None, backends.canary()].into_iter().chain(std::iter::repeat(None));
    backends.all().iter().zip(canaries).map(|(choice, canary)| backend(choice, canary)).collect()
}

fn backend(choice: &WeightedBackend, canary: Option<&Canary>) -> ExplainedBackend {
    let chosen = canary.map_or_else(String::new, Canary::to_string) + &choice.balance.to_string();
    let chosen = Some(chosen.trim()).filter(|chosen| !chosen.is_empty()).map(Into::into);
    let protocol = |backend: &Backend| {
        let tls = backend.tls.as_ref().map(|tls| format!(" over TLS to {tls}"));
        format!("{}{}", backend.protocol, tls.unwrap_or_default())
    };
    ExplainedBackend {
        backend: match &choice.backend {
            Ok(backend) => backend.key.to_string(),
            Err(error) => error.to_string(),
        },
        weight: choice.weight,
        chosen,
        protocol: choice.backend.as_ref().ok().map(|backend| protocol(backend)),
        steps: choice.steps.iter().map(Step::to_string).collect(),
        endpoints: choice
            .backend
            .as_ref()
            .map_or_else(|_| Vec::new(), |backend| endpoints(&backend.endpoints.load())),
    }
}

fn endpoints(endpoints: &Endpoints) -> Vec<String> {
    match endpoints {
        Endpoints::Name { host, port } => vec![format!("{host}:{port}")],
        Endpoints::Addresses(all) => {
            let left = all.len().saturating_sub(ENDPOINTS);
            let more = (left > 0).then(|| format!("and {left} more"));
            all.iter().take(ENDPOINTS).map(|endpoint| endpoint.address.to_string()).chain(more).collect()
        }
    }
}

fn outcome(decision: Decision) -> ExplainedOutcome {
    match decision {
        Decision::Forward(forward) => {
            let carrier = Some(forward.carrier.to_string());
            ExplainedOutcome::Forwarded { target: forward.target.map(String::from), carrier }
        }
        Decision::Answer(answer) => {
            let location = answer.headers.iter().find(|(name, _)| *name == http::header::LOCATION);
            ExplainedOutcome::Answered {
                status: answer.status.as_u16(),
                location: location.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned()),
                why: answer.rejection.map(|(_, why)| why.to_owned()),
            }
        }
        // Not reached: checks are taken as passed.
        Decision::Ask(..) => ExplainedOutcome::Forwarded { target: None, carrier: None },
    }
}
