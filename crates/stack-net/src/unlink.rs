//! Deleting a link without waiting for what nobody can see.
//!
//! The kernel takes a link off its lists within half a millisecond: it has no name, address or route then, only the
//! directory below `/sys/class/net` stays a little longer. To the request it answers when no processor can still hold it, two or three grace periods of RCU later
//! (`unregister_netdevice_many`, and `rcu_barrier` in `netdev_run_todo`; net/core/dev.c): 20 to 60 ms.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use stack_model::IfName;

use crate::error::NetError;
use crate::net::WORKER_STACK_BYTES;
use crate::sandbox;

/// Between two looks at the list. Looking costs a microsecond, and takes no lock.
const LOOK_PAUSE: Duration = Duration::from_micros(500);

/// Deletes a link of the calling thread's namespace and returns when it is off the list. What is left is waited for by
/// a thread that nobody waits for. It has none of the process's descriptors, so that locks and sockets end when the
/// process does.
pub(crate) fn unlink(link: &IfName, index: u32) -> Result<(), NetError> {
    let (sender, answer) = sync_channel(1);
    let name = link.clone();
    let delete = move || -> Result<(), NetError> {
        stack_sys::leave_descriptors()
            .map_err(|source| NetError::Start { step: "part from the descriptors of the process", source })?;
        sandbox::delete(&mut sandbox::open()?, &name, index)
    };
    thread::Builder::new()
        .name("stack-unlink".to_owned())
        .stack_size(WORKER_STACK_BYTES)
        // Who has seen the link go does not want the answer.
        .spawn(move || drop(sender.send(delete())))
        .map_err(|source| NetError::Start { step: "start a thread that deletes a link", source })?;
    loop {
        match answer.recv_timeout(LOOK_PAUSE) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Err(NetError::Ended),
            Err(RecvTimeoutError::Timeout) if is_gone(link, index) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn is_gone(link: &IfName, index: u32) -> bool {
    match if_nametoindex(link.as_str()) {
        Ok(found) => found != index,
        Err(errno) => errno == Errno::ENODEV,
    }
}
