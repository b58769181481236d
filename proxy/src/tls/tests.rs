use portcullis_routing::{HostPattern, TlsMaterial};
use portcullis_tls::{Certificate, PortCertificates};
use rcgen::generate_simple_self_signed;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
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
        let termination =
            Termination { certificates: vec![Arc::clone(&shown)], client_auth: client_auth.clone() };
        Arc::new(base.config(&Arc::new(termination), &Certificates::default()))
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
    let of_listener = Termination { certificates: Vec::new(), client_auth: policy(0) };
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
