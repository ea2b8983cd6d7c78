//! Who listens on a port: the kernel's list of sockets (sock_diag(7)) gives an inode, `/proc/<pid>/fd` its process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fs_err as fs;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use stack_model::Protocol;

use crate::error::PortOwner;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const HEADER_BYTES: usize = 16;
/// `TCP_LISTEN` as a bit of the state mask; UDP sockets that are not connected are in state 7 (`TCP_CLOSE`).
const LISTENING: u32 = (1 << 10) | (1 << 7);
const RECEIVE_BYTES: usize = 32 << 10;
/// Datagrams read at most: a host with more listening sockets than fit gets no owner named.
const DATAGRAMS_MAX: usize = 64;

/// The process that holds a port which `address` collides with. `None` if it cannot be found; this serves an error
/// message, so nothing here is an error of its own.
pub(super) fn find(protocol: Protocol, address: IpAddr, port: u16) -> Option<PortOwner> {
    let families = [u8::try_from(nix::libc::AF_INET).ok()?, u8::try_from(nix::libc::AF_INET6).ok()?];
    let inode = families.into_iter().find_map(|family| {
        let listening = listening(protocol, family).ok()?;
        listening.into_iter().find(|socket| socket.port == port && collides(socket.address, address))
    })?;
    process_with(inode.inode)
}

struct Listening {
    address: IpAddr,
    port: u16,
    inode: u32,
}

/// An address with everything, or two that are equal. An IPv6 socket for everything takes IPv4 too unless it was told
/// not to.
fn collides(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

fn listening(protocol: Protocol, family: u8) -> io::Result<Vec<Listening>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(protocol, family), 0)?;
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    for _ in 0..DATAGRAMS_MAX {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, payload, next)) = split(rest) {
            if kind == NLMSG_DONE || kind == NLMSG_ERROR {
                return Ok(found);
            }
            found.extend(parse(payload));
            rest = next;
        }
    }
    Ok(found)
}

/// `struct inet_diag_req_v2` behind a netlink header: everything of one family, protocol and state.
fn request(protocol: Protocol, family: u8) -> Vec<u8> {
    const REQUEST_BYTES: usize = 56;
    let mut bytes = ((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, protocol.number(), 0, 0]);
    bytes.extend(LISTENING.to_ne_bytes());
    bytes.resize(HEADER_BYTES + REQUEST_BYTES, 0);
    bytes
}

fn split(buffer: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    let message = buffer.get(..length)?;
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let next = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, message.get(HEADER_BYTES..)?, next))
}

/// The part of `struct inet_diag_msg` that matters: family, source port and address, inode.
fn parse(payload: &[u8]) -> Option<Listening> {
    let family = i32::from(*payload.first()?);
    let port = u16::from_be_bytes(payload.get(4..6)?.try_into().ok()?);
    let address = if family == nix::libc::AF_INET {
        IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(payload.get(8..12)?).ok()?))
    } else {
        IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(payload.get(8..24)?).ok()?))
    };
    let inode = u32::from_ne_bytes(payload.get(68..72)?.try_into().ok()?);
    Some(Listening { address, port, inode })
}

/// The process that has a socket open.
fn process_with(inode: u32) -> Option<PortOwner> {
    let wanted = format!("socket:[{inode}]");
    let numbers = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for pid in numbers {
        let pid: u32 = pid;
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let holds = descriptors.filter_map(Result::ok).any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        });
        if holds {
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(PortOwner { pid, command: command.trim_end().to_owned() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let owner = find(Protocol::Tcp, IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert!(find(Protocol::Tcp, "127.0.0.2".parse().unwrap(), address.port()).is_none());
        assert!(find(Protocol::Udp, address.ip(), address.port()).is_none());
    }
}
