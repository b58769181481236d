//! The access log in a format of the operator's. Alone in its process: what is listened to is set for all threads.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;

use std::sync::{Arc, Mutex};

use portcullis_proxy::LogOptions;
use portcullis_routing::{
    Rule, Step, Steps,
    log_format::{Escape, LogFormat},
    step::MapKeys,
};
use support::{
    client::{connect, exchange, h2},
    log,
    raw::RawBackend,
    site::{Site, backend, h2 as speaking_h2, listener, refusing, rule, share, to},
    start_with, until,
};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn write(line: &str) {
    LINES.lock().unwrap().push(line.to_owned());
}

async fn lines(count: usize) -> Vec<String> {
    until("the lines are written", || LINES.lock().unwrap().len() >= count).await;
    std::mem::take(&mut *LINES.lock().unwrap())
}

const FORMAT: &str = "$host \"$request\" $status $body_bytes_sent \"$http_user_agent\" [$proxy_upstream_name] $upstream_addr \
                      $request_length $req_id $namespace/$ingress_name $http_x_none";

#[tokio::test]
async fn lines_are_written_in_the_format_of_the_operator() {
    log::listen();
    let up = RawBackend::saying("hello").await;
    let proxy = start_with(|options| {
        options.access_line = Some(write);
        options.live.log = LogOptions {
            format: Some(Arc::new(LogFormat::parse(FORMAT, Escape::Default).unwrap())),
            skipped: Some(Arc::new(MapKeys::parse(["/skipped", "~^/health"].into_iter()).unwrap())),
            is_off: false,
        };
    });
    let quiet = Rule { steps: Steps::new([Step::Unlogged]), ..to(up.address) };
    let down = rule([share(1, Ok(speaking_h2(backend(&[refusing()]))))]);
    let at = Site::of(to(up.address))
        .add("", listener("all"), "/quiet", quiet)
        .add("", listener("all"), "/down", down)
        .serve(&proxy)
        .await;

    let mut tcp = connect(at).await;
    for path in ["/skipped", "/healthz?full", "/quiet"] {
        assert_eq!(
            exchange(&mut tcp, &format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")).await.status,
            200
        );
    }
    let request =
        "GET /a?b=c HTTP/1.1\r\nHost: A.example:80\r\nUser-Agent: a\"b\r\nX-Request-ID: mine\r\n\r\n";
    assert_eq!(exchange(&mut tcp, request).await.status, 200);
    let want = format!(
        "a.example \"GET /a?b=c HTTP/1.1\" 200 5 \"a\\x22b\" [test-backend-80] {} {} mine test/route -\n",
        up.address,
        request.len()
    );
    assert_eq!(lines(1).await, [want]);

    // The identifier is the one that the backend gets.
    let (status, _) = h2(connect(at).await).await.get("http://a.example/h2").await.unwrap();
    assert_eq!(status, 200);
    let line = lines(1).await.concat();
    let id = up.last().header("x-request-id").unwrap().to_owned();
    assert!(line.starts_with("a.example \"GET /h2 HTTP/2.0\" 200 5 \"-\" "), "{line}");
    assert!(line.contains(&format!(" {id} ")), "{line}");

    // One that pingora carries, and one that cannot be read.
    assert_eq!(exchange(&mut tcp, "GET /down HTTP/1.1\r\nHost: a.example\r\n\r\n").await.status, 502);
    let line = lines(1).await.concat();
    assert!(line.contains("\"GET /down HTTP/1.1\" 502 "), "{line}");
    assert_eq!(
        exchange(&mut connect(at).await, "GET /%00 HTTP/1.1\r\nHost: a.example\r\n\r\n").await.status,
        400
    );
    let line = lines(1).await.concat();
    assert!(line.contains("\"GET /%00 HTTP/1.1\" 400 "), "{line}");
}
