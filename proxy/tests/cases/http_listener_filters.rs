//! Filters of a listener: services are asked about each request before a rule is chosen, and what they say chooses it.

use std::time::Duration;

use http::HeaderName;
use portcullis_routing::{
    HeaderMatch, Rule, Timeouts, ValueMatch,
    step::{AuthProtocol, HttpAuth},
};

use super::http_check::{field, grpc_service, header, names, service};
use crate::support::{
    client::{connect, exchange, get, h2 as h2_client},
    raw::{H2Backend, RawBackend, Reply, ok, status},
    site::{Site, backend, guarded, h2, listener, rule, share, to},
    start_with, within,
};

/// A service is told the tenant, and asked which one it is.
fn by_http() -> AuthProtocol {
    AuthProtocol::Http(HttpAuth {
        path_prefix: "/check".into(),
        request_headers: names(["x-tenant", "cookie"]),
        answer_headers: names(["x-tenant"]),
    })
}

fn of_tenant(tenant: &str) -> [HeaderMatch; 1] {
    [HeaderMatch { name: HeaderName::from_static("x-tenant"), value: ValueMatch::Exact(tenant.into()) }]
}

/// Answers with the tenant that the path names: `/as/gold`.
fn tenant_of(line: &str) -> Option<Reply> {
    let tenant = line.split("/as/").nth(1)?.split([' ', '/', '?']).next()?;
    Some(Reply::Bytes(format!("HTTP/1.1 200 OK\r\nX-Tenant: {tenant}\r\nContent-Length: 0\r\n\r\n").into()))
}

/// A site whose rules below `/as` are those of two tenants, and that of everybody else.
fn tenants(gold: Rule, lead: Rule, rest: Rule) -> Site {
    Site::http()
        .add_where("", listener("all"), "/as", of_tenant("gold"), gold)
        .add_where("", listener("all"), "/as", of_tenant("lead"), lead)
        .add("", listener("all"), "/as", rest)
}

