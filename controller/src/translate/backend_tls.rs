//! BackendTLSPolicies: the TLS settings of each, which policy applies to a port of a Service, and which routes use it. The `tls` of an
//! XBackend is a policy whose target is the XBackend itself.
//!
//! ```text
//! BackendTLSPolicy, ConfigMaps -> PolicyState             a unit: a policy
//! a Service's port             -> the policy that holds   read by routes and hosts of Ingresses
//!                              -> PolicyUsers             the Gateways whose routes lead there, for its status
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_routing::{BackendError, BackendTls, Verify};

use super::{
    AuthoritiesPool, AuthorityRefError, CertificateRefError, Pools, Reader,
    policies::{Conflict, Policies, Policy, TargetRef},
    services,
};
use crate::{
    facts::Fact,
    ir::{
        BackendTlsPolicy, Kind, ObjectKey, Service,
        policy::{TrustedAuthorities, Validation},
        x_backend::XBackendTls,
    },
    snapshot::Snapshot,
    status::sentences,
};

/// All BackendTLSPolicies.
#[derive(Clone, Debug, Default)]
pub struct BackendTlsPolicies {
    targets: Policies,
    states: HashMap<ObjectKey, PolicyState>,
}

/// What a policy comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyState {
    /// The TLS that it asks for, or why no connection is made under it.
    pub tls: Result<BackendTls, PolicyError>,
    /// The references to authorities that cannot be used. Certificates are verified against the others.
    pub unresolved: Vec<AuthorityRefError>,
}

/// Why no connection is made under a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("{}", crate::status::refused(.0))]
    Refused(Box<str>),
    #[error("wellKnownCACertificates {0} is not supported; use System")]
    UnknownAuthorities(Box<str>),
    #[error("no caCertificateRef can be used: {0}")]
    NoAuthority(Box<str>),
    /// They are being fetched.
    #[error("{0}")]
    Pending(Box<str>),
    /// Of an XBackend.
    #[error("clientCertificateRef: {0}")]
    Certificate(CertificateRefError),
}

impl PolicyState {
    fn of(reader: &Reader<'_>, authorities: &AuthoritiesPool, policy: &BackendTlsPolicy) -> Self {
        match &policy.validation {
            Ok(validation) => Self::verifying(reader, authorities, policy.meta.namespace(), validation),
            Err(why) => Self { tls: Err(PolicyError::Refused(why.clone())), unresolved: Vec::new() },
        }
    }

    /// Of the TLS of an XBackend.
    fn of_x_backend(reader: &Reader<'_>, pools: &Pools, key: &ObjectKey, tls: &XBackendTls) -> Self {
        let state = Self::verifying(reader, &pools.authorities, &key.namespace, &tls.validation);
        let Some(reference) = &tls.client_certificate else { return state };
        let certificate = pools.certificates.resolve(reader, key, reference);
        let tls = state.tls.and_then(|tls| {
            let certificate = certificate.map_err(PolicyError::Certificate)?;
            Ok(BackendTls { client_certificate: Some(certificate.to_material()), ..tls })
        });
        Self { tls, ..state }
    }

    fn verifying(
        reader: &Reader<'_>,
        authorities: &AuthoritiesPool,
        namespace: &str,
        Validation { authorities: trusted, hostname, subject_names }: &Validation,
    ) -> Self {
        let mut unresolved = Vec::new();
        let verify = match trusted {
            TrustedAuthorities::System => Ok(Verify::System),
            TrustedAuthorities::Unknown(set) => Err(PolicyError::UnknownAuthorities(set.clone())),
            TrustedAuthorities::References(references) => {
                let mut sets = Vec::with_capacity(references.len());
                for reference in references {
                    match authorities.resolve(reader, namespace, reference) {
                        Ok(set) => sets.push(set),
                        Err(error) => unresolved.push(error),
                    }
                }
                match sets.is_empty() {
                    false => Ok(Verify::Authorities(sets.into())),
                    true => Err(no_authority(&unresolved)),
                }
            }
        };
        let tls = verify.map(|verify| BackendTls {
            subject_names: subject_names.clone(),
            ..BackendTls::new(hostname.clone(), verify)
        });
        Self { tls, unresolved }
    }
}

fn no_authority(unresolved: &[AuthorityRefError]) -> PolicyError {
    let text = sentences(unresolved).into();
    match unresolved.iter().any(AuthorityRefError::is_pending) {
        true => PolicyError::Pending(text),
        false => PolicyError::NoAuthority(text),
    }
}

impl BackendTlsPolicies {
    /// Those of a snapshot.
    pub fn of(reader: &Reader<'_>, pools: &Pools, snapshot: &Snapshot) -> Self {
        let mut all = Self::default();
        let keys = snapshot.backend_tls_policies.keys().chain(snapshot.x_backends.keys());
        keys.for_each(|key| all.renew(reader, pools, snapshot, key));
        all
    }

