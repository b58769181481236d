use portcullis_routing::{HostPattern, TlsMaterial, TlsVersions};
use portcullis_tls::{Certificate, CipherPolicy, CipherSuites, PortCertificates};
use rcgen::generate_simple_self_signed;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    SupportedProtocolVersion,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    crypto::ring,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;

use super::*;

/// The session store of a client that offers every session to every server.
#[derive(Debug)]
struct Everywhere(ClientSessionMemoryCache);

fn anywhere() -> ServerName<'static> {
    ServerName::try_from("anywhere").unwrap()
}

impl ClientSessionStore for Everywhere {
    fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(anywhere(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&anywhere())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(anywhere(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&anywhere())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&anywhere());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(anywhere(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&anywhere())
    }
}

fn client(version: &'static SupportedProtocolVersion, root: &Certificate) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.key.cert[0].clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(Everywhere(ClientSessionMemoryCache::new(8))));
    config
}

/// Performs a handshake and returns its kind.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &'static str) -> HandshakeKind {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut wire = Vec::new();
    // The server's last flight brings the session tickets.
    for _ in 0..4 {
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
        server.process_new_packets().unwrap();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    client.handshake_kind().unwrap()
}

#[test]
fn a_session_is_resumed_under_its_own_policy_and_for_its_own_name_alone() {
    use HandshakeKind::{Full, Resumed};
    let names = ["a.example.com", "b.example.com"].map(str::to_owned).to_vec();
    let made = generate_simple_self_signed(names).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let shown = Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap());
    let base = TlsBase::new();
    let listener = |client_auth: &ClientAuth| {
        let termination = Termination::new(vec![Arc::clone(&shown)], client_auth.clone());
        Arc::new(base.config(&Arc::new(termination), &Certificates::default(), &Offer::default()))
    };
    let optional = ClientAuth::Optional(Arc::from([]));
    let (one, same) = (listener(&ClientAuth::Unasked), listener(&ClientAuth::Unasked));
    let other_policy = listener(&optional);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(client(version, &shown));
        let (a, b) = ("a.example.com", "b.example.com");
        for (server, name, want) in [
            (&one, a, Full),
            (&one, a, Resumed),
            (&same, a, Resumed),
            (&other_policy, a, Full),
            (&other_policy, a, Resumed),
            (&one, a, Full),
            (&one, b, Full),
            (&one, b, Resumed),
            (&one, a, Full),
        ] {
            assert_eq!(shake(server, &client, name), want, "{version:?} {name}");
        }
    }
}

#[test]
fn policies_that_no_listener_has_any_more_are_forgotten() {
    let base = TlsBase::new();
    let policy = |byte| ClientAuth::Required([TlsMaterial::new([byte; 32], Arc::new(()))].into());
    let mut port = PortCertificates::default();
    let of_listener = Termination::new(Vec::new(), policy(0));
    port.listeners.insert(HostPattern::Any, Arc::new(of_listener));
    let certificates = Certificates { ports: [(PortKey::tcp(443), Arc::new(port))].into_iter().collect() };
    let known = |base: &TlsBase| base.policies.lock().unwrap().len();
    let kept = base.of_policy(&policy(0), &certificates);
    base.of_policy(&ClientAuth::Unasked, &certificates);
    for byte in 1..10 {
        base.of_policy(&policy(byte), &certificates);
    }
    assert_eq!(known(&base), 3, "that of the listener, that of no certificates, and the last one");
    assert!(Arc::ptr_eq(&kept, &base.of_policy(&policy(0), &certificates)));
}

/// The cipher suite that a handshake negotiates; `None` if it fails.
fn negotiated(server: ServerConfig, client: ClientConfig) -> Option<CipherSuite> {
    let name = ServerName::try_from("a.example.com").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut wire = Vec::new();
    for _ in 0..4 {
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
        server.process_new_packets().ok()?;
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
        client.process_new_packets().ok()?;
    }
    client.negotiated_cipher_suite().map(|suite| suite.suite())
}

#[test]
fn versions_and_suites_that_are_not_offered_are_not_negotiated() {
    use CipherSuite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as AES_128,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as AES_256,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as CHACHA, TLS13_AES_256_GCM_SHA384 as OF_TLS13,
    };
    let made = generate_simple_self_signed(vec!["a.example.com".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let shown = Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap());
    let base = TlsBase::new();
    let suites = |text: &str| (!text.is_empty()).then(|| CipherSuites::parse(text).unwrap().0);
    for (versions, of_all, of_listener, version, want) in [
        (TlsVersions::All, "", "", &TLS12, Some(AES_256)),
        (TlsVersions::Tls13, "", "", &TLS12, None),
        (TlsVersions::Tls13, "", "", &TLS13, Some(OF_TLS13)),
        (TlsVersions::Tls12, "", "", &TLS13, None),
        (TlsVersions::All, "aRSA", "", &TLS12, None),
        (TlsVersions::All, "aRSA", "", &TLS13, Some(OF_TLS13)),
        (TlsVersions::All, "CHACHA20", "", &TLS12, Some(CHACHA)),
        (TlsVersions::All, "CHACHA20", "AES128", &TLS12, Some(AES_128)),
        (TlsVersions::All, "", "AES128:AES256", &TLS12, Some(AES_128)),
    ] {
        let offer = Offer { versions, suites: suites(of_all), groups: None };
        let ciphers = CipherPolicy { suites: suites(of_listener), server_order: None };
        let termination =
            Termination { ciphers, ..Termination::new(vec![Arc::clone(&shown)], ClientAuth::Unasked) };
        let server = base.config(&Arc::new(termination), &Certificates::default(), &offer);
        let got = negotiated(server, client(version, &shown));
        assert_eq!(got, want, "{versions:?} {of_all:?} {of_listener:?} {version:?}");
    }
}
