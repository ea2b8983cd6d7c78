//! An interface that moves to another namespace and stays as it was there.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::LinkUnspec;
use stack_model::IfName;

use crate::error::NetError;
use crate::net::on_own_thread;
use crate::sandbox::{self, get, open, request, up};
use crate::wire::{Wire, WireError};

/// Moves an interface of the calling thread's network namespace into another one, where it is called `inside`, a name
/// or a pattern with `%d`. It is up there and has its addresses, as far as they are permanent and not the link's own
/// (runtime-spec 1.3, `netDevices`); the kernel takes both away from what it moves.
///
/// # Errors
/// There is no such interface, it cannot be moved (loopback, bridges with ports of their own), or its name is taken.
pub fn give_interface(name: &IfName, inside: &IfName, namespace: BorrowedFd<'_>) -> Result<(), NetError> {
    let failed = |step: &'static str| {
        let interface = name.clone();
        move |source| NetError::Interface { interface, step, source }
    };
    let mut wire = open()?;
    let link = get(&mut wire, name)?;
    let addresses = kept_addresses(&mut wire, link.index).map_err(failed("read the addresses of"))?;
    let mut there = on_own_thread(|| sandbox::enter(namespace).and_then(|()| open()))??;
    // Named by us: what the kernel would choose cannot be told from what is there already.
    let index = free_index(&mut there).map_err(failed("find a place for"))?;
    let move_to = |namespace: i32, name: &IfName, from: u32, to: u32| {
        let place = LinkAttribute::NewIfIndex(i32::try_from(to).unwrap_or(i32::MAX));
        let message = LinkUnspec::new_with_index(from).name(name.as_str()).setns_by_fd(namespace);
        request(RouteNetlinkMessage::SetLink(message.append_extra_attribute(place).build()), 0)
    };
    let message = move_to(namespace.as_raw_fd(), inside, link.index, index);
    wire.transact(vec![message], 0).map_err(failed("move"))?;
    let mut messages: Vec<_> = addresses.into_iter().map(|address| placed(address, index)).collect();
    messages.push(up(index));
    let last = messages.len() - 1;
    let settled = there.transact(messages, last);
    if settled.is_err()
        && let Ok(home) = sandbox::current_namespace()
    {
        // Back to where it came from, as far as that goes.
        drop(there.transact(vec![move_to(home.as_raw_fd(), name, index, link.index)], 0));
    }
    settled.map_err(failed("set up"))
}

/// Permanent addresses that mean the same everywhere.
fn kept_addresses(wire: &mut Wire, index: u32) -> Result<Vec<AddressMessage>, WireError> {
    let all = wire.dump(request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), 0))?;
    let addresses = all.into_iter().filter_map(|reply| match reply {
        RouteNetlinkMessage::NewAddress(address) => Some(address),
        _ => None,
    });
    let is_kept = |address: &AddressMessage| {
        let is_permanent = address.attributes.iter().any(
            |attribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Permanent)),
        );
        address.header.index == index && address.header.scope == AddressScope::Universe && is_permanent
    };
    Ok(addresses.filter(is_kept).collect())
}

/// The message that adds an address that was read; its label is of the old name.
fn placed(mut address: AddressMessage, index: u32) -> sandbox::Message {
    address.header.index = index;
    address.attributes.retain(|attribute| {
        matches!(attribute, AddressAttribute::Address(_) | AddressAttribute::Local(_) | AddressAttribute::Broadcast(_))
    });
    request(RouteNetlinkMessage::NewAddress(address), NLM_F_CREATE | NLM_F_REPLACE)
}

fn free_index(wire: &mut Wire) -> Result<u32, WireError> {
    let links = wire.dump(request(RouteNetlinkMessage::GetLink(LinkMessage::default()), 0))?;
    let taken = links.iter().map(|reply| match reply {
        RouteNetlinkMessage::NewLink(link) => link.header.index,
        _ => 0,
    });
    Ok(taken.max().unwrap_or(0) + 1)
}
