//! A process that does nothing but be there: what it is in can be opened, or is not empty.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use super::birth::Order;
use crate::process;
use crate::spawner::wire;

/// It ends when this is dropped.
pub(super) struct Holder {
    pub(super) pid: u32,
    pidfd: OwnedFd,
    /// It also ends when this does, should nobody be left to drop it.
    _line: OwnedFd,
}

impl Holder {
    pub(super) fn begin(namespaces: Namespaces) -> io::Result<Self> {
        let whole = SingleThreaded::prove().ok_or_else(|| io::Error::other("the process has several threads"))?;
        let (ours, theirs) = wire::pair()?;
        match clone_process(whole, namespaces, false, None)? {
            Cloned::Child => {
                drop(ours);
                drop(wire::receive::<Order>(theirs.as_fd()));
                stack_sys::end_process(0)
            }
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd, _line: ours }),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // A process that was cloned meanwhile has the line, too, and so its end would not be seen.
        drop(process::signal(self.pidfd.as_fd(), nix::libc::SIGKILL));
        process::exit_of(self.pidfd.as_fd());
    }
}
