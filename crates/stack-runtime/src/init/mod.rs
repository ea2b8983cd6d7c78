//! The stage between clone and exec: a straight list of named steps over rendered data.
//!
//! It runs single-threaded in a copy of the spawner. Nothing of the container's can run before the last step, so
//! nothing races with the mounts; the image is an attacker all the same, so no path of it is resolved outside the
//! openat2(2) calls of `paths`.

mod copy;
mod devices;
mod execute;
mod identity;
mod labels;
mod mounts;
mod paths;
mod reaper;
mod rootfs;
mod streams;
mod sysctl;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::thread::LinkNameSpaceType;
use stack_sys::SingleThreaded;

use crate::error::StepFailure;
use crate::hooks;
use crate::spec::{InitSpec, StreamSpec};
use crate::users::Identity;

pub(crate) use execute::{execute, join_process_rules};
pub(crate) use identity::{assume, environment, identify, run_on};
pub(crate) use reaper::{open_terminal, use_terminal};
pub(crate) use rootfs::{clone_mount, detached, shared_memory_of};

/// What happens between the steps, and what they are handed. Whoever made the process decides.
pub(crate) struct Course<'a> {
    /// Namespaces to join, in this order.
    pub(crate) joined: &'a [(OwnedFd, LinkNameSpaceType)],
    /// Mounts that were prepared outside, with other owners.
    pub(crate) prepared: &'a [OwnedFd],
    /// A copy of the `/dev/shm` of the container whose IPC it has.
    pub(crate) shm: Option<&'a OwnedFd>,
    /// Its own process id as the host sees it, where a hook has to know.
    pub(crate) pid: Option<u32>,
    /// The namespaces are there, and the root is mounted but not entered.
    pub(crate) mounted: &'a dyn Fn() -> Result<(), StepFailure>,
    /// Takes the master of the program's terminal.
    pub(crate) terminal: &'a dyn Fn(OwnedFd) -> Result<(), StepFailure>,
    /// Waits for the word to execute the program.
    pub(crate) may_go: &'a dyn Fn() -> bool,
}

/// Turns this process into the container's once `may_go` says so. Returns only when a step fails.
pub(crate) fn run(spec: &InitSpec, course: &Course<'_>, whole: SingleThreaded) -> StepFailure {
    match prepare(spec, course, whole) {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

fn prepare(
    spec: &InitSpec,
    course: &Course<'_>,
    whole: SingleThreaded,
) -> Result<std::convert::Infallible, StepFailure> {
    adjust_oom(spec)?;
    join_namespaces(course.joined)?;
    unshare_time(spec)?;
    join_process_rules()?;
    // The pipes are reached through the host's paths, which the next steps take away.
    let streams = streams::open(&spec.streams)?;
    stage(c"stack:mounts");
    if spec.namespaces.mount {
        assemble(spec, course)?;
    } else {
        (course.mounted)()?;
        unshare_cgroup(spec)?;
        rootfs::change_root(&spec.root)?;
    }
    name_host(spec)?;
    stage(c"stack:identity");
    let identity = identity::look_up(&spec.process)?;
    if let Some(streams) = &streams {
        streams.give_to(&identity)?;
    }
    let front = matches!(spec.streams, StreamSpec::Front { .. });
    if front || spec.init {
        reaper::stay_in_front(front, streams.as_ref(), &identity, whole)?;
    }
    if let Some(streams) = streams.as_ref().filter(|_| !front) {
        streams.take()?;
    }
    if let StreamSpec::Console { size, .. } = spec.streams {
        console(size, &identity, course)?;
    }
    let environment = environment(&spec.process, &identity);
    if spec.hooks.start_container.is_empty() {
        execute::check_program(&spec.process, &environment)?;
    }
    if !(course.may_go)() {
        return Err(StepFailure::because("go on", "", "the supervisor has ended"));
    }
    assume(&spec.process, &identity)?;
    // They are the container's: the rules of the program are theirs too.
    let hooks =
        || hooks::run(&spec.hooks.start_container, &hooks::state_text(&spec.hooks.state, "created", course.pid));
    Err(execute(&spec.process, &identity, &environment, spec.streams.kept(), &hooks))
}

/// Mounts everything and enters the root.
fn assemble(spec: &InitSpec, course: &Course<'_>) -> Result<(), StepFailure> {
    rootfs::keep_to_ourselves(&spec.root)?;
    let root = rootfs::mount_root(&spec.root)?;
    if let Some(system) = &spec.system {
        rootfs::mount_system(&root, system, course.shm, matches!(spec.streams, StreamSpec::Front { .. }))?;
    }
    mounts::mount_all(&root, &spec.mounts, course.prepared)?;
    if let Some(devices) = &spec.devices {
        devices::make(&root, devices, course.prepared)?;
    }
    mounts::close_devices(&root, &spec.mounts)?;
    (course.mounted)()?;
    unshare_cgroup(spec)?;
    if !spec.hooks.create_container.is_empty() {
        // They find the container where they are, as engines expect it.
        rustix::process::fchdir(&root).map_err(|error| StepFailure::new("enter", "the root filesystem", error))?;
        hooks::run(&spec.hooks.create_container, &hooks::state_text(&spec.hooks.state, "created", course.pid))?;
    }
    sysctl::write_all(&spec.sysctls)?;
    rootfs::hide_paths(&root, &spec.masked, &spec.protected)?;
    identity::make_directory(&root, &spec.process)?;
    rootfs::enter(&root, &spec.root)
}

/// A terminal of the container's own; its master goes to whoever asked for it.
fn console(size: Option<(u16, u16)>, identity: &Identity, course: &Course<'_>) -> Result<(), StepFailure> {
    let (master, name) = open_terminal()?;
    if let Some((columns, rows)) = size {
        set_size(&master, columns, rows);
    }
    let end = use_terminal(&name, identity.uid)?;
    devices::bind_console(&end)?;
    (course.terminal)(master)
}

/// Only the first size; whoever has the master sets the next.
pub(crate) fn set_size(master: &OwnedFd, columns: u16, rows: u16) {
    let size = rustix::termios::Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = rustix::termios::tcsetwinsize(master, size);
}

fn name_host(spec: &InitSpec) -> Result<(), StepFailure> {
    if let Some(name) = &spec.hostname {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|error| StepFailure::new("set the host name", name, error))?;
    }
    if let Some(name) = &spec.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(|error| StepFailure::new("set the domain name", name, error))?;
    }
    Ok(())
}

