//! Which replica writes: the one that holds the Lease. All of them serve.
//!
//! The clocks of other machines are not believed: a Lease may be taken when its record has not changed for as long as
//! it says that it lasts, by this machine's own clock (as client-go's leaderelection has it).

use std::{future::Future, pin::pin, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use rand::Rng as _;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{FIELD_MANAGER, Term};

/// Which Lease, and in which time.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    pub namespace: String,
    pub name: String,
    /// What this replica is called; no other may be called so.
    pub identity: String,
    /// What we are called in `metadata.managedFields`.
    pub field_manager: String,
    /// How long others wait for a holder that says nothing.
    pub duration: Duration,
    /// How long a holder that cannot renew takes itself for one.
    pub renew_deadline: Duration,
    /// How long between two tries.
    pub retry: Duration,
    /// Told with each renewal.
    pub term: Term,
}

impl LeaseOptions {
    /// A leader that is silent is followed by another one within 15 s: the Lease's 10 s, and a try of the others before
    /// and after.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            field_manager: FIELD_MANAGER.to_owned(),
            duration: Duration::from_secs(10),
            renew_deadline: Duration::from_secs(7),
            retry: Duration::from_secs(2),
            term: Term::default(),
        }
    }
}

/// Competes for the Lease until `stop` resolves, then releases it. `leads` says whether this process leads.
pub async fn compete(
    client: Client,
    options: LeaseOptions,
    leads: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) {
    let leases = Api::namespaced(client, &options.namespace);
    let mut candidate = Candidate { leases, options, observed: None, renewed: None, failing: false };
    let mut stop = pin!(stop);
    loop {
        let wait = tokio::select! {
            biased;
            () = &mut stop => break,
            wait = candidate.round(&leads) => wait,
        };
        // Not all of them at the same time again.
        let wait = wait.mul_f64(rand::rng().random_range(0.8..1.0));
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    candidate.options.term.set(None);
    if leads.send_replace(false) {
        candidate.release().await;
    }
}

struct Candidate {
    leases: Api<Lease>,
    options: LeaseOptions,
    observed: Option<Observed>,
    /// When the request that last made or kept us the holder was begun.
    renewed: Option<Instant>,
    failing: bool,
}

/// The record as it was last seen.
struct Observed {
    lease: Lease,
    /// Since when it has been so.
    since: Instant,
}

/// What a record lets a candidate do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is ours; renew it.
    Renew,
    /// Nobody holds it, or whoever did has been silent for too long.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// `unchanged` is how long the record has been as it is.
fn verdict(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration) -> Verdict {
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    // A record without a duration, or with nonsense, holds nobody off.
    let lasts = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok()).unwrap_or_default();
    match holder {
        "" => Verdict::Take,
        holder if holder == identity => Verdict::Renew,
        _ if unchanged >= Duration::from_secs(lasts) => Verdict::Take,
        _ => Verdict::Wait,
    }
}

impl Candidate {
    /// One try, cut where this process would have to step down; returns how long to wait for the next one.
    async fn round(&mut self, leads: &watch::Sender<bool>) -> Duration {
        let begun = Instant::now();
        let most = self.until_deadline(begun).unwrap_or(self.options.renew_deadline);
        let outcome = timeout(most, self.try_once()).await;
        if matches!(outcome, Ok(Ok(_))) && std::mem::take(&mut self.failing) {
            info!(lease = %self.options.name, "the Lease can be acquired again");
        }
        match outcome {
            Ok(Ok(true)) => {
                self.renewed = Some(begun);
                self.options.term.set(Some(begun + self.options.renew_deadline));
                if !leads.send_replace(true) {
                    info!(lease = %self.options.name, identity = %self.options.identity, "leading");
                }
                return self.options.retry;
            }
            Ok(Ok(false)) => self.renewed = None,
            Ok(Err(error)) => self.fail(error.to_string()),
            Err(_) => self.fail("no response in time".to_owned()),
        }
        match self.until_deadline(Instant::now()) {
            Some(left) if !left.is_zero() => self.options.retry.min(left),
            _ => {
                self.renewed = None;
                self.options.term.set(None);
                if leads.send_replace(false) {
                    warn!(lease = %self.options.name, "no longer leading");
                }
                self.options.retry
            }
        }
    }

