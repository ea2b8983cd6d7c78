//! A machine at rest: the kernel takes namespaces and cgroups down long after the command that ended them, and what one
//! side has left to do must not be counted against the other.

use std::time::{Duration, Instant};

/// What one look covers.
const WINDOW: Duration = Duration::from_millis(200);
/// A machine that does not come to rest is measured as it is.
const PATIENCE: Duration = Duration::from_secs(15);
/// Processor time that may be in use, in percent.
const BUSY_MAX: u64 = 8;

/// Waits until the processors have next to nothing to do.
pub(super) fn wait() {
    let start = Instant::now();
    let mut before = times();
    while start.elapsed() < PATIENCE {
        std::thread::park_timeout(WINDOW);
        let now = times();
        if is_idle(before, now) {
            return;
        }
        before = now;
    }
}

/// Busy and all processor time since boot, in ticks.
type Times = (u64, u64);

fn is_idle(before: Times, now: Times) -> bool {
    let (busy, all) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
    busy * 100 <= all * BUSY_MAX
}

fn times() -> Times {
    parse(&fs_err::read_to_string("/proc/stat").unwrap_or_default())
}

/// The first line of `/proc/stat` (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal.
fn parse(stat: &str) -> Times {
    let first = stat.lines().next().unwrap_or_default();
    let numbers: Vec<u64> = first.split_ascii_whitespace().skip(1).take(8).filter_map(|it| it.parse().ok()).collect();
    let all: u64 = numbers.iter().sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    (all - idle, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let before = parse("cpu  100 0 50 1000 10 0 5 0 0 0\ncpu0 1 1 1 1\n");
        assert_eq!(before, (155, 1165));
        assert!(is_idle(before, parse("cpu  101 0 51 1038 10 0 5 0 0 0\n")));
        assert!(!is_idle(before, parse("cpu  110 0 60 1020 10 0 5 0 0 0\n")));
    }
}
