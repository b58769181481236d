//! Decides what happens to a request. One pure function decides, and carriers carry out its decision:
//!
//! ```text
//! decide(table, request, connection, random)         -> Answer | Forward | Ask(cursor)
//! resume(cursor, request, connection, outcome)       -> Answer | Forward | Ask(cursor)
//! route.on_answer(status, attempts)                  -> Pass | Retry
//! route.page(status)                                 -> Forward, in place of an answer
//! ```
//!
//! Total: whatever a client sends gets an answer. Nothing here reads a clock or a socket, and randomness comes in as an
//! argument.

mod answer;
mod check;
mod chosen;
mod forward;
mod guarded;
mod held;
mod page;
mod selection;
pub(crate) mod trace;

use std::{fmt, net::IpAddr, sync::Arc};

use http::Method;

pub use answer::{Answer, Reply};
pub use check::{Cursor, Outcome};
pub use chosen::TOO_LARGE;
pub use forward::{Attempts, Carrier, Forward, OnAnswer, Route};
pub use held::renew_rules;

use self::{
    check::{Passed, Stage},
    chosen::Chosen,
    guarded::Guarded,
    trace::Trace,
};
use crate::{
    Asked, ClientAuth, Headers, Listener, Port, PortKey, Rejection, Selected, Table, Target,
    matching::decoded,
    path::Reading,
    step::{ClientCertificate, StepEdits},
    template::{NoGroups, Values},
};

/// What a decision reads of a request. A carrier's own types stay its own.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r Method,
    /// The host in its one form: lower case, no port, no last dot; empty where HTTP/1.0 has none.
    pub host: &'r str,
    /// The host as the client sent it, with the port.
    pub sent_host: &'r str,
    /// What is asked for.
    pub asked: &'r Asked<'r>,
    /// The headers.
    pub headers: &'r dyn Headers,
    /// Whether the connection is to become another protocol's.
    pub upgrade: bool,
}

/// What a decision reads of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// The table's port that it came in on.
    pub port: PortKey,
    /// TLS that ended here.
    pub tls: Option<Tls<'c>>,
    /// The client's address, as far as proxies before us are believed.
    pub client: IpAddr,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// The port that the client connected to.
    pub client_port: u16,
    /// What clients add to every listener's port to get there ([`Port::offset`]).
    pub port_offset: u16,
}

/// TLS that ended here.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'c> {
    /// The server name of the handshake, in lower case.
    pub server_name: Option<&'c str>,
    /// The policy of client authentication of the handshake.
    pub client_auth: &'c ClientAuth,
    /// The certificate that the client has shown, if the policy is to [report](ClientAuth::Reported) it.
    pub certificate: Option<&'c ClientCertificate>,
}

/// A request, its connection, and its random number.
#[derive(Clone, Copy, Debug)]
struct OfClient<'r> {
    request: Request<'r>,
    target: &'r Target<'r>,
    connection: Connection<'r>,
    random: u64,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Decision {
    /// The proxy answers by itself.
    Answer(Box<Answer>),
    /// A backend is asked.
    Forward(Forward),
    /// The carrier carries out [`Cursor::check`] first, and goes on with [`resume`].
    Ask(Box<Cursor>),
}

/// Decides about a request. `random` is uniformly random over all of `u64`.
pub fn decide(table: &Table, request: Request<'_>, connection: Connection<'_>, random: u64) -> Decision {
    decide_with(table, request, connection, random, &mut trace::Silent)
}

/// Goes on with a decision whose check has been carried out. `request` and `connection` are those that it began with.
pub fn resume(
    cursor: Cursor,
    request: Request<'_>,
    connection: Connection<'_>,
    outcome: Outcome,
) -> Decision {
    // A check is part of a rule or a listener's filters, which are for requests for resources alone.
    let Asked::Resource(target) = request.asked else {
        return answer(Answer::options(Vec::new()));
    };
    let of_client = OfClient { request, target, connection, random: cursor.random };
    match cursor.stage {
        Stage::Listener { listener, place } => {
            let passed = match cursor.passed.after_filter(outcome) {
                Ok(passed) => passed,
                Err(denied) => return answer(denied),
            };
            // Listeners of Ingresses, whose port would matter, have no filters.
            Guarded { listener: &listener, port: None, of_client, passed }
                .follow(place + 1, &mut trace::Silent)
        }
        Stage::Rule { rule, place, path, reading, behind_gateway } => {
            let selected = Selected { rule: &rule, path: &path, reading, behind_gateway };
            let chosen = Chosen { selected, of_client, passed: Passed::default() };
            match chosen.after(place, cursor.passed, outcome) {
                Ok(passed) => Chosen { passed, ..chosen }.follow(place + 1, &mut trace::Silent),
                Err(denied) => chosen.answer(denied),
            }
        }
    }
}

