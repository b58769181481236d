//! TLS that is passed through by its server name, and TLS that is terminated for streams.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{io::ErrorKind, sync::Arc, time::Duration};

use portcullis_routing::{
    BackendTls, ClientAuth, PortKey, Protocol, Rule, Serves, SubjectName, Table, TlsMode, Verify,
};
use portcullis_tls::{Certificate, Certificates};
use rustls::{ServerConfig, crypto::ring};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    streams::{Peer, ended, ends, receives, send},
    support::{
        Running,
        backend::TestBackend,
        client::{connect, get, is_closed},
        kernel_holds,
        pki::{Key, any_client, certificate, client, on, shows, tls},
        secure::Issuer,
        site::{Site, backend, listener, port_of, rule, share, streams, tls as over_tls, to},
        start, start_with, until, within,
    },
};

/// A backend that terminates TLS and sends its name to every client.
struct TlsPeer {
    peer: Arc<Peer>,
    shown: Arc<Certificate>,
}

impl TlsPeer {
    async fn start(name: &'static str) -> Self {
        Self::showing(name, certificate(Key::Ecdsa, &[name])).await
    }

    async fn showing(name: &'static str, shown: Arc<Certificate>) -> Self {
        let peer = Arc::new(Peer::start().await);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown.key.clone())));
        let (accepting, acceptor) = (Arc::clone(&peer), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            loop {
                let Ok(mut stream) = acceptor.accept(accepting.accept().await).await else { continue };
                stream.write_all(name.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                tokio::spawn(async move { drop(stream.read_to_end(&mut Vec::new()).await) });
            }
        });
        Self { peer, shown }
    }

    fn rule(&self) -> Rule {
        to(self.peer.address())
    }
}

