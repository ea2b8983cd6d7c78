//! The network namespace of a container and the interfaces in it.
//!
//! Everything here runs on a thread that ends afterwards (see [`crate::net`]), so it changes its namespace freely.
//!
//! ```text
//!   home namespace                 container
//!   bridge <- master - veth  <---> eth0  address, up, default route
//! ```
//! The pair is born with one end inside: moving an existing interface takes the kernel 16 ms, this 0.2 ms. Interfaces
//! are not deleted either (20 ms each): they go with the namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute, LinkExtentMask, LinkMessage,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::{EAFNOSUPPORT, EEXIST, ENODEV};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use stack_model::{Endpoint, IfName};

use crate::bridge::{address_message, address6_message};
use crate::error::NetError;
use crate::observe::Link;
use crate::sysctl;
use crate::wire::{Wire, WireError};

/// How long the interfaces of a namespace that has ended may stay in the way of new ones of the same name. The kernel
/// takes them down in the background, all namespaces that ended together in one go.
const DYING_PATIENCE: Duration = Duration::from_secs(2);
/// Tries after that; each deletes what holds the name.
const CREATE_TRIES: usize = 3;
/// Loopback is the first interface of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// Length of the prefix of 169.254.0.0/16 (RFC 3927).
const LINK_LOCAL_PREFIX: u8 = 16;

pub(crate) type Message = NetlinkMessage<RouteNetlinkMessage>;

/// The calling thread's network namespace.
pub(crate) fn current_namespace() -> Result<OwnedFd, NetError> {
    let file = fs_err::File::open("/proc/thread-self/ns/net")
        .map_err(|source| NetError::Namespace { step: "open", source })?;
    Ok(file.into_parts().0.into())
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> Result<(), NetError> {
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| NetError::Namespace { step: "enter", source: errno.into() })
}

/// Makes a namespace with interfaces whose other ends are in `home`.
pub(crate) fn create(home: BorrowedFd<'_>, endpoints: &[Endpoint]) -> Result<OwnedFd, NetError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetError::Namespace { step: "create", source: errno.into() })?;
    let namespace = current_namespace()?;
    sysctl::write_sandbox_settings()?;
    let mut inside = open()?;
    enter(home)?;
    let mut outside = open()?;
    for endpoint in endpoints {
        create_pair(&mut outside, namespace.as_fd(), endpoint)?;
    }
    allow_ipv6(namespace.as_fd(), home, endpoints)?;
    configure(&mut inside, endpoints)?;
    settle(&mut outside, endpoints)?;
    Ok(namespace)
}

/// Mends the interfaces of a namespace that exists.
pub(crate) fn attach(
    home: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    endpoints: &[Endpoint],
) -> Result<bool, NetError> {
    enter(namespace)?;
    let mut inside = open()?;
    enter(home)?;
    let mut outside = open()?;
    let mut changed = false;
    for endpoint in endpoints {
        let port = find(&mut outside, &endpoint.host_interface)?;
        let interface = find(&mut inside, &endpoint.interface)?;
        match (port, interface) {
            (Some(port), Some(_)) => changed |= ensure_port(&mut outside, endpoint, &port)?,
            (None, Some(stale)) => {
                // Its other end is gone from the bridge for good: the pair was moved or renamed by hand.
                delete(&mut inside, &endpoint.interface, stale.index)?;
                create_pair(&mut outside, namespace, endpoint)?;
                changed = true;
            }
            (_, None) => {
                create_pair(&mut outside, namespace, endpoint)?;
                changed = true;
            }
        }
    }
    allow_ipv6(namespace.as_fd(), home, endpoints)?;
    configure(&mut inside, endpoints)?;
    settle(&mut outside, endpoints)?;
    Ok(changed)
}

/// Interfaces of networks of IPv4 alone have no IPv6. Settings are those of the calling thread's namespace.
fn allow_ipv6(namespace: BorrowedFd<'_>, home: BorrowedFd<'_>, endpoints: &[Endpoint]) -> Result<(), NetError> {
    let mut speaking = endpoints.iter().filter(|endpoint| endpoint.address6.is_some()).peekable();
    if speaking.peek().is_none() {
        return Ok(());
    }
    enter(namespace)?;
    let allowed = speaking.try_for_each(|endpoint| sysctl::allow_ipv6(&endpoint.interface));
    enter(home)?;
    allowed
}

pub(crate) fn open() -> Result<Wire, NetError> {
    Wire::open(NETLINK_ROUTE).map_err(|error| match error {
        WireError::Socket(source) => NetError::Start { step: "open a netlink socket", source },
        other => NetError::Start { step: "open a netlink socket", source: io::Error::other(other) },
    })
}

