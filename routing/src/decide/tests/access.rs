//! Who may send requests: by the client's address.

use std::{net::IpAddr, sync::Arc};

use super::*;
use crate::{
    Networks,
    step::{AccessList, IngressRedirect},
};

const REFUSED: &str = "403 the client's address is not among those that may send requests";

fn only(address: &str) -> Step {
    let networks: Networks = [(address.parse::<IpAddr>().unwrap(), 32)].into_iter().collect();
    Step::AccessList(Box::new(AccessList { deny: Vec::new(), allow: Some(Arc::new(networks)) }))
}

fn of(client: &str) -> Connection<'static> {
    Connection { client: client.parse().unwrap(), ..plain() }
}

#[test]
fn a_client_that_is_not_admitted_gets_no_further() {
    let table = table(rule([asks("later", ready()), only("10.0.0.1")], [ready()]));
    for (client, want) in [
        ("10.0.0.1", "ask /later"),
        ("10.0.0.2", REFUSED),
        ("::1", REFUSED),
        ("::ffff:10.0.0.1", "ask /later"),
    ] {
        assert_eq!(with_target(&table, &Method::GET, "/", of(client)), want, "{client}");
    }
}

#[test]
fn redirects_and_missing_endpoints_come_before_the_list() {
    let https =
        IngressRedirect::Https { status: StatusCode::PERMANENT_REDIRECT, keep_slash: false, port: None };
    let https = || Step::IngressRedirect(Box::new(https.clone()));
    let none = || Ok(Endpoints::Addresses(Box::default()));
    for (steps, backend, want) in [
        (vec![only("10.0.0.1"), https()], ready(), "308 "),
        (vec![only("10.0.0.1"), Step::Endpoints], none(), "503 the backend has no endpoint that is ready"),
        (vec![only("10.0.0.1"), Step::Endpoints], ready(), REFUSED),
        // A Gateway's redirect is no backend's answer: nobody gets it who is not admitted.
        (vec![only("10.0.0.1"), Step::Redirect(redirect())], ready(), REFUSED),
    ] {
        let table = table(rule(steps, [backend]));
        assert_eq!(with_target(&table, &Method::GET, "/", of("10.0.0.2")), want);
    }
}

/// Nothing is known of the client that a request is explained for.
#[test]
fn explaining_takes_every_client_for_admitted() {
    let table = table(rule([only("10.0.0.1")], [ready()]));
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let explained = crate::explain(&table, request(&Method::GET, "a.example", &asked), of("10.0.0.2"));
    assert!(matches!(explained.outcome, crate::explain::ExplainedOutcome::Forwarded { .. }));
    assert_eq!(explained.steps, ["clients only 10.0.0.1"]);
}
