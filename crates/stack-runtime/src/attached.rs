//! `exec` from a command: the program's streams are the command's own, its exit code becomes the command's.
//!
//! ```text
//!  command                         leader                        program
//!     | clone3                       |                              |
//!     |----------------------------->| joins all namespaces         |
//!     |     terminal (a descriptor)  | clone3(CLONE_PARENT)         |
//!     |<- - - - - - - - - - - - - - -|----------------------------->|
//!     |     program (a pidfd)        | ends                         |
//!     |<- - - - - - - - - - - - - - -                               | exec
//!     |              failed {step, errno}, or the end of the socket |
//!     |<- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - |
//! ```
//!
//! Two steps, because the container must not see a process that still has the host's mounts: the leader never is in
//! the container's process namespace, and its sibling is born with everything joined (CVE-2016-9962).

mod attach;
pub(crate) mod relay;

pub use attach::{AttachOptions, Attachment, End};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};
use stack_cgroup::{Hierarchy, Join};
use stack_model::{Container, Layout, ProjectName};
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use crate::enter::{self, ExecOptions};
use crate::error::StepFailure;
use crate::spawner::{sealed, wire};
use crate::spec::ProcessSpec;
use crate::{RuntimeError, init, process, record};

/// What the processes inside report.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The master of the program's terminal is attached.
    Terminal,
    /// The program's pidfd is attached. Its id is the one that the leader sees, which is the host's.
    Program(u32),
    Failed(StepFailure),
}

/// Starts this program anew, with the same arguments, from a copy that a container cannot write through
/// `/proc/<pid>/exe` (CVE-2019-5736), unless it runs from one. What makes processes in containers does so by itself;
/// whoever knows early that it will comes here first, and does nothing twice. Call it before anything was said or read.
///
/// # Errors
/// There can be no such copy.
pub fn ensure_sealed() -> Result<(), RuntimeError> {
    sealed::ensure().map_err(RuntimeError::Spawner)
}

/// Runs a program inside a container and returns its exit code the way a shell shows it. Call it while the process has
/// one thread, and before it has said or read anything: it starts this program anew, with the same arguments, from a
/// copy that a container cannot write through `/proc/<pid>/exe` (CVE-2019-5736).
///
/// # Errors
/// The container does not run, or the program cannot be executed.
pub fn run_exec(
    hierarchy: &Hierarchy,
    (layout, project, container): (&Layout, &ProjectName, &Container),
    options: &ExecOptions,
) -> Result<i32, RuntimeError> {
    let adopted = record::adopt(layout, project, &container.id)?.ok_or(RuntimeError::NotRunning)?;
    ensure_sealed()?;
    let process = enter::render(container, options)?;
    let join = enter::way_in(hierarchy, (layout, project, container))?;
    let placement = Placement { container: adopted.pidfd.as_fd(), join, kept: 3, silent: options.detach };
    run_process(&placement, &process, options.tty && !options.detach, options.detach, &|_| Ok(()), &|_| None)
}

/// Where a program is to run beside others.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    /// A process of the container.
    pub(crate) container: BorrowedFd<'a>,
    /// The way into its cgroups.
    pub(crate) join: Join,
    /// Descriptors that the program keeps, the three streams included.
    pub(crate) kept: i32,
    /// Its streams lead nowhere.
    pub(crate) silent: bool,
}

