//! A process 1 of ours in front of the program: it reaps what others leave, passes signals on, and holds the terminal.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::SignalFd;
use rustix::process::{Pid, WaitOptions};
use rustix::pty::OpenptFlags;
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use super::streams::Streams;
use crate::capabilities;
use crate::error::StepFailure;
use crate::process::TERMINAL_DESCRIPTOR;
use crate::users::Identity;

/// Exit code when process 1 cannot do its work: that of a shell that cannot execute.
const POST_LOST: i32 = 126;
/// Above all descriptors that a new process has.
const HIGH_DESCRIPTOR: i32 = 100;

/// Makes a child that goes on to become the program, and stays behind as process 1. Returns in the child only.
pub(super) fn stay_in_front(
    tty: bool,
    streams: Option<&Streams>,
    identity: &Identity,
    whole: SingleThreaded,
) -> Result<(), StepFailure> {
    let terminal = if tty { Some(open_terminal()?) } else { None };
    let owner = identity.uid;
    // Before the child exists: a signal that comes early waits until it can be passed on.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
        .map_err(|error| StepFailure::new("block", "signals", error))?;
    let cloned = clone_process(whole, Namespaces::default(), false, None)
        .map_err(|error| StepFailure::new("clone", "process 2", error))?;
    match cloned {
        Cloned::Child => match terminal {
            Some((master, name)) => {
                drop(master);
                use_terminal(&name, owner).map(drop)
            }
            None => Ok(()),
        },
        Cloned::Parent { pid, pidfd } => {
            let code = match take_post(tty, streams, terminal, pidfd) {
                Ok(program) => reap(pid, program.as_fd()),
                // The child finds itself without a process 1, and so does the supervisor.
                Err(_) => POST_LOST,
            };
            stack_sys::end_process(code)
        }
    }
}

/// Gives up everything that the post of process 1 does not need: the socket that tells the supervisor of the exec, all
/// other descriptors of ours, and every capability but the one to signal a program that has changed its user.
fn take_post(
    tty: bool,
    streams: Option<&Streams>,
    terminal: Option<(OwnedFd, CString)>,
    program: OwnedFd,
) -> Result<OwnedFd, StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("keep", "descriptors", error);
    let _ = nix::sys::prctl::set_name(c"stack:init");
    if let Some(streams) = streams.filter(|_| !tty) {
        streams.take()?;
    }
    // First out of the way of the low numbers, then to their places; what was there is closed by that.
    let aside = |descriptor: OwnedFd| {
        let copy = rustix::io::fcntl_dupfd_cloexec(&descriptor, HIGH_DESCRIPTOR);
        copy.map_err(|error| failed(error.into()))
    };
    let program = ManuallyDrop::new(aside(program)?);
    let mut next = TERMINAL_DESCRIPTOR;
    if let Some((master, _)) = terminal {
        // Only to be found by the supervisor; see `process::terminal_of`.
        let master = ManuallyDrop::new(aside(master)?);
        stack_sys::duplicate_to(master.as_fd(), next).map_err(failed)?;
        next += 1;
    }
    stack_sys::duplicate_to(program.as_fd(), next).map_err(failed)?;
    stack_sys::close_from(next + 1);
    capabilities::keep_kill()?;
    stack_sys::take_descriptor(next).map_err(failed)
}

/// A new pair in the container's own devpts: the master and the name of the other end.
pub(crate) fn open_terminal() -> Result<(OwnedFd, CString), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("open", "a terminal", error);
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, rustix::fs::Mode::empty()).map_err(failed)?;
    rustix::pty::unlockpt(&master).map_err(failed)?;
    let name = rustix::pty::ptsname(&master, Vec::new()).map_err(failed)?;
    Ok((master, name))
}

/// Makes the terminal the controlling one of this session, and its three streams. Its owner may open it again by name.
pub(crate) fn use_terminal(name: &CString, owner: u32) -> Result<OwnedFd, StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("use", "the terminal", error);
    // A session may have been started before, in which case this process leads it already.
    let _ = rustix::process::setsid();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let flags = rustix::fs::OFlags::from_bits_retain(flags.bits());
    let end = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).map_err(failed)?;
    rustix::process::ioctl_tiocsctty(&end).map_err(failed)?;
    rustix::fs::fchown(&end, Some(rustix::fs::Uid::from_raw(owner)), None).map_err(failed)?;
    rustix::stdio::dup2_stdin(end.as_fd()).map_err(failed)?;
    rustix::stdio::dup2_stdout(end.as_fd()).map_err(failed)?;
    rustix::stdio::dup2_stderr(end.as_fd()).map_err(failed)?;
    Ok(end)
}

/// Passes signals on and reaps until the program ends; returns its exit code the way a shell shows it.
fn reap(child: u32, program: BorrowedFd<'_>) -> i32 {
    let child = i32::try_from(child).ok().and_then(Pid::from_raw);
    // All are blocked, real-time signals included, and so all of them arrive here.
    let Ok(signals) = SignalFd::new(&SigSet::all()) else { return POST_LOST };
    loop {
        let Ok(Some(signal)) = signals.read_signal() else { continue };
        let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
        if number != Signal::SIGCHLD as i32 {
            // A program that is gone already is reaped on the next turn.
            drop(stack_sys::signal_process(program, number));
        } else if let Some(code) = reap_ended(child) {
            return code;
        }
    }
}

/// Reaps every process that has ended; the program's exit code if it is among them.
fn reap_ended(child: Option<Pid>) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == child {
            code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        }
    }
    code
}
