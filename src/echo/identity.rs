//! Who answered: the first question to a test backend behind a load balancer.

use serde::{Deserialize, Serialize};

/// Who an echo backend is. All of it is words for its reader; nothing depends on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The pod's name.
    pub pod: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The Service that it stands behind.
    pub service: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
}

impl Identity {
    /// A backend of a Service.
    pub fn of_service(namespace: impl Into<String>, service: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), service: Some(service.into()), ..Self::default() }
    }

    /// With the machine's name, as its environment or its kernel has it.
    #[must_use]
    pub fn with_hostname(mut self) -> Self {
        let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let hostname = std::env::var("HOSTNAME").ok().or_else(kernel);
        self.hostname = hostname.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        self
    }
}
