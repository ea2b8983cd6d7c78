//! Rules as a program of the type `BPF_PROG_TYPE_CGROUP_DEVICE` (Documentation/bpf/classic_vs_extended.rst for the
//! instructions, `struct bpf_cgroup_dev_ctx` of linux/bpf.h for what it is asked).
//!
//! The rules are asked from the last to the first. One register holds what of the access nobody has spoken of yet: a
//! rule that allows takes its part away, and when nothing is left the answer is yes; a rule that forbids one of what is
//! left makes it no. So is the end.

use super::{DeviceAccess, DeviceKind, DeviceRule};

/// Registers: the answer, what the program is given and then a place for the moment, kind, access, numbers.
const ANSWER: u8 = 0;
const GIVEN: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Operations: a class (`BPF_LDX`, `BPF_ALU`, `BPF_JMP`, `BPF_JMP32`), what it does, and that the operand is a number
/// (`BPF_K`, which is 0) or a register (`BPF_X`).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_BLOCK` and its like.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
/// `BPF_DEVCG_ACC_MKNOD` and its like.
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const EVERY_ACCESS: u32 = MAKE | READ | WRITE;

/// `struct bpf_insn`: operation, destination and source, offset, number.
fn instruction(code: u8, (to, from): (u8, u8), offset: i16, number: u32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = number.to_le_bytes();
    u64::from_le_bytes([code, to | (from << 4), low, high, a, b, c, d])
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE, (ANSWER, 0), 0, allow.into()), instruction(EXIT, (0, 0), 0, 0)]
}