    /// Reads a policy or the TLS of an XBackend again, or forgets it.
    pub fn renew(&mut self, reader: &Reader<'_>, pools: &Pools, snapshot: &Snapshot, key: &ObjectKey) {
        if let Some(policy) = snapshot.backend_tls_policies.get(key) {
            return self.set(reader, &pools.authorities, policy);
        }
        let backend = snapshot.x_backends.get(key);
        let tls = backend.and_then(|backend| backend.spec.as_ref().ok()?.tls.as_ref());
        match (backend, tls) {
            (Some(backend), Some(tls)) => {
                let target = TargetRef { target: key.clone(), section: None };
                let policy =
                    Policy { key: key.clone(), created: backend.meta.created, targets: vec![target] };
                self.put(policy, PolicyState::of_x_backend(reader, pools, key, tls));
            }
            _ => self.remove(key),
        }
    }

    /// Adds or replaces a policy.
    fn set(&mut self, reader: &Reader<'_>, authorities: &AuthoritiesPool, policy: &BackendTlsPolicy) {
        let key = &policy.meta.key;
        let state = PolicyState::of(reader, authorities, policy);
        let targets = policy.targets.iter().map(|target| TargetRef {
            target: ObjectKey::new(Kind::Service, policy.meta.namespace(), &target.service),
            section: target.section.clone(),
        });
        let created = policy.meta.created;
        self.put(Policy { key: key.clone(), created, targets: targets.collect() }, state);
    }

    fn put(&mut self, policy: Policy, state: PolicyState) {
        let key = policy.key.clone();
        self.targets.set(policy);
        if self.states.get(&key) != Some(&state) {
            self.states.insert(key.clone(), state);
            self.targets.touch(&key);
        }
    }

    /// Forgets a policy.
    fn remove(&mut self, key: &ObjectKey) {
        self.targets.remove(key);
        self.states.remove(key);
    }

    /// The facts that have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<Fact> {
        self.targets.take_changed()
    }

    /// What a policy comes to.
    pub fn state(&self, key: &ObjectKey) -> Option<&PolicyState> {
        self.states.get(key)
    }

    /// The targets of a policy for which an older one holds.
    pub(crate) fn conflicts(&self, reader: &Reader<'_>, policy: &BackendTlsPolicy) -> Vec<Conflict<'_>> {
        for target in &policy.targets {
            let service = || ObjectKey::new(Kind::Service, policy.meta.namespace(), &target.service);
            reader.note(|| Fact::PoliciesOn(service()));
        }
        self.targets.conflicts(&policy.meta.key).collect()
    }

    /// The TLS that the policy asks for that holds for a port of a Service; `None` if there is none.
    ///
    /// # Errors
    /// If that policy cannot be carried out, so that nothing may be sent.
    fn towards(
        &self,
        reader: &Reader<'_>,
        service: &ObjectKey,
        port: Option<&str>,
    ) -> Result<Option<BackendTls>, BackendError> {
        let holding = self.targets.holding_for(reader, Kind::BackendTlsPolicy, service, port);
        let Some((key, state)) = holding.and_then(|key| self.states.get_key_value(key)) else {
            return Ok(None);
        };
        state.tls.clone().map(Some).map_err(|error| BackendError::InvalidPolicy {
            policy: key.to_string().into(),
            service: services::name(service),
            why: error.to_string().into(),
            is_missing: false,
        })
    }

    /// The TLS of an XBackend.
    ///
    /// # Errors
    /// If it cannot be carried out, so that nothing may be sent.
    fn of_x_backend(&self, reader: &Reader<'_>, key: &ObjectKey) -> Result<Option<BackendTls>, BackendError> {
        let holding = self.targets.holding_for(reader, Kind::XBackend, key, None);
        let Some(state) = holding.and_then(|key| self.states.get(key)) else { return Ok(None) };
        state.tls.clone().map(Some).map_err(|error| BackendError::InvalidTls {
            backend: services::name(key),
            why: error.to_string().into(),
        })
    }

    /// The policies that name a Service and concern one of its ports: those for the whole Service, those for the port,
    /// whether they hold or not, and those for ports that it does not have.
    fn concerning<'p>(
        &'p self,
        key: &ObjectKey,
        service: Option<&Service>,
        port: Option<&str>,
    ) -> impl Iterator<Item = &'p ObjectKey> {
        let concerns = move |section: &Option<Box<str>>| match (section.as_deref(), service) {
            (None, _) | (Some(_), None) => true,
            (Some(section), Some(service)) => {
                port == Some(section) || service.ports.iter().all(|port| *port.name != *section)
            }
        };
        let on = self.targets.on(Kind::BackendTlsPolicy, key);
        on.filter(move |(section, _)| concerns(section)).map(|(_, policy)| policy)
    }
}

/// Finds the policies for the backends of a route or Ingress, and collects which ones concern it.
#[derive(Debug)]
pub(super) struct Finder<'r> {
    reader: &'r Reader<'r>,
    /// Those that concern its backends, whether they hold or not.
    pub(super) found: BTreeSet<ObjectKey>,
}

