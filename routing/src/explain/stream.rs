//! What happens to a connection or a datagram that goes to a backend as a whole.

use std::sync::Arc;

use super::{ExplainedOutcome, ExplainedRule, Explanation, backends, text};
use crate::{HostPattern, Port, PortKey, Protocol, Rule, Serves, Table};

/// Explains what happens to a connection or a flow of datagrams at a port. A TLS connection has the server name that it
/// names, in lower case.
pub fn explain_stream(table: &Table, port: PortKey, server_name: Option<&str>) -> Explanation {
    let found = table.ports.get(&port);
    let request = request(found, port, server_name);
    let Some(port) = found else { return closed(request, "no listener has this port") };
    let listener = match port.protocol {
        Protocol::Tls => port.greeted(server_name),
        Protocol::Http | Protocol::Tcp | Protocol::Udp => port.listener(""),
    };
    let Some(listener) = listener else {
        return closed(request, "no listener has this server name");
    };
    let rule = match &listener.serves {
        Serves::Http(_) => Err("the listener serves requests; write https://name/path or http://name/path"),
        Serves::Stream(_) => listener.stream(server_name).ok_or("no route matches this connection"),
        Serves::Datagram(rule) => {
            rule.as_ref().map(|rule| (&HostPattern::Any, rule)).ok_or("no route takes these datagrams")
        }
    };
    let explained = Some(text::listener(port, listener, server_name.unwrap_or_default()));
    match rule {
        Ok((hostname, rule)) => {
            of_rule(Explanation { listener: explained, ..closed(request, "") }, hostname, rule)
        }
        Err(why) => Explanation { listener: explained, ..closed(request, why) },
    }
}

fn of_rule(explanation: Explanation, hostname: &HostPattern, rule: &Arc<Rule>) -> Explanation {
    let backends = backends(&rule.backends);
    let usable =
        |explained: &super::ExplainedBackend| explained.weight > 0 && !explained.endpoints.is_empty();
    let outcome = match backends.iter().any(usable) {
        true => ExplainedOutcome::Forwarded { target: None, carrier: None },
        false => ExplainedOutcome::Closed { why: "no backend has an endpoint that is ready".to_owned() },
    };
    Explanation {
        rule: Some(ExplainedRule {
            route: rule.route.to_string(),
            index: rule.index,
            name: rule.name.as_deref().map(str::to_owned),
            hostname: hostname.to_string(),
            matched: "everything".to_owned(),
        }),
        backends,
        outcome,
        ..explanation
    }
}

fn request(port: Option<&Arc<Port>>, key: PortKey, server_name: Option<&str>) -> String {
    let number = port.map_or(key.number, |port| port.for_clients());
    let what = match port.map(|port| port.protocol) {
        Some(Protocol::Udp) => "datagrams",
        Some(Protocol::Tls) => "TLS connection",
        Some(Protocol::Http | Protocol::Tcp) | None => "connection",
    };
    let server_name = server_name.map(|name| format!(" with server name {name}"));
    format!("{what} to port {number}{}", server_name.unwrap_or_default())
}

/// One that goes to no backend.
fn closed(request: String, why: &str) -> Explanation {
    Explanation {
        request,
        listener: None,
        rule: None,
        next: None,
        nearest: None,
        steps: Vec::new(),
        backends: Vec::new(),
        outcome: ExplainedOutcome::Closed { why: why.to_owned() },
    }
}
