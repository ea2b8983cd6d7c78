//! signal(2).

/// Gives a signal its default action.
pub fn reset_signal(number: i32) {
    // SAFETY: the default action is no function of ours, so nothing runs in a handler. An invalid number is refused.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}
