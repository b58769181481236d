//! Who may send requests: by the client's address.

use std::{net::IpAddr, sync::Arc};

use super::*;
use crate::{
    Networks,
    step::{
        AccessList, AuthAnswer, BasicAuth, Counts, IngressRedirect, Limits, Rates, Satisfy, Users, basic_auth,
    },
};

const REFUSED: &str = "403 the client's address is not allowed";

fn only(address: &str) -> Step {
    list(address, Satisfy::All)
}

fn list(address: &str, satisfy: Satisfy) -> Step {
    let networks: Networks = [(address.parse::<IpAddr>().unwrap(), 32)].into_iter().collect();
    Step::AccessList(Arc::new(AccessList { deny: None, allow: Some(Arc::new(networks)), satisfy }))
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
        (vec![only("10.0.0.1"), Step::Endpoints], none(), "503 the backend has no ready endpoint"),
        (vec![only("10.0.0.1"), Step::Endpoints], ready(), REFUSED),
        // A Gateway's redirect is no backend's answer: nobody gets it who is not admitted.
        (vec![only("10.0.0.1"), Step::Redirect(Box::new(redirect()))], ready(), REFUSED),
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

fn password(satisfy: Satisfy) -> Step {
    let users = Arc::new(Users::of_file("n", b"a:b"));
    let challenge = basic_auth::challenge("x").unwrap();
    Step::Check(Check::Basic(Arc::new(BasicAuth { challenge, users, satisfy })))
}

fn limits(exempt: &str) -> Step {
    let exempt: Networks = [(exempt.parse::<IpAddr>().unwrap(), 32)].into_iter().collect();
    Step::Check(Check::Limits(Arc::new(Limits {
        owner: "a/b".into(),
        rates: Rates::default(),
        in_flight: Some(1),
        ipv6_prefix: 128,
        exempt: Some(Arc::new(exempt)),
        rate_status: StatusCode::TOO_MANY_REQUESTS,
        in_flight_status: StatusCode::SERVICE_UNAVAILABLE,
        counts: Counts::default(),
    })))
}

/// What is decided one after another, where each check has the next of these outcomes.
fn course(steps: Vec<Step>, client: &str, outcomes: Vec<Outcome>) -> Vec<String> {
    let table = table(rule(steps, [ready()]));
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let request = request(&Method::GET, "a.example", &asked);
    let mut decision = decide(&table, request, of(client), 0);
    let mut course = vec![text(&decision)];
    for outcome in outcomes {
        let Decision::Ask(cursor) = decision else { panic!("nothing is asked: {course:?}") };
        decision = resume(*cursor, request, of(client), outcome);
        course.push(text(&decision));
    }
    course
}

fn wrong() -> Outcome {
    Outcome::Deny(Rejection::Unauthenticated, "wrong")
}

#[test]
fn limits_come_before_lists_and_those_before_passwords() {
    let steps = || {
        let all = Satisfy::All;
        vec![asks("later", ready()), password(all), list("10.0.0.1", all), limits("10.0.0.9"), Step::Satisfy]
    };
    let pass = || Outcome::Pass(Vec::new());
    let limited = || Outcome::Limited(StatusCode::TOO_MANY_REQUESTS, "too fast");
    for (client, outcomes, want) in [
        ("10.0.0.1", vec![limited()], vec!["ask limits", "429 too fast"]),
        ("10.0.0.2", vec![pass()], vec!["ask limits", REFUSED]),
        ("10.0.0.1", vec![pass(), wrong()], vec!["ask limits", "ask password", "401 wrong"]),
        ("10.0.0.1", vec![pass(), pass()], vec!["ask limits", "ask password", "ask /later"]),
        // Exempt from limits, and from nothing else.
        ("10.0.0.9", vec![], vec![REFUSED]),
    ] {
        assert_eq!(course(steps(), client, outcomes), want, "{client}");
    }
}

/// `satisfy: any`: a check that fails is no way around the others, and only one that was passed opens.
#[test]
fn of_several_checks_one_may_be_enough() {
    let any = Satisfy::Any;
    let pass = || Outcome::Pass(Vec::new());
    let busy = || Outcome::Deny(Rejection::Overloaded, "busy");
    let both = || vec![list("10.0.0.1", any), password(any), Step::Satisfy];
    for (steps, client, outcomes, want) in [
        (both(), "10.0.0.1", vec![], vec!["forward"]),
        (both(), "10.0.0.2", vec![pass()], vec!["ask password", "forward"]),
        (both(), "10.0.0.2", vec![wrong()], vec!["ask password", "401 wrong"]),
        // An error of a check is not a refusal that another one makes up for.
        (both(), "10.0.0.2", vec![busy()], vec!["ask password", "503 busy"]),
        (vec![list("10.0.0.1", any), Step::Satisfy], "10.0.0.2", vec![], vec![REFUSED]),
        (vec![password(any), Step::Satisfy], "10.0.0.2", vec![wrong()], vec!["ask password", "401 wrong"]),
        // What is not among them has to be passed all the same.
        (
            vec![list("10.0.0.1", any), password(any), Step::Satisfy, asks("later", ready())],
            "10.0.0.1",
            vec![],
            vec!["ask /later"],
        ),
    ] {
        assert_eq!(course(steps, client, outcomes), want, "{client}");
    }
}

/// A client that another check lets pass must not say of itself what the service would have said of it.
#[test]
fn who_is_not_asked_about_has_none_of_the_headers_of_the_service() {
    let any = Satisfy::Any;
    let steps =
        || vec![list("10.0.0.1", any), password(any), ingress_auth::auth_with(None, any), Step::Satisfy];
    let table = table(rule(steps(), [ready()]));
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-user", HeaderValue::from_static("admin"));
    let request = Request { headers: &headers, ..request(&Method::GET, "a.example", &asked) };
    for (client, outcomes) in [("10.0.0.1", vec![]), ("10.0.0.2", vec![Outcome::Pass(Vec::new())])] {
        let mut decision = decide(&table, request, of(client), 0);
        for outcome in outcomes {
            let Decision::Ask(cursor) = decision else { panic!("nothing is asked") };
            decision = resume(*cursor, request, of(client), outcome);
        }
        let Decision::Forward(forward) = decision else { panic!("{client}: {}", text(&decision)) };
        let mut sent = headers.clone();
        forward.route.request_edits().apply(&mut sent);
        assert_eq!(sent.get("x-user").filter(|value| !value.is_empty()), None, "{client}");
    }
}

#[test]
fn a_service_is_one_of_the_checks_of_which_one_is_enough() {
    let any = Satisfy::Any;
    let steps = || vec![password(any), ingress_auth::auth_with(None, any), Step::Satisfy];
    let said = |status| Outcome::Answered(Arc::new(AuthAnswer { status, headers: Box::default() }));
    let (asked, service) = ("ask password", "ask http://auth:80/check");
    for (outcomes, want) in [
        (vec![wrong(), said(StatusCode::OK)], vec![asked, service, "forward"]),
        // As in nginx: 401, so that clients ask for a password, even where the service says 403.
        (vec![wrong(), said(StatusCode::FORBIDDEN)], vec![asked, service, "401 wrong"]),
        (
            vec![wrong(), said(StatusCode::BAD_GATEWAY)],
            vec![asked, service, "500 the authorization service responds with neither 2xx nor 401 nor 403"],
        ),
        (vec![Outcome::Pass(Vec::new())], vec![asked, "forward"]),
    ] {
        assert_eq!(course(steps(), "10.0.0.1", outcomes), want);
    }
}
