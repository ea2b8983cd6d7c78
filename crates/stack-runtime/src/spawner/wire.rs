//! Messages with descriptors, over SOCK_SEQPACKET: one message is one packet, and its descriptors come with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::StepFailure;
use crate::spec::ProcessSpec;

/// Larger orders than this come in a memory file; these are the small messages around it.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Descriptors of one message.
const DESCRIPTORS_MAX: usize = 12;

/// What the supervisor asks for: only what the spawner has to know, which stays small by that; the rest is for the new
/// process, an [`InitSpec`](crate::spec::InitSpec) or [`EnterOrders`]. Descriptors: the orders in a memory file, the socket for the answers, then the ones
/// that each request names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start a container.
    Start {
        /// The network namespace to be in follows.
        netns: bool,
        /// The pidfd of the container whose processes it is among follows.
        pid_of: bool,
        /// The pidfd of the container whose IPC it has follows.
        ipc_of: bool,
        /// Which namespaces it is born in.
        own: Own,
        /// A version 2 directory for `CLONE_INTO_CGROUP` follows.
        into_cgroup: bool,
        /// Its three standard streams follow.
        streams: bool,
        /// The run directory of a container that is to be kept.
        keep: Option<PathBuf>,
    },
    /// Run a program inside a container; its pidfd and an output descriptor follow.
    Enter {
        /// A version 2 directory for `CLONE_INTO_CGROUP` follows these.
        into_cgroup: bool,
    },
    /// Keep a container that was started already; its pidfd comes along while it runs. Nothing is answered.
    Keep {
        /// Its run directory.
        run: PathBuf,
        /// Its process 1.
        pid: u32,
    },
    /// Let go of a container; nothing comes with it or is answered.
    Release {
        /// Its run directory.
        run: PathBuf,
    },
}

/// Namespaces of a container's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) pid: bool,
    pub(super) ipc: bool,
    pub(super) uts: bool,
}

/// What is in the memory file of [`Request::Enter`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EnterOrders {
    pub(super) cgroup_tasks: Vec<PathBuf>,
    pub(super) process: ProcessSpec,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// A process that only leads to the wanted one; its pidfd is attached.
    Passing(u32),
    /// The wanted process; its pidfd is attached.
    Spawned(u32),
    /// The process gave up.
    Failed(StepFailure),
}

/// The supervisor has written down whose process this is: only now may it become the container. A supervisor that dies
/// before that closes the socket instead, and the process gives up, so nothing runs that nobody knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoAhead;

/// A connected pair.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_bytes(socket, &serde_json::to_vec(message)?, descriptors)
}

/// Sends bytes with descriptors, to a peer that has a format of its own.
pub(crate) fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL.into());
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one message; `None` at the end.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            // A peer that has closed with our go-ahead unread is reported once, before what it had sent (unix(7)).
            Err(Errno::INTR | Errno::CONNRESET) => {}
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}

/// Writes orders into a memory file, which takes any length.
pub(crate) fn pack(orders: &impl Serialize) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("stack:orders", rustix::fs::MemfdFlags::CLOEXEC)?;
    let bytes = serde_json::to_vec(orders)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(file.as_fd(), rest)?;
        rest = &rest[written..];
    }
    Ok(file)
}

/// Reads orders from a memory file.
pub(crate) fn unpack<T: DeserializeOwned>(file: &OwnedFd) -> io::Result<T> {
    let length = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut at = 0;
    while at < length {
        let read = rustix::io::pread(file, &mut bytes[at..], at as u64)?;
        if read == 0 {
            break;
        }
        at += read;
    }
    Ok(serde_json::from_slice(&bytes)?)
}
