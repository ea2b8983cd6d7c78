//! Processes of containers, seen from outside: always through a pidfd, so that a reused id is never signalled.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, WaitId, WaitIdOptions, pidfd_getfd, waitid};
use stack_model::{Client, Exit};
use stack_sys::PidfdExit;

use crate::RuntimeError;

/// Where our process 1 keeps the master of the container's terminal.
pub(crate) const TERMINAL_DESCRIPTOR: i32 = 3;

/// When a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may contain anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

pub(crate) fn open(pid: u32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The process that has had this id since this time: a pid is given again, the pair is not.
pub(crate) fn open_exactly(pid: u32, since_ticks: u64) -> Option<OwnedFd> {
    let pidfd = open(pid)?;
    // Only now: the pid may have been given to another process in between.
    (start_ticks(pid) == Some(since_ticks)).then_some(pidfd)
}

/// Waits until a process has ended, no longer than `time` if there is one; says whether it has. A pidfd is readable from
/// then on (pidfd_open(2)).
pub(crate) fn wait_end(pidfd: &OwnedFd, time: Option<&Timespec>) -> rustix::io::Result<bool> {
    Ok(rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(pidfd, PollFlags::IN)], time))? > 0)
}

/// Makes the host's `/dev/null` the three standard streams.
pub(crate) fn silence_streams() -> rustix::io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    replace_streams([&null; 3])
}

/// Makes these the standard input, output and error.
pub(crate) fn replace_streams([input, output, error]: [&OwnedFd; 3]) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)
}

/// The standard streams of a command that runs now, which its user wants a container to have.
///
/// # Errors
/// The command has ended.
pub fn streams_of(client: Client) -> Result<[OwnedFd; 3], RuntimeError> {
    let gone = || RuntimeError::ClientGone { pid: client.pid };
    let pidfd = open_exactly(client.pid, client.start_ticks).ok_or_else(gone)?;
    let stream = |number| pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).map_err(|_| gone());
    Ok([stream(0)?, stream(1)?, stream(2)?])
}

/// This process, as [`streams_of`] takes it.
pub fn this_client() -> Client {
    let pid = std::process::id();
    Client { pid, start_ticks: start_ticks(pid).unwrap_or(0) }
}

/// The master of the terminal that our process 1 holds for a container. It does not block: whoever reads it has other
/// things to do when there is nothing.
pub(crate) fn terminal_of(pidfd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let master = pidfd_getfd(pidfd, TERMINAL_DESCRIPTOR, PidfdGetfdFlags::empty()).ok()?;
    let flags = rustix::fs::fcntl_getfl(&master).ok()?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).ok()?;
    Some(master)
}

/// Sends a signal.
///
/// # Errors
/// The signal does not exist, or the process may not be signalled. A process that has ended is no error.
pub fn signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), RuntimeError> {
    match stack_sys::signal_process(pidfd, number) {
        Err(error) if error.raw_os_error() != Some(nix::libc::ESRCH) => {
            Err(RuntimeError::Signal { number, source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a signal can reach process 1 of a container. The kernel drops what such a process has no handler for
/// (pid_namespaces(7)); one that it blocks may be read from a signalfd, and one that it waits for with sigwait(3) is
/// seen by the system call only: while it waits, the kernel shows the signal as not blocked.
pub fn hears_signal(pid: u32, number: i32) -> bool {
    let Ok(status) = fs_err::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim_start_matches(':').trim(), 16).ok()).unwrap_or(0)
    };
    let bit = 1_u64 << (number - 1).clamp(0, 63);
    (mask("SigCgt") | mask("SigBlk")) & bit != 0 || waits_for_signals(pid)
}

/// Whether a thread of the process is in rt_sigtimedwait(2). A kernel that does not tell is taken to say yes: a stop
/// that waits for nothing is better than a kill that was not needed.
fn waits_for_signals(pid: u32) -> bool {
    let Ok(tasks) = fs_err::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().any(|task| match fs_err::read_to_string(task.path().join("syscall")) {
        Ok(call) => {
            let number = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
            number == Some(nix::libc::SYS_rt_sigtimedwait)
        }
        Err(_) => true,
    })
}

/// How a process ended; call it once its pidfd is readable. A child is reaped. About others the kernel is asked: it may
/// not know, and then the exit is unknown and says so.
pub fn exit_of(pidfd: BorrowedFd<'_>) -> Exit {
    if let Ok(Some(status)) = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
        return Exit { code: status.exit_status(), signal: status.terminating_signal(), ..Exit::default() };
    }
    // `PIDFD_GET_INFO` knows it once the parent has taken notice, `/proc` until then; the parent may do so in between.
    let told = || stack_sys::pidfd_exit(pidfd).ok().flatten().map(|PidfdExit(status)| status);
    told().or_else(|| zombie_status(pidfd)).or_else(told).map(decode_status).unwrap_or_default()
}

/// The process id behind a pidfd, as our `/proc` has it. `None` once it has been reaped.
pub(crate) fn id_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let facts = fs_err::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid: i32 = facts.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// What wait(2) would say about a process that nobody has waited for: the last field of `/proc/<pid>/stat`.
fn zombie_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let pid = id_of(pidfd)?;
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    if *fields.first()? != "Z" {
        return None;
    }
    // Field 52; the first one here is field 3.
    fields.get(49)?.parse().ok()
}

fn decode_status(status: i32) -> Exit {
    let (code, signal) = ((status >> 8) & 0xff, status & 0x7f);
    Exit { code: (signal == 0).then_some(code), signal: (signal != 0).then_some(signal), ..Exit::default() }
}
