//! Every number of every architecture: what the program returns against what the profile says, by two ways that share
//! nothing but the profile.

use caps::Capability;

use super::compile::{
    AND, ARCH_AT, ARGUMENTS_AT, AUDIT_I386, AUDIT_X86_64, CompileError, JUMP, JUMP_EQUAL, JUMP_GREATER,
    JUMP_GREATER_OR_EQUAL, LOAD, NUMBER_AT, RETURN,
};
use super::numbers::{X32_BIT, number};
use super::*;

/// `struct seccomp_data`.
#[derive(Clone, Copy)]
struct Call {
    number: u32,
    arch: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, at: u32) -> u32 {
        match at {
            NUMBER_AT => self.number,
            ARCH_AT => self.arch,
            at => {
                let argument = self.arguments[((at - ARGUMENTS_AT) / 8) as usize];
                if at % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
            }
        }
    }
}

/// Runs a program as the kernel does (bpf(4)).
fn interpret(program: &[u64], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let word = program[at];
        let (code, operand) = (word as u16, (word >> 32) as u32);
        let jump = |holds: bool| if holds { (word >> 16) as u8 } else { (word >> 24) as u8 };
        let skip = match code {
            LOAD => {
                accumulator = call.word(operand);
                0
            }
            AND => {
                accumulator &= operand;
                0
            }
            JUMP => operand,
            JUMP_EQUAL => jump(accumulator == operand).into(),
            JUMP_GREATER => jump(accumulator > operand).into(),
            JUMP_GREATER_OR_EQUAL => jump(accumulator >= operand).into(),
            RETURN => return operand,
            other => panic!("no instruction: {other:#x}"),
        };
        at += 1 + skip as usize;
    }
}

fn holds(condition: &Condition, call: &Call) -> bool {
    let argument = call.arguments[usize::from(condition.argument)];
    match condition.comparison {
        Comparison::NotEqual => argument != condition.value,
        Comparison::Less => argument < condition.value,
        Comparison::LessOrEqual => argument <= condition.value,
        Comparison::Equal => argument == condition.value,
        Comparison::GreaterOrEqual => argument >= condition.value,
        Comparison::Greater => argument > condition.value,
        Comparison::MaskedEqual { mask } => argument & mask == condition.value,
    }
}

/// A profile with its rules by the number of each call they name.
struct Reference<'a> {
    profile: &'a Profile<'a>,
    naming: BTreeMap<(Arch, u32), Vec<&'a Rule<'a>>>,
}

impl<'a> Reference<'a> {
    fn new(profile: &'a Profile<'a>) -> Self {
        let mut naming: BTreeMap<(Arch, u32), Vec<&Rule<'_>>> = BTreeMap::new();
        for arch in &profile.architectures {
            for rule in &profile.rules {
                for number in rule.names.iter().filter_map(|name| number(*arch, name)) {
                    naming.entry((*arch, number)).or_default().push(rule);
                }
            }
        }
        Self { profile, naming }
    }

    fn is_conditional(&self, arch: u32, number: u32) -> bool {
        let rules = arch_of(arch, number).and_then(|arch| self.naming.get(&(arch, number)));
        rules.is_some_and(|rules| rules.iter().any(|rule| !rule.conditions.is_empty()))
    }

    /// What the profile says, rule by rule.
    fn expected(&self, call: &Call) -> u32 {
        let wanted = arch_of(call.arch, call.number).filter(|arch| self.profile.architectures.contains(arch));
        let Some(arch) = wanted else { return Action::KillProcess.value() };
        if let Some(naming) = self.naming.get(&(arch, call.number)) {
            let unconditional = naming.iter().find(|rule| rule.conditions.is_empty());
            let fitting = || naming.iter().find(|rule| rule.conditions.iter().all(|one| holds(one, call)));
            if let Some(rule) = unconditional.or_else(fitting) {
                return rule.action.value();
            }
            return self.profile.default.value();
        }
        let newest = self.naming.range((arch, 0)..=(arch, u32::MAX)).next_back();
        if self.profile.newer_is_enosys && newest.is_some_and(|((_, newest), _)| call.number > *newest) {
            return Action::Errno(38).value();
        }
        self.profile.default.value()
    }
}

fn arch_of(arch: u32, number: u32) -> Option<Arch> {
    match (arch, number & X32_BIT != 0) {
        (AUDIT_X86_64, false) => Some(Arch::X86_64),
        (AUDIT_X86_64, true) => Some(Arch::X32),
        (AUDIT_I386, _) => Some(Arch::I386),
        _ => None,
    }
}

/// Numbers that exist, some that do not, and the edges.
fn numbers() -> impl Iterator<Item = (u32, u32)> {
    let native = (0..1024).chain([X32_BIT - 1, u32::MAX]).map(|number| (AUDIT_X86_64, number));
    let x32 = (0..1024).map(|number| (AUDIT_X86_64, X32_BIT | number));
    let i386 = (0..1024).chain([u32::MAX]).map(|number| (AUDIT_I386, number));
    // AArch64 is none of ours.
    native.chain(x32).chain(i386).chain([(0xc000_00b7, 1)])
}

/// Values of a first argument around everything that the default profile compares with.
fn arguments() -> impl Iterator<Item = u64> {
    let near = (0..64).chain([0x2_0000, 0x2_0008, 0x2_0009, 0xffff_fffe, 0xffff_ffff, 0x7e02_0000]);
    let bits = (0..64).map(|bit| 1_u64 << bit);
    near.chain(bits).chain([1 << 32 | 12, 1 << 32, u64::MAX])
}

fn capabilities(list: &[Capability]) -> CapabilitySet {
    CapabilitySet::of(list.iter().copied())
}

