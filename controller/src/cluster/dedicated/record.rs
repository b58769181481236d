//! The record of which of our ports belongs to which Gateway, in a ConfigMap of the controller's own namespace, where
//! no tenant writes.
//!
//! The leader writes it, naming the resourceVersion that it has read: of two replicas that both believe to lead, one
//! gets a conflict and reads again. All replicas read it and bind the ports that it names.
//!
//! ```text
//! data:
//!   ports: |                                            translate/allocation.rs
//!     6f0e2c5a-6d7c-4c0e-9a43-0d6a2a2f3f0b 80 20000
//!   released: |                                         ours, and when it was given up, in seconds since 1970
//!     20001 1764230400
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::translate::Allocation;

const PORTS: &str = "ports";
const RELEASED: &str = "released";

/// Which of our ports belongs to which Gateway, and which were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) allocation: Allocation,
    /// When, in seconds since 1970.
    pub(super) released: BTreeMap<u16, u64>,
}

/// What a ConfigMap holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// `None` where nothing has been recorded yet.
    pub(super) record: Option<Record>,
    /// Lines that cannot be read, or that contradict others.
    pub(super) broken: Vec<String>,
}

impl Record {
    pub(super) fn read(config_map: &Value) -> Read {
        let Some(ports) = config_map["data"][PORTS].as_str() else { return Read::default() };
        let (allocation, broken) = Allocation::parse(ports);
        let mut broken: Vec<_> = broken.into_iter().map(str::to_owned).collect();
        let mut released = BTreeMap::new();
        let lines = config_map["data"][RELEASED].as_str().unwrap_or_default().lines();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let words = line.trim().split_once(' ');
            let read = words.and_then(|(port, when)| Some((port.parse().ok()?, when.trim().parse().ok()?)));
            match read {
                Some((port, when)) if !allocation.holds(port) => drop(released.insert(port, when)),
                _ => broken.push(line.to_owned()),
            }
        }
        Read { record: Some(Self { allocation, released }), broken }
    }

    /// The `data` of the ConfigMap.
    pub(super) fn data(&self) -> Value {
        let released: String = self.released.iter().map(|(port, when)| format!("{port} {when}\n")).collect();
        json!({ PORTS: self.allocation.to_string(), RELEASED: released })
    }

    /// The ports that another record had and this one does not know of: somebody took lines out.
    pub(super) fn lost_since<'r>(&'r self, before: &'r Self) -> impl Iterator<Item = u16> + 'r {
        let is_known = |port: &u16| self.allocation.holds(*port) || self.released.contains_key(port);
        before.allocation.ours().filter(move |port| !is_known(port))
    }
}
