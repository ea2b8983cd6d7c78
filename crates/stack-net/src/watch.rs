//! Noticing that somebody changed the network.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::mpsc;

use crate::error::NetError;

/// Notices that nobody has read yet. More add nothing: each of them says "look again".
const NOTICES_MAX: usize = 4;
/// After a notice the socket rests this long, so that a hundred changes in a row are one.
const REST: Duration = Duration::from_millis(10);
/// Messages are not read, only received: what does not fit is cut off by the kernel.
const RECEIVE_BYTES: usize = 64;
/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR` (rtnetlink(7)).
const ROUTE_GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100;
/// `1 << (NFNLGRP_NFTABLES - 1)` (linux/netfilter/nfnetlink.h).
const NFTABLES_GROUPS: u32 = 1 << 6;

/// Something happened to the network. Says nothing about what: look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A link, address, route or rule was added, changed or removed, possibly by ourselves.
    Changed,
    /// The kernel dropped messages (`ENOBUFS`): anything may have changed.
    Overflow,
}

/// Opens the sockets and starts the tasks that read them. Must run on the network thread.
pub(crate) fn watch() -> Result<mpsc::Receiver<Notice>, NetError> {
    let (sender, receiver) = mpsc::channel(NOTICES_MAX);
    for (protocol, groups) in [(NETLINK_ROUTE, ROUTE_GROUPS), (NETLINK_NETFILTER, NFTABLES_GROUPS)] {
        let socket = open(protocol, groups)
            .map_err(|source| NetError::Start { step: "watch the network for changes", source })?;
        tokio::spawn(forward(socket, sender.clone()));
    }
    Ok(receiver)
}

fn open(protocol: isize, groups: u32) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(protocol)?;
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

async fn forward(socket: TokioSocket, sender: mpsc::Sender<Notice>) {
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        buffer.clear();
        let received = tokio::select! {
            received = socket.recv(&mut buffer) => received,
            () = sender.closed() => return,
        };
        let mut notice = match received {
            Ok(()) => Notice::Changed,
            Err(_) => Notice::Overflow,
        };
        tokio::time::sleep(REST).await;
        if drain(socket.socket_ref(), &mut buffer) {
            notice = Notice::Overflow;
        }
        // A full queue holds notices that say the same.
        let _ = sender.try_send(notice);
    }
}

/// Throws away what is queued; tells whether the kernel had to drop something.
fn drain(socket: &netlink_sys::Socket, buffer: &mut Vec<u8>) -> bool {
    let mut overflow = false;
    loop {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return overflow,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if overflow => return true,
            Err(_) => overflow = true,
        }
    }
}
