//! A process 1 of ours in front of the program: it reaps what others leave, passes signals on, and holds the terminal.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::pty::OpenptFlags;
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use super::streams::Streams;
use crate::error::StepFailure;
use crate::process::TERMINAL_DESCRIPTOR;
use crate::spec::InitSpec;

/// Makes a child that goes on to become the program, and stays behind as process 1. Returns in the child only.
pub(super) fn stay_in_front(spec: &InitSpec, streams: &Streams, whole: SingleThreaded) -> Result<(), StepFailure> {
    let terminal = if spec.tty { Some(open_terminal()?) } else { None };
    // Before the child exists: a signal that comes early waits until it can be passed on.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
        .map_err(|error| StepFailure::new("block", "signals", error))?;
    let cloned = clone_process(whole, Namespaces::default(), false, None)
        .map_err(|error| StepFailure::new("clone", "process 2", error))?;
    match cloned {
        Cloned::Child => match terminal {
            Some((master, name)) => {
                drop(master);
                use_terminal(&name)
            }
            None => Ok(()),
        },
        Cloned::Parent { pid, .. } => {
            if spec.tty {
                // Only to be found by the supervisor; see `process::terminal_of`.
                hold(terminal.map(|(master, _)| master))?;
            } else {
                streams.take()?;
            }
            let child = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
            // This process must not keep the socket that tells the supervisor of the exec.
            let kept = if spec.tty { TERMINAL_DESCRIPTOR + 1 } else { TERMINAL_DESCRIPTOR };
            let _ = nix::sys::prctl::set_name(c"stack:init");
            stack_sys::close_from(kept);
            stack_sys::end_process(reap(child))
        }
    }
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

/// Makes the terminal the controlling one of this session, and its three streams.
pub(crate) fn use_terminal(name: &CString) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("use", "the terminal", error);
    // A session may have been started before, in which case this process leads it already.
    let _ = rustix::process::setsid();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let flags = rustix::fs::OFlags::from_bits_retain(flags.bits());
    let end = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).map_err(failed)?;
    rustix::process::ioctl_tiocsctty(&end).map_err(failed)?;
    rustix::stdio::dup2_stdin(end.as_fd()).map_err(failed)?;
    rustix::stdio::dup2_stdout(end.as_fd()).map_err(failed)?;
    rustix::stdio::dup2_stderr(end.as_fd()).map_err(failed)
}

/// Puts the master where the supervisor looks for it.
fn hold(master: Option<OwnedFd>) -> Result<(), StepFailure> {
    let Some(master) = master else { return Ok(()) };
    if master.as_raw_fd() == TERMINAL_DESCRIPTOR {
        std::mem::forget(master);
        return Ok(());
    }
    stack_sys::duplicate_to(master.as_fd(), TERMINAL_DESCRIPTOR)
        .map_err(|error| StepFailure::new("hold", "the terminal", error))
}

/// Passes signals on and reaps until the program ends; returns its exit code the way a shell shows it.
fn reap(child: Pid) -> i32 {
    let all = SigSet::all();
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap_ended(child) {
                    return code;
                }
            }
            // A program that is gone already is reaped on the next turn.
            Ok(signal) => drop(kill(child, signal)),
            Err(_) => {}
        }
    }
}

/// Reaps every process that has ended; the program's exit code if it is among them.
fn reap_ended(child: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
