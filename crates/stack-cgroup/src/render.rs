//! From limits to files and values: pure, one table for each version.

use stack_model::{Bytes, Limits};

use crate::Kind;

/// Tasks of a container that sets no limit: enough for any development server, and the end of a fork bomb.
pub const PIDS_DEFAULT: i64 = 4096;
/// The scheduler's usual period.
const PERIOD_MICROS: u64 = 100_000;
/// The kernel refuses a smaller quota (kernel/sched/core.c, `min_cfs_quota_period`).
const QUOTA_MICROS_MIN: u64 = 1_000;

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Controller that owns the file.
    pub controller: &'static str,
    /// File name.
    pub file: &'static str,
    /// What to write.
    pub value: String,
    /// The file may be absent when the value says "no limit": swap accounting is optional in kernels.
    pub optional: bool,
}

/// The writes that make a cgroup hold exactly `limits`, "no limit" included.
pub fn render(limits: &Limits, kind: Kind) -> Vec<Write> {
    let Limits { memory, memory_and_swap, memory_reservation, cpus, pids } = limits;
    let quota = cpus.map(|cpus| (cpus.0 / (1_000_000_000 / PERIOD_MICROS)).max(QUOTA_MICROS_MIN));
    let pids = match pids.unwrap_or(PIDS_DEFAULT) {
        ..=0 => "max".to_owned(),
        pids => pids.to_string(),
    };
    let write = |controller, file, value: String, optional| Write { controller, file, value, optional };
    match kind {
        Kind::V1 => {
            let bytes = |limit: Option<Bytes>| limit.map_or("-1".to_owned(), |limit| limit.0.to_string());
            vec![
                write("memory", "memory.limit_in_bytes", bytes(*memory), false),
                write("memory", "memory.memsw.limit_in_bytes", bytes(*memory_and_swap), memory_and_swap.is_none()),
                write("memory", "memory.soft_limit_in_bytes", bytes(*memory_reservation), memory_reservation.is_none()),
                write("cpu", "cpu.cfs_period_us", PERIOD_MICROS.to_string(), quota.is_none()),
                write(
                    "cpu",
                    "cpu.cfs_quota_us",
                    quota.map_or("-1".to_owned(), |quota| quota.to_string()),
                    quota.is_none(),
                ),
                write("pids", "pids.max", pids, false),
            ]
        }
        Kind::V2 => {
            let bytes = |limit: Option<Bytes>| limit.map_or("max".to_owned(), |limit| limit.0.to_string());
            // v2 counts swap apart from memory.
            let swap = memory_and_swap.map(|both| Bytes(both.0.saturating_sub(memory.map_or(0, |memory| memory.0))));
            let quota_text = quota.map_or("max".to_owned(), |quota| quota.to_string());
            vec![
                write("memory", "memory.max", bytes(*memory), memory.is_none()),
                write("memory", "memory.swap.max", bytes(swap), swap.is_none()),
                write(
                    "memory",
                    "memory.low",
                    memory_reservation.map_or(0, |low| low.0).to_string(),
                    memory_reservation.is_none(),
                ),
                // A container is one thing: when it runs out of memory, none of it is left behind.
                write("memory", "memory.oom.group", "1".to_owned(), true),
                write("cpu", "cpu.max", format!("{quota_text} {PERIOD_MICROS}"), quota.is_none()),
                write("pids", "pids.max", pids, false),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use stack_model::NanoCpus;

    use super::*;

    fn lines(limits: &Limits, kind: Kind) -> Vec<String> {
        render(limits, kind).into_iter().map(|write| format!("{} {}", write.file, write.value)).collect()
    }

    #[test]
    fn the_same_limits_in_both_versions() {
        let limits = Limits {
            memory: Some(Bytes(64 << 20)),
            memory_and_swap: Some(Bytes(96 << 20)),
            memory_reservation: Some(Bytes(32 << 20)),
            cpus: Some(NanoCpus(1_500_000_000)),
            pids: Some(50),
        };
        assert_eq!(
            lines(&limits, Kind::V1),
            [
                "memory.limit_in_bytes 67108864",
                "memory.memsw.limit_in_bytes 100663296",
                "memory.soft_limit_in_bytes 33554432",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 150000",
                "pids.max 50",
            ]
        );
        assert_eq!(
            lines(&limits, Kind::V2),
            [
                "memory.max 67108864",
                "memory.swap.max 33554432",
                "memory.low 33554432",
                "memory.oom.group 1",
                "cpu.max 150000 100000",
                "pids.max 50",
            ]
        );
    }

    #[test]
    fn no_limit_is_written_too_except_for_tasks() {
        let none = Limits::default();
        assert!(lines(&none, Kind::V1).contains(&"memory.limit_in_bytes -1".to_owned()));
        assert!(lines(&none, Kind::V2).contains(&"cpu.max max 100000".to_owned()));
        assert!(lines(&none, Kind::V2).contains(&"pids.max 4096".to_owned()));
        assert!(lines(&Limits { pids: Some(-1), ..none }, Kind::V1).contains(&"pids.max max".to_owned()));
    }

    #[test]
    fn a_tiny_share_is_the_smallest_the_kernel_takes() {
        let limits = Limits { cpus: Some(NanoCpus(1_000_000)), ..Limits::default() };
        assert!(lines(&limits, Kind::V1).contains(&"cpu.cfs_quota_us 1000".to_owned()));
    }
}
