//! close_range(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Marks every descriptor from `first` upwards close-on-exec; since Linux 5.11.
///
/// # Errors
/// ENOSYS or EINVAL on older kernels.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: descriptors are marked, none is closed, so no owner loses one.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` upwards. For processes that leave their Rust values behind and end without
/// dropping them.
pub fn close_from(first: RawFd) {
    // SAFETY: the caller's process owns all descriptors of its table and uses none of these again; a failure leaves
    // them open.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Gives the calling thread a table of descriptors of its own with nothing in it; those of the process stay as they are.
/// For threads that begin, and own no descriptors yet. Since Linux 5.9 (`CLOSE_RANGE_UNSHARE`).
///
/// # Errors
/// ENOSYS or EINVAL on older kernels; the thread shares the table of the process then.
pub fn leave_descriptors() -> io::Result<()> {
    // SAFETY: the kernel closes what is in the new table only, and nothing that the thread owns is in it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes `number` another name of `descriptor`, open across an exec.
///
/// # Errors
/// What dup2(2) says.
pub fn duplicate_to(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    let result = if descriptor.as_raw_fd() == number {
        // dup2(2) does nothing then, and leaves it close-on-exec.
        // SAFETY: only a flag of the descriptor is set.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
    } else {
        // SAFETY: whatever was open under `number` is closed by the kernel; the caller owns its whole table.
        unsafe { libc::dup2(descriptor.as_raw_fd(), number) }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes ownership of a descriptor that this process was given across an exec, and marks it close-on-exec. For the
/// beginning of `main`, where nobody can own it yet.
///
/// # Errors
/// Nothing is open under that number.
pub fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only a flag of the descriptor is set; an invalid number is refused.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the caller vouches that nothing else of this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_thread_that_leaves_takes_nothing_along_and_closes_nothing() {
        let (reader, mut writer) = io::pipe().unwrap();
        let number = reader.as_raw_fd();
        let seen = std::thread::spawn(move || {
            leave_descriptors().unwrap();
            // SAFETY: the number is only looked up.
            unsafe { libc::fcntl(number, libc::F_GETFD) }
        });
        assert_eq!(seen.join().unwrap(), -1);
        writer.write_all(b"there is a reader").unwrap();
    }
}