impl<'r> Finder<'r> {
    pub(super) fn new(reader: &'r Reader<'r>) -> Self {
        Self { reader, found: BTreeSet::new() }
    }

    /// The TLS that the policy asks for that holds for a port of a Service, by its name (empty if it has none).
    ///
    /// # Errors
    /// If that policy cannot be carried out.
    pub(super) fn towards(
        &mut self,
        service: &Service,
        port: &str,
    ) -> Result<Option<BackendTls>, BackendError> {
        let Some(policies) = self.reader.policies else { return Ok(None) };
        let (key, port) = (&service.meta.key, Some(port).filter(|name| !name.is_empty()));
        self.found.extend(policies.concerning(key, Some(service), port).cloned());
        policies.towards(self.reader, key, port)
    }

    /// The TLS of an XBackend.
    ///
    /// # Errors
    /// If it cannot be carried out.
    pub(super) fn of_x_backend(&self, key: &ObjectKey) -> Result<Option<BackendTls>, BackendError> {
        let Some(policies) = self.reader.policies else { return Ok(None) };
        policies.of_x_backend(self.reader, key)
    }

    /// Collects the policies for a Service that does not exist.
    pub(super) fn note_missing(&mut self, namespace: &str, service: &str) {
        let Some(policies) = self.reader.policies else { return };
        let key = ObjectKey::new(Kind::Service, namespace, service);
        self.reader.note(|| Fact::PoliciesOn(key.clone()));
        self.found.extend(policies.concerning(&key, None, None).cloned());
    }
}

/// Who uses each policy, and how many routes or hosts of Ingresses of each use it.
#[derive(Clone, Debug, Default)]
pub struct PolicyUsers(HashMap<ObjectKey, BTreeMap<PolicyUser, u32>>);

/// Through whom a policy has an effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyUser {
    Gateway(ObjectKey),
    /// Ingresses, which are nobody's ancestor in a policy's status.
    Ingresses,
}

/// A policy and one of its users.
pub type PolicyUse = (ObjectKey, PolicyUser);

impl PolicyUsers {
    /// The users of a policy.
    pub(crate) fn of(&self, policy: &ObjectKey) -> impl Iterator<Item = &PolicyUser> {
        self.0.get(policy).into_iter().flat_map(BTreeMap::keys)
    }

    /// Adds uses.
    pub(crate) fn add(&mut self, uses: &[PolicyUse]) {
        for (policy, user) in uses {
            *self.0.entry(policy.clone()).or_default().entry(user.clone()).or_default() += 1;
        }
    }

    /// Replaces the uses of a route or host. Returns the policies whose users have changed.
    pub(crate) fn replace(&mut self, before: &[PolicyUse], now: &[PolicyUse]) -> BTreeSet<ObjectKey> {
        if before == now {
            return BTreeSet::new();
        }
        let all: BTreeSet<_> = before.iter().chain(now).collect();
        let used = |users: &Self| -> Vec<bool> {
            all.iter()
                .map(|(policy, user)| users.0.get(policy).is_some_and(|of| of.contains_key(user)))
                .collect()
        };
        let used_before = used(self);
        self.add(now);
        before.iter().for_each(|one| self.remove(one));
        let changed = used(self).into_iter().zip(used_before).map(|(now, before)| now != before);
        all.iter()
            .zip(changed)
            .filter(|(_, changed)| *changed)
            .map(|((policy, _), _)| policy.clone())
            .collect()
    }

    fn remove(&mut self, (policy, user): &PolicyUse) {
        let Some(users) = self.0.get_mut(policy) else { return };
        if let Some(count) = users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                users.remove(user);
            }
        }
        if users.is_empty() {
            self.0.remove(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_the_users_that_the_last_of_each_leaves() {
        let policy = |name: &str| ObjectKey::new(Kind::BackendTlsPolicy, "shop", name);
        let edge = || PolicyUser::Gateway(ObjectKey::new(Kind::Gateway, "infra", "edge"));
        let (a, b) = (policy("a"), policy("b"));
        let (at_edge, by_ingress) = ((a.clone(), edge()), (a.clone(), PolicyUser::Ingresses));
        let of_b = (b.clone(), edge());
        let mut users = PolicyUsers::default();
        for (before, now, changed) in [
            (&[][..], std::slice::from_ref(&at_edge), &[&a][..]),
            (&[], &[at_edge.clone(), of_b.clone()], &[&b]),
            (std::slice::from_ref(&at_edge), &[], &[]),
            (&[at_edge.clone(), of_b.clone()], &[at_edge.clone(), of_b.clone()], &[]),
            (&[at_edge.clone(), of_b.clone()], &[at_edge.clone(), by_ingress.clone()], &[&a, &b]),
            (&[at_edge.clone(), by_ingress], &[], &[&a]),
        ] {
            let got = users.replace(before, now);
            assert!(got.iter().eq(changed.iter().copied()), "{before:?} -> {now:?}: {got:?}");
        }
        assert!(users.0.is_empty());
    }
}
