//! One taker of subnets at a time. To see that a subnet is free and to take it are two steps, and another project may
//! take the same one between them.

use std::os::fd::OwnedFd;
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

/// Waits for the claim on the subnets of the calling thread's network namespace: a lock (flock(2)) on the file that
/// stands for the namespace, which is one and the same for everybody in it, whatever mounts they see. Dropping it lets
/// others have it; without one, what remains is the look at the subnets.
pub(crate) async fn hold() -> Result<Option<OwnedFd>, NetError> {
    let namespace = sandbox::current_namespace()?;
    let patience = Instant::now() + PATIENCE;
    loop {
        match flock(&namespace, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(namespace)),
            Err(Errno::WOULDBLOCK) if Instant::now() < patience => sleep(PAUSE).await,
            Err(_) => return Ok(None),
        }
    }
}
