//! The `PIDFD_GET_INFO` request of ioctl_pidfd(2const): since Linux 6.13, exit codes since 6.15.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `PIDFD_INFO_EXIT` of linux/pidfd.h.
const INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` of linux/pidfd.h in its first size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::Ioctl = (3 << 30) | ((size_of::<PidfdInfo>() as libc::Ioctl) << 16) | (0xff << 8) | 11;

/// A status as wait(2) gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidfdExit(pub i32);

/// The wait status of a process that has ended, whoever its parent is. `None` while it runs, before its parent has
/// taken notice, or on kernels that do not tell.
///
/// # Errors
/// The descriptor is no pidfd.
pub fn pidfd_exit(pidfd: BorrowedFd<'_>) -> io::Result<Option<PidfdExit>> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request number carries the size of `info`, so the kernel writes no more than that.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut info) };
    if result == 0 {
        return Ok((info.mask & INFO_EXIT != 0).then_some(PidfdExit(info.exit_code)));
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL | libc::ESRCH)) => Ok(None),
        error => Err(error),
    }
}
