//! TLS ends here: which certificate, which versions, what a swap does to live connections.

use std::{io::ErrorKind, sync::Arc};

use crate::support::{
    Running,
    backend::TestBackend,
    client::{get, h2},
    pki::{self, Key, any_client, certificate, client, on, shows, tls},
    start, table, within,
};
use portcullis_routing::{
    ClientAuth, HostMap, HostPattern, Listener, ListenerId, PortKey, Protocol, Serves, Table, TlsMode,
};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, SignatureScheme,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn https(running: &Running) -> (u16, Table, TestBackend) {
    let backend = TestBackend::start("a").await;
    let port = running.port();
    (port, table::to(Table::default(), port, Protocol::Tls, backend.address), backend)
}

#[tokio::test]
async fn the_server_name_and_the_client_choose_the_certificate() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let exact = certificate(Key::Ecdsa, &["a.example.com"]);
    let wild_rsa = certificate(Key::Rsa, &["*.example.com"]);
    let wild_ecdsa = certificate(Key::Ecdsa, &["*.example.com"]);
    let other = certificate(Key::Ecdsa, &["other.example.org"]);
    let listeners: [(_, &[_]); 2] =
        [("*.example.com", &[&wild_rsa, &wild_ecdsa, &exact]), ("other.example.org", &[&other])];
    running.serve(table, on(port, &listeners)).await;
    let modern = any_client();
    let rsa_only = Arc::new(rsa_only());
    for (config, name, want) in [
        (&modern, "a.example.com", &exact),
        (&modern, "A.Example.COM", &exact),
        (&modern, "b.example.com", &wild_ecdsa),
        (&rsa_only, "b.example.com", &wild_rsa),
        (&modern, "other.example.org", &other),
    ] {
        let mut stream = tls(config, running.at(port), name).await.unwrap();
        assert!(shows(&stream, want), "{name}");
        assert_eq!(get(&mut stream, name, "/x").await.body, "a /x 0");
    }
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_served() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("", &[&shown])])).await;
    for (version, want) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for (alpn, agreed) in [
            (&[][..], None),
            (&["http/1.1"], Some("http/1.1")),
            (&["h2"], Some("h2")),
            (&["http/1.1", "h2"], Some("h2")),
        ] {
            let config = Arc::new(client(&[version], alpn));
            let mut stream = tls(&config, running.at(port), "a.example.com").await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(want));
            assert_eq!(session.alpn_protocol(), agreed.map(str::as_bytes), "{alpn:?}");
            if agreed == Some("h2") {
                let answer = h2(stream).await.get("https://a.example.com/2").await.unwrap();
                assert_eq!(answer, (200, "a /2 0".to_owned()));
            } else {
                assert_eq!(get(&mut stream, "a.example.com", "/1").await.body, "a /1 0");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_speaks_neither_protocol_is_refused() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("", &[&shown])])).await;
    let config = Arc::new(client(rustls::ALL_VERSIONS, &["smtp"]));
    let error = tls(&config, running.at(port), "a.example.com").await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn a_server_name_of_no_listener_is_refused_and_said_so() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("a.example.com", &[&shown])])).await;
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(client(&[version], &[]));
        let error = tls(&config, running.at(port), "b.example.com").await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    }
    assert!(tls(&any_client(), running.at(port), "a.example.com").await.is_ok());
}

#[tokio::test]
async fn a_name_whose_tls_is_passed_through_is_answered_by_no_other_listener_of_the_port() {
    let running = start();
    let (port, mut table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["*.example.com"]);
    let db = Listener {
        id: ListenerId::gateway("test", "gateway", "db").into(),
        tls: TlsMode::Passthrough,
        serves: Serves::Stream(HostMap::default()),
    };
    let terminated = Listener { tls: TlsMode::Terminate(ClientAuth::Unasked), ..db.clone() };
    let served = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(port)).unwrap());
    for (host, listener) in [("db.example.com", db), ("terminated.example.com", terminated)] {
        served.listeners.insert(HostPattern::parse(host).unwrap(), Arc::new(listener));
    }
    running.serve(table, on(port, &[("", &[&shown])])).await;
    for name in ["db.example.com", "DB.example.com", "terminated.example.com"] {
        // The connection ends without an alert, because the port has listeners for streams.
        let error = tls(&any_client(), running.at(port), name).await.unwrap_err();
        let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
        assert!(is_end, "{name}: {error}");
    }
    let mut stream = tls(&any_client(), running.at(port), "a.example.com").await.unwrap();
    assert!(shows(&stream, &shown));
    for (host, want) in [("a.example.com", 200), ("db.example.com", 421), ("terminated.example.com", 421)] {
        assert_eq!(get(&mut stream, host, "/").await.status, want, "{host}");
    }
}

#[tokio::test]
async fn a_listener_without_a_certificate_costs_itself_only() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("broken.example.com", &[]), ("a.example.com", &[&shown])])).await;
    assert!(tls(&any_client(), running.at(port), "broken.example.com").await.is_err());
    let mut stream = tls(&any_client(), running.at(port), "a.example.com").await.unwrap();
    assert_eq!(get(&mut stream, "a.example.com", "/").await.status, 200);
}

