//! keyctl(2).

use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` of linux/keyctl.h.
const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives this process a new session keyring, so that it does not share the keys of whoever started it.
///
/// # Errors
/// ENOSYS on kernels without keyrings; EDQUOT when the user has too many.
pub fn join_session_keyring() -> io::Result<()> {
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring; nothing is read or written.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
