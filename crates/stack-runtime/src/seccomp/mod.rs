//! System call filters: a profile in, a BPF program out (seccomp(2)). Nothing here touches the kernel.
//!
//! A program is made once for a profile and a set of capabilities, and is part of a container's rendered orders.

mod compile;
mod default_profile;
mod numbers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::capabilities::CapabilitySet;

pub(crate) use compile::compile;
use default_profile::default_profile;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    /// It returns this error number.
    Errno(u16),
    KillThread,
    KillProcess,
    /// SIGSYS.
    Trap,
    /// A tracer is told, with this message.
    Trace(u16),
    Log,
    /// Whoever listens decides.
    Notify,
}

impl Action {
    /// The value that the program returns (linux/seccomp.h).
    pub(crate) fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(number) => 0x0005_0000 | u32::from(number),
            Self::KillThread => 0,
            Self::KillProcess => 0x8000_0000,
            Self::Trap => 0x0003_0000,
            Self::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Self::Log => 0x7ffc_0000,
            Self::Notify => 0x7fc0_0000,
        }
    }
}

/// The ways into the kernel of an x86-64 machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arch {
    X86_64,
    I386,
    /// Comes as x86_64 with a bit in the number.
    X32,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// Those bits of the argument that are in the mask.
    MaskedEqual {
        mask: u64,
    },
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) argument: u8,
    pub(crate) comparison: Comparison,
    pub(crate) value: u64,
}

/// An action for some calls, where all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule<'a> {
    /// Names that an architecture does not have are no error: profiles are written for all of them.
    pub(crate) names: Vec<&'a str>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
}

/// Which calls do what.
///
/// A rule without conditions decides alone. Otherwise the first rule whose conditions hold does, and the default where
/// none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile<'a> {
    pub(crate) architectures: Vec<Arch>,
    pub(crate) default: Action,
    pub(crate) rules: Vec<Rule<'a>>,
    /// Calls that are newer than every rule return ENOSYS instead of the default, so that programs fall back.
    pub(crate) newer_is_enosys: bool,
}

/// A program with the way it is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// Instructions as the kernel lays them out: code, two jumps, and the operand in the upper half.
    pub(crate) program: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(crate) flags: u32,
    /// The program has [`Action::Notify`]: the descriptor of its calls goes to whoever listens.
    pub(crate) notifies: bool,
    pub(crate) listener: Option<Listener>,
}

/// Who decides about the calls that a filter passes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    /// A connected socket, which the new process has inherited under this number.
    pub(crate) descriptor: i32,
    /// What it is told with the descriptor of the calls: `ContainerProcessState` of the runtime-spec.
    pub(crate) message: String,
}

impl Listener {
    /// Puts the process's id in, which nobody knows before the clone. That of the container's own process is the same
    /// unless the state has one.
    pub(crate) fn say(&mut self, pid: u32) {
        if let Ok(mut message) = serde_json::from_str::<serde_json::Value>(&self.message) {
            message["pid"] = pid.into();
            if message["state"]["pid"].is_null() {
                message["state"]["pid"] = pid.into();
            }
            self.message = message.to_string();
        }
    }
}

/// The default profile's program for what a container may do, made once for each set. `None` on machines that it has
/// no numbers for.
pub(crate) fn default_filter(capabilities: CapabilitySet) -> Option<Filter> {
    static MADE: LazyLock<Mutex<BTreeMap<CapabilitySet, Vec<u64>>>> = LazyLock::new(Mutex::default);
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = match made.get(&capabilities) {
        Some(program) => program.clone(),
        None => {
            let program = compile(&default_profile(capabilities)).ok()?;
            made.insert(capabilities, program.clone());
            program
        }
    };
    Some(Filter { program, flags: 0, notifies: false, listener: None })
}
