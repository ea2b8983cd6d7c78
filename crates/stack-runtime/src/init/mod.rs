//! The stage between clone and exec: a straight list of named steps over rendered data.
//!
//! It runs single-threaded in a copy of the spawner. Nothing of the container's can run before the last step, so
//! nothing races with the mounts; the image is an attacker all the same, so no path of it is resolved outside the
//! openat2(2) calls of `paths`.

mod copy;
mod execute;
mod identity;
mod mounts;
mod paths;
mod reaper;
mod rootfs;
mod streams;

use std::os::fd::OwnedFd;

use rustix::thread::LinkNameSpaceType;
use stack_sys::SingleThreaded;

use crate::error::StepFailure;
use crate::spec::InitSpec;

pub(crate) use execute::{execute, join_process_rules};
pub(crate) use identity::{assume, environment};
pub(crate) use reaper::{open_terminal, use_terminal};

/// Turns this process into the container's once `may_go` says so. Returns only when a step fails.
pub(crate) fn run(
    spec: &InitSpec,
    netns: Option<&OwnedFd>,
    whole: SingleThreaded,
    may_go: &dyn Fn() -> bool,
) -> StepFailure {
    match prepare(spec, netns, whole, may_go) {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

fn prepare(
    spec: &InitSpec,
    netns: Option<&OwnedFd>,
    whole: SingleThreaded,
    may_go: &dyn Fn() -> bool,
) -> Result<std::convert::Infallible, StepFailure> {
    stage(c"stack:cgroup");
    join_cgroups(spec)?;
    join_namespaces(netns)?;
    join_process_rules()?;
    // The pipes are reached through the host's paths, which the next steps take away.
    let streams = streams::open(spec)?;
    stage(c"stack:mounts");
    rootfs::keep_to_ourselves()?;
    let root = rootfs::mount_overlay(&spec.root)?;
    rootfs::mount_system(&root, spec)?;
    mounts::mount_all(&root, &spec.mounts)?;
    if !spec.privileged {
        rootfs::hide_paths(&root)?;
    }
    identity::make_directory(&root, &spec.process)?;
    rootfs::enter(&root, spec.read_only)?;
    if netns.is_some() {
        rustix::system::sethostname(spec.hostname.as_bytes())
            .map_err(|error| StepFailure::new("set the host name", &spec.hostname, error))?;
    }
    stage(c"stack:identity");
    let identity = identity::look_up(&spec.process)?;
    streams.give_to(&identity)?;
    if spec.tty || spec.init {
        reaper::stay_in_front(spec, &streams, &identity, whole)?;
    }
    if !spec.tty {
        streams.take()?;
    }
    let environment = environment(&spec.process, &identity);
    assume(&spec.process, &identity)?;
    if !may_go() {
        return Err(StepFailure::because("go on", "", "the supervisor has ended"));
    }
    Err(execute(&spec.process, &identity, &environment))
}

/// Shows the stage in `ps`.
fn stage(name: &std::ffi::CStr) {
    // Only decoration.
    let _ = rustix::thread::set_name(name);
}

/// All at once, before anything is allocated: what the container needs is then counted as its own. The first write
/// after idle waits for an RCU grace period, those right behind it do not.
fn join_cgroups(spec: &InitSpec) -> Result<(), StepFailure> {
    for procs in &spec.cgroup_procs {
        fs_err::write(procs, "0").map_err(|error| StepFailure::new("join", crate::error::shown(procs), error))?;
    }
    // After joining: the new namespace's root is where the process is now (cgroup_namespaces(7)).
    unshare_cgroup().map_err(|error| StepFailure::new("unshare", "the cgroup namespace", error))
}

fn unshare_cgroup() -> nix::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
}

fn join_namespaces(netns: Option<&OwnedFd>) -> Result<(), StepFailure> {
    let Some(netns) = netns else { return Ok(()) };
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(netns), Some(LinkNameSpaceType::Network))
        .map_err(|error| StepFailure::new("join", "the network namespace", error))
}
