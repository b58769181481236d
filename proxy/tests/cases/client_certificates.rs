//! Certificates that clients are asked for.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use portcullis_routing::{
    ClientAuth, HostMap, HostPattern, Listener, PortKey, Protocol, Rule, Step, Steps, Table, Timeouts,
    TlsMode,
    step::{ClientCertificateCheck, Demand},
};
use portcullis_tls::{Certificate, Certificates, PortCertificates, Termination};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Running,
    backend::TestBackend,
    client::{get, h2},
    pki::{Key, certificate, client, tls},
    secure::Issuer,
    start, table, within,
};

const HOST: &str = "a.example.com";

/// A port with one HTTPS listener under a policy.
fn site(
    port: u16,
    backend: SocketAddr,
    shown: &Arc<Certificate>,
    policy: &ClientAuth,
) -> (Table, Certificates) {
    let rule = table::rule(backend, Timeouts::default());
    site_with(port, rule, shown, policy)
}

/// The same with this rule.
fn site_with(port: u16, rule: Rule, shown: &Arc<Certificate>, policy: &ClientAuth) -> (Table, Certificates) {
    let mut table = table::with_rule(Table::default(), port, Protocol::Tls, rule);
    let key = PortKey::tcp(port);
    let of_port = Arc::make_mut(table.ports.get_mut(&key).unwrap());
    let mut listener = Listener::clone(of_port.listeners.get(&HostPattern::Any).unwrap());
    listener.tls = TlsMode::Terminate(policy.clone());
    of_port.listeners.insert(HostPattern::Any, Arc::new(listener));
    let mut listeners = HostMap::default();
    let termination = Termination::new(vec![Arc::clone(shown)], policy.clone());
    listeners.insert(HostPattern::Any, Arc::new(termination));
    (table, Certificates { ports: BTreeMap::from([(key, Arc::new(PortCertificates { listeners }))]) })
}

/// A client that shows this certificate, if any.
fn showing(
    version: &'static SupportedProtocolVersion,
    alpn: &[&str],
    shown: Option<&Arc<Certificate>>,
) -> Arc<ClientConfig> {
    let mut config = client(&[version], alpn);
    if let Some(shown) = shown {
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown.key.clone()));
    }
    Arc::new(config)
}

