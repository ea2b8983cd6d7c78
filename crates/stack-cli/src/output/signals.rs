//! Interrupts as events.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::CliError;

/// SIGINT and SIGTERM, as a descriptor that becomes readable.
#[derive(Debug)]
pub(crate) struct Interrupts(Arc<SignalFd>);

/// Makes interrupts readable instead of deadly. Threads that are made later inherit that.
pub(crate) fn block() -> Result<Interrupts, CliError> {
    let failed = |error: nix::Error| CliError::io("cannot handle interrupts", &error.into());
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block().map_err(failed)?;
    let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
    Ok(Interrupts(Arc::new(descriptor)))
}

impl Interrupts {
    /// Takes one interrupt, if there was one.
    pub(crate) fn take(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }

    /// Runs `action` at the next interrupt, on a thread of its own.
    pub(crate) fn on_next(self, action: impl FnOnce() + Send + 'static) -> Next {
        let happened = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&happened);
        std::thread::spawn(move || {
            loop {
                let waited = poll(&mut [PollFd::new(&self, PollFlags::IN)], None);
                if self.take() {
                    flag.store(true, Ordering::Relaxed);
                    return action();
                }
                if waited.is_err_and(|error| error != rustix::io::Errno::INTR) {
                    return;
                }
            }
        });
        Next(happened)
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An interrupt that may still come.
#[derive(Debug)]
pub(crate) struct Next(Arc<AtomicBool>);

impl Next {
    /// It came.
    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
