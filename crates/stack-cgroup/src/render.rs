//! Limits as writes: one rule, a table for each version.

use stack_model::{Bytes, Limits};

use crate::Kind;

/// Processes and threads of a container whose file does not say: enough for every server, too few for a fork bomb.
pub const PIDS_DEFAULT: i64 = 4096;
/// Stands for every processor that the cgroup above has; on v2 an empty line means just that.
pub(crate) const ANY_CPU: &str = "\n";
/// The range of v1's shares.
const SHARES: (u64, u64) = (2, 262_144);
const SHARES_DEFAULT: u64 = 1024;
const WEIGHT_DEFAULT: u64 = 100;
const SWAPPINESS_DEFAULT: u64 = 60;
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

/// A share of v1 as a weight of v2: both ranges from end to end, as runc and crun have it.
fn weight_of(shares: u64) -> u64 {
    let (least, most) = SHARES;
    1 + (shares.clamp(least, most) - least) * 9999 / (most - least)
}

/// A new cgroup has the value of the one above; there is no telling it from one that was asked for.
fn swappiness(asked: Option<u64>) -> Write {
    Write::asked("memory", "memory.swappiness", asked.unwrap_or(SWAPPINESS_DEFAULT).to_string(), asked.is_some())
}

/// The writes that make a cgroup hold exactly `limits`, "no limit" included. The first is memory's: it is the one
/// that may be refused, and then nothing has changed yet.
pub fn render(limits: &Limits, kind: Kind) -> Vec<Write> {
    let Limits {
        memory,
        memory_and_swap,
        memory_reservation,
        cpus,
        pids,
        cpu_shares,
        cpu_period,
        cpu_quota,
        cpuset,
        memory_swappiness,
        oom_kill_disable,
        // By the number of the device, which has to be looked up: see `further`.
        blkio: _,
    } = limits;
    let period = cpu_period.unwrap_or(PERIOD_MICROS).to_string();
    let share = cpus.map(|cpus| cpus.0 / (1_000_000_000 / PERIOD_MICROS));
    let micros = share.or(*cpu_quota).map(|micros| micros.max(QUOTA_MICROS_MIN).to_string());
    let has_period = cpu_period.is_some();
    let pids = match pids.unwrap_or(PIDS_DEFAULT) {
        ..=0 => "max".to_owned(),
        pids => pids.to_string(),
    };
    let pids = Write { controller: "pids", file: "pids.max", value: pids, optional: false, neutral: false };
    let (asked, chosen) = (Write::asked, Write::chosen);
    let processors = cpuset.clone().unwrap_or_else(|| ANY_CPU.to_owned());
    let processors = asked("cpuset", "cpuset.cpus", processors, cpuset.is_some());
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
                swappiness(*memory_swappiness),
                asked("memory", "memory.oom_control", u8::from(*oom_kill_disable).to_string(), *oom_kill_disable),
                asked("cpu", "cpu.cfs_period_us", period, has_period),
                asked("cpu", "cpu.cfs_quota_us", micros.clone().unwrap_or("-1".to_owned()), micros.is_some()),
                asked("cpu", "cpu.shares", cpu_shares.unwrap_or(SHARES_DEFAULT).to_string(), cpu_shares.is_some()),
                processors,
                pids,
            ]
        }
        Kind::V2 => {
            let bytes = |limit: Option<Bytes>| limit.map_or("max".to_owned(), |limit| limit.0.to_string());
            // v2 counts swap apart from memory.
            let swap = |both: Bytes| bytes(Some(Bytes(both.0.saturating_sub(memory.map_or(0, |memory| memory.0)))));
            let low = memory_reservation.map_or(0, |low| low.0).to_string();
            let quota = format!("{} {period}", micros.as_deref().unwrap_or("max"));
            let weight = cpu_shares.map_or(WEIGHT_DEFAULT, weight_of).to_string();
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
                asked("cpu", "cpu.max", quota, micros.is_some() || has_period),
                asked("cpu", "cpu.weight", weight, cpu_shares.is_some()),
                processors,
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
            cpu_shares: Some(2048),
            cpuset: Some("0-1".to_owned()),
            memory_swappiness: Some(10),
            ..Limits::default()
        };
        assert_eq!(
            lines(&limits, Kind::V1),
            [
                "memory.limit_in_bytes 67108864",
                "memory.memsw.limit_in_bytes 100663296",
                "memory.soft_limit_in_bytes 33554432",
                "memory.swappiness 10",
                "memory.oom_control 0",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 150000",
                "cpu.shares 2048",
                "cpuset.cpus 0-1",
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
                "cpu.weight 79",
                "cpuset.cpus 0-1",
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
    fn a_quota_of_its_own_period() {
        let limits = Limits { cpu_period: Some(50_000), cpu_quota: Some(25_000), ..Limits::default() };
        let v1 = lines(&limits, Kind::V1);
        assert!(
            v1.contains(&"cpu.cfs_period_us 50000".to_owned()) && v1.contains(&"cpu.cfs_quota_us 25000".to_owned())
        );
        assert!(lines(&limits, Kind::V2).contains(&"cpu.max 25000 50000".to_owned()));
    }

    #[test]
    fn a_tiny_share_is_the_smallest_the_kernel_takes() {
        let limits = Limits { cpus: Some(NanoCpus(1_000_000)), ..Limits::default() };
        assert!(lines(&limits, Kind::V1).contains(&"cpu.cfs_quota_us 1000".to_owned()));
    }
}
