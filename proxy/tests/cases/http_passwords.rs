//! Names and passwords, on both carriers.

use std::sync::Arc;

use portcullis_routing::{
    Rule, Step, Steps,
    step::{BasicAuth, Check, HeaderModifier, Satisfy, Users, basic_auth},
};

use crate::support::{
    client::{connect, exchange, get, h2 as h2_client},
    raw::{H2Backend, RawBackend},
    site::{Site, backend, h2, rule, share, to},
    start_with,
};

const QUICK: &str = "bob:{PLAIN}secret";
const SLOW: &str = "bob:$2y$05$.LgS0sSX43kr26XTa10Emuy9nbsYmNrnSHM/CTv540FVH8ZINplZO";

fn protected(file: &str, rule: Rule) -> Rule {
    let auth = BasicAuth {
        challenge: basic_auth::challenge("Staff only").unwrap(),
        users: Arc::new(Users::of_file("test", file.as_bytes())),
        satisfy: Satisfy::All,
    };
    let without = HeaderModifier::new([], [], [http::header::AUTHORIZATION]).unwrap();
    let steps = [Step::Check(Check::Basic(Arc::new(auth))), Step::RequestHeaders(without)];
    Rule { steps: Steps::new(steps), ..rule }
}

fn with(authorization: &str) -> String {
    format!(
        "POST /a?b HTTP/1.1\r\nHost: a.example\r\nAuthorization: {authorization}\r\nContent-Length: 5\r\n\r\nhello"
    )
}

/// The password opens, once and again, and the backend never gets it; nothing else opens.
#[tokio::test]
async fn only_who_knows_a_password_gets_to_the_backend() {
    for file in [QUICK, SLOW] {
        let up = RawBackend::saying("up").await;
        let proxy = start_with(|_| {});
        let at = Site::of(protected(file, to(up.address))).serve(&proxy).await;
        let mut client = connect(at).await;
        let refused = get(&mut client, "a.example", "/").await;
        assert_eq!(refused.status, 401);
        assert!(
            refused.head.contains("\r\nwww-authenticate: basic realm=\"staff only\"\r\n"),
            "{}",
            refused.head
        );
        for authorization in
            ["Basic Ym9iOndyb25n", "Basic ZXZlOnNlY3JldA==", "Bearer Ym9iOnNlY3JldA==", "Basic", "Basic Ym9i"]
        {
            // A connection of its own: pingora ends one whose body it has not read.
            let mut client = connect(at).await;
            assert_eq!(exchange(&mut client, &with(authorization)).await.status, 401, "{authorization}");
        }
        assert!(up.seen().is_empty());
        for _ in 0..2 {
            assert_eq!(exchange(&mut client, &with("Basic Ym9iOnNlY3JldA==")).await.body, "up", "{file}");
            let seen = up.last();
            assert_eq!((seen.line(), &*seen.body), ("POST /a?b HTTP/1.1", &b"hello"[..]));
            assert_eq!(seen.header("authorization"), None);
        }
        let twice = "GET / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic Ym9iOnNlY3JldA==\r\n\
                     Authorization: Basic Ym9iOndyb25n\r\n\r\n";
        assert_ne!(exchange(&mut client, twice).await.status, 200);
        assert_eq!(up.seen().len(), 2);
    }
}

#[tokio::test]
async fn http2_is_asked_for_passwords_too() {
    let (up, up2) = (RawBackend::saying("up").await, H2Backend::start().await);
    let proxy = start_with(|_| {});
    for rule in [to(up.address), rule([share(1, Ok(h2(backend(&[up2.address]))))])] {
        let at = Site::of(protected(SLOW, rule)).serve(&proxy).await;
        let mut client = h2_client(connect(at).await).await;
        assert_eq!(client.get("http://a.example/").await.unwrap().0, 401);
        let request =
            http::Request::get("http://a.example/").header("authorization", "Basic Ym9iOnNlY3JldA==");
        let (response, _) = client.send.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(crate::support::client::finish(response).await.unwrap().0, 200);
    }
    assert_eq!(up.last().header("authorization"), None);
    assert!(up2.last().headers.get("authorization").is_none());
    assert_eq!((up.seen().len(), up2.seen().len()), (1, 1));
}

/// Many clients with wrong passwords keep nobody from what needs no hash, and each of them gets an answer.
#[tokio::test]
async fn a_flood_of_wrong_passwords_is_answered() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let slow = protected(&SLOW.replace("$05$", "$09$"), to(up.address));
    let site = Site::of(slow).add("b.example", crate::support::site::listener("b"), "/", to(up.address));
    let at = site.serve(&proxy).await;
    let flood: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = connect(at).await;
                exchange(&mut client, &with("Basic Ym9iOndyb25n")).await.status
            })
        })
        .collect();
    assert_eq!(get(&mut connect(at).await, "b.example", "/").await.status, 200);
    let mut statuses = Vec::new();
    for one in flood {
        statuses.push(one.await.unwrap());
    }
    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&503), "{statuses:?}");
}