/// Shows the stage in `ps`.
fn stage(name: &std::ffi::CStr) {
    // Only decoration.
    let _ = rustix::thread::set_name(name);
}

fn adjust_oom(spec: &InitSpec) -> Result<(), StepFailure> {
    let Some(score) = spec.process.schedule.oom_score else { return Ok(()) };
    fs_err::write("/proc/self/oom_score_adj", score.to_string())
        .map_err(|error| StepFailure::new("set", "the OOM score", error))
}

/// Moves this process, which has one thread, into the cgroups that it is not born in. The first thing that it does: what
/// the container needs is then counted as its own.
///
/// # Errors
/// One is gone, or it is of another user.
pub(crate) fn join_cgroups(tasks: &[PathBuf]) -> Result<(), StepFailure> {
    stage(c"stack:cgroup");
    tasks.iter().try_for_each(|tasks| {
        fs_err::write(tasks, "0").map_err(|error| StepFailure::new("join", crate::error::shown(tasks), error))
    })
}

/// After joining: the new namespace's root is where the process is now (cgroup_namespaces(7)). Whoever joins cgroups for
/// the process has done so by the time that it hears of the mounts.
fn unshare_cgroup(spec: &InitSpec) -> Result<(), StepFailure> {
    if !spec.namespaces.cgroup {
        return Ok(());
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
        .map_err(|error| StepFailure::new("unshare", "the cgroup namespace", error))
}

fn join_namespaces(joined: &[(OwnedFd, LinkNameSpaceType)]) -> Result<(), StepFailure> {
    for (namespace, kind) in joined {
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(namespace), Some(*kind))
            .map_err(|error| StepFailure::new("join", format!("a namespace ({kind:?})"), error))?;
    }
    Ok(())
}

/// The exec moves this process into the namespace that its children would be in (time_namespaces(7)).
fn unshare_time(spec: &InitSpec) -> Result<(), StepFailure> {
    let Some(offsets) = &spec.namespaces.time else { return Ok(()) };
    let failed = |error: std::io::Error| StepFailure::new("make", "the time namespace", error);
    let time = nix::sched::CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME);
    nix::sched::unshare(time).map_err(|error| failed(error.into()))?;
    if offsets.is_empty() {
        return Ok(());
    }
    fs_err::write("/proc/self/timens_offsets", offsets.join("\n")).map_err(failed)
}