/// Makes the program of some rules. What no rule speaks of is forbidden.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        // The access is in the upper half of the first word, the kind in the lower one.
        instruction(LOAD_WORD, (ACCESS, GIVEN), 0, 0),
        instruction(LOAD_WORD, (MAJOR, GIVEN), 4, 0),
        instruction(LOAD_WORD, (MINOR, GIVEN), 8, 0),
        instruction(MOVE_REGISTER, (KIND, ACCESS), 0, 0),
        instruction(AND, (KIND, 0), 0, 0xffff),
        instruction(SHIFT_RIGHT, (ACCESS, 0), 0, 16),
    ];
    for rule in rules.iter().rev() {
        let conditions = conditions(rule);
        let verdict = verdict(rule);
        let decides = conditions.is_empty();
        for (at, (register, value)) in conditions.iter().enumerate() {
            // To behind the verdict; an offset counts from the next instruction.
            let offset = i16::try_from(conditions.len() - at - 1 + verdict.len()).unwrap_or(i16::MAX);
            program.push(instruction(JUMP_NOT_EQUAL, (*register, 0), offset, *value));
        }
        program.extend(verdict);
        if decides {
            // The verifier takes no instruction that is never reached.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

/// What has to be so for a rule to speak of a device.
fn conditions(rule: &DeviceRule) -> Vec<(u8, u32)> {
    let Some(kind) = rule.kind else { return Vec::new() };
    let kind = match kind {
        DeviceKind::Block => BLOCK,
        DeviceKind::Character => CHARACTER,
    };
    let numbers = [rule.major.map(|major| (MAJOR, major)), rule.minor.map(|minor| (MINOR, minor))];
    std::iter::once((KIND, kind)).chain(numbers.into_iter().flatten()).collect()
}

/// What it says then.
fn verdict(rule: &DeviceRule) -> Vec<u64> {
    let spoken = access(rule.access);
    if spoken == EVERY_ACCESS || rule.kind.is_none() {
        return answer(rule.allow).to_vec();
    }
    let mut verdict = if rule.allow {
        vec![instruction(AND, (ACCESS, 0), 0, !spoken), instruction(JUMP_NOT_EQUAL, (ACCESS, 0), 2, 0)]
    } else {
        vec![
            instruction(MOVE_REGISTER, (GIVEN, ACCESS), 0, 0),
            instruction(AND, (GIVEN, 0), 0, spoken),
            instruction(JUMP_EQUAL, (GIVEN, 0), 2, 0),
        ]
    };
    verdict.extend(answer(rule.allow));
    verdict
}

fn access(access: DeviceAccess) -> u32 {
    let DeviceAccess { read, write, make } = access;
    [(read, READ), (write, WRITE), (make, MAKE)].into_iter().filter(|(has, _)| *has).fold(0, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked: kind, major, minor, access.
    type Question = (u32, u32, u32, u32);

    /// Does what the kernel would; a program that reads what it has not written, or runs away, fails.
    fn run(program: &[u64], (kind, major, minor, access): Question) -> bool {
        let given = [access << 16 | kind, major, minor];
        let mut registers = [None::<u32>; 6];
        let mut at = 0_usize;
        for _ in 0..=program.len() {
            let [code, both, low, high, a, b, c, d] = program[at].to_le_bytes();
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let (offset, number) = (i16::from_le_bytes([low, high]), u32::from_le_bytes([a, b, c, d]));
            let value = |register: usize| registers[register].expect("it has been written");
            let offset = usize::try_from(offset).expect("forwards");
            at += 1;
            match code {
                LOAD_WORD => registers[to] = Some(given[offset / 4]),
                MOVE => registers[to] = Some(number),
                MOVE_REGISTER => registers[to] = Some(value(from)),
                AND => registers[to] = Some(value(to) & number),
                SHIFT_RIGHT => registers[to] = Some(value(to) >> number),
                JUMP_EQUAL if value(to) == number => at += offset,
                JUMP_NOT_EQUAL if value(to) != number => at += offset,
                JUMP_EQUAL | JUMP_NOT_EQUAL => {}
                EXIT => return value(usize::from(ANSWER)) == 1,
                other => panic!("no operation {other:#x}"),
            }
        }
        panic!("it does not end")
    }

    /// The rules, read as they are written: for each kind of access the last one that speaks of it decides.
    fn said(rules: &[DeviceRule], (kind, major, minor, asked): Question) -> bool {
        [READ, WRITE, MAKE].into_iter().filter(|bit| asked & bit != 0).all(|bit| {
            let speaks = |rule: &&DeviceRule| {
                let is_kind = match rule.kind {
                    None => return true,
                    Some(DeviceKind::Block) => kind == BLOCK,
                    Some(DeviceKind::Character) => kind == CHARACTER,
                };
                let fits = |wanted: Option<u32>, number: u32| wanted.is_none_or(|wanted| wanted == number);
                is_kind && fits(rule.major, major) && fits(rule.minor, minor) && access(rule.access) & bit != 0
            };
            rules.iter().rev().find(speaks).is_some_and(|rule| rule.allow)
        })
    }

    fn questions() -> impl Iterator<Item = Question> {
        let numbers = [0, 1, 2, 0xfff_ffff];
        [BLOCK, CHARACTER].into_iter().flat_map(move |kind| {
            numbers.into_iter().flat_map(move |major| {
                numbers.into_iter().flat_map(move |minor| (1..8).map(move |access| (kind, major, minor, access)))
            })
        })
    }

    #[test]
    fn a_program_says_what_its_rules_say() {
        // Numbers of a generator with a fixed beginning (Knuth's): every run has the same lists.
        let mut state = 1_u64;
        let mut next = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32 % below
        };
        for length in 0..400 {
            let rules: Vec<DeviceRule> = (0..length % 9)
                .map(|_| DeviceRule {
                    allow: next(2) == 0,
                    kind: [None, Some(DeviceKind::Block), Some(DeviceKind::Character)]
                        [if next(6) == 0 { 0 } else { 1 + next(2) as usize }],
                    major: Some(next(4)).filter(|major| *major < 3),
                    minor: Some(next(4)).filter(|minor| *minor < 3),
                    access: DeviceAccess::of_letters(["r", "w", "m", "rw", "rm", "wm", "rwm"][next(7) as usize]),
                })
                .collect();
            let program = program(&rules);
            assert!(is_reached(&program), "{rules:?}");
            for question in questions() {
                assert_eq!(run(&program, question), said(&rules, question), "{question:?} of {rules:?}");
            }
        }
    }

    /// Whether every instruction is reached on some way, as the verifier wants it.
    fn is_reached(program: &[u64]) -> bool {
        let mut reached = vec![false; program.len() + 1];
        reached[0] = true;
        for at in 0..program.len() {
            let [code, _, low, high, ..] = program[at].to_le_bytes();
            if !reached[at] || code == EXIT {
                continue;
            }
            reached[at + 1] = true;
            if matches!(code, JUMP_EQUAL | JUMP_NOT_EQUAL) {
                reached[at + 1 + usize::from(u16::from_le_bytes([low, high]))] = true;
            }
        }
        reached[..program.len()].iter().all(|reached| *reached) && !reached[program.len()]
    }

    #[test]
    fn nothing_follows_a_rule_for_everything() {
        let before = DeviceRule { allow: true, kind: Some(DeviceKind::Block), ..DeviceRule::NOTHING };
        assert_eq!(program(&[before, DeviceRule::NOTHING]), program(&[DeviceRule::NOTHING]));
        assert_eq!(program(&[DeviceRule::NOTHING]).len(), 8);
    }
}
