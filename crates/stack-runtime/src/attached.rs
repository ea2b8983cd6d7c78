//! `exec` from a command: the program's streams are the command's own, its exit code becomes the command's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use stack_cgroup::Hierarchy;
use stack_model::{Container, Layout, ProjectName};
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use crate::enter::{self, ExecOptions};
use crate::error::StepFailure;
use crate::spawner::wire;
use crate::spec::ProcessSpec;
use crate::{RuntimeError, init, record};

/// What is copied between the two terminals at once.
const COPY_BYTES: usize = 16 << 10;

/// What the process inside reports.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Report {
    /// The master of its terminal is attached.
    Terminal,
    Failed(StepFailure),
}

/// Runs a program inside a container and returns its exit code the way a shell shows it. Call it while the process has
/// one thread.
///
/// # Errors
/// The container does not run, or the program cannot be executed.
pub fn run_exec(
    hierarchy: &Hierarchy,
    (layout, project, container): (&Layout, &ProjectName, &Container),
    options: &ExecOptions,
) -> Result<i32, RuntimeError> {
    let adopted = record::adopt(layout, project, &container.id)?.ok_or(RuntimeError::NotRunning)?;
    let process = enter::render(container, options);
    let procs = enter::cgroup_procs(hierarchy, layout, project, container);
    let several = || RuntimeError::Spawner(io::Error::other("the process has several threads"));
    let whole = SingleThreaded::prove().ok_or_else(several)?;
    let (reports, theirs) = wire::pair().map_err(RuntimeError::Spawner)?;
    match clone_process(whole, Namespaces::default(), false, None).map_err(RuntimeError::Spawner)? {
        Cloned::Child => {
            drop(reports);
            let joined = enter::join(adopted.pidfd.as_fd(), &procs);
            let code = joined.and_then(|()| lead(&process, options.tty, &theirs, whole));
            stack_sys::end_process(code.unwrap_or_else(|failure| {
                drop(wire::send(theirs.as_fd(), &Report::Failed(failure), &[]));
                126
            }))
        }
        Cloned::Parent { pid, .. } => {
            drop(theirs);
            follow(&reports, pid)
        }
    }
}

/// Inside, outside of the process namespace: makes the program's process and waits for it.
fn lead(process: &ProcessSpec, tty: bool, reports: &OwnedFd, whole: SingleThreaded) -> Result<i32, StepFailure> {
    let terminal = if tty { Some(init::open_terminal()?) } else { None };
    if let Some((master, _)) = &terminal {
        wire::send(reports.as_fd(), &Report::Terminal, &[master.as_fd()])
            .map_err(|error| StepFailure::new("pass on", "the terminal", error))?;
    }
    let cloned = clone_process(whole, Namespaces::default(), false, None)
        .map_err(|error| StepFailure::new("clone", "a process", error))?;
    match cloned {
        Cloned::Child => {
            let failure = match terminal.as_ref().map_or(Ok(()), |(_, name)| init::use_terminal(name)) {
                Ok(()) => enter::become_program(process, None),
                Err(failure) => failure,
            };
            drop(wire::send(reports.as_fd(), &Report::Failed(failure), &[]));
            stack_sys::end_process(126)
        }
        Cloned::Parent { pid, .. } => {
            drop(terminal);
            Ok(wait_for(pid))
        }
    }
}

fn wait_for(pid: u32) -> i32 {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return code,
            Ok(WaitStatus::Signaled(_, signal, _)) => return 128 + signal as i32,
            Err(nix::errno::Errno::EINTR) | Ok(_) => {}
            Err(_) => return 255,
        }
    }
}

/// Outside: copies between the terminals if there is one, and takes the exit code.
fn follow(reports: &OwnedFd, pid: u32) -> Result<i32, RuntimeError> {
    let mut failure = None;
    let mut copier: Option<std::thread::JoinHandle<()>> = None;
    let mut raw = None;
    while let Some((report, mut attached)) = wire::receive::<Report>(reports.as_fd()).map_err(RuntimeError::Spawner)? {
        match (report, attached.pop()) {
            (Report::Terminal, Some(master)) => {
                raw = RawMode::enter();
                copier = Some(std::thread::spawn(move || copy_terminal(&master)));
            }
            (Report::Terminal, None) => {}
            (Report::Failed(said), _) => failure = Some(said),
        }
    }
    let code = wait_for(pid);
    if let Some(copier) = copier {
        // A copier that panicked has nothing more to copy.
        drop(copier.join());
    }
    drop(raw);
    failure.map_or(Ok(code), |failure| Err(RuntimeError::Init(failure)))
}

/// The command's terminal without line editing and signals, until this is dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Option<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Copies both ways until the other end is closed; the size follows at every turn.
fn copy_terminal(master: &OwnedFd) {
    let mut input_open = true;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(master, size);
        }
        let mut waits = vec![PollFd::new(master, PollFlags::IN)];
        let stdin = rustix::stdio::stdin();
        if input_open {
            waits.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut waits, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let (from_program, from_user) =
            (!waits[0].revents().is_empty(), waits.get(1).is_some_and(|wait| !wait.revents().is_empty()));
        drop(waits);
        if from_program && !copy(master.as_fd(), rustix::stdio::stdout(), &mut buffer) {
            return;
        }
        if from_user {
            input_open = copy(stdin, master.as_fd(), &mut buffer);
        }
    }
}

/// Copies what is there; `false` at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
    let Ok(length @ 1..) = rustix::io::read(from, &mut *buffer) else { return false };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}
