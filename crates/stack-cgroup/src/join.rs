//! How a new process gets into its cgroup.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The way in, ready before the process exists.
#[derive(Debug, Default)]
pub struct Join {
    /// Files to write the process id to, back to back: the first write after idle waits for an RCU grace period
    /// (about 15 ms), those that follow at once do not.
    pub procs: Vec<PathBuf>,
    /// On v2: the directory for `CLONE_INTO_CGROUP` (clone(2)), which avoids that wait altogether.
    pub v2_dir: Option<OwnedFd>,
}
