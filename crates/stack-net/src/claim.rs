//! One taker of subnets at a time. To see that a subnet is free and to take it are two steps, and another project may
//! take the same one between them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use crate::error::NetError;
use crate::sandbox;

/// Others hold the claim for a few milliseconds. Whoever holds it longer is no supervisor: every process in the
/// namespace can, and must not keep networks from being made.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// The claims of one process. They are one while several are held: it has chosen its subnets clear of each other.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Weak<OwnedFd>>);

/// A claim; dropping it lets others take theirs.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: Option<Arc<OwnedFd>>,
}

impl Claims {
    /// Waits for the claim on the subnets of the calling thread's network namespace: a lock (flock(2)) on the file that
    /// stands for the namespace, which is one and the same for everybody in it, whatever mounts they see.
    pub(crate) async fn hold(&self) -> Result<Claim, NetError> {
        if let Some(lock) = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade() {
            return Ok(Claim { _lock: Some(lock) });
        }
        let namespace = sandbox::current_namespace()?;
        let patience = Instant::now() + PATIENCE;
        loop {
            match flock(&namespace, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < patience => sleep(PAUSE).await,
                // What remains is the look at the subnets.
                Err(_) => return Ok(Claim { _lock: None }),
            }
        }
        let lock = Arc::new(namespace);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&lock);
        Ok(Claim { _lock: Some(lock) })
    }
}
