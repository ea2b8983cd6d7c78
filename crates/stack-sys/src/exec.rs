//! execveat(2) of an open file.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Replaces this process by the program in `file`. Returns only when that fails.
pub fn execute_descriptor(file: BorrowedFd<'_>, argv: &[CString], environment: &[CString]) -> io::Error {
    fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    }
    let (argv, environment) = (pointers(argv), pointers(environment));
    let empty: &CStr = c"";
    // SAFETY: both lists end with a null pointer, and all that they point to lives until the call returns, if it does.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            empty.as_ptr(),
            argv.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends this process at once, without running what a copy of another process has registered for its end (_exit(2)).
pub fn end_process(code: i32) -> ! {
    // SAFETY: it takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}