/// Whether a request over a new connection is answered. A client of TLS 1.3 finds out that it is refused when it reads.
async fn is_served(proxy: &Running, port: u16, config: &Arc<ClientConfig>) -> bool {
    let Ok(mut stream) = tls(config, proxy.at(port), HOST).await else { return false };
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let sent = within(stream.write_all(request.as_bytes())).await.is_ok();
    let read = sent && within(stream.read_to_end(&mut answer)).await.is_ok();
    read && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn a_client_needs_a_certificate_of_the_authorities_where_one_is_required() {
    let (proxy, backend) = (start(), TestBackend::start("a").await);
    let (port, shown) = (proxy.port(), certificate(Key::Ecdsa, &[HOST]));
    let (ours, also_ours, other) = (Issuer::new(), Issuer::new(), Issuer::new());
    let sets = [ours.material(), also_ours.material()];
    let [one, two, three] = [&ours, &also_ours, &other].map(|issuer| issuer.certificate(&["client.example"]));
    let (required, optional) = (ClientAuth::Required(sets.clone().into()), ClientAuth::Optional(sets.into()));
    let nobody = ClientAuth::Required(Arc::from([]));
    for (policy, want) in [
        (&required, [true, true, false, false]),
        (&optional, [true, true, true, true]),
        (&nobody, [false, false, false, false]),
        (&ClientAuth::Unasked, [true, true, true, true]),
    ] {
        let (table, certificates) = site(port, backend.address, &shown, policy);
        proxy.serve(table, certificates).await;
        for version in [&TLS12, &TLS13] {
            let clients = [Some(&one), Some(&two), Some(&three), None];
            for (shown, want) in clients.into_iter().zip(want) {
                let config = showing(version, &[], shown);
                let served = is_served(&proxy, port, &config).await;
                assert_eq!(served, want, "{policy:?} {version:?} {:?}", shown.map(|s| &s.fingerprint));
                // The same client again: a session that is resumed shows no certificate, and is one under this policy.
                assert_eq!(is_served(&proxy, port, &config).await, want, "{policy:?} {version:?} again");
            }
        }
    }
}

#[tokio::test]
async fn a_session_from_before_does_not_pass_a_policy() {
    let (proxy, backend) = (start(), TestBackend::start("a").await);
    let (port, shown) = (proxy.port(), certificate(Key::Ecdsa, &[HOST]));
    let (ours, other) = (Issuer::new(), Issuer::new());
    let policies = [
        ClientAuth::Unasked,
        ClientAuth::Optional([ours.material()].into()),
        ClientAuth::Required([other.material()].into()),
    ];
    let shown_by_client = other.certificate(&["client.example"]);
    for version in [&TLS12, &TLS13] {
        for before in &policies {
            // It has a session of the policy before.
            let config = showing(version, &[], Some(&shown_by_client));
            let (table, certificates) = site(port, backend.address, &shown, before);
            proxy.serve(table, certificates).await;
            assert!(is_served(&proxy, port, &config).await);
            let required = ClientAuth::Required([ours.material()].into());
            let (table, certificates) = site(port, backend.address, &shown, &required);
            proxy.serve(table, certificates).await;
            assert!(!is_served(&proxy, port, &config).await, "{before:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_from_before_a_policy_is_misdirected_under_it() {
    let (proxy, backend) = (start(), TestBackend::start("a").await);
    let (port, shown, ours) = (proxy.port(), certificate(Key::Ecdsa, &[HOST]), Issuer::new());
    let of_client = ours.certificate(&["client.example"]);
    let (table, certificates) = site(port, backend.address, &shown, &ClientAuth::Unasked);
    proxy.serve(table, certificates).await;
    let mut kept = tls(&showing(&TLS13, &[], Some(&of_client)), proxy.at(port), HOST).await.unwrap();
    let stream = tls(&showing(&TLS13, &["h2"], Some(&of_client)), proxy.at(port), HOST).await.unwrap();
    let mut kept_h2 = h2(stream).await;
    let uri = format!("https://{HOST}/x");
    assert_eq!(get(&mut kept, HOST, "/x").await.status, 200);
    assert_eq!(kept_h2.get(&uri).await.unwrap().0, 200);

    let required = ClientAuth::Required([ours.material()].into());
    let (table, certificates) = site(port, backend.address, &shown, &required);
    proxy.serve(table, certificates).await;
    assert_eq!(get(&mut kept, HOST, "/x").await.status, 421);
    assert_eq!(kept_h2.get(&uri).await.unwrap().0, 421);
    // A new connection shows the certificate.
    assert!(is_served(&proxy, port, &showing(&TLS13, &[], Some(&of_client))).await);
}

/// The status of the answer to a request over a new connection, and what the backend was told of the certificate. The
/// request claims to be verified already.
async fn told(proxy: &Running, port: u16, config: &Arc<ClientConfig>) -> String {
    let mut stream = tls(config, proxy.at(port), HOST).await.unwrap();
    let claim = "ssl-client-verify: SUCCESS\r\nssl-client-subject-dn: CN=forged\r\nssl-client-cert: forged";
    let request =
        format!("GET /certificate HTTP/1.1\r\nhost: {HOST}\r\n{claim}\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    within(stream.write_all(request.as_bytes())).await.unwrap();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    match &head[9..12] {
        "200" => body.to_owned(),
        status => status.to_owned(),
    }
}

#[tokio::test]
async fn a_rule_decides_about_certificates_that_are_reported_and_backends_are_told() {
    let (proxy, backend) = (start(), TestBackend::start("a").await);
    let (port, shown) = (proxy.port(), certificate(Key::Ecdsa, &[HOST]));
    let (ours, other) = (Issuer::new(), Issuer::new());
    let [good, bad] = [&ours, &other].map(|issuer| issuer.certificate(&["client.example"]));
    let policy = ClientAuth::Reported { authorities: [ours.material()].into(), depth: 1 };
    let (success, none) = ("ssl-client-verify=SUCCESS;", "ssl-client-verify=NONE;");
    let failed = "ssl-client-verify=FAILED:";
    for (demand, want) in [
        (Demand::Valid, [success, "400", "400"]),
        (Demand::ValidIfAny, [success, "400", none]),
        (Demand::Any, [success, failed, none]),
        (Demand::Impossible, ["403", "403", "403"]),
    ] {
        let check = ClientCertificateCheck { demand, subject: None, error_page: None, pass: false };
        let steps = Steps::new([Step::ClientCertificate(Box::new(check))]);
        let rule = Rule { steps, ..table::rule(backend.address, Timeouts::default()) };
        let (table, certificates) = site_with(port, rule, &shown, &policy);
        proxy.serve(table, certificates).await;
        for version in [&TLS12, &TLS13] {
            for (certificate, want) in [Some(&good), Some(&bad), None].into_iter().zip(want) {
                let config = showing(version, &[], certificate);
                // The second connection resumes the session of the first, with the certificate of that.
                for connection in ["new", "resumed"] {
                    let got = told(&proxy, port, &config).await;
                    assert!(got.contains(want), "{demand:?} {version:?} {connection}: {got}, wanted {want}");
                    assert!(!got.contains("forged"), "{got}");
                }
            }
        }
    }
}