pub(crate) fn request(message: RouteNetlinkMessage, flags: u16) -> Message {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message
}

fn find(wire: &mut Wire, name: &IfName) -> Result<Option<Link>, NetError> {
    let lean = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    let message = LinkUnspec::new_with_name(name.as_str()).append_extra_attribute(lean).build();
    match wire.query(request(RouteNetlinkMessage::GetLink(message), 0)) {
        Ok(replies) => Ok(replies.iter().find_map(|reply: &RouteNetlinkMessage| match reply {
            RouteNetlinkMessage::NewLink(link) => Some(Link::new(link)),
            _ => None,
        })),
        Err(error) if error.errno() == Some(ENODEV) => Ok(None),
        Err(source) => Err(NetError::Interface { interface: name.clone(), step: "look for", source }),
    }
}

/// The same of one that must be there.
pub(crate) fn get(wire: &mut Wire, name: &IfName) -> Result<Link, NetError> {
    find(wire, name)?.ok_or_else(|| NetError::Interface {
        interface: name.clone(),
        step: "find",
        source: WireError::Socket(io::Error::from_raw_os_error(ENODEV)),
    })
}

pub(crate) fn delete(wire: &mut Wire, name: &IfName, index: u32) -> Result<(), NetError> {
    let message = LinkUnspec::new_with_index(index).build();
    match wire.transact(vec![request(RouteNetlinkMessage::DelLink(message), 0)], 0) {
        Err(error) if error.errno() == Some(ENODEV) => Ok(()),
        done => done.map_err(|source| NetError::Interface { interface: name.clone(), step: "delete", source }),
    }
}

/// The index of a bridge in the calling thread's namespace.
fn bridge_index(endpoint: &Endpoint) -> Result<u32, NetError> {
    if_nametoindex(endpoint.bridge.as_str()).map_err(|_| NetError::BridgeMissing {
        bridge: endpoint.bridge.clone(),
        interface: endpoint.host_interface.clone(),
    })
}

/// Creates a veth pair, attached to its bridge, in one message. The end inside stays down until [`configure`], so that the end outside has no
/// carrier, and sends nothing, before it is told not to.
fn create_pair(outside: &mut Wire, namespace: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), NetError> {
    let message = pair(namespace, endpoint, bridge_index(endpoint)?);
    let failed = |source| NetError::Interface { interface: endpoint.host_interface.clone(), step: "create", source };
    let mut result = add(outside, &message, endpoint);
    if is_taken(&result) {
        wait_for_removal(&endpoint.host_interface)?;
        for _ in 0..CREATE_TRIES {
            result = add(outside, &message, endpoint);
            if !is_taken(&result) {
                break;
            }
            if let Some(squatter) = find(outside, &endpoint.host_interface)? {
                delete(outside, &endpoint.host_interface, squatter.index)?;
            }
        }
    }
    result.and_then(|()| silence(outside, &endpoint.host_interface)).map_err(failed)
}

/// Keeps the kernel from giving the outer end an IPv6 address and from saying so on the bridge. The file below
/// `/proc/sys` would do the same, but its handler runs in circles for as long as another thread has the lock of all
/// links (`restart_syscall` in addrconf_disable_ipv6), which is most of the time while many containers start.
fn silence(wire: &mut Wire, port: &IfName) -> Result<(), WireError> {
    let none = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let message =
        LinkUnspec::new_with_name(port.as_str()).append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![none]));
    match wire.transact(vec![request(RouteNetlinkMessage::SetLink(message.build()), 0)], 0) {
        // A kernel without IPv6 is silent by itself.
        Err(error) if error.errno() == Some(EAFNOSUPPORT) => Ok(()),
        done => done,
    }
}

fn is_taken(result: &Result<(), WireError>) -> bool {
    result.as_ref().is_err_and(|error| error.errno() == Some(EEXIST))
}

fn add(wire: &mut Wire, pair: &LinkMessage, endpoint: &Endpoint) -> Result<(), WireError> {
    let pair = request(RouteNetlinkMessage::NewLink(pair.clone()), NLM_F_CREATE | NLM_F_EXCL);
    wire.transact(vec![pair, port_settings(endpoint)], 1)
}

/// Lets a container reach itself by a port that it publishes: the packet leaves the bridge by the port it came in.
/// Isolated ports hear the bridge itself and not each other. The kernel takes this for ports that exist only, so it
/// follows the message that makes one.
fn port_settings(endpoint: &Endpoint) -> Message {
    let port = LinkBridgePort::new(0).name(endpoint.host_interface.as_str()).hairpin(true);
    let message = port.isolated(endpoint.link.isolated).build();
    request(RouteNetlinkMessage::NewLink(message), 0)
}

