//! How a new process gets into its cgroup.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use fs_err as fs;

use crate::CgroupError;

/// The way in, ready before the process exists. Neither way waits: a process that is moved by its id has to take
/// `cgroup_threadgroup_rwsem`, and the first to do so after a pause waits for a grace period of RCU, about 15 ms
/// (`cgroup_procs_write_start`, kernel/cgroup/cgroup.c).
#[derive(Debug, Default)]
pub struct Join {
    /// The cgroup in each hierarchy.
    pub directories: Vec<PathBuf>,
    /// Files of version 1 that the process itself writes `0` to while it has one thread: a thread that moves itself
    /// needs no lock.
    pub tasks: Vec<PathBuf>,
    /// On version 2: the directory for `CLONE_INTO_CGROUP` (clone(2)).
    pub v2_dir: Option<OwnedFd>,
}

impl Join {
    /// The way into a cgroup with these directories on version 1 and this one on version 2.
    pub(crate) fn new(v1: Vec<PathBuf>, v2: Option<PathBuf>) -> Result<Self, CgroupError> {
        let tasks = v1.iter().map(|directory| directory.join("tasks")).collect();
        let open = |path: &PathBuf| match fs::File::open(path) {
            Ok(file) => Ok(file.into_parts().0.into()),
            Err(source) => Err(CgroupError::Directory { path: path.clone(), source }),
        };
        let v2_dir = v2.as_ref().map(open).transpose()?;
        Ok(Self { directories: v1.into_iter().chain(v2).collect(), tasks, v2_dir })
    }
}
