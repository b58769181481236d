//! The harness itself: it takes a recording for equal to itself and sees each kind of difference, and its client and its
//! backends understand each other.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    backends::Hit,
    batch::World,
    case::{self, Case, Exchange, SeenHit},
    compare::{self, Rules},
    player::{Answer, Jar, Played, Player},
    wire::bytes,
};

const RULES: Rules = Rules { bodies: true, times: true };

pub fn trials(world: &Arc<World>, runtime: &Handle) -> Vec<Trial> {
    let (world, runtime) = (Arc::clone(world), runtime.clone());
    let trial = |name: &str, play: fn() -> Result<(), Failed>| Trial::test(format!("harness::{name}"), play);
    vec![
        trial("a_recording_equals_itself", a_recording_equals_itself),
        trial("a_difference_is_seen_in_each_field", a_difference_is_seen_in_each_field),
        Trial::test("harness::backends_answer_as_they_are_told", move || {
            runtime.block_on(backends_answer_as_they_are_told(&world))
        }),
    ]
}

fn a_recording_equals_itself() -> Result<(), Failed> {
    for recorded in case::all() {
        for (index, exchange) in recorded.case.requests.iter().enumerate() {
            // A body that is known by its digest alone cannot be made again.
            let known = exchange.seen.body.as_ref().is_none_or(|body| body.text.is_some());
            let rules = Rules { bodies: known, ..RULES };
            let hits: Vec<_> = exchange.seen.hits.iter().map(hit).collect();
            let differences = compare::exchange(exchange, &played(exchange), &hits, rules);
            if let Some(difference) = differences.first() {
                return Err(format!("{} request {index}: {difference}", recorded.case.id).into());
            }
        }
    }
    Ok(())
}

fn a_difference_is_seen_in_each_field() -> Result<(), Failed> {
    let hit = json!({"name": "a1", "method": "GET", "target": "/", "headers": [["Host", "a"], ["X-A", "1"]]});
    let seen = json!({"status": 200, "headers": [["X-A", "1"], ["Location", "https://a.test/b"], ["Set-Cookie", "a=1; Path=/"]],
        "from": "a1", "tls": {"cn": "a", "alpn": "h2"}, "trailers": [["grpc-status", "0"]], "hits": [hit]});
    let exchange = |seen: &Value, send: &Value| -> Exchange {
        serde_json::from_value(json!({"send": send, "seen": seen})).unwrap()
    };
    for (pointer, other, field) in [
        ("/status", json!(201), "status"),
        ("/headers/0/1", json!("2"), "header x-a"),
        ("/headers/0/0", json!("X-B"), "header x-a"),
        ("/headers/1/1", json!("https://a.test:8443/b"), "header location"),
        ("/headers/2/1", json!("a=1; Path=/; Secure"), "header set-cookie"),
        ("/headers/2/1", json!("a=2; Path=/"), "header set-cookie"),
        ("/from", json!("a2"), "header x-backend"),
        ("/tls/cn", json!("b"), "tls"),
        ("/tls/alpn", json!(null), "tls"),
        ("/trailers/0/1", json!("1"), "trailer grpc-status"),
        ("/hits", json!([]), "hits"),
        ("/hits/0/method", json!("PUT"), "hit"),
        ("/hits/0/target", json!("/b"), "hit"),
        ("/hits/0/name", json!("a2"), "hit"),
        ("/hits/0/headers/1/1", json!("2"), "hit a1 header x-a"),
        ("/hits/0/tls", json!(true), "hit a1 tls"),
        ("/hits/0/body_len", json!(1), "hit a1 body"),
    ] {
        let mut changed = seen.clone();
        match changed.pointer_mut(pointer) {
            Some(value) => *value = other.clone(),
            None => changed["hits"][0][&pointer["/hits/0/".len()..]] = other.clone(),
        }
        let (wanted, got) = (exchange(&seen, &json!({})), exchange(&changed, &json!({})));
        let hits: Vec<_> = got.seen.hits.iter().map(self::hit).collect();
        let differences = compare::exchange(&wanted, &played(&got), &hits, RULES);
        if !differences.iter().any(|difference| difference.field == field) {
            return Err(format!("{pointer} is {other}: {differences:?}").into());
        }
    }
    Ok(())
}

