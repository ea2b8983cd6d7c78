//! Tasks that end with their owner.

use std::future::Future;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// Registers a descriptor for reading with the event loop.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for types that might lie about their descriptor; these do not"
)]
pub(crate) fn readable<T: AsRawFd + OwnsDescriptor>(descriptor: T) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// Types that keep their descriptor open for as long as they live.
pub(crate) trait OwnsDescriptor {}

impl OwnsDescriptor for OwnedFd {}
impl OwnsDescriptor for std::rc::Rc<OwnedFd> {}

/// A task of the local set that is aborted when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Runs `future` on the local set.
    pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
