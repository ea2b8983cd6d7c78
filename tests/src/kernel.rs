//! What the kernel of this machine can do.

/// Whether a process's exit code is told to others than its parent (`PIDFD_INFO_EXIT`, Linux 6.15).
pub fn tells_of_ends() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}
