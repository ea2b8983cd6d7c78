//! Sockets in the directory of a container.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::state::START_SOCKET;
use crate::spawner::wire;

pub(super) fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Through a descriptor: a socket's path has 107 bytes at most, and the directory's may be longer (unix(7)).
pub(super) fn address_in(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{START_SOCKET}", directory.as_raw_fd()))?)
}

pub(super) fn listen_at(directory: &Path) -> io::Result<OwnedFd> {
    let place = open_directory(directory)?;
    let socket = unix_socket()?;
    bind(&socket, &address_in(&place)?)?;
    listen(&socket, 1)?;
    Ok(socket)
}

/// Sends the master of a terminal the way engines expect it: a stream socket, the descriptor with its name as data.
pub(super) fn send_terminal(socket: &Path, master: &OwnedFd) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    wire::send_bytes(stream.as_fd(), b"/dev/ptmx", &[master.as_fd()])
}
