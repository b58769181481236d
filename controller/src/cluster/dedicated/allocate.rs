//! Decides which of our ports belongs to which Gateway: the next record, made of the last one and what there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use portcullis_routing::PortKey;
use serde_json::Value;

use super::{
    DesiredServices,
    live::Live,
    record::Record,
    target::{Name, TargetKind},
    written::{owner, ports_of_service},
};
use crate::{
    ir::ObjectKey,
    translate::{PortRange, is_uid},
};

/// Seconds until a port that was given up may be given to another Gateway; until then clients may still be led to it.
pub(super) const QUARANTINE: u64 = 600;
/// A ConfigMap has room for 1 MiB (core/v1, `MaxSecretSize`), and etcd for little more.
const MOST_BYTES: usize = 900 * 1024;
/// The longest line of `released`.
const RELEASED_BYTES: usize = "65535 18446744073709551615\n".len();

/// The next record, and the Gateways that did not get all their ports.
#[derive(Debug, Default)]
pub(super) struct Next {
    pub(super) record: Record,
    pub(super) without: BTreeMap<ObjectKey, Without>,
}

/// The ports of a Gateway that got none of ours, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Without {
    pub(super) ports: BTreeSet<PortKey>,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NoPortLeft { range: PortRange, waiting: usize },
    Full,
    Uid,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPortLeft { range, waiting: 0 } => {
                write!(f, "no port is available in {range} (--dedicated-ports)")
            }
            Self::NoPortLeft { range, waiting } => write!(
                f,
                "no port is available in {range} (--dedicated-ports); {waiting} released ports can be used again after \
                 {} minutes",
                QUARANTINE / 60
            ),
            Self::Full => f.write_str(
                "the ConfigMap of port allocations is full; use fewer Gateways or a smaller range in --dedicated-ports",
            ),
            Self::Uid => f.write_str("the Gateway has no valid uid"),
        }
    }
}

/// The next record, at `now`, in seconds since 1970. `lost` are ports that were removed from the record by hand, and
/// when that was seen.
pub(super) fn next(
    recorded: Option<&Record>,
    lost: &BTreeMap<u16, u64>,
    desired: &DesiredServices,
    live: &Live,
    range: PortRange,
    now: u64,
) -> Next {
    let mut record = recorded.cloned().unwrap_or_else(|| adopt(desired, live, range));
    record.released.extend(lost.iter().filter(|(port, _)| !record.allocation.holds(**port)));
    release(&mut record, desired, live, range, now);
    let mut without = BTreeMap::new();
    let mut free = None;
    for (gateway, spec) in &desired.services {
        for port in &spec.ports {
            if record.allocation.of(&spec.uid, *port).is_some() {
                continue;
            }
            let free = free.get_or_insert_with(|| Free::of(&record, range, now));
            let refused = match free.take(&spec.uid, *port) {
                Ok(ours) => {
                    record.released.remove(&ours);
                    record.allocation.insert(&spec.uid, *port, ours);
                    continue;
                }
                Err(why) => why,
            };
            let without =
                without.entry(gateway.clone()).or_insert(Without { ports: BTreeSet::new(), why: refused });
            without.ports.insert(*port);
        }
    }
    Next { record, without }
}

/// The first record: the ports that our existing Services lead to. Of two that name the same port the older one keeps
/// it. Services are read only this once, since whoever may write a Service can write any port into it.
fn adopt(desired: &DesiredServices, live: &Live, range: PortRange) -> Record {
    let of_ours = |(name, service): &(&Name, &Value)| {
        owner(service).is_some_and(|uid| is_uid(uid) && desired.kept.get(uid) == Some(*name))
    };
    let mut services: Vec<_> = live.made(TargetKind::Service).filter(of_ours).collect();
    services.sort_by_key(|(name, service)| {
        (service["metadata"]["creationTimestamp"].as_str().unwrap_or_default(), *name)
    });
    let mut record = Record::default();
    for (_, service) in services {
        let Some(uid) = owner(service) else { continue };
        for (port, ours) in ports_of_service(service) {
            if let Some(ours) = ours.filter(|ours| range.contains(*ours)) {
                record.allocation.insert(uid, port, ours);
            }
        }
    }
    record
}

/// Gives up the ports that are no longer needed.
fn release(record: &mut Record, desired: &DesiredServices, live: &Live, range: PortRange, now: u64) {
    let ports: BTreeMap<_, _> = desired.services.values().map(|spec| (&*spec.uid, &spec.ports)).collect();
    let mut of_services: BTreeMap<&str, BTreeSet<PortKey>> = BTreeMap::new();
    for (_, service) in live.made(TargetKind::Service) {
        if let Some(uid) = owner(service) {
            of_services.entry(uid).or_default().extend(ports_of_service(service).into_keys());
        }
    }
    let is_needed = |uid: &str, port: PortKey| match ports.get(uid) {
        Some(ports) => {
            ports.contains(&port) || of_services.get(uid).is_some_and(|ports| ports.contains(&port))
        }
        // Where neither the Gateway nor its Service exists, nothing leads clients there.
        None => desired.kept.contains_key(uid) || of_services.contains_key(uid),
    };
    let gone: Vec<_> = record
        .allocation
        .iter()
        .filter(|(uid, port, ours)| !range.contains(*ours) || !is_needed(uid, *port))
        .map(|(uid, port, ours)| (uid.to_owned(), port, ours))
        .collect();
    for (uid, port, ours) in gone {
        record.allocation.remove(&uid, port);
        record.released.insert(ours, now);
    }
    record.released.retain(|port, _| range.contains(*port));
    // A clock that was wrong must not keep a port for ever.
    record.released.values_mut().for_each(|when| *when = (*when).min(now));
}

/// Free ports: those that were never used first, then in the order in which they were given up.
struct Free {
    ports: std::vec::IntoIter<u16>,
    none: Why,
    room: usize,
}

impl Free {
    fn of(record: &Record, range: PortRange, now: u64) -> Self {
        let since = |port: u16| record.released.get(&port).copied();
        let mut free: Vec<_> = range.ports().filter(|port| !record.allocation.holds(*port)).collect();
        let all = free.len();
        free.retain(|port| since(*port).is_none_or(|when| now.saturating_sub(when) >= QUARANTINE));
        let waiting = all - free.len();
        free.sort_by_key(|port| (since(*port), *port));
        let used = record.allocation.to_string().len() + record.released.len() * RELEASED_BYTES;
        let room = MOST_BYTES.saturating_sub(used);
        Self { ports: free.into_iter(), none: Why::NoPortLeft { range, waiting }, room }
    }

    fn take(&mut self, uid: &str, port: PortKey) -> Result<u16, Why> {
        if !is_uid(uid) {
            return Err(Why::Uid);
        }
        // A line of `ports`; one of `released`, which replaces it later, is shorter.
        let bytes = format!("{uid} {port} 65535\n").len();
        let room = self.room.checked_sub(bytes).ok_or(Why::Full)?;
        let port = self.ports.next().ok_or(self.none)?;
        self.room = room;
        Ok(port)
    }
}

#[cfg(test)]
mod tests;
