//! Limits as writes: one rule, a table for each version.

use stack_model::{Bytes, Limits};

use crate::Kind;

/// Processes and threads of a container whose file does not say: enough for every server, too few for a fork bomb.
pub const PIDS_DEFAULT: i64 = 4096;
/// The scheduler's usual period, which a new cgroup has.
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
    /// The file may be absent: the value says "no limit", or nobody asked for it.
    pub optional: bool,
    /// A new cgroup has this value.
    pub neutral: bool,
}

impl Write {
    /// A write that somebody asked for when `asked` holds, and that resets to what a new cgroup has otherwise.
    fn asked(controller: &'static str, file: &'static str, value: String, asked: bool) -> Self {
        Self { controller, file, value, optional: !asked, neutral: !asked }
    }

    /// A write of our own choice, where the kernel can.
    fn chosen(controller: &'static str, file: &'static str, value: String) -> Self {
        Self { controller, file, value, optional: true, neutral: false }
    }
}

/// Memory and swap together when the file limits memory alone: as much swap again, as docker has it.
pub(crate) fn with_swap(memory: Bytes) -> Bytes {
    Bytes(memory.0.saturating_mul(2))
}

/// The writes that make a cgroup hold exactly `limits`, "no limit" included. The first is memory's: it is the one
/// that may be refused, and then nothing has changed yet.
pub fn render(limits: &Limits, kind: Kind) -> Vec<Write> {
    let Limits { memory, memory_and_swap, memory_reservation, cpus, pids } = limits;
    let micros = cpus.map(|cpus| (cpus.0 / (1_000_000_000 / PERIOD_MICROS)).max(QUOTA_MICROS_MIN).to_string());
    let pids = match pids.unwrap_or(PIDS_DEFAULT) {
        ..=0 => "max".to_owned(),
        pids => pids.to_string(),
    };
    let pids = Write { controller: "pids", file: "pids.max", value: pids, optional: false, neutral: false };
    let (asked, chosen) = (Write::asked, Write::chosen);
    match kind {
        Kind::V1 => {
            let bytes = |limit: Option<Bytes>| limit.map_or("-1".to_owned(), |limit| limit.0.to_string());
            let swap = "memory.memsw.limit_in_bytes";
            vec![
                asked("memory", "memory.limit_in_bytes", bytes(*memory), memory.is_some()),
                match (memory_and_swap, memory) {
                    (None, Some(memory)) => chosen("memory", swap, bytes(Some(with_swap(*memory)))),
                    _ => asked("memory", swap, bytes(*memory_and_swap), memory_and_swap.is_some()),
                },
                asked("memory", "memory.soft_limit_in_bytes", bytes(*memory_reservation), memory_reservation.is_some()),
                asked("cpu", "cpu.cfs_period_us", PERIOD_MICROS.to_string(), false),
                asked("cpu", "cpu.cfs_quota_us", micros.clone().unwrap_or("-1".to_owned()), micros.is_some()),
                pids,
            ]
        }
        Kind::V2 => {
            let bytes = |limit: Option<Bytes>| limit.map_or("max".to_owned(), |limit| limit.0.to_string());
            // v2 counts swap apart from memory.
            let swap = |both: Bytes| bytes(Some(Bytes(both.0.saturating_sub(memory.map_or(0, |memory| memory.0)))));
            let low = memory_reservation.map_or(0, |low| low.0).to_string();
            let quota = format!("{} {PERIOD_MICROS}", micros.as_deref().unwrap_or("max"));
            vec![
                asked("memory", "memory.max", bytes(*memory), memory.is_some()),
                match (memory_and_swap, memory) {
                    (Some(both), _) => asked("memory", "memory.swap.max", swap(*both), true),
                    (None, Some(memory)) => chosen("memory", "memory.swap.max", swap(with_swap(*memory))),
                    (None, None) => asked("memory", "memory.swap.max", "max".to_owned(), false),
                },
                asked("memory", "memory.low", low, memory_reservation.is_some()),
                // A container is one thing: when it runs out of memory, none of it is left behind.
                chosen("memory", "memory.oom.group", "1".to_owned()),
                asked("cpu", "cpu.max", quota, micros.is_some()),
                pids,
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
    fn memory_alone_brings_as_much_swap() {
        let limits = Limits { memory: Some(Bytes(64 << 20)), ..Limits::default() };
        assert!(lines(&limits, Kind::V1).contains(&"memory.memsw.limit_in_bytes 134217728".to_owned()));
        assert!(lines(&limits, Kind::V2).contains(&"memory.swap.max 67108864".to_owned()));
    }

    #[test]
    fn what_a_new_cgroup_has_is_marked() {
        let needed = |kind| -> Vec<_> {
            render(&Limits::default(), kind)
                .into_iter()
                .filter(|write| !write.neutral)
                .map(|write| write.file)
                .collect()
        };
        assert_eq!(needed(Kind::V1), ["pids.max"]);
        assert_eq!(needed(Kind::V2), ["memory.oom.group", "pids.max"]);
    }

    #[test]
    fn a_tiny_share_is_the_smallest_the_kernel_takes() {
        let limits = Limits { cpus: Some(NanoCpus(1_000_000)), ..Limits::default() };
        assert!(lines(&limits, Kind::V1).contains(&"cpu.cfs_quota_us 1000".to_owned()));
    }
}
