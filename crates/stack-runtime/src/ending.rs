//! Why a container has ended: what the kernel knows beyond the exit status.

use std::io::Read;
use std::path::Path;

use stack_cgroup::Hierarchy;
use stack_model::{Ending, Exit, OutOfMemory, TaskName};

use crate::StepFailure;

const SIGKILL: i32 = nix::libc::SIGKILL;
/// Codes above this one are a shell's way to say that a signal has ended its child.
const SIGNAL_CODES: i32 = 128;
/// `/dev/kmsg` gives one record a read, and none is longer (`PRINTK_MESSAGE_MAX`).
const RECORD_BYTES: usize = 8 << 10;
/// More records than the kernel's buffer holds.
const RECORDS_MAX: usize = 1 << 16;

/// How many processes of a cgroup the kernel has killed for memory so far; a cgroup that is not there has none.
pub fn memory_kills(hierarchy: &Hierarchy, cgroup: &Path) -> u64 {
    hierarchy.out_of_memory_kills(cgroup).unwrap_or(0)
}

/// Completes an exit with what the kernel did: `before` is what [`memory_kills`] said when the process began. Its
/// cgroup must still be there.
pub fn complete_exit(exit: Exit, hierarchy: &Hierarchy, cgroup: &Path, before: u64) -> Exit {
    // A child may have been the one that was too big; then the program tells it with its exit code.
    let by_kill = exit.signal == Some(SIGKILL) || exit.code == Some(SIGNAL_CODES + SIGKILL);
    let killed = memory_kills(hierarchy, cgroup).saturating_sub(before);
    if !by_kill || killed == 0 {
        return exit;
    }
    let limit = hierarchy.limits(cgroup).ok().and_then(|limits| limits.memory);
    let peak = hierarchy.memory_peak(cgroup).ok().filter(|peak| peak.0 > 0);
    Exit { out_of_memory: true, memory: Some(OutOfMemory { limit, peak, killed, task: killed_task(cgroup) }), ..exit }
}

/// Why a container could not be started, if it is its program's fault.
pub fn ending_of_failure(failure: &StepFailure) -> Option<Ending> {
    failure.not_executed.map(|why| Ending::NotExecuted { program: failure.subject.clone(), why })
}

/// The process that the kernel last killed for memory in a cgroup, from its log: it says
/// `oom-kill:constraint=…,task_memcg=/stack/shop/1a2b,task=java,pid=…` (mm/oom_kill.c, `dump_oom_victim`).
fn killed_task(cgroup: &Path) -> Option<TaskName> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = nix::libc::O_NONBLOCK;
    let mut log = std::fs::OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg").ok()?;
    let mut record = vec![0; RECORD_BYTES];
    let mut found = None;
    for _ in 0..RECORDS_MAX {
        match log.read(&mut record) {
            Ok(length @ 1..) => found = task_in(&String::from_utf8_lossy(&record[..length]), cgroup).or(found),
            // Records were lost meanwhile; the next read goes on behind them.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPIPE) => {}
            Ok(0) | Err(_) => break,
        }
    }
    found
}

fn task_in(record: &str, cgroup: &Path) -> Option<TaskName> {
    let (_, facts) = record.split_once("oom-kill:")?;
    let (_, rest) = facts.split_once("task_memcg=")?;
    let (memcg, rest) = rest.split_once(",task=")?;
    // A program may have made cgroups of its own below.
    let id = cgroup.file_name()?;
    let is_ours = Path::new(memcg).components().any(|part| part.as_os_str() == id);
    let (task, _) = rest.split_once(",pid=")?;
    is_ours.then(|| task.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_log_names_the_victim() {
        let record = "3,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                      oom_memcg=/stack/eat/96a2,task_memcg=/stack/eat/96a2,task=a,b,pid=21460,uid=0\n";
        let task = |cgroup| task_in(record, Path::new(cgroup)).map(String::from);
        assert_eq!(task("stack/eat/96a2"), Some("a,b".to_owned()));
        assert_eq!(task("stack/eat/other"), None);
    }
}
