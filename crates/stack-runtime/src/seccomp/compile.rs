//! From a profile to a program.
//!
//! ```text
//!   load arch -> is it x86_64? -> load number -> binary search -> return
//!             -> is it i386?   -> load number -> binary search -> arguments in order -> return
//!             -> kill
//! ```

use std::collections::BTreeMap;

use super::numbers::{X32_BIT, number};
use super::{Action, Arch, Comparison, Condition, Profile};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;
/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386` of linux/audit.h.
pub(super) const AUDIT_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_I386: u32 = 0x4000_0003;

/// Offsets in `struct seccomp_data`.
pub(super) const NUMBER_AT: u32 = 0;
pub(super) const ARCH_AT: u32 = 4;
pub(super) const ARGUMENTS_AT: u32 = 16;

/// Codes of linux/bpf_common.h: `BPF_LD | BPF_W | BPF_ABS` and so on.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// A profile that no program can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// More instructions than the kernel takes.
    #[error("the seccomp profile needs {0} instructions, and the kernel takes {INSTRUCTIONS_MAX}")]
    TooLong(usize),
    /// seccomp(2) has six arguments.
    #[error("a seccomp rule names argument {0}; there are 0 to 5")]
    Argument(u8),
}

/// What a call comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Return(u32),
    /// The first whose conditions hold; the default otherwise.
    Choose(Vec<(Vec<Condition>, u32)>),
}

/// One instruction.
fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> u64 {
    u64::from(code) | u64::from(if_true) << 16 | u64::from(if_false) << 24 | u64::from(operand) << 32
}

/// Makes the program.
pub(crate) fn compile(profile: &Profile<'_>) -> Result<Vec<u64>, CompileError> {
    let arguments = profile.rules.iter().flat_map(|rule| &rule.conditions).map(|condition| condition.argument);
    if let Some(argument) = arguments.into_iter().find(|argument| *argument > 5) {
        return Err(CompileError::Argument(argument));
    }
    let mut program = vec![instruction(LOAD, 0, 0, ARCH_AT)];
    let native = profile.architectures.iter().any(|arch| matches!(arch, Arch::X86_64 | Arch::X32));
    for (audit, wanted) in [(AUDIT_X86_64, native), (AUDIT_I386, profile.architectures.contains(&Arch::I386))] {
        if !wanted {
            continue;
        }
        let mut block = vec![instruction(LOAD, 0, 0, NUMBER_AT)];
        block.extend(search(&segments(profile, audit), profile.default.value()));
        program.push(instruction(JUMP_EQUAL, 1, 0, audit));
        program.push(instruction(JUMP, 0, 0, length(&block)));
        program.extend(block);
    }
    program.push(instruction(RETURN, 0, 0, Action::KillProcess.value()));
    if program.len() > INSTRUCTIONS_MAX { Err(CompileError::TooLong(program.len())) } else { Ok(program) }
}

fn length(block: &[u64]) -> u32 {
    u32::try_from(block.len()).unwrap_or(u32::MAX)
}

/// All numbers in order, as the first of each run that comes to the same.
fn segments(profile: &Profile<'_>, audit: u32) -> Vec<(u32, Outcome)> {
    let arches: &[Arch] = if audit == AUDIT_I386 { &[Arch::I386] } else { &[Arch::X86_64, Arch::X32] };
    let mut segments: Vec<(u32, Outcome)> = Vec::new();
    let mut push = |start: u32, outcome: Outcome| {
        if segments.last().is_none_or(|(_, last)| *last != outcome) {
            segments.push((start, outcome));
        }
    };
    for arch in arches {
        let first = if *arch == Arch::X32 { X32_BIT } else { 0 };
        if !profile.architectures.contains(arch) {
            push(first, Outcome::Return(Action::KillProcess.value()));
            continue;
        }
        let mut next = first;
        for (number, outcome) in outcomes(profile, *arch) {
            if number > next {
                push(next, Outcome::Return(profile.default.value()));
            }
            push(number, outcome);
            next = number + 1;
        }
        let enosys = Action::Errno(nix::libc::ENOSYS as u16);
        let beyond = if profile.newer_is_enosys && next > first { enosys } else { profile.default };
        push(next, Outcome::Return(beyond.value()));
    }
    segments
}

/// What every call comes to that a rule names.
fn outcomes(profile: &Profile<'_>, arch: Arch) -> BTreeMap<u32, Outcome> {
    let mut outcomes: BTreeMap<u32, Outcome> = BTreeMap::new();
    for rule in &profile.rules {
        let action = rule.action.value();
        for number in rule.names.iter().filter_map(|name| number(arch, name)) {
            let outcome = outcomes.entry(number).or_insert_with(|| Outcome::Choose(Vec::new()));
            match outcome {
                Outcome::Choose(_) if rule.conditions.is_empty() => *outcome = Outcome::Return(action),
                Outcome::Choose(choices) => choices.push((rule.conditions.clone(), action)),
                // The rule without conditions that came first.
                Outcome::Return(_) => {}
            }
        }
    }
    outcomes
}

/// A binary search for the number in the accumulator.
fn search(segments: &[(u32, Outcome)], default: u32) -> Vec<u64> {
    match segments {
        [] => vec![instruction(RETURN, 0, 0, default)],
        [(_, Outcome::Return(value))] => vec![instruction(RETURN, 0, 0, *value)],
        [(_, Outcome::Choose(choices))] => choose(choices, default),
        several => {
            let (lower, upper) = several.split_at(several.len() / 2);
            let (boundary, lower, upper) = (upper[0].0, search(lower, default), search(upper, default));
            let mut code = match u8::try_from(lower.len()) {
                Ok(near) => vec![instruction(JUMP_GREATER_OR_EQUAL, near, 0, boundary)],
                // Conditional jumps reach 255 instructions, the plain one any.
                Err(_) => {
                    vec![instruction(JUMP_GREATER_OR_EQUAL, 0, 1, boundary), instruction(JUMP, 0, 0, length(&lower))]
                }
            };
            code.extend(lower);
            code.extend(upper);
            code
        }
    }
}

fn choose(choices: &[(Vec<Condition>, u32)], default: u32) -> Vec<u64> {
    let mut code = Vec::new();
    for (conditions, value) in choices {
        // Backwards: a condition that does not hold jumps over what follows and the return.
        let mut block = vec![instruction(RETURN, 0, 0, *value)];
        for condition in conditions.iter().rev() {
            let mut check = check(*condition, block.len());
            check.append(&mut block);
            block = check;
        }
        code.extend(block);
    }
    code.push(instruction(RETURN, 0, 0, default));
    code
}

/// Falls through where the condition holds, and jumps over the following `rest` instructions where it does not. A rule
/// has few conditions, so the distance is short.
fn check(condition: Condition, rest: usize) -> Vec<u64> {
    let Condition { argument, comparison, value } = condition;
    let low_at = ARGUMENTS_AT + 8 * u32::from(argument);
    let (low, high) = (value as u32, (value >> 32) as u32);
    let over = u8::try_from(rest).unwrap_or(u8::MAX);
    let load = |at: u32| instruction(LOAD, 0, 0, at);
    let after = |following: u8| over.saturating_add(following);
    match comparison {
        Comparison::Equal => vec![
            load(low_at + 4),
            instruction(JUMP_EQUAL, 0, after(2), high),
            load(low_at),
            instruction(JUMP_EQUAL, 0, over, low),
        ],
        Comparison::NotEqual => vec![
            load(low_at + 4),
            instruction(JUMP_EQUAL, 0, 2, high),
            load(low_at),
            instruction(JUMP_EQUAL, over, 0, low),
        ],
        Comparison::MaskedEqual { mask } => vec![
            load(low_at + 4),
            instruction(AND, 0, 0, (mask >> 32) as u32),
            instruction(JUMP_EQUAL, 0, after(3), high),
            load(low_at),
            instruction(AND, 0, 0, mask as u32),
            instruction(JUMP_EQUAL, 0, over, low),
        ],
        Comparison::GreaterOrEqual | Comparison::Greater => vec![
            load(low_at + 4),
            instruction(JUMP_GREATER, 3, 0, high),
            instruction(JUMP_EQUAL, 0, after(2), high),
            load(low_at),
            instruction(
                if comparison == Comparison::Greater { JUMP_GREATER } else { JUMP_GREATER_OR_EQUAL },
                0,
                over,
                low,
            ),
        ],
        Comparison::Less | Comparison::LessOrEqual => vec![
            load(low_at + 4),
            instruction(JUMP_GREATER, after(3), 0, high),
            instruction(JUMP_EQUAL, 0, 2, high),
            load(low_at),
            instruction(
                if comparison == Comparison::Less { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER },
                over,
                0,
                low,
            ),
        ],
    }
}
