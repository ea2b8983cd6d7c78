//! mallopt(3).

/// Makes the C library serve all threads from one heap. A process with a few mostly idle threads then does not keep a
/// heap for each.
pub fn use_one_arena() {
    // SAFETY: mallopt only sets a number; a refusal leaves the default.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