    /// Said once when it begins, and once when it ends.
    fn fail(&mut self, why: String) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!(lease = %self.options.name, why, "the Lease cannot be acquired; retrying");
        }
    }

    /// How long this process still leads without another success; `None` where it does not.
    fn until_deadline(&self, now: Instant) -> Option<Duration> {
        let end = self.renewed? + self.options.renew_deadline;
        Some(end.saturating_duration_since(now))
    }

    /// Whether this process holds the Lease after it.
    async fn try_once(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(&self.options.name).await? else {
            let made = self.leases.create(&self.post(), &self.record(Lease::default(), true)).await;
            return self.outcome(made);
        };
        let version = lease.metadata.resource_version.clone();
        if self.observed.as_ref().is_none_or(|seen| seen.lease.metadata.resource_version != version) {
            self.observed = Some(Observed { lease: lease.clone(), since: Instant::now() });
        }
        let unchanged = self.observed.as_ref().map_or(Duration::ZERO, |seen| seen.since.elapsed());
        let is_new = match verdict(lease.spec.as_ref(), &self.options.identity, unchanged) {
            Verdict::Wait => return Ok(false),
            Verdict::Renew => false,
            Verdict::Take => true,
        };
        let record = self.record(lease, is_new);
        let written = self.leases.replace(&self.options.name, &self.post(), &record).await;
        self.outcome(written)
    }

    /// A conflict says that another one was faster.
    fn outcome(&mut self, written: kube::Result<Lease>) -> kube::Result<bool> {
        match written {
            Ok(lease) => {
                self.observed = Some(Observed { lease, since: Instant::now() });
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The record that makes or keeps us the holder.
    fn record(&self, lease: Lease, is_new: bool) -> Lease {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let before = lease.spec.unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default();
        let was_held = before.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
        let spec = LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.duration.as_secs()).ok(),
            acquire_time: if is_new { Some(now.clone()) } else { before.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(is_new && was_held)),
            ..LeaseSpec::default()
        };
        Lease { metadata: self.metadata(&lease.metadata), spec: Some(spec) }
    }

    fn metadata(&self, live: &ObjectMeta) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.options.name.clone()),
            namespace: Some(self.options.namespace.clone()),
            ..live.clone()
        }
    }

    /// Lets another one take it at once.
    async fn release(&mut self) {
        match timeout(self.options.retry, self.give_up()).await {
            Ok(Ok(())) => info!(lease = %self.options.name, "Lease released"),
            Ok(Err(error)) => debug!(%error, "the Lease could not be released; it will expire"),
            Err(_) => debug!("no response about the Lease; it will expire"),
        }
    }

    /// A renewal that was cut may have been carried out: only the record as it is now can be replaced.
    async fn give_up(&mut self) -> kube::Result<()> {
        let lease = self.leases.get(&self.options.name).await?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(&*self.options.identity) {
            return Ok(());
        }
        let now = Some(MicroTime(k8s_openapi::jiff::Timestamp::now()));
        let spec = LeaseSpec {
            holder_identity: None,
            lease_duration_seconds: Some(1),
            acquire_time: now.clone(),
            renew_time: now,
            ..lease.spec.unwrap_or_default()
        };
        let record = Lease { metadata: self.metadata(&lease.metadata), spec: Some(spec) };
        self.leases.replace(&self.options.name, &self.post(), &record).await.map(drop)
    }

    fn post(&self) -> PostParams {
        PostParams { field_manager: Some(self.options.field_manager.clone()), ..PostParams::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_from_nobody_or_from_the_silent() {
        for (holder, lasts, unchanged, want) in [
            (None, Some(15), 0, Verdict::Take),
            (Some(""), Some(15), 0, Verdict::Take),
            (Some("me"), Some(15), 0, Verdict::Renew),
            (Some("me"), Some(15), 60, Verdict::Renew),
            (Some("other"), Some(15), 14, Verdict::Wait),
            (Some("other"), Some(15), 15, Verdict::Take),
            (Some("other"), Some(1), 1, Verdict::Take),
            (Some("other"), None, 0, Verdict::Take),
            (Some("other"), Some(-1), 0, Verdict::Take),
        ] {
            let spec = LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: lasts,
                ..LeaseSpec::default()
            };
            let got = verdict(Some(&spec), "me", Duration::from_secs(unchanged));
            assert_eq!(got, want, "held by {holder:?} for {lasts:?} s, unchanged for {unchanged} s");
        }
        assert_eq!(verdict(None, "me", Duration::ZERO), Verdict::Take);
    }
}