#[tokio::test]
async fn a_certificate_is_swapped_under_live_connections() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let [old, new] = [0, 1].map(|_| certificate(Key::Ecdsa, &["a.example.com"]));
    running.serve(table.clone(), on(port, &[("a.example.com", &[&old])])).await;
    // Clients of their own, so that none resumes.
    let mut http1 = tls(&any_client(), running.at(port), "a.example.com").await.unwrap();
    let config = Arc::new(client(rustls::ALL_VERSIONS, &["h2"]));
    let mut http2 = h2(tls(&config, running.at(port), "a.example.com").await.unwrap()).await;
    assert!(shows(&http1, &old));
    assert_eq!(get(&mut http1, "a.example.com", "/").await.status, 200);
    assert_eq!(http2.get("https://a.example.com/").await.unwrap().0, 200);
    running.serve(table, on(port, &[("a.example.com", &[&new])])).await;
    let fresh = tls(&any_client(), running.at(port), "a.example.com").await.unwrap();
    assert!(shows(&fresh, &new));
    assert!(!get(&mut http1, "a.example.com", "/").await.closes());
    assert_eq!(http2.get("https://a.example.com/").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_port_changes_between_http_and_https_without_being_bound_again() {
    let running = start();
    let (port, secure, backend) = https(&running).await;
    let plain = table::to(Table::default(), port, Protocol::Http, backend.address);
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    let certificates = on(port, &[("", &[&shown])]);
    running.serve(plain.clone(), certificates.clone()).await;
    let mut held = crate::support::client::connect(running.at(port)).await;
    assert_eq!(get(&mut held, "a.example.com", "/").await.status, 200);
    running.serve(secure, certificates.clone()).await;
    let mut stream = tls(&any_client(), running.at(port), "a.example.com").await.unwrap();
    assert_eq!(get(&mut stream, "a.example.com", "/").await.status, 200);
    running.serve(plain, certificates).await;
    assert!(!get(&mut held, "a.example.com", "/").await.closes());
    let mut fresh = crate::support::client::connect(running.at(port)).await;
    assert_eq!(get(&mut fresh, "a.example.com", "/").await.status, 200);
}

#[tokio::test]
async fn sessions_resume_on_any_worker_and_after_a_publication() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    let certificates = on(port, &[("a.example.com", &[&shown])]);
    running.serve(table.clone(), certificates.clone()).await;
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(client(&[version], &[]));
        let mut kinds = Vec::new();
        for _ in 0..12 {
            let mut stream = tls(&config, running.at(port), "a.example.com").await.unwrap();
            // Its tickets come with the answer.
            assert_eq!(get(&mut stream, "a.example.com", "/").await.status, 200);
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            // The same certificates in a new publication.
            running.serve(table.clone(), certificates.clone()).await;
        }
        // Twelve connections, spread over two workers by the kernel: all on one is a chance of 1 to 2048.
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{version:?}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_client_that_verifies_is_content() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("a.example.com", &[&shown])])).await;
    let trusted = reqwest::Certificate::from_der(&shown.key.cert[0]).unwrap();
    for (http1_only, want) in [(true, http::Version::HTTP_11), (false, http::Version::HTTP_2)] {
        let builder = reqwest::Client::builder()
            .tls_certs_only([trusted.clone()])
            .resolve("a.example.com", running.at(port));
        let client = if http1_only { builder.http1_only() } else { builder }.build().unwrap();
        for path in ["/1", "/2"] {
            let answer = client.get(format!("https://a.example.com:{port}{path}")).send().await.unwrap();
            assert_eq!(answer.version(), want);
            assert_eq!(answer.text().await.unwrap(), format!("a {path} 0"));
        }
    }
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_let_go() {
    let running = start();
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("", &[&shown])])).await;
    for (sent, want) in [
        (&b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n"[..], &b"HTTP/1.1 400 "[..]),
        // Not HTTP: an alert.
        (b"get / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", &[21]),
    ] {
        let mut plain = crate::support::client::connect(running.at(port)).await;
        plain.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        match within(plain.read_to_end(&mut answer)).await {
            Ok(_) => assert!(answer.starts_with(want), "{answer:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let running = crate::support::start_with(|o| o.handshake_timeout = std::time::Duration::from_millis(200));
    let (port, table, _backend) = https(&running).await;
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    running.serve(table, on(port, &[("", &[&shown])])).await;
    let mut silent = crate::support::client::connect(running.at(port)).await;
    assert!(crate::support::client::is_closed(&mut silent).await);
}

/// A client that knows no ECDSA.
fn rsa_only() -> ClientConfig {
    use rustls::{
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::ring,
    };
    #[derive(Debug)]
    struct Rsa;
    impl ServerCertVerifier for Rsa {
        fn verify_server_cert(
            &self,
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &[rustls_pki_types::CertificateDer<'_>],
            _: &rustls_pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]
        }
    }
    let mut config = pki::client(rustls::ALL_VERSIONS, &[]);
    let _ = ring::default_provider();
    config.dangerous().set_certificate_verifier(Arc::new(Rsa));
    config
}