fn passing(port: u16, listeners: impl IntoIterator<Item = (&'static str, Serves)>) -> Table {
    let listeners = listeners.into_iter().map(|(host, serves)| (host, TlsMode::Passthrough, serves));
    port_of(PortKey::tcp(port), Protocol::Tls, listeners)
}

fn handshakes(proxy: &Running, reason: &str) -> u64 {
    let all = proxy.proxy.failed_handshakes();
    all.iter().find(|(name, _)| *name == reason).unwrap().1
}

#[tokio::test]
async fn the_most_specific_listener_and_route_of_a_server_name_take_its_connection() {
    let proxy = start();
    let (exact, wild, rest) =
        (TlsPeer::start("exact").await, TlsPeer::start("wild").await, TlsPeer::start("rest").await);
    let port = proxy.port();
    let table = passing(
        port,
        [
            ("*.example.com", streams([("db.example.com", exact.rule()), ("*.example.com", wild.rule())])),
            ("only.example.com", streams([("only.example.com", exact.rule())])),
            ("", streams([("", rest.rule())])),
        ],
    );
    proxy.serve(table, Certificates::default()).await;
    let without_name = {
        let mut config = client(rustls::ALL_VERSIONS, &[]);
        config.enable_sni = false;
        Arc::new(config)
    };
    for (config, name, want) in [
        (&any_client(), "db.example.com", &exact),
        (&any_client(), "DB.Example.Com", &exact),
        (&any_client(), "db.example.com.", &exact),
        (&any_client(), "other.example.com", &wild),
        (&any_client(), "a.b.example.com", &wild),
        (&any_client(), "only.example.com", &exact),
        (&any_client(), "example.com", &rest),
        (&any_client(), "example.org", &rest),
        (&without_name, "db.example.com", &rest),
    ] {
        let mut stream = tls(config, proxy.at(port), name).await.unwrap();
        assert!(shows(&stream, &want.shown), "{name}");
        let mut said = String::new();
        within(stream.read_to_string(&mut said)).await.unwrap();
    }
    until("all have ended", || ended(&proxy, "tls", "done") + ended(&proxy, "tls", "client") == 9).await;
}

#[tokio::test]
async fn a_name_that_no_route_takes_ends_the_connection_without_an_alert() {
    let (proxy, peer) = (start(), TlsPeer::start("db").await);
    let port = proxy.port();
    let table = passing(
        port,
        [("*.example.com", streams([("db.example.com", peer.rule())])), ("empty.example.org", streams([]))],
    );
    proxy.serve(table, Certificates::default()).await;
    for (n, name) in ["other.example.com", "example.org", "empty.example.org"].into_iter().enumerate() {
        let error = tls(&any_client(), proxy.at(port), name).await.unwrap_err();
        let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
        assert!(is_end, "{name}: {error}");
        until("it is counted", || handshakes(&proxy, "server-name") == n as u64 + 1).await;
    }
    assert!(tls(&any_client(), proxy.at(port), "db.example.com").await.is_ok());
}

/// A ClientHello with this server name and another extension of `padding` bytes, in records of length `record`.
fn hello(name: &str, padding: usize, record: usize) -> Vec<u8> {
    let long = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let entry = [&[0][..], &long(name.as_bytes())].concat();
    let sni = [&[0, 0][..], &long(&long(&entry))].concat();
    // GREASE, and an encrypted ClientHello that nothing in this test can decrypt.
    let others = [&[0x3a, 0x3a, 0, 0, 0xfe, 0x0d][..], &long(&vec![9; padding])].concat();
    let body = [&[3, 3][..], &[5; 32], &[0, 0, 4, 0x0a, 0x0a, 0x13, 1, 1, 0], &long(&[others, sni].concat())]
        .concat();
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = 1;
    message.extend(body);
    message.chunks(record).flat_map(|part| [&[22, 3, 1][..], &long(part)].concat()).collect()
}

async fn passed(proxy: &Running) -> (u16, Peer) {
    let (port, peer) = (proxy.port(), Peer::start().await);
    let table = passing(port, [("", streams([("db.example.com", to(peer.address()))]))]);
    proxy.serve(table, Certificates::default()).await;
    (port, peer)
}

#[tokio::test]
async fn every_byte_is_passed_on_as_it_came() {
    let proxy = start();
    let (port, peer) = passed(&proxy).await;
    for (record, piece) in [(16_384, 16_384), (16_384, 1), (7, 11), (1, 100)] {
        let mut sent = hello("db.example.com", 300, record);
        let mut client = connect(proxy.at(port)).await;
        for piece in sent.chunks(piece) {
            send(&mut client, piece).await;
        }
        let mut backend = peer.accept().await;
        let more = [&b"\x17\x03\x03\x00\x05early"[..], &[0, 255, 13, 10]].concat();
        send(&mut client, &more).await;
        sent.extend(more);
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        within(backend.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, sent, "{record} {piece}");
        send(&mut backend, b"not TLS at all").await;
        drop(backend);
        got.clear();
        within(client.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, b"not TLS at all");
    }
}

#[tokio::test]
async fn what_is_no_hello_is_refused_in_bounded_time_and_memory() {
    let proxy = start_with(|options| options.handshake_timeout = Duration::from_secs(3));
    let (port, _peer) = passed(&proxy).await;
    let garbage: Vec<u8> = (0..4000_u32).map(|n| (n * 7 % 251) as u8).collect();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: db.example.com\r\n\r\n"[..], &garbage] {
        let (mut client, before) = (connect(proxy.at(port)).await, handshakes(&proxy, "tls"));
        send(&mut client, bytes).await;
        let mut answer = Vec::new();
        // Bytes that the proxy has not read may turn the end into a reset.
        let _ = within(client.read_to_end(&mut answer)).await;
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        until("it is counted", || handshakes(&proxy, "tls") == before + 1).await;
    }
    for long in [hello("db.example.com", 17_000, 16_384), hello("db.example.com", 3000, 1)] {
        let (mut client, before) = (connect(proxy.at(port)).await, handshakes(&proxy, "tls"));
        let _ = within(client.write_all(&long)).await;
        let _ = within(client.read_to_end(&mut Vec::new())).await;
        until("it is counted", || handshakes(&proxy, "tls") == before + 1).await;
    }
    // The client sends nothing, or stops in the middle of the ClientHello.
    for bytes in [&b""[..], &hello("db.example.com", 10, 16_384)[..40]] {
        let (mut client, before) = (connect(proxy.at(port)).await, handshakes(&proxy, "timeout"));
        send(&mut client, bytes).await;
        assert!(is_closed(&mut client).await);
        until("it is counted", || handshakes(&proxy, "timeout") == before + 1).await;
    }
    let mut left = connect(proxy.at(port)).await;
    send(&mut left, b"\x16\x03\x01").await;
    drop(left);
    until("it is counted", || handshakes(&proxy, "closed") == 1).await;
    until("nothing is left", || proxy.proxy.connections() == 0).await;
}

