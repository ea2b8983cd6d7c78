//! A bundle's process as one of the orders of the new process.

use std::path::Path;

use nix::libc;
use oci_spec::runtime::{
    IOPriorityClass, LinuxCapabilities, LinuxMemoryPolicy, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimitType, Process, Spec,
};

use super::{OciError, filter};
use crate::capabilities::{Capabilities, CapabilitySet, CapabilitySets};
use crate::spec::{LabelSpec, LimitSpec, ProcessSpec, ScheduleSpec, UserSpec};

/// What Podman's `--group-add keep-groups` asks with.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Renders a process, for the container or beside its first one.
pub(super) fn lower_process(process: &Process, spec: &Spec) -> Result<ProcessSpec, OciError> {
    if !process.cwd().is_absolute() {
        return Err(OciError::Spec("the working directory `cwd` must be an absolute path".to_owned()));
    }
    let variables = process.env().iter().flatten().filter_map(|text| text.split_once('='));
    let linux = spec.linux().as_ref();
    let seccomp = linux.and_then(|linux| linux.seccomp().as_ref()).map(filter::lower).transpose()?;
    let user = process.user();
    Ok(ProcessSpec {
        argv: process.args().clone().unwrap_or_default(),
        env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        cwd: process.cwd().to_string_lossy().into_owned(),
        user: UserSpec::Numbers {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            keep_groups: spec.annotations().as_ref().is_some_and(|all| all.contains_key(KEEP_GROUPS)),
            umask: user.umask(),
        },
        capabilities: Capabilities::Sets(process.capabilities().as_ref().map(sets).unwrap_or_default()),
        limits: limits(process)?,
        schedule: ScheduleSpec {
            processors: processors(process)?,
            memory: linux.and_then(|linux| linux.memory_policy().as_ref()).map(memory_policy).transpose()?,
            ..schedule(process, linux.and_then(|linux| linux.personality().as_ref()).map(|one| one.domain()))
        },
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        labels: LabelSpec {
            apparmor: label(process.apparmor_profile(), Module::AppArmor, "process.apparmorProfile")?,
            selinux: label(process.selinux_label(), Module::Selinux, "process.selinuxLabel")?,
        },
        console_size: process.console_size().map(|size| (clamp(size.width()), clamp(size.height()))),
        seccomp,
    })
}

pub(super) fn clamp(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// Security modules that a configuration may ask for.
#[derive(Clone, Copy)]
pub(super) enum Module {
    AppArmor,
    Selinux,
}

impl Module {
    pub(super) fn is_there(self) -> bool {
        match self {
            Self::AppArmor => {
                let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
                enabled.is_ok_and(|text| text.starts_with('Y'))
            }
            Self::Selinux => Path::new("/sys/fs/selinux/enforce").exists(),
        }
    }
}

/// What a module is to confine by. Where there is no such module the container would be less confined than asked for.
pub(super) fn label(text: &Option<String>, module: Module, key: &str) -> Result<Option<String>, OciError> {
    let text = text.clone().filter(|text| !text.is_empty());
    let name = match module {
        Module::AppArmor => "AppArmor",
        Module::Selinux => "SELinux",
    };
    if text.is_some() && !module.is_there() {
        return Err(OciError::Spec(format!("`{key}` is set, and {name} is not enabled on this machine; remove it")));
    }
    Ok(text)
}

fn sets(capabilities: &LinuxCapabilities) -> CapabilitySets {
    let set = |list: &Option<oci_spec::runtime::Capabilities>| {
        let names: Vec<String> = list.iter().flatten().map(ToString::to_string).collect();
        CapabilitySet::of_names(names.iter().map(String::as_str))
    };
    CapabilitySets {
        bounding: set(capabilities.bounding()),
        permitted: set(capabilities.permitted()),
        effective: set(capabilities.effective()),
        inheritable: set(capabilities.inheritable()),
        ambient: set(capabilities.ambient()),
    }
}

fn limits(process: &Process) -> Result<Vec<LimitSpec>, OciError> {
    let mut limits: Vec<LimitSpec> = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let resource = match limit.typ() {
            PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
            PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
            PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
            PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
            PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
            PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
            PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
            PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
            PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
            PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
            PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
            PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
            PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
            PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
            PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
            PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
        };
        if limits.iter().any(|known| known.resource == resource) {
            return Err(OciError::Spec(format!("the limit {:?} is there twice", limit.typ())));
        }
        limits.push(LimitSpec { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(limits)
}

/// Where a program of `exec` runs before and after it has joined the container. The container's own process is where
/// its cgroup lets it be (runtime-spec, `execCPUAffinity`).
fn processors(process: &Process) -> Result<[Vec<usize>; 2], OciError> {
    let list = |text: Option<&String>| match text.filter(|text| !text.is_empty()) {
        Some(text) => number_list(text).ok_or_else(|| {
            OciError::Spec(format!("`process.execCPUAffinity` {text} is no list of processors; one is like 0-3,7"))
        }),
        None => Ok(Vec::new()),
    };
    let affinity = process.exec_cpu_affinity().as_ref();
    Ok([
        list(affinity.and_then(|one| one.initial().as_ref()))?,
        list(affinity.and_then(|one| one.cpu_affinity_final().as_ref()))?,
    ])
}

/// The mode with its flags, and a bit for each node, as set_mempolicy(2) takes them.
fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<(u32, Vec<u64>), OciError> {
    let mode = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let mode = policy.flags().iter().flatten().fold(mode, |mode, flag| {
        mode | match flag {
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
        }
    });
    let mut bits = Vec::new();
    if let Some(text) = policy.nodes().as_deref().filter(|text| !text.is_empty()) {
        let nodes = number_list(text).ok_or_else(|| {
            OciError::Spec(format!("`linux.memoryPolicy.nodes` {text:?} is not a list such as 0-2,4"))
        })?;
        for node in nodes {
            let word = node / u64::BITS as usize;
            bits.resize(bits.len().max(word + 1), 0_u64);
            bits[word] |= 1 << (node % u64::BITS as usize);
        }
    }
    Ok((mode, bits))
}

/// A list of numbers and ranges, such as 0-2,4.
fn number_list(text: &str) -> Option<Vec<usize>> {
    let mut list = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        // More than the kernel can have of processors (CONFIG_NR_CPUS) or nodes is a slip.
        if first > last || last >= 8192 {
            return None;
        }
        list.extend(first..=last);
    }
    Some(list).filter(|list| !list.is_empty())
}

fn schedule(process: &Process, domain: Option<LinuxPersonalityDomain>) -> ScheduleSpec {
    let scheduler = process.scheduler().as_ref().map(|one| {
        let policy = match one.policy() {
            LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
            LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
            LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
            LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
            // Defined, but never implemented in a kernel.
            LinuxSchedulerPolicy::SchedIso => 4,
            LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
            LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
        };
        let flags = one.flags().iter().flatten().fold(0_u64, |all, flag| {
            all | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
        });
        let times = [one.runtime(), one.deadline(), one.period()].map(|time| time.unwrap_or(0));
        let priority = u32::try_from(one.priority().unwrap_or(0)).unwrap_or(0);
        (u32::try_from(policy).unwrap_or(0), one.nice().unwrap_or(0), priority, flags, times)
    });
    let io_priority = process.io_priority().as_ref().map(|one| {
        let class = match one.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        (class, u16::try_from(one.priority()).unwrap_or(0))
    });
    let personality = domain.map(|domain| match domain {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    });
    ScheduleSpec { oom_score: process.oom_score_adj(), io_priority, scheduler, personality, ..ScheduleSpec::default() }
}