/// Runs a program beside a process. `started` is told its id; `console` may take its terminal, which is the command's
/// own otherwise.
pub(crate) fn run_process(
    placement: &Placement<'_>,
    process: &ProcessSpec,
    tty: bool,
    detach: bool,
    started: &dyn Fn(u32) -> io::Result<()>,
    console: &dyn Fn(&OwnedFd) -> Option<io::Result<()>>,
) -> Result<i32, RuntimeError> {
    let several = || RuntimeError::Spawner(io::Error::other("the process has several threads"));
    let whole = SingleThreaded::prove().ok_or_else(several)?;
    // Before the program exists: a Ctrl-C that comes early waits until it can be passed on.
    let signals = relay::Signals::catch().map_err(RuntimeError::Spawner)?;
    let (reports, theirs) = wire::pair().map_err(RuntimeError::Spawner)?;
    let cgroup = placement.join.v2_dir.as_ref().map(AsFd::as_fd);
    match clone_process(whole, Namespaces::default(), false, cgroup).map_err(RuntimeError::Spawner)? {
        Cloned::Child => {
            drop(reports);
            // The host's `/dev/null`: the container's own may be anything by now.
            let silenced = if placement.silent { process::silence_streams() } else { Ok(()) };
            let led = silenced
                .map_err(|error| StepFailure::new("open", "/dev/null", error))
                .and_then(|()| init::run_on(&process.schedule.processors[0]))
                .and_then(|()| enter::join(placement.container, &placement.join.tasks))
                .and_then(|()| lead(process, tty, placement.kept, &theirs, whole));
            if let Err(failure) = led {
                drop(wire::send(theirs.as_fd(), &Report::Failed(failure), &[]));
            }
            stack_sys::end_process(0)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            let follow = relay::Follow { detach, started, console };
            let result = relay::follow(reports, &signals, &follow);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            result
        }
    }
}

/// Inside, outside of the process namespace: makes the program's process, which is inside of that as well.
fn lead(
    process: &ProcessSpec,
    tty: bool,
    kept: i32,
    reports: &OwnedFd,
    whole: SingleThreaded,
) -> Result<(), StepFailure> {
    let terminal = if tty { Some(init::open_terminal()?) } else { None };
    if let Some((master, _)) = &terminal {
        relay::adapt(master);
        if let Some((columns, rows)) = process.console_size {
            init::set_size(master, columns, rows);
        }
        wire::send(reports.as_fd(), &Report::Terminal, &[master.as_fd()])
            .map_err(|error| StepFailure::new("pass on", "the terminal", error))?;
    }
    // Whoever decides about its calls is told its id, which it does not see itself.
    let listener = process.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
    let failed = |error: io::Error| StepFailure::new("make", "a socket", error);
    let told = listener.map(|_| wire::pair()).transpose().map_err(failed)?;
    let cloned = clone_process(whole, Namespaces::default(), true, None)
        .map_err(|error| StepFailure::new("clone", "a process", error))?;
    match cloned {
        Cloned::Child => {
            let owner = init::identify(&process.user);
            let ready = owner.and_then(|owner| match &terminal {
                Some((_, name)) => init::use_terminal(name, owner.uid).map(drop),
                None => Ok(()),
            });
            let ready = ready.and_then(|()| init::run_on(&process.schedule.processors[1]));
            let failure = match ready.and_then(|()| know_oneself(process, told)) {
                Ok(process) => enter::become_program(&process, None, kept),
                Err(failure) => failure,
            };
            drop(wire::send(reports.as_fd(), &Report::Failed(failure), &[]));
            stack_sys::end_process(126)
        }
        Cloned::Parent { pid, pidfd } => {
            if let Some((ours, _)) = &told {
                wire::send(ours.as_fd(), &pid, &[]).map_err(|error| StepFailure::new("tell", "the process", error))?;
            }
            wire::send(reports.as_fd(), &Report::Program(pid), &[pidfd.as_fd()])
                .map_err(|error| StepFailure::new("tell", "the command", error))
        }
    }
}

/// Puts its own id, as the leader sees it, into what is said to whoever decides about its calls.
fn know_oneself(process: &ProcessSpec, told: Option<(OwnedFd, OwnedFd)>) -> Result<ProcessSpec, StepFailure> {
    let mut process = process.clone();
    let listener = process.seccomp.as_mut().and_then(|filter| filter.listener.as_mut());
    if let (Some(listener), Some((leaders, own))) = (listener, told) {
        // Its end is to be seen when the leader is gone.
        drop(leaders);
        let gone = || StepFailure::because("hear", "its own id", "its leader has ended");
        match wire::receive::<u32>(own.as_fd()) {
            Ok(Some((pid, _))) => listener.say(pid),
            Ok(None) => return Err(gone()),
            Err(error) => return Err(StepFailure::new("hear", "its own id", error)),
        }
    }
    Ok(process)
}
