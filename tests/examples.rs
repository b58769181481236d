//! Every folder of `examples/` answers what the comment at its top promises.

#![allow(clippy::unwrap_used)]

#[path = "../proxy/tests/support/any_certificate.rs"]
mod any_certificate;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use any_certificate::AnyCertificate;
use portcullis::echo::Description;
use portcullis_controller::{
    Settings,
    check::check,
    ir::{Kind, Object},
    snapshot::{Change, Snapshot},
    source::{Folder, FolderOptions},
    translate::pods_of,
};
use portcullis_routing::Transport;
use rustls::{
    ClientConfig, SignatureScheme,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use support::{Site, bounded, client, second};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// A request, and what comes of it.
struct Row {
    folder: &'static str,
    /// Method and URL with the listener's port; `h2c` is HTTP/2 without TLS.
    request: &'static str,
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    /// Who answers; empty where we do, or where the answer does not say.
    service: &'static str,
    /// `< name: value` is a header that the client gets, `> name: value` one that the backend got (`:path` and `:host`
    /// too); `<! name` and `>! name` are none of that name.
    said: &'static str,
}

const fn row(
    folder: &'static str,
    request: &'static str,
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    service: &'static str,
    said: &'static str,
) -> Row {
    Row { folder, request, headers, status, service, said }
}

const PREFLIGHT: &[(&str, &str)] =
    &[("origin", "https://app.example.com"), ("access-control-request-method", "PUT")];
const GRPC: (&str, &str) = ("content-type", "application/grpc");
const WEBSOCKET: &[(&str, &str)] = &[
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const HEADERS: &[(&str, &str)] = &[("x-env", "mine"), ("x-via", "me"), ("x-secret", "1")];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("backend-tls-policy", "GET http://shop.btls.example.com/", &[], 200, "shop", ""),
    row("backend-tls-policy", "GET http://shop.btls.example.com/stock", &[], 200, "stock", ""),
    row("backend-tls-policy", "GET http://shop.btls.example.com/other", &[], 502, "", ""),

    row("client-certificates", "GET https://lenient.clients.example.com:4443/", &[], 200, "backend", ""),

    row("gateway-cors", "OPTIONS http://api.cors.example.com/", PREFLIGHT, 204, "", "< access-control-allow-origin: https://app.example.com"),
    row("gateway-cors", "OPTIONS http://api.cors.example.com/", PREFLIGHT, 204, "", "< access-control-allow-methods: GET, PUT"),
    row("gateway-cors", "OPTIONS http://api.cors.example.com/", PREFLIGHT, 204, "", "< access-control-max-age: 600"),
    row("gateway-cors", "PUT http://api.cors.example.com/", &[("origin", "https://app.example.com")], 200, "api", "< access-control-allow-origin: https://app.example.com"),
    row("gateway-cors", "GET http://api.cors.example.com/", &[("origin", "https://any.partner.example")], 200, "api", "< access-control-allow-origin: https://any.partner.example"),
    row("gateway-cors", "GET http://api.cors.example.com/", &[("origin", "https://evil.example")], 200, "api", "<! access-control-allow-origin"),
    row("gateway-cors", "OPTIONS http://api.cors.example.com/", &[], 200, "api", "<! access-control-allow-origin"),

    row("gateway-cross-namespace", "GET http://shop.teams.example.com/", &[], 200, "web", ""),
    row("gateway-cross-namespace", "GET http://shop.teams.example.com/images/a", &[], 200, "images", ""),

    row("gateway-headers", "GET http://shop.headers.example.com/items", &[], 200, "reader", ""),
    row("gateway-headers", "POST http://shop.headers.example.com/items", &[], 200, "writer", ""),
    row("gateway-headers", "GET http://shop.headers.example.com/items", &[("x-version", "next")], 200, "next", ""),
    row("gateway-headers", "GET http://shop.headers.example.com/items", &[("x-version", "v17")], 200, "versions", ""),
    row("gateway-headers", "GET http://shop.headers.example.com/items", &[("x-version", "v17b")], 200, "reader", ""),
    row("gateway-headers", "GET http://shop.headers.example.com/items?beta=1", &[], 200, "next", ""),
    row("gateway-headers", "GET http://all.headers.example.com/", HEADERS, 200, "reader", "> x-env: production"),
    row("gateway-headers", "GET http://all.headers.example.com/", HEADERS, 200, "reader", "> x-via: me, gateway"),
    row("gateway-headers", "GET http://all.headers.example.com/", HEADERS, 200, "reader", ">! x-secret"),
    row("gateway-headers", "GET http://all.headers.example.com/", HEADERS, 200, "reader", "> x-backend: reader"),
    row("gateway-headers", "GET http://all.headers.example.com/?header=x-debug:1", &[], 200, "reader", "< x-served-by: gateway"),
    row("gateway-headers", "GET http://all.headers.example.com/?header=x-debug:1", &[], 200, "reader", "<! x-debug"),
    row("gateway-headers", "GET http://shop.headers.example.com/?header=x-debug:1", &[], 200, "reader", "< x-debug: 1"),

    row("gateway-listeners", "GET http://nobody.test:81/", &[], 200, "everything", ""),
    row("gateway-listeners", "GET http://www.listeners.example.com:81/", &[], 200, "examples", ""),
    row("gateway-listeners", "GET http://a.b.listeners.example.com:81/", &[], 200, "examples", ""),
    row("gateway-listeners", "GET http://shop.listeners.example.com:81/cart", &[], 200, "shop", ""),
    row("gateway-listeners", "GET http://shop.listeners.example.com:81/", &[], 404, "", ""),
    row("gateway-listeners", "GET http://nobody.test:82/", &[], 200, "internal", ""),

    row("gateway-redirect-rewrite", "GET http://old.redirects.example.com/a?b=c", &[], 301, "", "< location: http://www.redirects.example.com:8080/a?b=c"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/old/a", &[], 308, "", "< location: http://www.redirects.example.com:8080/new/a"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/form", &[], 303, "", "< location: http://www.redirects.example.com:8080/thanks"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/login", &[], 302, "", "< location: https://www.redirects.example.com:8443/login"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/docs/a", &[], 307, "", "< location: https://docs.redirects.example.com/docs/a"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/api/users", &[], 200, "web", "> :path: /v2/users"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/api/users", &[], 200, "web", "> :host: api.internal"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/app/a/b", &[], 200, "web", "> :path: /index.html"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/files/a", &[], 200, "web", "> :path: /a"),
    row("gateway-redirect-rewrite", "GET http://www.redirects.example.com/canary", &[], 200, "web", "> :host: web.canary"),

    row("gateway-timeouts-retries", "GET http://api.timeouts.example.com/report", &[], 200, "api", ""),
    row("gateway-timeouts-retries", "GET http://api.timeouts.example.com/report?delay=10s", &[], 504, "", ""),
    row("gateway-timeouts-retries", "GET http://api.timeouts.example.com/attempts?delay=10s", &[], 504, "", ""),
    row("gateway-timeouts-retries", "GET http://api.timeouts.example.com/codes?status=503", &[], 503, "api", ""),
    row("gateway-timeouts-retries", "GET http://api.timeouts.example.com/codes?status=500", &[], 500, "api", ""),

    row("gateway-tls", "GET https://shop.tls.example.com/", &[], 200, "shop", "> x-forwarded-proto: https"),
    row("gateway-tls", "GET https://one.apps.tls.example.com/", &[], 200, "apps", ""),
    row("gateway-tls", "GET https://shop.tls.example.com/", &[("host", "one.apps.tls.example.com")], 421, "", ""),

    row("gateway-weights-mirror", "GET http://mirror.weights.example.com/some", &[], 200, "blue", ""),
    row("gateway-weights-mirror", "GET http://mirror.weights.example.com/all", &[], 200, "blue", ""),

    row("grpc", "POST h2c://echo.grpc.example.com/portcullis.echo.v1.Echo/Echo", &[GRPC], 200, "", "< x-served-by: greeter"),
    row("grpc", "POST h2c://echo.grpc.example.com/portcullis.echo.v1.Echo/Echo", &[GRPC, ("x-version", "next")], 200, "", "< x-served-by: greeter-next"),
    row("grpc", "POST h2c://echo.grpc.example.com/portcullis.echo.v1.Echo/Chat", &[GRPC], 200, "", "< x-served-by: chat"),
    row("grpc", "GET http://echo.grpc.example.com/", &[], 200, "web", ""),

    row("ingress-basics", "GET https://shop.example.net/", &[], 200, "front", ""),
    row("ingress-basics", "GET https://shop.example.net/api/v1", &[], 200, "api", ""),
    row("ingress-basics", "GET https://shop.example.net/apiary", &[], 200, "front", ""),
    row("ingress-basics", "GET https://shop.example.net/api/health", &[], 200, "health", ""),
    row("ingress-basics", "GET https://shop.example.net/api/health/live", &[], 200, "api", ""),
    row("ingress-basics", "GET http://shop.example.net/api", &[], 308, "", "< location: https://shop.example.net:8443/api"),
    row("ingress-basics", "GET http://alice.shop.example.net/", &[], 200, "tenants", ""),
    row("ingress-basics", "GET http://a.alice.shop.example.net/", &[], 200, "fallback", ""),
    row("ingress-basics", "GET http://nobody.test/", &[], 200, "fallback", ""),
    row("ingress-basics", "GET https://nobody.test/", &[], 200, "fallback", ""),

    row("ingress-beside-gateway", "GET http://shop.beside.example.com/cart", &[], 200, "cart", ""),
    row("ingress-beside-gateway", "GET http://shop.beside.example.com/orders", &[], 200, "legacy", ""),

    row("listener-sets", "GET https://shop.sets.example.com/", &[], 200, "shop", ""),
    row("listener-sets", "GET http://blog.sets.example.com/", &[], 200, "blog", ""),
    row("listener-sets", "GET http://other.sets.example.com/", &[], 404, "", ""),

    row("quickstart", "GET https://foo.yourdomain.com/hello", &[], 200, "foo", ""),
    row("quickstart", "GET https://yourdomain.com/bar/hello", &[], 200, "bar", ""),
    row("quickstart", "GET http://foo.yourdomain.com/hello", &[], 308, "", "< location: https://foo.yourdomain.com:8443/hello"),
    row("quickstart", "GET http://shop.example.com/", &[("x-version", "next")], 200, "shop-v2", "< x-served-by: shop-v2"),
    row("quickstart", "GET http://shop.example.com/old/offer", &[], 301, "", "< location: http://shop.example.com:8080/new/offer"),

    row("session-persistence", "GET http://shop.sessions.example.com/", &[], 200, "shop", ""),
    row("session-persistence", "GET http://api.sessions.example.com/", &[], 200, "api", ""),
    row("session-persistence", "GET http://old.sessions.example.com/", &[], 200, "old", ""),

    row("tcp-route", "GET http://db.test:5433/", &[], 200, "replica", ""),

    row("tls-route", "GET https://mqtt.streams.example.com:8883/", &[], 200, "mqtt", ""),

    row("udp-route", "GET http://dns.test:53/", &[], 200, "dns", ""),

    row("websocket", "GET http://chat.websocket.example.com/socket", WEBSOCKET, 101, "", "< upgrade: websocket"),
    row("websocket", "GET http://chat.websocket.example.com/", &[], 200, "web", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_example_answers_what_its_comment_promises() {
    for (name, folder) in folders() {
        let site = serve(&folder, "").await;
        let mut rows = ROWS.iter().filter(|row| row.folder == name).peekable();
        assert!(rows.peek().is_some(), "examples/{name} has no row in the table");
        for row in rows {
            ask(&site, row).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_examples_as_one_set_answer_the_same() {
    let site = serve(&examples(), "").await;
    for row in ROWS {
        ask(&site, row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_every_example_is_as_it_should_be() {
    for (name, folder) in folders().into_iter().chain([("all as one set".to_owned(), examples())]) {
        let report = check(std::slice::from_ref(&folder), &Settings::default());
        assert!(report.is_ok(), "{name}: {report}");
        let site = serve(&folder, "").await;
        // That a port is bound is known to the listeners' conditions a moment after the port is.
        let told = bounded(&format!("every condition of {name} as it should be"), async {
            loop {
                let told = site.admin("/status").await.1;
                let conditions = conditions(&told);
                if conditions.iter().all(|c| (c["status"] == "True") != (c["type"] == "Conflicted")) {
                    break told;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(told["problems"].as_array().map(Vec::len), Some(0), "{name}: {}", told["problems"]);
    }
}

#[test]
fn every_row_is_of_an_example() {
    let folders = folders();
    for row in ROWS {
        assert!(folders.contains_key(row.folder), "there is no examples/{}", row.folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_features_in_docs_are_those_that_a_gateway_class_says() {
    let site = serve(&folders()["gateway-listeners"], "").await;
    let told = site.admin("/status").await.1;
    let objects = told["objects"].as_array().unwrap();
    let class = objects.iter().find(|object| object["kind"] == "GatewayClass").unwrap();
    let said = class["status"]["supportedFeatures"].as_array().unwrap().iter();
    let said: BTreeSet<_> = said.map(|feature| feature["name"].as_str().unwrap()).collect();
    let rows = include_str!("../docs/gateway-api.md").lines().filter_map(|line| line.strip_prefix("| "));
    let served = rows.filter_map(|row| {
        let (name, state) = row.split_once(" | ")?;
        let is_name = name.chars().all(char::is_alphanumeric);
        // A folder has nobody who gives a Gateway addresses of its own, and so does not claim what needs them.
        let is_here = state.starts_with("served") && !state.starts_with("served in a cluster");
        (is_name && is_here).then_some(name)
    });
    assert_eq!(served.collect::<BTreeSet<_>>(), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_share_out_and_a_weight_of_0_gets_nothing() {
    let site = serve(&folders()["gateway-weights-mirror"], "").await;
    let mut seen = BTreeMap::<String, u32>::new();
    for _ in 0..200 {
        *seen.entry(site.answered_by("shop.weights.example.com", "/").await).or_default() += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["blue", "green"], "{seen:?}");
    // One of four: 50, and less than one chance in a million to be outside of this.
    assert!((19..=85).contains(&seen["green"]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_its_pod() {
    let site = serve(&folders()["session-persistence"], "").await;
    let client = client().build().unwrap();
    let pods = async |host: &str, headers: &[(&str, &str)]| {
        let request = site.get(&client, host, "/");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        let of = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (cookie, session) = (of("set-cookie"), of("x-session"));
        (response.json::<Description>().await.unwrap().identity.pod.unwrap_or_default(), cookie, session)
    };
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let (pod, cookie, none) = pods("shop.sessions.example.com", &[]).await;
        let cookie = cookie.expect("a session begins");
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert!(pair.starts_with("shop-session=") && none.is_none(), "{cookie}");
        assert_eq!(attributes, "Max-Age=3600; Path=/; HttpOnly; SameSite=Strict");
        for _ in 0..3 {
            let again = pods("shop.sessions.example.com", &[("cookie", pair)]).await;
            assert_eq!(again, (pod.clone(), None, None));
        }
        seen.insert(pod);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let (pod, none, session) = pods("api.sessions.example.com", &[]).await;
    let session = session.expect("a session begins");
    assert_eq!(none, None);
    for _ in 0..10 {
        let again = pods("api.sessions.example.com", &[("x-session", &session)]).await;
        assert_eq!(again, (pod.clone(), None, None));
    }
    let (_, cookie, _) = pods("old.sessions.example.com", &[]).await;
    assert!(cookie.unwrap().starts_with("old-session="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_required_where_the_gateway_says_so() {
    let folder = &folders()["client-certificates"];
    let site = serve(folder, "").await;
    let (host, at) = ("strict.clients.example.com", site.at(443));
    let url = format!("https://{host}:{}/", at.port());
    let without = client().resolve(host, at).build().unwrap();
    assert!(without.get(&url).send().await.is_err(), "without a certificate");
    let identity = reqwest::Identity::from_pem(&std::fs::read(folder.join("client.pem")).unwrap()).unwrap();
    let with = client().resolve(host, at).identity(identity).build().unwrap();
    assert_eq!(with.get(&url).send().await.unwrap().status().as_u16(), 200);
}

#[test]
fn every_kind_of_the_gateway_api_has_an_example_that_the_docs_link_to() {
    let all = objects(&examples());
    // In a folder nobody gives a Gateway addresses of its own.
    let of_cluster = [Kind::GatewayParameters];
    let kinds = Kind::ALL.iter().filter(|kind| kind.resource().has_definition && !of_cluster.contains(kind));
    for kind in kinds {
        assert!(all.iter().any(|object| object.meta().key.kind == *kind), "no example has a {kind}");
    }
    let docs = include_str!("../docs/gateway-api.md");
    let of_gateways = folders().into_keys().filter(|name| !name.starts_with("ingress-"));
    for name in of_gateways {
        assert!(
            docs.contains(&format!("(../examples/{name})")),
            "docs/gateway-api.md has no link to examples/{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gets_a_copy() {
    let site = serve(&folders()["gateway-weights-mirror"], "audit").await;
    let audit = TcpListener::bind((site.ip, 18134)).await.unwrap();
    assert_eq!(site.answered_by("mirror.weights.example.com", "/all/of?it").await, "blue");
    let (mut copy, _) = bounded("a copy", audit.accept()).await.unwrap();
    let mut head = [0; 64];
    bounded("its head", copy.read_exact(&mut head)).await.unwrap();
    let head = String::from_utf8_lossy(&head);
    assert!(head.starts_with("GET /all/of?it HTTP/1.1\r\n"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_and_a_client_get_the_certificate_that_fits() {
    let any: &[_] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
    let rsa = &any[1..];
    for (folder, name, schemes, secret) in [
        ("gateway-tls", "shop.tls.example.com", any, "shop-ecdsa"),
        ("gateway-tls", "shop.tls.example.com", rsa, "shop-rsa"),
        ("gateway-tls", "one.apps.tls.example.com", any, "apps"),
        ("ingress-basics", "shop.example.net", any, "shop-tls"),
        ("ingress-basics", "nobody.test", any, "fallback-tls"),
    ] {
        let folder = &folders()[folder];
        let site = serve(folder, "").await;
        let shown = certificate(&site, name, schemes).await.unwrap();
        assert!(shown == secret_certificate(folder, secret), "{name} {schemes:?}: not that of {secret}");
    }
    let site = serve(&folders()["gateway-tls"], "").await;
    assert!(certificate(&site, "nobody.test", any).await.is_err(), "a name of no listener is refused");
}

async fn ask(site: &Site, row: &Row) {
    let what = format!("{}: {} {:?}", row.folder, row.request, row.headers);
    let (method, url) = row.request.split_once(' ').unwrap();
    let mut url = reqwest::Url::parse(&url.replacen("h2c:", "http:", 1)).unwrap();
    let host = url.host_str().unwrap().to_owned();
    let at = site.at(url.port_or_known_default().unwrap());
    url.set_port(Some(at.port())).unwrap();
    let mut client = client().resolve(&host, at);
    if row.request.contains(" h2c:") {
        client = client.http2_prior_knowledge();
    } else if url.scheme() == "http" || row.headers.iter().any(|(name, _)| *name == "host") {
        client = client.http1_only();
    }
    let mut request = client.build().unwrap().request(method.parse().unwrap(), url);
    for (name, value) in row.headers {
        request = request.header(*name, *value);
    }
    if row.headers.contains(&GRPC) {
        // An empty message.
        request = request.body(vec![0; 5]);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(response.status().as_u16(), row.status, "{what}");
    let headers = response.headers().clone();
    // A connection that speaks WebSocket has no end to wait for.
    let body = if row.status == 101 { Vec::new() } else { response.bytes().await.unwrap().to_vec() };
    let told: Option<Description> = serde_json::from_slice(&body).ok();
    let service = told.as_ref().and_then(|told| told.identity.service.as_deref()).unwrap_or_default();
    assert_eq!(service, row.service, "{what}");
    let Some((whose, said)) = row.said.split_once(' ') else { return };
    let (name, want) = said.split_once(": ").map_or((said, None), |(name, want)| (name, Some(want)));
    assert_eq!(want.is_none(), whose.ends_with('!'), "{what}: the table is not as it should be");
    let value = match whose.strip_suffix('!').unwrap_or(whose) {
        "<" => headers.get(name).map(|value| value.to_str().unwrap().to_owned()),
        ">" => received(&told.expect("an answer of an echo backend"), name),
        other => panic!("{what}: {other}"),
    };
    assert_eq!(value.as_deref(), want, "{what}: {name}");
}

fn received(told: &Description, name: &str) -> Option<String> {
    match name {
        ":path" => Some(told.path.clone()),
        ":host" => told.host.clone(),
        name => told.headers.get(name).map(|values| values.join(", ")),
    }
}

/// Serves a folder on an address of its own, with echo backends for all Services but one.
async fn serve(folder: &Path, without: &str) -> Site {
    let files = files(folder).into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        let text = text.replace("[127.0.0.1]", "['{ip}']").replace("podIP: 127.0.0.1", "podIP: '{ip}'");
        (name, text.replace("podIP: 127.0.0.2", "podIP: '{ip2}'"))
    });
    let files: Vec<_> = files.collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    let mut site = Site::serve(&files).await;
    let objects = objects(folder);
    let mut snapshot = Snapshot::default();
    objects.iter().for_each(|object| snapshot.apply(Change::Apply(object.clone())));
    for backend in snapshot.x_backends.values() {
        let (name, port) = (backend.meta.name(), backend.spec.as_ref().unwrap().port);
        for (pod, ip) in pods_of(&snapshot, backend).zip([site.ip, second(site.ip)]) {
            site.pod(name, pod.meta.name(), SocketAddr::new(ip, port)).await;
        }
    }
    for object in &objects {
        let Object::EndpointSlice(slice) = object else { continue };
        let service = slice.service.as_deref().unwrap();
        // As `portcullis demo` finds it.
        let certificate = objects.iter().find_map(|object| match object {
            Object::Secret(secret) => {
                let is_its =
                    secret.meta.namespace() == slice.meta.namespace() && secret.meta.name() == service;
                is_its.then_some(secret)
            }
            _ => None,
        });
        let ports = slice.ports.iter().filter_map(|port| Some((&*port.name, port.port?)));
        let ports = ports.filter(|(_, port)| service != without && port.transport == Transport::Tcp);
        for (name, port) in ports {
            match certificate.filter(|_| name == "https") {
                None => drop(site.backend(service, port.number).await),
                Some(secret) => {
                    let (chain, key) = (&secret.data["tls.crt"], &secret.data["tls.key"]);
                    site.backend_with_tls(service, port.number, chain, key).await;
                }
            }
        }
    }
    site
}

/// Those of subfolders too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn objects(folder: &Path) -> Vec<Object> {
    let changes = Folder::open(FolderOptions::new(folder)).unwrap().scan().changes;
    let objects = changes.into_iter().filter_map(|change| match change {
        Change::Apply(object) => Some(object),
        Change::Delete(_) => None,
    });
    objects.collect()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn folders() -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).collect()
}

/// Every condition, wherever it stands.
fn conditions(value: &serde_json::Value) -> Vec<&serde_json::Value> {
    let own = value["conditions"].as_array().into_iter().flatten();
    let inner =
        value.as_array().into_iter().flatten().chain(value.as_object().into_iter().flat_map(|o| o.values()));
    own.chain(inner.flat_map(conditions)).collect()
}

fn secret_certificate(folder: &Path, name: &str) -> Vec<u8> {
    let secret = objects(folder).into_iter().find_map(|object| match object {
        Object::Secret(secret) if secret.meta.name() == name => Some(secret),
        _ => None,
    });
    CertificateDer::from_pem_slice(&secret.unwrap().data["tls.crt"]).unwrap().to_vec()
}

/// The certificate that a client gets who can check these signatures and no others.
async fn certificate(site: &Site, name: &str, schemes: &[SignatureScheme]) -> std::io::Result<Vec<u8>> {
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::offering(schemes)))
        .with_no_client_auth();
    let stream = TcpStream::connect(site.at(443)).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream);
    let connection = bounded("a handshake", connection).await?;
    Ok(connection.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}
