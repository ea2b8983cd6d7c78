//! signal(7).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The highest signal number of Linux.
const SIGNAL_MAX: i32 = 64;

/// Gives every signal its default action: what is ignored stays ignored across an exec (signal(7)), and Rust and
/// nohup(1) ignore some.
pub fn reset_signals() {
    for number in 1..=SIGNAL_MAX {
        // SAFETY: the default action is no function of ours, so nothing runs in a handler. Numbers that cannot be set
        // are refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Sends a signal by number, real-time signals included (pidfd_send_signal(2), Linux 5.1).
///
/// # Errors
/// ESRCH when the process has been reaped, EINVAL for a number that is no signal, EPERM.
pub fn signal_process(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to make one up, as kill(2) does.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, nothing, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