/// Serves a port where `a.example.com` is HTTPS, `db.example.com` is passed through, and the TLS of `mail.example.com`
/// is terminated for TCP.
async fn mixed(proxy: &Running) -> (u16, Arc<Certificate>, TlsPeer, Peer, TestBackend) {
    let (web, db, mail) = (TestBackend::start("a").await, TlsPeer::start("db").await, Peer::start().await);
    let (port, shown) = (proxy.port(), certificate(Key::Ecdsa, &["*.example.com"]));
    let mut table = Site::https().add("a.example.com", listener("a"), "/", to(web.address)).table(port);
    let others = port_of(
        PortKey::tcp(port),
        Protocol::Tls,
        [
            ("db.example.com", TlsMode::Passthrough, streams([("", db.rule())])),
            (
                "mail.example.com",
                TlsMode::Terminate(ClientAuth::Unasked),
                streams([("mail.example.com", to(mail.address()))]),
            ),
        ],
    );
    let served = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(port)).unwrap());
    for (host, listener) in others.ports[&PortKey::tcp(port)].listeners.iter() {
        served.listeners.insert(host.clone(), Arc::clone(listener));
    }
    proxy.serve(table, on(port, &[("*.example.com", &[&shown])])).await;
    (port, shown, db, mail, web)
}

#[tokio::test]
async fn one_port_ends_tls_for_http_and_for_tcp_and_passes_it_through() {
    let proxy = start();
    let (port, shown, db, mail, _web) = mixed(&proxy).await;
    for alpn in [&[][..], &["http/1.1"]] {
        let config = Arc::new(client(rustls::ALL_VERSIONS, alpn));
        let mut stream = tls(&config, proxy.at(port), "a.example.com").await.unwrap();
        assert!(shows(&stream, &shown));
        assert_eq!(get(&mut stream, "a.example.com", "/x").await.body, "a /x 0");
        // Another host over the same connection does not belong to that listener.
        assert_eq!(get(&mut stream, "db.example.com", "/x").await.status, 421);
    }
    let stream = tls(&any_client(), proxy.at(port), "db.example.com").await.unwrap();
    assert!(shows(&stream, &db.shown));

    // HTTP/2 is not negotiated, even if the client offers it.
    let config = Arc::new(client(rustls::ALL_VERSIONS, &["h2", "imap"]));
    let mut stream = tls(&config, proxy.at(port), "mail.example.com").await.unwrap();
    assert!(shows(&stream, &shown));
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let mut inside = mail.accept().await;
    send(&mut stream, b"a LOGIN").await;
    receives(&mut inside, b"a LOGIN").await;
    send(&mut inside, b"a OK").await;
    receives(&mut stream, b"a OK").await;
    // Each side ends independently of the other.
    within(stream.shutdown()).await.unwrap();
    assert_eq!(within(inside.read(&mut [0; 1])).await.unwrap(), 0);
    send(&mut inside, b"* BYE").await;
    inside.shutdown().await.unwrap();
    let mut got = Vec::new();
    within(stream.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"* BYE");
    until("it is done", || ended(&proxy, "tls", "done") >= 1).await;

    let error = tls(&any_client(), proxy.at(port), "other.example.org").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
}

