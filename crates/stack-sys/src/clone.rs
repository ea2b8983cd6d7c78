//! clone3(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `CLONE_INTO_CGROUP` of linux/sched.h, which libc has with too few bits.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Proof that the process has one thread, so that a forked copy of it is whole: no lock is held by a thread that the
/// copy does not have.
#[derive(Debug, Clone, Copy)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the threads. `None` when there are several, or `/proc` cannot be read.
    pub fn prove() -> Option<Self> {
        let tasks = std::fs::read_dir("/proc/self/task").ok()?.count();
        (tasks == 1).then_some(Self(()))
    }
}

/// Namespaces that a new process gets (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// Process ids.
    pub pid: bool,
    /// Mounts.
    pub mount: bool,
    /// Host name.
    pub uts: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Users and capabilities.
    pub user: bool,
    /// Network devices, addresses and ports.
    pub network: bool,
}

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The process that cloned, with the new one's id in its own namespace.
    Parent {
        /// Process id.
        pid: u32,
        /// Refers to the process, even after its id is used again.
        pidfd: OwnedFd,
    },
}

/// Makes a copy of this process in new namespaces. `sibling` gives the copy the same parent as this process
/// (`CLONE_PARENT`); `cgroup` is a version 2 cgroup directory to be born in (`CLONE_INTO_CGROUP`, Linux 5.7).
///
/// # Errors
/// What clone3(2) says: EPERM without CAP_SYS_ADMIN, ENOSPC for too many nested namespaces, EBUSY for a cgroup with
/// controllers enabled below it.
pub fn clone_process(
    _whole: SingleThreaded,
    namespaces: Namespaces,
    sibling: bool,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    let Namespaces { pid, mount, uts, ipc, user, network } = namespaces;
    let chosen = [
        (pid, libc::CLONE_NEWPID),
        (mount, libc::CLONE_NEWNS),
        (uts, libc::CLONE_NEWUTS),
        (ipc, libc::CLONE_NEWIPC),
        (user, libc::CLONE_NEWUSER),
        (network, libc::CLONE_NEWNET),
        (sibling, libc::CLONE_PARENT),
    ];
    let mut flags = libc::CLONE_PIDFD as u64;
    for (_, flag) in chosen.into_iter().filter(|(wanted, _)| *wanted) {
        flags |= flag as u64;
    }
    let mut pidfd: RawFd = -1;
    let mut arguments = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // A sibling reports its end the way this process does; the kernel wants 0 there.
        exit_signal: if sibling { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `arguments` is a whole clone_args of the size passed, and lives across the call. Without CLONE_VM the
    // child has its own copy of all memory, as after fork(2), and `_whole` proves that no lock in it is held.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor there, close-on-exec, that nobody owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: u32::try_from(pid).map_err(io::Error::other)?, pidfd })
        }
    }
}
