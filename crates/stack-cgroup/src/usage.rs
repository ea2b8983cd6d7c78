//! What a cgroup uses.

use std::path::Path;

use stack_model::Bytes;

use crate::detect::{Hierarchy, Kind};
use crate::limits::field;

/// A look at what a cgroup uses; what the machine does not count is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the cgroup was made, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory without the files that the kernel can drop at once, as docker counts it.
    pub memory: Bytes,
    /// Processes and threads.
    pub tasks: u64,
}

impl Hierarchy {
    /// What a cgroup uses now. One that is gone uses nothing.
    pub fn usage(&self, cgroup: &Path) -> Usage {
        let text =
            |controller: &str, file: &str| self.text(cgroup, controller, file).ok().flatten().unwrap_or_default();
        let number = |controller: &str, file: &str| text(controller, file).trim().parse::<u64>().unwrap_or(0);
        let (cpu_nanos, used, idle) = match self.kind() {
            Kind::V1 => (
                number("cpuacct", "cpuacct.usage"),
                number("memory", "memory.usage_in_bytes"),
                field(&text("memory", "memory.stat"), "total_inactive_file"),
            ),
            Kind::V2 => (
                field(&text("cpu", "cpu.stat"), "usage_usec").unwrap_or(0).saturating_mul(1000),
                number("memory", "memory.current"),
                field(&text("memory", "memory.stat"), "inactive_file"),
            ),
        };
        let memory = Bytes(used.saturating_sub(idle.unwrap_or(0)));
        Usage { cpu_nanos, memory, tasks: number("pids", "pids.current") }
    }
}