#[tokio::test]
async fn what_the_service_says_chooses_the_rule_and_the_client_cannot() {
    let auth = service(tenant_of).await;
    let (gold, lead, rest) = (
        RawBackend::saying("gold").await,
        RawBackend::saying("lead").await,
        RawBackend::saying("rest").await,
    );
    let gold2 = H2Backend::start().await;
    let proxy = start_with(|_| {});
    let rules = || (to(lead.address), to(rest.address));
    let to_h2 = rule([share(1, Ok(h2(backend(&[gold2.address]))))]);
    for gold_rule in [to(gold.address), to_h2] {
        let (lead_rule, rest_rule) = rules();
        let site = tenants(gold_rule, lead_rule, rest_rule).filtered("", auth.address, by_http());
        let at = site.serve(&proxy).await;
        let mut client = connect(at).await;
        for (path, sent, wanted) in [
            ("/as/lead", "", "lead"),
            ("/as/lead", "X-Tenant: gold\r\n", "lead"),
            ("/as/lead", "x-tenant: gold\r\nX-Tenant: gold\r\n", "lead"),
            ("/as/other", "X-Tenant: gold\r\n", "rest"),
            // The service does not say the header at all.
            ("/as", "X-Tenant: gold\r\n", "rest"),
            ("/as", "X-Tenant: gold\r\nConnection: x-tenant\r\n", "rest"),
            ("/as/lead", "Connection: x-tenant\r\n", "lead"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{sent}\r\n");
            let answer = exchange(&mut client, &request).await;
            assert_eq!((answer.status, &*answer.body), (200, wanted), "{path} {sent}");
        }
        assert_eq!(lead.last().header("x-tenant"), Some("lead"));
        assert_eq!(rest.last().header("x-tenant"), None);
        let request =
            "POST /as/gold?q HTTP/1.1\r\nHost: a.example\r\nX-Tenant: lead\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(exchange(&mut client, request).await.status, 200);
        assert_eq!(auth.last().line(), "POST /check/as/gold?q HTTP/1.1");
        assert_eq!(auth.last().header("x-tenant"), Some("lead"), "it is asked about the client's own word");

        let mut client = h2_client(connect(at).await).await;
        assert_eq!(client.get("http://a.example/as/lead").await.unwrap(), (200, "lead".to_owned()));
        assert_eq!(client.get("http://a.example/as/gold").await.unwrap().0, 200);
        assert_eq!(client.get("http://a.example/as").await.unwrap(), (200, "rest".to_owned()));
    }
    let (first, second) = (gold.seen(), gold2.seen());
    assert_eq!((first.len(), &*first[0].body, second.len()), (2, &b"hello"[..], 2));
    assert!(first.iter().all(|seen| seen.header("x-tenant") == Some("gold")));
    assert!(second.iter().all(|seen| seen.headers["x-tenant"] == "gold"));
}

#[tokio::test]
async fn a_request_is_denied_before_it_is_found_that_no_rule_takes_it() {
    let auth = service(|line| line.contains("/no").then(|| status(401))).await;
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let site =
        Site::http().add("", listener("all"), "/up", to(up.address)).filtered("", auth.address, by_http());
    let at = site.serve(&proxy).await;
    let mut client = connect(at).await;
    for (path, wanted) in [("/no/such", 401), ("/such", 404), ("/up", 200), ("/up/no", 401), ("/up", 200)] {
        assert_eq!(get(&mut client, "a.example", path).await.status, wanted, "{path}");
    }
    let mut client = h2_client(connect(at).await).await;
    for (path, wanted) in [("/no/such", 401), ("/such", 404), ("/up", 200)] {
        assert_eq!(
            client.get(&format!("http://a.example{path}")).await.unwrap().0,
            wanted,
            "{path} over HTTP/2"
        );
    }
    assert_eq!((auth.seen().len(), up.seen().len()), (8, 3));
}

#[tokio::test]
async fn services_are_asked_in_their_order_each_about_what_the_ones_before_have_left() {
    let first = service(tenant_of).await;
    // Turns the tenant gold into lead, and denies all others.
    let second = RawBackend::start(|_, seen| match seen.header("x-tenant") {
        Some("gold") => Reply::Bytes("HTTP/1.1 200 OK\r\nX-Tenant: lead\r\nContent-Length: 0\r\n\r\n".into()),
        _ => status(403),
    });
    let second = second.await;
    let of_rule = service(|_| None).await;
    let (gold, lead, rest) = (
        RawBackend::saying("gold").await,
        RawBackend::saying("lead").await,
        RawBackend::saying("rest").await,
    );
    let proxy = start_with(|_| {});
    let lead_rule = guarded(of_rule.address, by_http(), to(lead.address));
    let site = tenants(to(gold.address), lead_rule, to(rest.address));
    let site = site.filtered("", first.address, by_http()).filtered("", second.address, by_http());
    let at = site.serve(&proxy).await;
    let mut client = connect(at).await;
    let mut client2 = h2_client(connect(at).await).await;
    assert_eq!(get(&mut client, "a.example", "/as/gold").await.body, "lead");
    assert_eq!(client2.get("http://a.example/as/gold").await.unwrap().1, "lead");
    assert_eq!(get(&mut client, "a.example", "/as/other").await.status, 403);
    assert_eq!(client2.get("http://a.example/as/other").await.unwrap().0, 403);
    assert_eq!((first.seen().len(), second.seen().len()), (4, 4));
    assert!(
        of_rule.seen().iter().all(|seen| seen.header("x-tenant") == Some("lead")),
        "{:?}",
        of_rule.seen()
    );
    assert_eq!((of_rule.seen().len(), lead.seen().len(), gold.seen().len(), rest.seen().len()), (2, 2, 0, 0));
}

#[tokio::test]
async fn filters_are_those_of_the_listener_of_the_host_alone() {
    let (a, b) = (service(|_| None).await, service(|_| Some(status(403))).await);
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let site = Site::http()
        .add("a.example", listener("a"), "/", to(up.address))
        .add("b.example", listener("b"), "/", to(up.address))
        .add("", listener("rest"), "/", to(up.address))
        .filtered("a.example", a.address, by_http())
        .filtered("b.example", b.address, by_http());
    let at = site.serve(&proxy).await;
    let mut client = connect(at).await;
    for (host, wanted) in [
        ("a.example", 200),
        ("b.example", 403),
        ("c.example", 200),
        ("x.b.example", 200),
        ("B.example:80", 403),
    ] {
        assert_eq!(get(&mut client, host, "/").await.status, wanted, "{host}");
    }
    assert_eq!((a.seen().len(), b.seen().len(), up.seen().len()), (1, 2, 3));
}

#[tokio::test]
async fn a_service_that_gives_no_answer_closes_the_listener_and_the_rules_time_runs() {
    let auth = service(|line| match line {
        line if line.contains("/close") => Some(Reply::Close),
        line => {
            if line.contains("/slow") {
                std::thread::sleep(Duration::from_millis(2_100));
            }
            Some(ok(""))
        }
    });
    let auth = auth.await;
    let late = service(|line| line.contains("/late").then(|| Reply::Hang(Vec::new()))).await;
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let timeouts = Timeouts { request: Some(Duration::from_secs(2)), ..Timeouts::default() }.of_rule();
    let limited = guarded(late.address, by_http(), Rule { timeouts, ..to(up.address) });
    let at = Site::of(limited).filtered("", auth.address, by_http()).serve(&proxy).await;
    for (path, wanted) in [("/close", 500), ("/late", 504), ("/", 200), ("/slow", 504)] {
        assert_eq!(get(&mut connect(at).await, "a.example", path).await.status, wanted, "{path}");
    }
}

#[tokio::test]
async fn a_service_that_is_asked_over_grpc_cannot_change_the_host() {
    let passes = field(
        3,
        &[
            field(2, &header("x-tenant", "gold")),
            field(2, &header("Host", "b.example")),
            field(2, &header(":authority", "b.example")),
        ]
        .concat(),
    );
    let auth = grpc_service(Vec::new(), passes).await;
    let (gold, rest) = (RawBackend::saying("gold").await, RawBackend::saying("rest").await);
    let proxy = start_with(|_| {});
    let by_grpc = AuthProtocol::Grpc { request_headers: Box::default() };
    let site = tenants(to(gold.address), to(rest.address), to(rest.address)).filtered("", auth, by_grpc);
    let at = site.serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/as/x").await.body, "gold");
    assert_eq!(h2_client(connect(at).await).await.get("http://a.example/as/x").await.unwrap().1, "gold");
    assert!(gold.seen().iter().all(|seen| seen.header("host") == Some("a.example")), "{:?}", gold.seen());
}

#[tokio::test]
async fn an_upgrade_is_checked_before_its_rule_is_chosen() {
    let auth = service(|line| tenant_of(line).or(Some(status(403)))).await;
    let switches = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let gold = RawBackend::start(move |_, _| Reply::Last(switches.into())).await;
    let rest = RawBackend::saying("rest").await;
    let proxy = start_with(|_| {});
    let site =
        tenants(to(gold.address), to(rest.address), to(rest.address)).filtered("", auth.address, by_http());
    let at = site.serve(&proxy).await;
    for (path, wanted) in [("/as/gold", 101), ("/as", 403)] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a.example\r\nX-Tenant: gold\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        );
        let answer = within(exchange(&mut connect(at).await, &request)).await;
        assert_eq!(answer.status, wanted, "{path}");
    }
    assert_eq!((gold.seen().len(), rest.seen().len()), (1, 0));
}
