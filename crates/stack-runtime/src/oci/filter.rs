//! The seccomp section of a bundle as a program.

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::OciError;
use crate::seccomp::{Action, Arch, Comparison, Condition, Filter, Profile, Rule, compile};

/// What calls return that are refused without saying how.
const EPERM: u32 = nix::libc::EPERM as u32;

/// Makes the program of a profile.
pub(super) fn lower(seccomp: &LinuxSeccomp) -> Result<Filter, OciError> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret());
    let mut rules = Vec::new();
    for syscall in seccomp.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret());
        // Both are ours too: whoever is asked would wait for an answer to the question that he has not got.
        let ours = ["write", "sendmsg"].into_iter().find(|own| syscall.names().iter().any(|name| name == own));
        if let (Action::Notify, Some(name)) = (action, ours) {
            return Err(OciError::Spec(format!("seccomp: SCMP_ACT_NOTIFY cannot be used for the {name} syscall")));
        }
        if action != default {
            rules.extend(alternatives(syscall)?.into_iter().map(|conditions| Rule {
                names: syscall.names().iter().map(String::as_str).collect(),
                conditions,
                action,
            }));
        }
    }
    let mut architectures: Vec<Arch> = seccomp.architectures().iter().flatten().filter_map(architecture).collect();
    if !architectures.contains(&Arch::X86_64) {
        // The machine's own way in is part of every filter.
        architectures.push(Arch::X86_64);
    }
    let refuses = matches!(default, Action::Errno(_) | Action::KillThread | Action::KillProcess | Action::Trap);
    let newer_is_enosys = refuses && default != Action::Errno(nix::libc::ENOSYS as u16);
    let notifies = default == Action::Notify || rules.iter().any(|rule| rule.action == Action::Notify);
    let profile = Profile { architectures, default, rules, newer_is_enosys };
    let program = compile(&profile).map_err(|error| OciError::Spec(error.to_string()))?;
    let flags = seccomp.flags().iter().flatten().fold(0, |all, one| all | flag(one));
    Ok(Filter { program, flags, notifies, listener: None })
}

/// Conditions on one argument are alternatives where the profile has several for it, as in libseccomp, whose rules
/// cannot have two; those on different arguments have to hold together.
fn alternatives(syscall: &LinuxSyscall) -> Result<Vec<Vec<Condition>>, OciError> {
    let mut conditions = Vec::new();
    for argument in syscall.args().iter().flatten() {
        let two = argument.value_two().unwrap_or(0);
        let (comparison, value) = match argument.op() {
            LinuxSeccompOperator::ScmpCmpNe => (Comparison::NotEqual, argument.value()),
            LinuxSeccompOperator::ScmpCmpLt => (Comparison::Less, argument.value()),
            LinuxSeccompOperator::ScmpCmpLe => (Comparison::LessOrEqual, argument.value()),
            LinuxSeccompOperator::ScmpCmpEq => (Comparison::Equal, argument.value()),
            LinuxSeccompOperator::ScmpCmpGe => (Comparison::GreaterOrEqual, argument.value()),
            LinuxSeccompOperator::ScmpCmpGt => (Comparison::Greater, argument.value()),
            LinuxSeccompOperator::ScmpCmpMaskedEq => (Comparison::MaskedEqual { mask: argument.value() }, two),
        };
        let index = u8::try_from(argument.index()).ok().filter(|index| *index <= 5);
        let index = index.ok_or_else(|| OciError::Spec("seccomp: arguments have the numbers 0 to 5".to_owned()))?;
        conditions.push(Condition { argument: index, comparison, value });
    }
    let repeated = conditions
        .iter()
        .enumerate()
        .any(|(at, one): (usize, &Condition)| conditions[..at].iter().any(|other| other.argument == one.argument));
    Ok(if repeated { conditions.into_iter().map(|one| vec![one]).collect() } else { vec![conditions] })
}

fn action(action: LinuxSeccompAction, number: Option<u32>) -> Action {
    let number = u16::try_from(number.unwrap_or(EPERM)).unwrap_or(u16::MAX);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Action::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(number),
        LinuxSeccompAction::ScmpActNotify => Action::Notify,
        LinuxSeccompAction::ScmpActTrace => Action::Trace(number),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
    }
}

fn architecture(arch: &OciArch) -> Option<Arch> {
    match arch {
        OciArch::ScmpArchX86_64 | OciArch::ScmpArchNative => Some(Arch::X86_64),
        OciArch::ScmpArchX86 => Some(Arch::I386),
        OciArch::ScmpArchX32 => Some(Arch::X32),
        // Ways into the kernel that this machine does not have.
        _ => None,
    }
}

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h. TSYNC has no effect on a process with one thread.
fn flag(flag: &LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 1 << 5,
    }
}
