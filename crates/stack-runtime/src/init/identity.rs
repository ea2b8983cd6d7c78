//! Becoming who the container's process is.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::paths::{self, Kind, Links};
use stack_sys::Schedule;

use crate::capabilities;
use crate::error::StepFailure;
use crate::seccomp::Filter;
use crate::spawner::wire;
use crate::spec::{LimitSpec, ProcessSpec, ScheduleSpec, UserSpec};
use crate::users::{self, Identity};

/// Open files a program gets at first, as everywhere; programs that want more raise it.
const FILES_SOFT: u64 = 1024;
/// The most open files a program may ask for; systemd's and containerd's number.
const FILES_HARD: u64 = 524_288;

pub(super) fn look_up(process: &ProcessSpec) -> Result<Identity, StepFailure> {
    identify(&process.user)
}

/// Who a user is, in the filesystem that this process sees.
pub(crate) fn identify(user: &UserSpec) -> Result<Identity, StepFailure> {
    match user {
        UserSpec::Named { user, groups } => users::look_up(Path::new("/"), user, groups),
        UserSpec::Numbers { uid, gid, groups, umask, keep_groups: _ } => Ok(Identity {
            uid: *uid,
            gid: *gid,
            groups: groups.clone(),
            home: users::home_of(Path::new("/"), *uid),
            umask: *umask,
        }),
    }
}

/// The environment, with HOME where nobody set it.
pub(crate) fn environment(process: &ProcessSpec, identity: &Identity) -> Vec<(String, String)> {
    let mut environment = process.env.clone();
    if !environment.iter().any(|(name, _)| name == "HOME") {
        environment.push(("HOME".to_owned(), identity.home.clone()));
    }
    environment
}

fn install(filter: &Filter) -> Result<(), StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("install", "the seccomp filter", error);
    let Some(listener) = &filter.listener else {
        return stack_sys::install_filter(&filter.program, filter.flags, false).map(drop).map_err(failed);
    };
    // The calls of this process are passed on too from here: the filter has to allow the sending.
    let socket = stack_sys::take_descriptor(listener.descriptor).map_err(failed)?;
    let calls = stack_sys::install_filter(&filter.program, filter.flags, true).map_err(failed)?;
    let calls: Vec<_> = calls.iter().map(AsFd::as_fd).collect();
    wire::send_bytes(socket.as_fd(), listener.message.as_bytes(), &calls).map_err(failed)
}

/// Becomes the container's user and goes to the working directory. The order is fixed: the bounding set takes
/// CAP_SETPCAP, the groups CAP_SETGID, the user CAP_SETUID. What the process may still do is given up by [`seal`].
pub(crate) fn assume(process: &ProcessSpec, identity: &Identity) -> Result<(), StepFailure> {
    let user = identity.uid.to_string();
    let failed = |error: rustix::io::Errno| StepFailure::new("become user", &user, error);
    limit(&process.limits)?;
    schedule(&process.schedule)?;
    rustix::process::umask(Mode::from_raw_mode(identity.umask.unwrap_or(0o022)));
    capabilities::bound(process.capabilities.bounding())?;
    // As root first: a directory of root's is a good place for a program that only reads. Where root has no right
    // either (a network filesystem), the user may.
    let entered = enter_directory(process);
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let mut groups: Vec<Gid> = if matches!(process.user, UserSpec::Named { .. }) { vec![gid] } else { Vec::new() };
    groups.extend(identity.groups.iter().map(|group| Gid::from_raw(*group)));
    // The process is single-threaded, so the thread's identity is the process's.
    let kept = matches!(process.user, UserSpec::Numbers { keep_groups: true, .. });
    match if kept { Ok(()) } else { set_thread_groups(&groups) } {
        // A user namespace may forbid it (user_namespaces(7)); then nobody has groups to lose.
        Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
        result => result.map_err(failed)?,
    }
    set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    // The filter comes last and takes a capability.
    rustix::thread::set_keep_capabilities(true).map_err(failed)?;
    set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    match entered {
        Err(failure) if failure.errno == nix::libc::EACCES => enter_directory(process),
        result => result,
    }
}