/// What a client gets that sees and does what was recorded.
fn played(exchange: &Exchange) -> Vec<Played> {
    let seen = &exchange.seen;
    let answer = |status, backend: Option<&str>| {
        let backend =
            backend.filter(|name| *name != "-").map(|name| ("X-Backend".to_owned(), name.to_owned()));
        Answer { status, headers: backend.into_iter().collect(), ..Answer::default() }
    };
    let in_order =
        seen.seq.iter().map(|(index, status, backend)| (*index, Ok(answer(*status, Some(backend)))));
    let counted = seen.counts.iter().flat_map(|(what, count)| {
        let (status, backend) = what.split_once(' ').unwrap();
        std::iter::repeat_with(move || (0, Ok(answer(status.parse().unwrap(), Some(backend)))))
            .take(*count as usize)
    });
    let many: Vec<_> = in_order.chain(counted).collect();
    if !many.is_empty() {
        return many;
    }
    if let Some(failure) = seen.error {
        return vec![(0, Err(failure))];
    }
    let mut answer = answer(seen.status, seen.from.as_deref());
    answer.headers.extend(seen.headers.clone());
    let mut text = seen.body.as_ref().and_then(|body| body.text.clone());
    if let Some(name) = &seen.from {
        answer.headers.push(("content-type".into(), "text/plain".into()));
        text = text.or(Some(format!("echo {name}\n")));
    }
    answer.body = bytes(&text.unwrap_or_default());
    let elapsed = std::time::Duration::from_secs_f64(seen.elapsed.unwrap_or_default());
    let (cut, ws, tls, trailers) = (seen.cut, seen.ws.clone(), seen.tls.clone(), seen.trailers.clone());
    vec![(0, Ok(Answer { cut, ws, tls, trailers, elapsed, ..answer }))]
}

fn hit(seen: &SeenHit) -> Hit {
    let mut headers = seen.headers.clone();
    if let Some(std) = &seen.std {
        let port = (std.port.parse::<u16>().unwrap() + crate::player::OFFSET).to_string();
        for (name, value) in [
            ("host", &std.host),
            ("x-forwarded-for", &std.client),
            ("x-forwarded-host", &std.host),
            ("x-forwarded-port", &port),
            ("x-forwarded-proto", &std.scheme),
            ("x-forwarded-scheme", &std.scheme),
            ("x-real-ip", &std.client),
            ("x-request-id", &"0123456789abcdef".repeat(2)),
            ("x-scheme", &std.scheme),
            ("x-want-status", &"200".to_owned()),
        ] {
            headers.push((name.to_owned(), value.clone()));
        }
    }
    Hit {
        name: seen.name.clone(),
        method: seen.method.clone(),
        target: seen.target.clone(),
        version: seen.version.clone(),
        headers,
        body: (usize::try_from(seen.body_len).unwrap_or(0), seen.body_sha256.replace("cut", "")),
        tls: seen.tls,
        sni: seen.sni.clone(),
        cert: seen.cert.clone(),
        ..Hit::default()
    }
}

async fn backends_answer_as_they_are_told(world: &World) -> Result<(), Failed> {
    let (backends, net) = world.backends().await;
    let case = json!({"id": "direct", "host": "direct.test", "covers": [], "objects": [], "requests": []});
    let case: Case = serde_json::from_value(case).unwrap();
    for (address, send, seen) in table() {
        backends.hits.clear();
        let mut exchange = json!({"send": send, "seen": seen});
        if exchange["send"]["tls"].is_null() && exchange["seen"]["status"].is_u64() {
            exchange["seen"]["hits"] = json!([]);
        }
        let what = format!("{address} {send}");
        let exchange: Exchange = serde_json::from_value(exchange).unwrap();
        let player = Player::direct(&case, net.text(address).parse().unwrap());
        let played = player.play(&exchange, &mut Jar::default()).await;
        let hits = backends.hits.settled(0, std::time::Duration::from_secs(1)).await;
        let hits = if exchange.seen.hits.is_empty() { Vec::new() } else { hits };
        let differences = compare::exchange(&exchange, &played, &hits, RULES);
        if let Some(difference) = differences.first() {
            return Err(format!("{what}: {difference}").into());
        }
    }
    Ok(())
}

