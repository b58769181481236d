//! How paths are read, and with which bytes they reach a backend.

use std::net::SocketAddr;

use crate::support::{
    client::{connect, exchange},
    raw::{H2Backend, RawBackend},
    site::{Site, backend, h2, ingress, listener, rule, share, to},
    start,
};
use http::StatusCode;
use portcullis_routing::{Step, Steps, step::Redirect};

/// What a request comes to: the status, who answered, and the request line that the backend saw.
async fn outcome(at: SocketAddr, target: &str, backends: &[&RawBackend]) -> (u16, String, String) {
    let before: Vec<_> = backends.iter().map(|b| b.seen().len()).collect();
    let got =
        exchange(&mut connect(at).await, &format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")).await;
    let seen =
        backends.iter().zip(before).find_map(|(b, n)| b.seen().get(n).map(|seen| seen.line().to_owned()));
    let body = if got.status == 200 { got.body } else { String::new() };
    let target = seen.map(|line| line.trim_start_matches("GET ").trim_end_matches(" HTTP/1.1").to_owned());
    (got.status, body, target.unwrap_or_default())
}

#[tokio::test]
async fn no_second_reading_of_a_path_passes_by_a_rule() {
    let (rest, admin) = (RawBackend::saying("rest").await, RawBackend::saying("admin").await);
    let proxy = start();
    let at =
        Site::of(to(rest.address)).add("", listener("all"), "/adm", to(admin.address)).serve(&proxy).await;
    for (target, want) in [
        ("/adm", (200, "admin", "/adm")),
        ("//adm", (200, "admin", "//adm")),
        ("/adm//x", (200, "admin", "/adm//x")),
        ("///x/..//adm", (200, "admin", "/adm")),
        ("/%61dm/x", (200, "admin", "/%61dm/x")),
        ("/x/%2e%2e/adm", (200, "admin", "/adm")),
        ("/adm%2Fx", (400, "", "")),
        ("/adm%2fx", (400, "", "")),
        ("/adm%5Cx", (400, "", "")),
        ("/adm%5cx", (400, "", "")),
        ("/x%2F..%2Fadm", (400, "", "")),
        ("/x%5C..%2Fadm", (400, "", "")),
        ("/adm/..%2Fx", (400, "", "")),
        ("/x/..%2F..%2Fetc", (400, "", "")),
        ("/adm/a%2Fb", (200, "admin", "/adm/a%2Fb")),
        ("/x/a%2fb%5c", (200, "rest", "/x/a%2fb%5c")),
        ("/adm%252Fx", (200, "rest", "/adm%252Fx")),
    ] {
        let got = outcome(at, target, &[&rest, &admin]).await;
        assert_eq!((got.0, &*got.1, &*got.2), want, "{target}");
    }
}

#[tokio::test]
async fn the_hosts_of_ingresses_read_paths_as_nginx_does() {
    let (rest, admin) = (RawBackend::saying("rest").await, RawBackend::saying("admin").await);
    let proxy = start();
    let at = Site::http()
        .add("", ingress(""), "/", to(rest.address))
        .add("", ingress(""), "/adm", to(admin.address))
        .serve(&proxy)
        .await;
    for (target, want) in [
        ("/adm%2Fx", (200, "admin", "/adm%2Fx")),
        ("//adm", (200, "admin", "//adm")),
        ("/x%2F..%2fadm", (200, "admin", "/x%2F..%2fadm")),
        ("/x/../adm?q", (200, "admin", "/x/../adm?q")),
        ("/adm/..%2Fx", (200, "rest", "/adm/..%2Fx")),
        ("/x/%0d%21", (200, "rest", "/x/%0d%21")),
        ("/adm%5Cx", (400, "", "")),
        ("/..", (400, "", "")),
        ("/adm/..%2F..%2Fx", (400, "", "")),
        ("/%00", (400, "", "")),
    ] {
        let got = outcome(at, target, &[&rest, &admin]).await;
        assert_eq!((got.0, &*got.1, &*got.2), want, "{target}");
    }
}

#[tokio::test]
async fn a_backend_gets_the_bytes_that_the_client_signed() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    for (target, want) in [
        ("/a//b/%7Euser/%e2%82%ac?x=%2f", "/a//b/%7Euser/%e2%82%ac?x=%2f"),
        ("/a|b\"{c}^\u{e9}", "/a|b\"{c}^\u{e9}"),
        ("http://a.example/a//%61?x", "/a//%61?x"),
        ("/%61/./b", "/a/b"),
        ("/%61%0d/b", "/a%0D/b"),
        ("/%61%7f", "/a%7F"),
    ] {
        let got = outcome(at, target, &[&backend]).await;
        assert_eq!((got.0, &*got.2), (200, want), "{target}");
    }
}

#[tokio::test]
async fn an_h2_backend_gets_them_too() {
    let backend_h2 = H2Backend::start().await;
    let proxy = start();
    let at = Site::of(rule([share(1, Ok(h2(backend(&[backend_h2.address]))))])).serve(&proxy).await;
    let mut client = crate::support::client::h2(connect(at).await).await;
    for (target, want) in [("/a//b/%7E|%2f?x", "/a//b/%7E|%2f?x"), ("/a/../%62", "/b")] {
        assert_eq!(client.get(&format!("http://a.example{target}")).await.unwrap().0, 200, "{target}");
        assert_eq!(backend_h2.last().uri.path_and_query().unwrap().as_str(), want, "{target}");
    }
}

#[tokio::test]
async fn a_redirect_that_names_no_path_keeps_the_clients_own() {
    let proxy = start();
    let mut moved = rule([]);
    let scheme = Some("https".into());
    let status = StatusCode::PERMANENT_REDIRECT;
    moved.steps = Steps::new([Step::Redirect(Box::new(Redirect {
        scheme,
        hostname: None,
        port: None,
        path: None,
        status,
    }))]);
    let at = Site::of(moved).serve(&proxy).await;
    for (target, want) in [
        ("/a//%7eb?x=%2f", "https://a.example/a//%7eb?x=%2f"),
        ("//evil.example", "https://a.example//evil.example"),
        ("/a/../b", "https://a.example/b"),
        ("/a|\u{e9}", "https://a.example/a%7c%c3%a9"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let got = exchange(&mut connect(at).await, &request).await;
        assert!(got.head.contains(&format!("\r\nlocation: {want}\r\n")), "{target}: {}", got.head);
    }
}
