//! What all handshakes have in common: the configuration for each policy of client authentication.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_routing::{TlsVersions, step::ClientCertificate};
use portcullis_tls::{Certificates, ClientAuth, ClientVerifier, Offer, Termination};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::{CryptoProvider, ring},
    server::ServerSessionMemoryCache,
};
use rustls_pki_types::UnixTime;

use crate::upstream::tls::offered;

/// The number of sessions that are kept of TLS 1.2 clients without support for tickets.
const SESSIONS: usize = 1024;
/// The number of such sessions that are kept for each policy that asks for client certificates.
const SESSIONS_OF_POLICY: usize = 64;
/// The maximum number of policies whose sessions are kept.
const POLICIES: usize = 256;

/// What all handshakes have in common.
#[derive(Debug)]
pub(crate) struct TlsBase {
    provider: Arc<CryptoProvider>,
    /// The configuration for each policy of client authentication, without certificates. Whatever it takes to resume a
    /// session is in it: a session is resumed on any thread and port, and after the certificates changed, but only under
    /// the same policy, since a client that resumes shows no certificate. rustls sees to it that the server name is the
    /// same.
    pub(super) policies: Mutex<HashMap<ClientAuth, Arc<ServerConfig>>>,
}

impl TlsBase {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { provider: Arc::new(ring::default_provider()), policies: Mutex::default() })
    }

    /// Returns the configuration of a listener, which is one of `certificates`.
    pub(super) fn config(
        &self,
        termination: &Arc<Termination>,
        certificates: &Certificates,
        offer: &Offer,
    ) -> ServerConfig {
        let base = self.of_policy(&termination.client_auth, certificates);
        let mut config = match offer.provider(&termination.ciphers, &self.provider) {
            None if offer.versions == TlsVersions::All => ServerConfig::clone(&base),
            restricted => {
                let provider = restricted.map_or_else(|| Arc::clone(&self.provider), Arc::new);
                let mut config = self.build(&termination.client_auth, provider, offer.versions);
                // Sessions are resumed as with the policy's own configuration.
                config.session_storage = Arc::clone(&base.session_storage);
                config.ticketer = Arc::clone(&base.ticketer);
                config
            }
        };
        config.ignore_client_order = offer.is_in_server_order(&termination.ciphers);
        config.cert_resolver = Arc::<Termination>::clone(termination);
        config
    }

    pub(super) fn of_policy(&self, policy: &ClientAuth, certificates: &Certificates) -> Arc<ServerConfig> {
        let mut all = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = all.get(policy) {
            return Arc::clone(config);
        }
        // Policies change with their authorities: those that no listener has any more go, with all that they hold.
        let listeners = certificates.ports.values().flat_map(|port| port.listeners.iter());
        let live: HashSet<_> = listeners.map(|(_, termination)| &termination.client_auth).collect();
        all.retain(|policy, _| *policy == ClientAuth::Unasked || live.contains(policy));
        if all.len() >= POLICIES {
            // Clients of the other policies do a full handshake once.
            all.retain(|policy, _| *policy == ClientAuth::Unasked);
        }
        let config = Arc::new(self.make(policy));
        all.insert(policy.clone(), Arc::clone(&config));
        config
    }

    /// The certificate that a client has shown, if the policy is to report it. Its chain is verified here, also where a
    /// session is resumed: it may have expired.
    pub(super) fn certificate(
        &self,
        policy: &ClientAuth,
        tls: &ServerConnection,
    ) -> Option<Box<ClientCertificate>> {
        let ClientAuth::Reported { .. } = policy else { return None };
        let verifier = ClientVerifier::of(policy, &self.provider)?;
        verifier.describe(tls.peer_certificates()?, UnixTime::now()).map(Box::new)
    }

    fn make(&self, policy: &ClientAuth) -> ServerConfig {
        let mut config = self.build(policy, Arc::clone(&self.provider), TlsVersions::All);
        let sessions = if *policy == ClientAuth::Unasked { SESSIONS } else { SESSIONS_OF_POLICY };
        config.session_storage = ServerSessionMemoryCache::new(sessions);
        match ring::Ticketer::new() {
            Ok(tickets) => config.ticketer = tickets,
            // The machine provides no randomness.
            Err(error) => tracing::warn!(%error, "TLS sessions are resumed without tickets"),
        }
        config
    }

    /// A configuration without certificates, and without what resumes sessions.
    fn build(
        &self,
        policy: &ClientAuth,
        provider: Arc<CryptoProvider>,
        versions: TlsVersions,
    ) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(offered(versions))
            .expect("a provider has cipher suites and groups for each version");
        let builder = match ClientVerifier::of(policy, &self.provider) {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let none = Termination::new(Vec::new(), policy.clone());
        let mut config = builder.with_cert_resolver(Arc::new(none));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}