#[tokio::test]
async fn much_goes_through_tls_that_ends_here() {
    let proxy = start();
    let (port, _, _db, mail, _web) = mixed(&proxy).await;
    let mut stream = tls(&any_client(), proxy.at(port), "mail.example.com").await.unwrap();
    let mut inside = mail.accept().await;
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let copy = sent.clone();
    let echo = tokio::spawn(async move {
        let mut got = Vec::new();
        inside.read_to_end(&mut got).await.unwrap();
        assert!(got == copy);
        inside.write_all(&got).await.unwrap();
    });
    send(&mut stream, &sent).await;
    within(stream.shutdown()).await.unwrap();
    let mut got = Vec::new();
    within(stream.read_to_end(&mut got)).await.unwrap();
    assert!(got == sent);
    within(echo).await.unwrap();
    ends(&proxy, "tls", "done").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_its_stream_over_tls() {
    // The idle timeout of HTTP does not apply to streams.
    let proxy = start_with(|options| options.idle_timeout = Duration::from_millis(500));
    let (port, _, _db, mail, _web) = mixed(&proxy).await;
    let mut stream = tls(&any_client(), proxy.at(port), "mail.example.com").await.unwrap();
    let mut inside = mail.accept().await;
    let (piece, mut written) = (vec![7; 1 << 20], 0);
    while let Ok(n) = tokio::time::timeout(Duration::from_secs(2), inside.write(&piece)).await {
        written += n.unwrap();
        assert!(written < 2 * kernel_holds() + (4 << 20), "the writer never waits");
    }
    drop(inside);
    let mut got = Vec::new();
    within(stream.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got.len(), written);
}

#[tokio::test]
async fn a_backend_that_asks_for_tls_gets_it() {
    let (proxy, db) = (start(), TlsPeer::start("db").await);
    let port = proxy.port();
    let asked = BackendTls::new("db", Verify::Nothing);
    let secure = rule([share(1, Ok(over_tls(backend(&[db.peer.address()]), asked.clone())))]);
    proxy.serve_http(crate::support::site::tcp(port, secure)).await;
    let mut client = connect(proxy.at(port)).await;
    let mut said = String::new();
    within(client.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "db");
    // The certificate is self-signed: nothing is sent to the backend if the certificate is verified.
    let port = proxy.port();
    let verified = BackendTls { verify: Verify::System, ..asked };
    let refused = rule([share(1, Ok(over_tls(backend(&[db.peer.address()]), verified)))]);
    proxy.serve_http(crate::support::site::tcp(port, refused)).await;
    assert!(is_closed(&mut connect(proxy.at(port)).await).await);
    ends(&proxy, "tcp", "unreachable").await;
}

#[tokio::test]
async fn the_backend_of_a_stream_is_verified_as_its_policy_asks() {
    let (ours, theirs) = (Issuer::new(), Issuer::new());
    let (proxy, db) = (start(), TlsPeer::showing("db", ours.certificate(&["db.example"])).await);
    let subject_names = |name: &str| [SubjectName::Dns(name.into())].into();
    for (what, asked, accepted) in [
        ("the authority", ours.tls("db.example"), true),
        ("another authority", theirs.tls("db.example"), false),
        ("another name", ours.tls("other.example"), false),
        (
            "a subject name",
            BackendTls { subject_names: subject_names("db.example"), ..ours.tls("other.example") },
            true,
        ),
        (
            "another subject name",
            BackendTls { subject_names: subject_names("other.example"), ..ours.tls("db.example") },
            false,
        ),
    ] {
        let port = proxy.port();
        let rule = rule([share(1, Ok(over_tls(backend(&[db.peer.address()]), asked)))]);
        proxy.serve_http(crate::support::site::tcp(port, rule)).await;
        let (mut client, mut said) = (connect(proxy.at(port)).await, String::new());
        let _ = within(client.read_to_string(&mut said)).await;
        assert_eq!(said, if accepted { "db" } else { "" }, "{what}");
    }
}

#[tokio::test]
async fn a_listener_that_passes_through_may_come_and_go() {
    let (proxy, db) = (start(), TlsPeer::start("db").await);
    let (web, shown) = (TestBackend::start("a").await, certificate(Key::Ecdsa, &["*.example.com"]));
    let port = proxy.port();
    let https = || Site::https().add("*.example.com", listener("a"), "/", to(web.address)).table(port);
    let certificates = || on(port, &[("*.example.com", &[&shown])]);
    let shows_ours = async || {
        let stream = tls(&any_client(), proxy.at(port), "db.example.com").await.unwrap();
        shows(&stream, &shown)
    };
    proxy.serve(https(), certificates()).await;
    assert!(shows_ours().await);
    let mut table = https();
    let passing = passing(port, [("db.example.com", streams([("", db.rule())]))]);
    let served = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(port)).unwrap());
    for (host, listener) in passing.ports[&PortKey::tcp(port)].listeners.iter() {
        served.listeners.insert(host.clone(), Arc::clone(listener));
    }
    proxy.serve(table, certificates()).await;
    assert!(!shows_ours().await);
    proxy.serve(https(), certificates()).await;
    assert!(shows_ours().await);
}

#[tokio::test]
async fn a_stream_that_was_passed_through_outlives_its_listener() {
    let proxy = start();
    let (port, peer) = passed(&proxy).await;
    let mut client: TcpStream = connect(proxy.at(port)).await;
    let hello = hello("db.example.com", 0, 16_384);
    send(&mut client, &hello).await;
    let mut backend = peer.accept().await;
    receives(&mut backend, &hello).await;
    proxy.serve(Table::default(), Certificates::default()).await;
    send(&mut client, b"more").await;
    receives(&mut backend, b"more").await;
}
