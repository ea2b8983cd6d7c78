//! The new process: how it is made, and its side of what is said until its program is executed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{SocketFlags, accept_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use stack_cgroup::Join;
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use super::OciError;
use super::plan::Plan;
use crate::error::StepFailure;
use crate::init::{self, Course};
use crate::process;
use crate::spawner::wire;

/// From `create` to the new process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The maps are written; this is its id as the host sees it.
    Begin(u32),
    /// The cgroups are joined, and the hooks have run.
    GoOn,
}

/// From the new process to `create`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The pidfd of the process that belongs to other users is attached.
    Born,
    Mounted,
    /// The master is attached.
    Terminal,
    Created,
    Failed(StepFailure),
}

/// From the process that waits to `start`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal(pub(super) StepFailure);

/// Clones the process in the namespaces that are joined for that moment.
pub(super) fn spawn(
    plan: &Plan,
    join: &Join,
    (reports, theirs): (OwnedFd, OwnedFd),
    listener: OwnedFd,
) -> Result<(u32, OwnedFd, OwnedFd), OciError> {
    let several = || io::Error::other("the process has several threads");
    let whole = SingleThreaded::prove().ok_or_else(several).map_err(OciError::file("clone a process"))?;
    let mut back = Vec::new();
    for (namespace, kind) in &plan.joined {
        let name = match *kind {
            LinkNameSpaceType::ControlGroup => "cgroup",
            LinkNameSpaceType::HostNameAndNISDomainName => "uts",
            LinkNameSpaceType::InterProcessCommunication => "ipc",
            LinkNameSpaceType::ProcessID => "pid",
            LinkNameSpaceType::Time => "time",
            _ => "net",
        };
        let own = rustix::fs::open(format!("/proc/self/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        back.push((own.map_err(|error| OciError::file("open a namespace")(error.into()))?, *kind));
        move_into_link_name_space(namespace.as_fd(), Some(*kind))
            .map_err(|error| OciError::file(format!("join the {name} namespace"))(error.into()))?;
    }
    let cgroup = join.v2_dir.as_ref().map(AsFd::as_fd);
    let namespaces = if plan.users.is_some() { Namespaces::default() } else { plan.born_in };
    match clone_process(whole, namespaces, false, cgroup).map_err(OciError::file("clone a process"))? {
        Cloned::Child => {
            // The end of the socket is to be seen when the runtime is gone.
            drop(reports);
            // Into the cgroups first: they belong to whoever the process is outside.
            let ready = init::join_cgroups(&plan.init.cgroup_tasks).and_then(|()| match &plan.users {
                Some(users) => follow_users(plan, users, &theirs, whole),
                None => Ok(()),
            });
            become_container(plan, ready, (&theirs, &listener), whole)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            for (own, kind) in back {
                move_into_link_name_space(own.as_fd(), Some(kind))
                    .map_err(|error| OciError::file("return to the host's namespaces")(error.into()))?;
            }
            if plan.users.is_none() {
                return Ok((pid, pidfd, reports));
            }
            let born = born(&reports);
            process::exit_of(pidfd.as_fd());
            born.map(|(pid, pidfd)| (pid, pidfd, reports))
        }
    }
}

/// The process that its leader tells of.
fn born(reports: &OwnedFd) -> Result<(u32, OwnedFd), OciError> {
    let told = wire::receive::<Report>(reports.as_fd()).map_err(OciError::file("hear from the process"))?;
    match told {
        Some((Report::Born, mut attached)) => {
            let pidfd = attached.pop();
            let pid = pidfd.as_ref().and_then(|pidfd| process::id_of(pidfd.as_fd()));
            let pid = pid.and_then(|pid| u32::try_from(pid).ok());
            pid.zip(pidfd).ok_or_else(|| OciError::Step(StepFailure::because("clone", "a process", "it has ended")))
        }
        Some((Report::Failed(failure), _)) => Err(OciError::Step(failure)),
        _ => Err(OciError::Step(StepFailure::because("clone", "a process", "its leader has ended"))),
    }
}

/// Joins a user namespace, and is its process's sibling from then on: what is made there belongs to its users, and a
/// process that has joined cannot go back. Returns in the sibling.
fn follow_users(plan: &Plan, users: &OwnedFd, create: &OwnedFd, whole: SingleThreaded) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("join", "the user namespace", error);
    move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User)).map_err(failed)?;
    become_root(true)?;
    let cloned = clone_process(whole, plan.born_in, true, None);
    match cloned.map_err(|error| StepFailure::new("clone", "a process", error))? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pidfd, .. } => {
            drop(wire::send(create.as_fd(), &Report::Born, &[pidfd.as_fd()]));
            stack_sys::end_process(0)
        }
    }
}

