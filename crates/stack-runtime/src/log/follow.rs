//! Waiting for a log to grow.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Bytes of events read at once; more stay in the kernel's queue.
const EVENT_BYTES: usize = 8 << 10;

/// Tells when a log directory changed. Directories are watched, because a rotation makes new files (inotify(7)).
#[derive(Debug)]
pub struct LogWatch {
    inotify: OwnedFd,
}

impl LogWatch {
    /// A watch of nothing.
    ///
    /// # Errors
    /// `EMFILE`: `fs.inotify.max_user_instances` is reached.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify })
    }

    /// Watches a container's directory, or the directory of all of a project's containers for new ones.
    ///
    /// # Errors
    /// The directory does not exist, or `fs.inotify.max_user_watches` is reached (`ENOSPC`).
    pub fn add(&mut self, directory: &Path) -> io::Result<()> {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO;
        inotify::add_watch(&self.inotify, directory, flags | WatchFlags::ONLYDIR)?;
        Ok(())
    }

    /// Takes all events; whether there was one. It does not wait: poll [`LogWatch::as_fd`] for that.
    ///
    /// # Errors
    /// The kernel refuses to be read.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut any = false;
        loop {
            match rustix::io::read(&self.inotify, &mut buffer) {
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(any),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for LogWatch {
    /// Readable when something changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