fn pair(namespace: BorrowedFd<'_>, endpoint: &Endpoint, bridge: u32) -> LinkMessage {
    let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(endpoint.interface.as_str())
        .address(endpoint.mac.to_vec())
        .setns_by_fd(namespace.as_raw_fd());
    let mtu = endpoint.link.mtu;
    if let Some(mtu) = mtu {
        peer = peer.mtu(mtu);
    }
    let pair = LinkVeth::new(endpoint.host_interface.as_str(), endpoint.interface.as_str())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
        .controller(bridge)
        .up();
    mtu.into_iter().fold(pair, LinkMessageBuilder::mtu).build()
}

/// Puts the outer end of a pair back on its bridge.
fn ensure_port(outside: &mut Wire, endpoint: &Endpoint, port: &Link) -> Result<bool, NetError> {
    let bridge = bridge_index(endpoint)?;
    if port.controller == Some(bridge) && port.up {
        return Ok(false);
    }
    let message = LinkUnspec::new_with_index(port.index).controller(bridge).up().build();
    let messages = vec![request(RouteNetlinkMessage::SetLink(message), 0), port_settings(endpoint)];
    let done = outside.transact(messages, 1);
    done.map_err(|source| NetError::Interface {
        interface: endpoint.host_interface.clone(),
        step: "attach to its bridge",
        source,
    })?;
    Ok(true)
}

/// Brings loopback and all interfaces of a namespace up, with address and route, in one datagram.
fn configure(inside: &mut Wire, endpoints: &[Endpoint]) -> Result<(), NetError> {
    let mut messages = vec![up(LOOPBACK)];
    for endpoint in endpoints {
        let link = get(inside, &endpoint.interface)?;
        let address = RouteNetlinkMessage::NewAddress(address_message(link.index, endpoint.address));
        messages.push(request(address, NLM_F_CREATE | NLM_F_REPLACE));
        for local in &endpoint.link_local {
            let address = address_message(link.index, Ipv4Net::new_assert(*local, LINK_LOCAL_PREFIX));
            messages.push(request(RouteNetlinkMessage::NewAddress(address), NLM_F_CREATE | NLM_F_REPLACE));
        }
        if let Some(address) = endpoint.address6 {
            let address = RouteNetlinkMessage::NewAddress(address6_message(link.index, address));
            messages.push(request(address, NLM_F_CREATE | NLM_F_REPLACE));
        }
        messages.push(up(link.index));
        if let Some(gateway) = endpoint.gateway6 {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(link.index).build();
            messages.push(request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE));
        }
        if let Some(gateway) = endpoint.gateway {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(link.index).build();
            messages.push(request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE));
        }
    }
    let last = messages.len() - 1;
    let interface = endpoints.first().map_or_else(|| IfName::new("lo"), |endpoint| endpoint.interface.clone());
    inside.transact(messages, last).map_err(|source| NetError::Interface {
        interface,
        step: "set up the address and route of",
        source,
    })
}

/// Switches the outer ends on. The kernel does so in the background once the inner ends are up, and drops packets until
/// then, which costs the first connection of a container a second. To be asked about a link makes it do so at once
/// (`linkwatch_sync_dev` in `rtnl_getlink`, Linux 6.8); the bridge goes on with its first port.
fn settle(outside: &mut Wire, endpoints: &[Endpoint]) -> Result<(), NetError> {
    for endpoint in endpoints {
        find(outside, &endpoint.host_interface)?;
        find(outside, &endpoint.bridge)?;
    }
    Ok(())
}

pub(crate) fn up(index: u32) -> Message {
    request(RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).up().build()), 0)
}

/// Waits until no interface of the calling thread's namespace has this name, woken by the kernel's own notices; gives
/// up after [`DYING_PATIENCE`].
fn wait_for_removal(name: &IfName) -> Result<(), NetError> {
    let failed = |source| NetError::Interface {
        interface: name.clone(),
        step: "wait for the removal of",
        source: WireError::Socket(source),
    };
    const RTMGRP_LINK: u32 = 1;
    let mut notices = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    notices.bind(&SocketAddr::new(0, RTMGRP_LINK)).map_err(failed)?;
    notices.set_non_blocking(true).map_err(failed)?;
    let deadline = Instant::now() + DYING_PATIENCE;
    let mut buffer = Vec::with_capacity(64);
    // The look comes after the subscription, so that no removal falls between the two.
    while if_nametoindex(name.as_str()).is_ok() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(notices.as_fd(), PollFlags::POLLIN)], timeout);
        match ready {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        buffer.clear();
        while notices.recv(&mut buffer, 0).is_ok() {
            buffer.clear();
        }
    }
    Ok(())
}