pub(crate) fn decide_with<'t>(
    table: &'t Table,
    request: Request<'_>,
    connection: Connection<'_>,
    random: u64,
    trace: &mut impl Trace<'t>,
) -> Decision {
    let target = match request.asked {
        Asked::Resource(target) => target,
        Asked::Server => return answer(Answer::options(Vec::new())),
    };
    let of_client = OfClient { request, target, connection, random };
    let port = table.ports.get(&connection.port).map(|port| &**port);
    match listener(port, &request, &connection, trace) {
        Ok(listener) => Guarded { listener, port, of_client, passed: Passed::default() }.follow(0, trace),
        Err((rejection, why)) => {
            let edits = port.and_then(|port| of_client.unmatched(port));
            answer(Answer::reject(rejection, why).unmatched(edits))
        }
    }
}

fn answer(answer: Answer) -> Decision {
    Decision::Answer(Box::new(answer))
}

/// The listener of a request: by the port and the host.
fn listener<'t>(
    port: Option<&'t Port>,
    request: &Request<'_>,
    connection: &Connection<'_>,
    trace: &mut impl Trace<'t>,
) -> Result<&'t Arc<Listener>, (Rejection, &'static str)> {
    let (port, listener) = port
        .and_then(|port| Some((port, port.listener(request.host)?)))
        .ok_or((Rejection::NoRoute, "no listener for this host"))?;
    trace.listener(port, listener);
    match is_directed(connection, port, listener) {
        true => Ok(listener),
        false => Err((Rejection::Misdirected, "the connection was made for another host's listener")),
    }
}

/// Whether a connection may send requests to a listener. A client that reuses a connection for another host must not
/// bypass what that host requires of its clients.
///
/// The policy of client authentication has to be that of the handshake. At a Gateway the handshake also has to be for the
/// same listener. Among hosts of Ingresses server name and Host may differ, as with ingress-nginx. Clients with an unknown
/// or missing server name were shown the default certificate of Ingresses.
fn is_directed(connection: &Connection<'_>, port: &Port, listener: &Arc<Listener>) -> bool {
    let Some(tls) = connection.tls else { return true };
    // A handshake from before a change of the policy is not one under the policy.
    if listener.tls.client_auth() != Some(tls.client_auth) {
        return false;
    }
    let greeted = port.greeted(tls.server_name);
    match listener.id.is_ingress() {
        true => greeted.is_none_or(|greeted| greeted.id.is_ingress()),
        false => greeted.is_some_and(|greeted| Arc::ptr_eq(greeted, listener) || greeted.id == listener.id),
    }
}

impl OfClient<'_> {
    /// Calls `run` with what variables read of the request, whose path is read in this way.
    fn with_values<T>(&self, reading: Reading, run: impl FnOnce(&Values<'_>) -> T) -> T {
        let Self { request, target, connection, .. } = self;
        let path = target.path.read(reading).unwrap_or_default();
        run(&Values {
            host: request.host,
            sent_host: request.sent_host,
            path: &decoded(&path),
            sent_path: target.path.sent(),
            query: target.query,
            scheme: connection.scheme,
            method: request.method.as_str(),
            client: connection.client,
            port: connection.client_port,
            headers: request.headers,
            groups: &NoGroups,
        })
    }

    /// The header changes of the response to a request that no rule takes.
    fn unmatched(&self, port: &Port) -> Option<StepEdits> {
        let added = port.unmatched.as_ref()?;
        self.with_values(Reading::Ingress, |values| added.filled(values))
    }
}

impl Connection<'_> {
    /// The port for redirects: the listener's; behind a proxy that ended the client's TLS, that of the client's scheme.
    fn redirected_port(&self) -> u16 {
        match (self.scheme, &self.tls) {
            ("https", None) => 443,
            ("http", Some(_)) => 80,
            _ => self.client_port,
        }
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, host, sent_host: _, asked, headers: _, upgrade } = self;
        f.debug_struct("Request")
            .field("method", method)
            .field("host", host)
            .field("asked", asked)
            .field("upgrade", upgrade)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
