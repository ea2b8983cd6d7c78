//! Connections that the kernel goes on forwarding to where a port led before.
//!
//! Rules decide about the first packet of a connection. For UDP a connection is whatever comes from one port of a
//! client, and it lasts as long as the client keeps sending: without this, one that sends every few seconds would
//! never reach the container that took the place of another.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NetlinkMessage};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use stack_model::{Protocol, Ruleset};

use super::attribute::{Attributes, Raw};
use crate::wire::{Wire, WireError};

// linux/netfilter/nfnetlink_conntrack.h
const GET: u8 = 1;
const DELETE: u8 = 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const SOURCE_ADDRESS: u16 = 1;
const DESTINATION_ADDRESS: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `IPS_DST_NAT`.
const FORWARDED: u32 = 1 << 5;

/// Ends UDP connections into the project's subnets that no port of the rule set leads to.
pub(super) fn end_stale(wire: &mut Wire, ruleset: &Ruleset) -> Result<(), WireError> {
    if !ruleset.ports.iter().any(|port| port.protocol == Protocol::Udp) {
        return Ok(());
    }
    let found: Vec<Raw> = wire.dump(request(GET, Vec::new()))?;
    for flow in found.iter().map(Raw::attributes).filter(|flow| is_stale(*flow, ruleset)) {
        let original = DefaultNla::new(ORIGINAL | NLA_F_NESTED, flow.value(ORIGINAL).unwrap_or_default().to_vec());
        match wire.transact(vec![request(DELETE, vec![original])], 0) {
            // It ended by itself.
            Err(WireError::Refused { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

fn request(message_type: u8, attributes: Vec<DefaultNla>) -> NetlinkMessage<NetfilterMessage> {
    let inner = NetfilterMessageInner::Other { subsys: NetfilterSubsystem::Conntrack, message_type, attributes };
    NetlinkMessage::from(NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), inner))
}

/// Forwarded into one of our subnets, but not by one of our ports. What cannot be read is somebody else's.
fn is_stale(flow: Attributes<'_>, ruleset: &Ruleset) -> bool {
    let forwarded = flow.number(STATUS).is_some_and(|status| status & FORWARDED != 0);
    let (Some(original), Some(reply)) = (flow.inside(ORIGINAL), flow.inside(REPLY)) else { return false };
    let is_udp = original
        .inside(TUPLE_PROTOCOL)
        .and_then(|protocol| protocol.value(PROTOCOL_NUMBER))
        .is_some_and(|number| number == [Protocol::Udp.number()]);
    if !forwarded || !is_udp {
        return false;
    }
    let asked = end(original, DESTINATION_ADDRESS, DESTINATION_PORT);
    let answered = end(reply, SOURCE_ADDRESS, SOURCE_PORT);
    let (Some((host, host_port)), Some((address, target))) = (asked, answered) else { return false };
    let ours = ruleset.networks.values().any(|network| network.subnet.contains(&std::net::Ipv4Addr::from(address)));
    ours && !ruleset.ports.iter().any(|port| {
        port.protocol == Protocol::Udp
            && port.host_port == host_port
            && port.host_ip.is_none_or(|ip| ip == std::net::IpAddr::from(host))
            && (port.address.octets(), port.target) == (address, target)
    })
}

/// An address and a port of one direction.
fn end(tuple: Attributes<'_>, address: u16, port: u16) -> Option<([u8; 4], u16)> {
    let address = tuple.inside(TUPLE_ADDRESSES)?.value(address)?.try_into().ok()?;
    let port = tuple.inside(TUPLE_PROTOCOL)?.value(port)?.try_into().ok()?;
    Some((address, u16::from_be_bytes(port)))
}
