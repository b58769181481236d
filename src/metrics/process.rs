//! The metrics of the process itself.

use procfs::{ProcResult, WithCurrentSystemInfo as _, process::Process};
use prometheus_client::{
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::gauge;

/// What the process uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    /// In seconds since 1970.
    pub(super) started_at: u64,
    pub(super) open_files: usize,
}

/// Under the names that other exporters give them.
pub(super) fn register(registry: &mut Registry, usage: &Usage) {
    registry.register_with_unit("cpu", "CPU time", Unit::Seconds, ConstCounter::new(usage.cpu_seconds));
    let resident = i64::try_from(usage.resident_bytes).unwrap_or(i64::MAX);
    registry.register_with_unit("resident_memory", "Resident memory", Unit::Bytes, ConstGauge::new(resident));
    registry.register("open_fds", "Open files and sockets", ConstGauge::new(gauge(usage.open_files)));
}

impl Usage {
    pub(super) fn of_this_process() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        Ok(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            started_at: procfs::boot_time_secs()? + stat.starttime / procfs::ticks_per_second(),
            open_files: process.fd_count()?,
        })
    }
}
