//! seccomp(2).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// `SECCOMP_SET_MODE_FILTER` of linux/seccomp.h.
const SET_MODE_FILTER: libc::c_uint = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 1 << 3;

/// Installs a filter for this thread and all that it will start. Each word is an instruction as the kernel lays it out
/// on little-endian machines: code, two jumps, operand. With `listen`, the descriptor of the calls that the program
/// passes on comes back.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN or no_new_privs, EINVAL for a program that the kernel does not take, EBUSY for a second
/// listener.
pub fn install_filter(program: &[u64], flags: u32, listen: bool) -> io::Result<Option<OwnedFd>> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|word| libc::sock_filter {
            code: *word as u16,
            jt: (*word >> 16) as u8,
            jf: (*word >> 24) as u8,
            k: (*word >> 32) as u32,
        })
        .collect();
    let len = libc::c_ushort::try_from(instructions.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let whole = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    let flags = if listen { flags | NEW_LISTENER } else { flags };
    // SAFETY: `whole` says how many instructions there are, and both live until the call returns; the kernel copies
    // and checks them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const whole) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if !listen {
        return Ok(None);
    }
    let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: with a listener asked for, the result is a new descriptor, close-on-exec, that nobody owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}
