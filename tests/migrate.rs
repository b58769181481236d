//! `portcullis migrate` as a process: its report on 30 Ingresses as clusters have them, and what it translates. The files are in
//! `tests/migrate`; `UPDATE_GOLDEN=1` rewrites those that it prints, and the diff is reviewed as code is.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use http::{HeaderMap, HeaderName, Method};
use portcullis::{cli::ObjectArgs, explain::Question};
use portcullis_controller::{Settings, check};
use portcullis_routing::{
    Asked, ClientAuth, Connection, Decision, PortKey, Request, Table, decide, decide::Tls,
};

#[test]
fn thirty_ingresses_are_reported_on() {
    let ingresses = files().join("ingresses");
    let (code, text) = migrate(&[ingresses.to_str().unwrap()]);
    hold("report.txt", &text);
    assert_eq!(code, 4, "some are refused");
    let (_, page) = migrate(&[ingresses.to_str().unwrap(), "--output", "markdown"]);
    hold("report.md", &page);
    let (_, json) = migrate(&[ingresses.to_str().unwrap(), "--output", "json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["ingresses"].as_array().unwrap().len(), 30);
    let totals = report["totals"]["ingresses"].as_object().unwrap();
    assert_eq!(totals.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 30);
}

#[test]
fn the_exit_code_says_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.yaml");
    for (annotation, want) in [
        ("ssl-redirect: 'true'", 0),
        ("secure-backends: 'true'", 0),
        ("upstream-hash-by: $request_uri", 3),
        ("configuration-snippet: 'deny all;'", 4),
    ] {
        let manifest = format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  annotations:\n    \
             nginx.ingress.kubernetes.io/{annotation}\nspec:\n  ingressClassName: nginx\n  rules: [{{host: a.example}}]\n"
        );
        fs::write(&file, manifest).unwrap();
        let (code, text) = migrate(&[file.to_str().unwrap()]);
        assert_eq!(code, want, "{annotation}\n{text}");
    }
    let nowhere = "/nowhere/at/all.yaml";
    assert_eq!(migrate(&[nowhere]).0, 4, "what cannot be read may be anything");
    assert_eq!(migrate(&[nowhere, "--to", "gateway-api"]).0, 4);
}

#[test]
fn a_comparison_of_nothing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.yaml");
    let manifest = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec:\n  ingressClassName: nginx\n  \
                    rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: \
                    {number: 80}}}}]}}]\n";
    let compare = |text: &str| {
        fs::write(&file, text).unwrap();
        let closed = ["OLD=127.0.0.1:1", "NEW=127.0.0.1:1"];
        migrate(&[file.to_str().unwrap(), "--rate=1000", "--compare", closed[0], closed[1]])
    };
    let (code, text) = compare(manifest);
    assert_eq!(code, 1, "neither answers: {text}");
    assert!(text.contains("4 not compared (no answer from either)"), "{text}");
    assert_eq!(compare("").0, 1, "no Ingress");
    assert_eq!(compare("kind: [").0, 1, "unreadable");

    // An answer from each, and some requests that are not sent.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n");
        }
    });
    fs::write(&file, manifest).unwrap();
    let (old, new) = (format!("OLD={address}"), format!("NEW={address}"));
    let all = [file.to_str().unwrap(), "--rate=1000", "--compare", &old, &new];
    assert_eq!(migrate(&all).0, 0);
    assert_eq!(migrate(&[&all[..], &["--max-requests=1"]].concat()).0, 3);
}

