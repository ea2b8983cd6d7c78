//! Why a container has ended: what the kernel tells in numbers, as a value and as one line for a person.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stack_cgroup::Hierarchy;
use stack_model::{Bytes, Exit};

use crate::StepFailure;
use crate::error::NotExecuted;

const SIGKILL: i32 = nix::libc::SIGKILL;
const SIGSYS: i32 = nix::libc::SIGSYS;
/// Codes above this one are a shell's way to say that a signal has ended its child.
const SIGNAL_CODES: i32 = 128;

/// Why a container has ended, or why it never began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ending {
    /// Its program ended by itself.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// The kernel killed it: it wanted more memory than it may have.
    OutOfMemory {
        /// What it may have; none when the whole machine had no more.
        limit: Option<Bytes>,
        /// The most it had.
        peak: Option<Bytes>,
        /// How many of its processes were killed.
        killed: u64,
    },
    /// It made a system call that its filter punishes with the end.
    Filtered,
    /// Its program could not be executed.
    NotExecuted {
        /// Which one.
        program: String,
        /// Why.
        why: NotExecuted,
    },
    /// Nobody was there to see it.
    Unknown,
}

impl Ending {
    /// Why a container has ended whose cgroup is still there.
    pub fn of(exit: Exit, hierarchy: &Hierarchy, cgroup: &Path) -> Self {
        let killed = hierarchy.out_of_memory_kills(cgroup).unwrap_or(0);
        let limit = hierarchy.limits(cgroup).ok().and_then(|limits| limits.memory);
        let peak = hierarchy.memory_peak(cgroup).ok().filter(|peak| peak.0 > 0);
        Self::decode(exit, killed, limit, peak)
    }

    /// Why a container could not be started, if it is its program's fault.
    pub fn of_failure(failure: &StepFailure) -> Option<Self> {
        failure.not_executed.map(|why| Self::NotExecuted { program: failure.subject.clone(), why })
    }

    fn decode(exit: Exit, killed: u64, limit: Option<Bytes>, peak: Option<Bytes>) -> Self {
        // A child may have been the one that was too big; then the program tells it with its exit code.
        let by_kill = exit.signal == Some(SIGKILL) || exit.code == Some(SIGNAL_CODES + SIGKILL);
        match (exit.code, exit.signal) {
            _ if exit.out_of_memory || by_kill && killed > 0 => Self::OutOfMemory { limit, peak, killed },
            (_, Some(SIGSYS)) => Self::Filtered,
            (_, Some(signal)) => Self::Signaled { signal },
            (Some(code), None) => Self::Exited { code },
            (None, None) => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code: 126 } => f.write_str("exit code 126: in a shell, a command cannot be executed"),
            Self::Exited { code: 127 } => f.write_str("exit code 127: in a shell, a command is not found"),
            Self::Exited { code } => match named(*code - SIGNAL_CODES) {
                Some(name) => write!(f, "exit code {code}: in a shell, {name} has ended a command"),
                None => write!(f, "exit code {code}"),
            },
            Self::Signaled { signal } => match named(*signal) {
                Some(name) => write!(f, "ended by {name} (signal {signal})"),
                None => write!(f, "ended by signal {signal}"),
            },
            Self::OutOfMemory { limit, peak, .. } => {
                f.write_str("out of memory: the kernel has killed it")?;
                match (limit, peak) {
                    (Some(limit), _) => write!(f, " at its limit of {limit}"),
                    (None, Some(peak)) => write!(f, " at {peak}, and the machine had no more"),
                    (None, None) => Ok(()),
                }
            }
            Self::Filtered => f.write_str("ended by SIGSYS: it made a system call that its seccomp filter forbids"),
            Self::NotExecuted { program, why } => write!(f, "cannot execute {program}: {why}"),
            Self::Unknown => f.write_str("exit code unknown (nobody was watching)"),
        }
    }
}

fn named(signal: i32) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(signal).ok().map(nix::sys::signal::Signal::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_is_one_line() {
        let exit = |code: Option<i32>, signal: Option<i32>| Exit { code, signal, ..Exit::default() };
        let text = |exit, killed, limit: Option<u64>| {
            Ending::decode(exit, killed, limit.map(Bytes), Some(Bytes(2 << 20))).to_string()
        };
        assert_eq!(text(exit(Some(3), None), 0, None), "exit code 3");
        assert_eq!(text(exit(Some(143), None), 0, None), "exit code 143: in a shell, SIGTERM has ended a command");
        assert_eq!(text(exit(None, Some(11)), 0, None), "ended by SIGSEGV (signal 11)");
        assert_eq!(text(exit(None, Some(40)), 0, None), "ended by signal 40");
        assert_eq!(text(exit(None, Some(9)), 0, Some(1 << 20)), "ended by SIGKILL (signal 9)");
        let memory = "out of memory: the kernel has killed it at its limit of 1m";
        assert_eq!(text(exit(None, Some(9)), 1, Some(1 << 20)), memory);
        assert_eq!(text(exit(Some(137), None), 1, Some(1 << 20)), memory);
        // One of many processes was killed, and the program went on to end by itself.
        assert_eq!(text(exit(Some(0), None), 1, Some(1 << 20)), "exit code 0");
        assert!(text(exit(None, Some(31)), 0, None).contains("seccomp"));
        assert_eq!(text(exit(None, None), 0, None), "exit code unknown (nobody was watching)");
    }

    #[test]
    fn it_is_a_value_in_json() {
        let ending = Ending::OutOfMemory { limit: Some(Bytes(5)), peak: None, killed: 1 };
        let json = serde_json::to_value(&ending).unwrap();
        assert_eq!(json["kind"], "out_of_memory");
        assert_eq!(serde_json::from_value::<Ending>(json).unwrap(), ending);
    }
}