/// A backend's address, a request, and what comes of it.
fn table() -> Vec<(&'static str, Value, Value)> {
    let http = "10.55.0.1";
    let send = |port: u16, mut more: Value| {
        more["port"] = port.into();
        more
    };
    let websocket = json!([["Connection", "Upgrade"], ["Upgrade", "websocket"]]);
    let tls = json!({"cn": "tls.oracle.test", "alpn": null});
    let hit = |name: &str, more: Value| {
        let mut hit =
            json!({"name": name, "method": "GET", "target": "/", "headers": [["Host", "direct.test"]]});
        hit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([hit])
    };
    vec![
        (http, send(8080, json!({})), json!({"status": 200, "from": "a1"})),
        (
            http,
            send(
                8080,
                json!({"headers": [["X-Want-Status", "503"], ["X-Want-Body", "no"], ["X-Want-Header", "X-A: 1"]]}),
            ),
            json!({"status": 503, "headers": [["X-Backend", "a1"], ["X-A", "1"], ["Content-Type", "text/plain"]], "body": {"text": "no"}}),
        ),
        (
            http,
            send(8080, json!({"headers": [["X-Want-Status", "503"], ["X-Want-On", "a2, a3"]]})),
            json!({"status": 200, "from": "a1"}),
        ),
        (
            http,
            send(8080, json!({"headers": [["X-Want-Chunked", "1"]]})),
            json!({"status": 200, "from": "a1"}),
        ),
        (
            http,
            send(8080, json!({"headers": [["X-Want-Size", "1600"], ["X-Want-Pause", "1"]], "time": true})),
            json!({"status": 200, "elapsed": 1.0, "headers": [["X-Backend", "a1"], ["Content-Type", "text/plain"]],
                "body": {"len": 1600, "sha256": "f9eeac94e4338dd1"}}),
        ),
        (http, send(8080, json!({"headers": [["X-Want-Close", "1"]]})), json!({"error": "closed"})),
        (
            http,
            send(8080, json!({"headers": [["X-Want-Sleep", "9"]], "timeout": 0.2})),
            json!({"error": "timeout"}),
        ),
        (http, send(8080, json!({"tls": true})), json!({"error": "tls"})),
        (
            http,
            send(8080, json!({"headers": websocket})),
            json!({"status": 101, "headers": [["Upgrade", "websocket"], ["X-Backend", "a1"]], "ws": "ws:hi"}),
        ),
        ("10.55.0.11", send(8080, json!({"timeout": 0.3})), json!({"error": "timeout"})),
        ("10.55.0.10", send(8080, json!({})), json!({"error": "closed"})),
        (
            "10.55.0.6",
            send(8443, json!({"tls": true, "alpn": []})),
            json!({"status": 200, "from": "t1", "tls": tls, "hits": hit("t1", json!({"tls": true, "sni": "direct.test"}))}),
        ),
        (
            "10.55.0.6",
            send(8444, json!({"tls": true, "alpn": [], "cert": "client-good", "sni": ""})),
            json!({"status": 200, "from": "m1", "tls": tls, "hits": hit("m1",
                json!({"tls": true, "sni": null, "cert": "organizationName=Oracle Org,commonName=alice"}))}),
        ),
        ("10.55.0.6", send(8444, json!({"tls": true, "alpn": []})), json!({"error": "closed"})),
        (
            "10.55.0.7",
            send(
                9000,
                json!({"http": "2", "method": "POST", "body": "x", "headers": [["X-Want-Grpc-Status", "5"]]}),
            ),
            json!({"status": 200, "headers": [["x-backend", "g1"], ["content-type", "application/grpc"]],
                "body": {"text": "\0\0\0\0\u{7}echo g1"}, "trailers": [["grpc-status", "5"], ["grpc-message", "from g1"]],
                "hits": hit("g1", json!({"method": "POST", "body_len": 1, "body_sha256": "2d711642b726b044"}))}),
        ),
        (
            "10.55.0.8",
            send(8080, json!({"target": "/auth/302"})),
            json!({"status": 302,
            "headers": [["Location", "http://login.oracle.test/start"]]}),
        ),
        (
            "10.55.0.8",
            send(
                8080,
                json!({"target": "/auth/header?user=a%20b&groups=a&groups=b&empty", "headers": [["X-Auth-Want", "200"]]}),
            ),
            json!({"status": 200, "headers": [["X-Auth-User", "a b"], ["X-Auth-Groups", "a"], ["X-Auth-Groups", "b"], ["X-Auth-Empty", ""]]}),
        ),
        ("10.55.0.8", send(8080, json!({"target": "/auth/token"})), json!({"status": 401})),
        (
            "10.55.0.8",
            send(8080, json!({"target": "/auth/cookie", "headers": [["Cookie", "session=good"]]})),
            json!({"status": 200}),
        ),
        (
            "10.55.0.9",
            send(8080, json!({"headers": [["X-Code", "503"]]})),
            json!({"status": 503, "headers": [["X-Errors-By", "errs"], ["Content-Type", "text/html"]], "body": {"text": "errs 503\n"}}),
        ),
    ]
}
