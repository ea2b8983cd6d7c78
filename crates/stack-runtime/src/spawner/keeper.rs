//! What would be lost with the supervisor: how its containers end while it is gone, and their last words.
//!
//! A pipe keeps what was written as long as someone has it open, and a pidfd tells an exit code as long as someone has
//! that (`PIDFD_INFO_EXIT`, Linux 6.15). Containers have both for themselves only, so the spawner has them too.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{process, record};

/// A spawner that nobody relieves looks this often whether what it keeps has been deleted.
const DELETED_EVERY: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Containers by their run directories.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    kept: BTreeMap<PathBuf, Kept>,
}

#[derive(Debug)]
struct Kept {
    pid: u32,
    /// `None` once its end has been written down.
    pidfd: Option<OwnedFd>,
    _output: Option<[OwnedFd; 2]>,
}

impl Keeper {
    /// Keeps a container in place of what was kept of it before; of one that has ended, its output.
    pub(super) fn keep(&mut self, run: PathBuf, pid: u32, pidfd: Option<OwnedFd>) {
        // A container is not stopped for want of a descriptor here: it is only less well kept.
        let output = record::hold_output(&run).ok();
        self.kept.insert(run, Kept { pid, pidfd, _output: output });
    }

    pub(super) fn release(&mut self, run: &Path) {
        self.kept.remove(run);
    }

    /// Stays until another supervisor has taken everything over and says so with SIGTERM, or until all containers have
    /// ended and are deleted.
    pub(super) fn wait_for_heir(mut self) -> io::Result<()> {
        let relief = SigSet::from(Signal::SIGTERM);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&relief), None)?;
        let relief = SignalFd::with_flags(&relief, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        while !self.is_deleted() {
            let relieved = self.watch(relief.as_fd())?;
            self.settle();
            if relieved {
                break;
            }
        }
        Ok(())
    }

    /// Everything has ended, and nobody will ask.
    fn is_deleted(&self) -> bool {
        self.kept.iter().all(|(run, kept)| kept.pidfd.is_none() && !run.exists())
    }

    /// Waits until something ends; says whether it was told to go.
    fn watch(&self, relief: BorrowedFd<'_>) -> io::Result<bool> {
        let processes = self.kept.values().filter_map(|kept| kept.pidfd.as_ref());
        let mut watched: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(relief, PollFlags::IN)];
        watched.extend(processes.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        // While something runs there is nothing to look for.
        let time = if watched.len() > 1 { None } else { Some(&DELETED_EVERY) };
        rustix::io::retry_on_intr(|| poll(&mut watched, time))?;
        Ok(watched[0].revents().contains(PollFlags::IN))
    }

    /// Writes down what has ended.
    fn settle(&mut self) {
        for (run, kept) in &mut self.kept {
            let ended = kept.pidfd.take_if(|pidfd| matches!(process::wait_end(pidfd, Some(&AT_ONCE)), Ok(true)));
            if let Some(pidfd) = ended {
                // Without the record the exit code is unknown, as it would be without this process.
                drop(record::record_ended(run, kept.pid, process::exit_of(pidfd.as_fd())));
            }
        }
    }
}