/// Gives up every right that the program is not to have: from here on this process is under the same rules. What
/// follows is the exec. The filter comes before the capabilities unless privileges cannot be gained any more, because
/// to install it takes one of the two; either way as late as possible, so that it need not allow our own calls.
pub(crate) fn seal(process: &ProcessSpec, identity: &Identity) -> Result<(), StepFailure> {
    let filter = process.seccomp.as_ref();
    if let Some(filter) = filter.filter(|_| !process.no_new_privileges) {
        capabilities::raise()?;
        install(filter)?;
    }
    capabilities::hold(process.capabilities, identity.uid == 0)?;
    if !process.no_new_privileges {
        return Ok(());
    }
    nix::sys::prctl::set_no_new_privs().map_err(|error| StepFailure::new("forbid", "new privileges", error))?;
    filter.map_or(Ok(()), install)
}

/// Makes what is missing of the working directory. No step of it leads through a descriptor in `/proc`: one of ours
/// could be a way out (CVE-2024-21626).
///
/// While the root can still be written: later it may be read-only.
pub(super) fn make_directory(root: &OwnedFd, process: &ProcessSpec) -> Result<(), StepFailure> {
    paths::ensure(root.as_fd(), &process.cwd, Kind::Directory, Links::Follow)
        .map(drop)
        .map_err(|error| StepFailure::new("make the working directory", &process.cwd, error))
}

/// Goes to the working directory, by the same rules, and makes sure that it lies inside.
fn enter_directory(process: &ProcessSpec) -> Result<(), StepFailure> {
    let enter = || -> std::io::Result<Vec<u8>> {
        let root = root()?;
        let directory = paths::open(root.as_fd(), &process.cwd, Links::Follow)?;
        rustix::process::fchdir(&directory)?;
        Ok(rustix::process::getcwd(Vec::new())?.into_bytes())
    };
    let path = enter().map_err(|error| StepFailure::new("enter the working directory", &process.cwd, error))?;
    // The kernel marks a directory outside the root with "(unreachable)" (getcwd(3)).
    if path.starts_with(b"/") {
        Ok(())
    } else {
        Err(StepFailure::because("enter the working directory", &process.cwd, "it is outside the container"))
    }
}

fn root() -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn schedule(spec: &ScheduleSpec) -> Result<(), StepFailure> {
    if let Some((policy, nice, priority, flags, [runtime, deadline, period])) = spec.scheduler {
        let schedule = Schedule { size: 0, policy, flags, nice, priority, runtime, deadline, period };
        stack_sys::set_schedule(&schedule).map_err(|error| StepFailure::new("set", "the scheduler", error))?;
    }
    if let Some((class, level)) = spec.io_priority {
        stack_sys::set_io_priority(class, level)
            .map_err(|error| StepFailure::new("set", "the priority of input and output", error))?;
    }
    if let Some((mode, nodes)) = &spec.memory {
        stack_sys::set_memory_policy(*mode, nodes)
            .map_err(|error| StepFailure::new("set", "the policy of memory", error))?;
    }
    if let Some(domain) = spec.personality {
        stack_sys::set_personality(domain).map_err(|error| StepFailure::new("set", "the personality", error))?;
    }
    Ok(())
}

/// Lets this process run on these processors only; none leaves them.
pub(crate) fn run_on(processors: &[usize]) -> Result<(), StepFailure> {
    if processors.is_empty() {
        return Ok(());
    }
    let failed = |error: nix::errno::Errno| StepFailure::new("choose", "the processors", error);
    let mut set = nix::sched::CpuSet::new();
    processors.iter().try_for_each(|one| set.set(*one)).map_err(failed)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).map_err(failed)
}

/// Sets what the process was given. Without a limit of files, ours has to be lowered: few programs are ready for one
/// that is high (some loop over all descriptors).
fn limit(limits: &[LimitSpec]) -> Result<(), StepFailure> {
    for LimitSpec { resource, soft, hard } in limits {
        stack_sys::set_limit(*resource, *soft, *hard)
            .map_err(|error| StepFailure::new("set the limit of", format!("resource {resource}"), error))?;
    }
    let files = nix::libc::RLIMIT_NOFILE;
    if !limits.iter().any(|limit| limit.resource == files) {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let hard = maximum.map_or(FILES_HARD, |maximum| maximum.min(FILES_HARD));
        // Lowering never fails.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(FILES_SOFT.min(hard)), maximum: Some(hard) });
    }
    Ok(())
}