#[test]
fn the_default_profile_says_the_same_for_every_number() {
    let sets = [
        capabilities(&[]),
        capabilities(&[Capability::CAP_SYS_CHROOT]),
        capabilities(&[Capability::CAP_SYS_ADMIN]),
        CapabilitySet::of(caps::all()),
    ];
    for set in sets {
        let profile = default_profile(set);
        let program = compile(&profile).unwrap();
        let reference = Reference::new(&profile);
        for (arch, number) in numbers() {
            let few = if reference.is_conditional(arch, number) { usize::MAX } else { 1 };
            for argument in arguments().take(few) {
                let call = Call { number, arch, arguments: [argument, 0, 0, 0, 0, 0] };
                let (is, should) = (interpret(&program, &call), reference.expected(&call));
                assert_eq!(is, should, "{arch:#x} {number} {argument:#x}: {is:#x} instead of {should:#x}");
            }
        }
    }
}

/// Every capability alone opens what stands beside it and nothing else.
#[test]
fn each_capability_opens_its_own_calls() {
    let without = compile(&default_profile(capabilities(&[]))).unwrap();
    let opened = |capability: Capability| -> Vec<u32> {
        let program = compile(&default_profile(capabilities(&[capability]))).unwrap();
        let ask = |program: &[u64], number| interpret(program, &Call { number, arch: AUDIT_X86_64, arguments: [0; 6] });
        (0..470).filter(|number| ask(&program, *number) != ask(&without, *number)).collect()
    };
    assert_eq!(opened(Capability::CAP_SYS_CHROOT), [161]);
    assert_eq!(opened(Capability::CAP_SYS_TIME), [164, 227]);
    assert_eq!(opened(Capability::CAP_SYS_PTRACE), [312, 438, 440]);
    assert_eq!(opened(Capability::CAP_NET_ADMIN), [0; 0]);
    assert_eq!(opened(Capability::CAP_SYS_MODULE), [175, 176, 313]);
}

/// What Docker's profile refuses on x86_64 without any capability, by name: a list of its own, so that a name that slips
/// into the table of what is allowed is noticed.
#[test]
fn what_opens_the_kernel_is_refused() {
    let program = compile(&default_profile(capabilities(&[]))).unwrap();
    let refused = "_sysctl acct add_key afs_syscall bpf chroot clock_settime create_module delete_module fanotify_init \
        file_getattr file_setattr finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg \
        init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl \
        lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind migrate_pages mount mount_setattr \
        move_mount move_pages nfsservctl open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd \
        pivot_root process_madvise putpmsg query_module quotactl quotactl_fd reboot request_key security \
        set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday swapoff swapon sysfs syslog \
        tuxcall umount2 unshare uprobe uselib userfaultfd ustat vhangup vserver clone3 personality";
    let refused: Vec<u32> = refused.split_whitespace().map(|name| number(Arch::X86_64, name).unwrap()).collect();
    for number in 0..470_u32 {
        // An argument that every rule with a condition refuses.
        let call = Call { number, arch: AUDIT_X86_64, arguments: [u64::MAX >> 8; 6] };
        let is_allowed = interpret(&program, &call) == Action::Allow.value();
        let known = exists_with(number);
        let closed = refused.contains(&number) || [41, 56].contains(&number);
        assert_eq!(is_allowed, known && !closed, "{number}");
    }
}

fn exists_with(wanted: u32) -> bool {
    (0..=334).contains(&wanted) || [335, 336].contains(&wanted) || (424..=469).contains(&wanted)
}

/// Rules that Docker's profile does not have: every comparison, several conditions, long distances.
#[test]
fn every_comparison_holds_at_its_edges() {
    let value = 5 << 32 | 7;
    let around = [0, 7, 6, 8, 5 << 32, value - 1, value, value + 1, 4 << 32 | 9, 6 << 32, u64::MAX];
    let comparisons = [
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Equal,
        Comparison::GreaterOrEqual,
        Comparison::Greater,
        Comparison::MaskedEqual { mask: 0xff_0000_000f },
    ];
    for first in comparisons {
        for second in comparisons {
            let condition = |argument, comparison| Condition { argument, comparison, value };
            let conditions = vec![condition(0, first), condition(5, second)];
            let rules = vec![
                Rule { names: vec!["read"], conditions, action: Action::Errno(9) },
                Rule { names: vec!["read"], conditions: vec![condition(2, first)], action: Action::Log },
            ];
            let architectures = vec![Arch::X86_64];
            let profile = Profile { architectures, default: Action::Allow, rules, newer_is_enosys: false };
            let program = compile(&profile).unwrap();
            let reference = Reference::new(&profile);
            for one in around {
                for other in around {
                    for number in [0, 1, X32_BIT] {
                        let call = Call { number, arch: AUDIT_X86_64, arguments: [one, 0, other, 0, 0, other] };
                        let wanted = reference.expected(&call);
                        assert_eq!(interpret(&program, &call), wanted, "{first:?} {second:?} {one} {other}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_a_program_is_refused() {
    let rule = |argument, value| Rule {
        names: vec!["read"],
        conditions: vec![Condition { argument, comparison: Comparison::Equal, value }],
        action: Action::Allow,
    };
    let of = |rules| Profile {
        architectures: vec![Arch::X86_64],
        default: Action::KillProcess,
        rules,
        newer_is_enosys: false,
    };
    assert_eq!(compile(&of(vec![rule(6, 0)])), Err(CompileError::Argument(6)));
    let many = compile(&of((0..1000).map(|value| rule(0, value)).collect()));
    assert!(matches!(many, Err(CompileError::TooLong(_))), "{many:?}");
    let default = compile(&default_profile(CapabilitySet::default())).unwrap();
    assert!(default.len() < 1500, "{}", default.len());
}