#[test]
fn routes_decide_as_the_ingresses_that_they_are_made_of() {
    let from = files().join("gateway-api");
    let (code, manifests) = migrate(&[from.to_str().unwrap(), "--to", "gateway-api"]);
    hold("gateway-api.yaml", &manifests);
    assert_eq!(code, 3, "some have no equivalent");

    let secret = secret();
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&old, &new] {
        fs::write(folder.path().join("secret.yaml"), &secret).unwrap();
        fs::copy(from.join("services.yaml"), folder.path().join("services.yaml")).unwrap();
    }
    fs::copy(from.join("in.yaml"), old.path().join("in.yaml")).unwrap();
    fs::write(new.path().join("routes.yaml"), manifests).unwrap();
    let settings = settings();
    let report = check::check(&[new.path().to_owned()], &settings);
    assert!(report.is_ok(), "{report}");

    let ingresses = check::table(&[old.path().to_owned()], &settings);
    let routes = check::table(&[new.path().to_owned()], &settings);
    for (url, header) in [
        ("https://a.example/", None),
        ("https://a.example/x/y?q=1", None),
        ("https://a.example/exact", None),
        ("https://a.example/exact/x", None),
        ("https://a.example/docs", None),
        ("https://a.example/docs/", None),
        ("https://a.example/docs/x", None),
        ("https://a.example/x", Some("x-canary: always")),
        ("https://a.example/x", Some("x-canary: never")),
        ("https://a.example/x", Some("x-canary: perhaps")),
        ("http://a.example/x", None),
        ("http://a.example/x?q=1", None),
        ("http://b.example/api", None),
        ("http://b.example/api/", None),
        ("http://b.example/api/v1/x?q=1", None),
        ("http://b.example/apis", None),
        ("http://b.example/static/x", None),
        ("http://b.example/other", None),
        ("http://c.example/", None),
        ("http://c.example/old/x", None),
        ("http://x.d.example/", None),
        ("http://x.d.example/x", None),
        ("http://unknown.example/", None),
    ] {
        let (got, want) = (decided(&routes, url, header), decided(&ingresses, url, header));
        assert_eq!(got, want, "{url} {header:?}");
        let explained = |table: &Table| {
            let headers: Vec<_> = header.map(str::to_owned).into_iter().collect();
            let outcome = Question::of(url, "GET", &headers).unwrap().explain(table).unwrap().outcome;
            let mut outcome = serde_json::to_value(outcome).unwrap();
            if let Some(answered) = outcome.get_mut("answered").and_then(serde_json::Value::as_object_mut) {
                answered.remove("why");
            }
            outcome
        };
        assert_eq!(explained(&routes), explained(&ingresses), "{url} {header:?}");
    }
    for table in [&routes, &ingresses] {
        let randoms = (0..4000_u64).map(|step| step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let next = randoms.filter(|random| {
            decided_with(table, "https://a.example/x", None, *random).starts_with("shop/next:80")
        });
        let next = next.count();
        assert!((900..=1100).contains(&next), "{next} of 4000 requests get the canary");
    }
    // What protects and has no equivalent is not opened, and what has no equivalent is not served in another way.
    for url in ["http://private.example/", "http://e.example/a/x"] {
        assert_eq!(decided(&routes, url, None), "404", "{url}");
    }
}

/// The outcome of a request: the status and Location, or the backend and the target that it receives.
fn decided(table: &Table, url: &str, header: Option<&str>) -> String {
    // The canary has a quarter, at one end or the other.
    decided_with(table, url, header, 50)
}

fn decided_with(table: &Table, url: &str, header: Option<&str>, random: u64) -> String {
    let url: http::Uri = url.parse().unwrap();
    let host = url.host().unwrap();
    let asked = Asked::parse(&Method::GET, url.path_and_query().unwrap().as_str().as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = header.and_then(|header| header.split_once(": ")) {
        headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let request = Request {
        sent_host: host,
        method: &Method::GET,
        host,
        asked: &asked,
        headers: &headers,
        upgrade: false,
    };
    let tls = url.scheme_str() == Some("https");
    let number = if tls { 443 } else { 80 };
    let connection = Connection {
        port: PortKey::tcp(number),
        tls: tls.then_some(Tls {
            server_name: Some(host),
            client_auth: &ClientAuth::Unasked,
            certificate: None,
        }),
        client: Ipv4Addr::LOCALHOST.into(),
        scheme: if tls { "https" } else { "http" },
        client_port: number,
        port_offset: 0,
    };
    match decide(table, request, connection, random) {
        Decision::Answer(answer) => {
            let to = answer.headers.iter().find(|(name, _)| *name == http::header::LOCATION);
            let to = to.map(|(_, to)| format!(" to {}", to.to_str().unwrap()));
            format!("{}{}", answer.status.as_u16(), to.unwrap_or_default())
        }
        Decision::Forward(forward) => {
            let target = forward.target.as_deref().unwrap_or("the same");
            format!("{} gets {target}", forward.route.backend().unwrap().key)
        }
        Decision::Ask(_) => "a check".to_owned(),
    }
}

fn settings() -> Settings {
    ObjectArgs {
        ingress_controller: "k8s.io/ingress-nginx".into(),
        ingress_class: "nginx".into(),
        ..ObjectArgs::default()
    }
    .settings()
}

/// A Secret with a certificate, made anew.
fn secret() -> String {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let data = serde_json::json!({ "tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem() });
    serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "namespace": "shop", "name": "tls" }, "stringData": data })
    .to_string()
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

/// Compares a text with a file, or rewrites it.
fn hold(name: &str, text: &str) {
    let path = files().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == want, "{} is out of date: UPDATE_GOLDEN=1 rewrites it\n{text}", path.display());
}

fn migrate(arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("migrate").args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}
