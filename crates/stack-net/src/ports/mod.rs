//! Published ports, as far as this process serves them.
//!
//! Every port is held by a listening socket, although the kernel forwards IPv4 before a packet reaches it: so a second
//! process cannot take the port, and a conflict is found before anything is changed. What does arrive (IPv6, which the
//! kernel cannot forward to an IPv4 container) is relayed.

mod owner;
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::libc::{EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EPROTONOSUPPORT};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
use stack_model::{Protocol, PublishedPort};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::error::NetError;
use relay::Target;

/// Connections that are accepted and not yet relayed.
const BACKLOG: i32 = 128;
/// Connections that are relayed at one time, over all ports; more wait.
const RELAYED_MAX: usize = 1024;
/// Attempts to find a port that is free on every address.
const FREE_PORT_TRIES: usize = 16;

/// What a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    protocol: Protocol,
    host_ip: Option<IpAddr>,
    host_port: u16,
}

impl Slot {
    fn of(port: &PublishedPort) -> Self {
        Self { protocol: port.protocol, host_ip: port.host_ip, host_port: port.host_port }
    }

    /// `None` is all addresses, which are two sockets.
    fn addresses(self) -> Vec<IpAddr> {
        match self.host_ip {
            Some(address) => vec![address],
            None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        }
    }
}

/// A port that is held. Its tasks own the sockets and end with it.
#[derive(Debug)]
struct Held {
    target: Target,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The published ports that this process holds.
#[derive(Debug)]
pub struct Ports {
    held: BTreeMap<Slot, Held>,
    relayed: Arc<Semaphore>,
}

impl Default for Ports {
    fn default() -> Self {
        Self::new()
    }
}

impl Ports {
    /// Holds nothing.
    pub fn new() -> Self {
        Self { held: BTreeMap::new(), relayed: Arc::new(Semaphore::new(RELAYED_MAX)) }
    }

    /// Holds exactly these ports from now on. Those that were held before keep their sockets and connections; when one
    /// cannot be had, nothing changes. Must be called within a tokio runtime, in the host's network namespace.
    pub fn reserve(&mut self, ports: &BTreeSet<PublishedPort>) -> Result<(), NetError> {
        let wanted: BTreeMap<Slot, &PublishedPort> = ports.iter().map(|port| (Slot::of(port), port)).collect();
        let mut fresh = Vec::new();
        for slot in wanted.keys().filter(|slot| !self.held.contains_key(slot)) {
            fresh.push((*slot, open(*slot)?));
        }
        let mut started = Vec::new();
        for (slot, sockets) in fresh {
            let target = Target::new(wanted[&slot]);
            let mut held = Held { target: target.clone(), tasks: Vec::new() };
            for (address, socket) in sockets {
                let relayed = Arc::clone(&self.relayed);
                let task = relay::spawn(slot.protocol, address, socket, target.clone(), relayed);
                held.tasks.push(task.map_err(|source| failed(slot, address, source))?);
            }
            started.push((slot, held));
        }
        self.held.retain(|slot, _| wanted.contains_key(slot));
        for (slot, held) in &self.held {
            held.target.set(wanted[slot]);
        }
        self.held.extend(started);
        Ok(())
    }
}

/// A port of the host that nothing listens on at this moment, on any address.
pub fn free_port(protocol: Protocol) -> Result<u16, NetError> {
    let mut last = None;
    for _ in 0..FREE_PORT_TRIES {
        let any = Slot { protocol, host_ip: Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), host_port: 0 };
        let sockets = open(any)?;
        let Some((address, socket)) = sockets.first() else { continue };
        let bound = rustix::net::getsockname(socket).map_err(|errno| failed(any, *address, errno.into()))?;
        let port = SocketAddr::try_from(bound).map_err(|errno| failed(any, *address, errno.into()))?.port();
        let everywhere = Slot { protocol, host_ip: Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), host_port: port };
        match open(everywhere) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(NetError::Ended))
}

/// Binds the sockets of a slot. A host without IPv6 has one less.
fn open(slot: Slot) -> Result<Vec<(IpAddr, OwnedFd)>, NetError> {
    let mut sockets = Vec::new();
    for address in slot.addresses() {
        match bound(slot.protocol, SocketAddr::new(address, slot.host_port)) {
            Ok(socket) => sockets.push((address, socket)),
            Err(error) if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && lacks_ipv6(&error) => {}
            // Without SCTP of its own the kernel forwards it all the same, and nobody else can listen on the port.
            Err(error) if slot.protocol == Protocol::Sctp && error.raw_os_error() == Some(EPROTONOSUPPORT) => {}
            Err(error) => return Err(failed(slot, address, error)),
        }
    }
    Ok(sockets)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

fn bound(protocol: Protocol, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(number))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier supervisor in TIME_WAIT do not hold the port. For UDP the option would let two
        // processes share it.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if matches!(protocol, Protocol::Tcp | Protocol::Sctp) {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn failed(slot: Slot, address: IpAddr, source: io::Error) -> NetError {
    let Slot { protocol, host_ip: _, host_port: port } = slot;
    match source.raw_os_error() {
        Some(EADDRINUSE) => {
            NetError::PortTaken { protocol, address, port, owner: owner::find(protocol, address, port) }
        }
        Some(EADDRNOTAVAIL) => NetError::AddressMissing { protocol, address, port },
        _ => NetError::Port { protocol, address, port, source },
    }
}