/// The new process's side.
fn become_container(
    plan: &Plan,
    ready: Result<(), StepFailure>,
    (create, listener): (&OwnedFd, &OwnedFd),
    whole: SingleThreaded,
) -> ! {
    let give_up = |failure: StepFailure| -> ! {
        drop(wire::send(create.as_fd(), &Report::Failed(failure), &[]));
        stack_sys::end_process(1)
    };
    if let Err(failure) = ready {
        give_up(failure)
    }
    let told = |wanted: fn(&Order) -> bool| match wire::receive::<Order>(create.as_fd()) {
        Ok(Some((order, _))) if wanted(&order) => Some(order),
        _ => None,
    };
    let Some(Order::Begin(pid)) = told(|order| matches!(order, Order::Begin(_))) else { stack_sys::end_process(1) };
    // Only now are the maps written, without which there is nobody to become.
    if let Err(failure) = become_root(plan.born_in.user) {
        give_up(failure)
    }
    let started = std::cell::OnceCell::new();
    let mounted = || {
        let lost = |error: io::Error| StepFailure::new("tell", "the runtime", error);
        wire::send(create.as_fd(), &Report::Mounted, &[]).map_err(lost)?;
        let gone = || StepFailure::because("go on", "", "the runtime has ended");
        told(|order| matches!(order, Order::GoOn)).map(drop).ok_or_else(gone)
    };
    let terminal = |master: OwnedFd| {
        wire::send(create.as_fd(), &Report::Terminal, &[master.as_fd()])
            .map_err(|error| StepFailure::new("pass on", "the terminal", error))
    };
    let may_go = || {
        if wire::send(create.as_fd(), &Report::Created, &[]).is_err() {
            return false;
        }
        let accepted = rustix::io::retry_on_intr(|| accept_with(listener, SocketFlags::CLOEXEC));
        let Ok(connection) = accepted else { return false };
        let is_told = matches!(wire::receive::<Order>(connection.as_fd()), Ok(Some((Order::GoOn, _))));
        drop(started.set(connection));
        is_told
    };
    let mut spec = plan.init.clone();
    if let Some(listener) = spec.process.seccomp.as_mut().and_then(|filter| filter.listener.as_mut()) {
        listener.say(pid);
    }
    let course = Course {
        joined: &plan.inner,
        prepared: &plan.prepared,
        shm: None,
        pid: Some(pid),
        mounted: &mounted,
        terminal: &terminal,
        may_go: &may_go,
    };
    let failure = init::run(&spec, &course, whole);
    drop(match started.get() {
        Some(connection) => wire::send(connection.as_fd(), &Refusal(failure), &[]),
        None => wire::send(create.as_fd(), &Report::Failed(failure), &[]),
    });
    stack_sys::end_process(1)
}

/// In a user namespace of its own the process is nobody until it takes an id that is mapped.
fn become_root(is_inside: bool) -> Result<(), StepFailure> {
    if !is_inside {
        return Ok(());
    }
    let failed = |error: rustix::io::Errno| StepFailure::new("become root of", "the user namespace", error);
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)
}
