//! What the rules are. Pure: the same rule set gives the same table.
//!
//! ```text
//!   raw         prerouting -300  nobody reaches 127/8 or a container's address through the wrong interface
//!   prerouting  nat -100  \      published ports of local addresses are forwarded to containers,
//!   output      nat -100  /      for others and for this host
//!   postrouting nat  100         containers look like the host to the outside; answers find their way back
//!   forward     filter 0         nothing crosses between networks, nothing enters but through a published port
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_netfilter::nftables::InetHookNumber;
use stack_model::{IfName, NetworkName, NetworkRules, PublishedPort, Ruleset};

use super::expression::{Expression, loopback_net};
use super::table::{Chain, Hook, Map, Rule, Table};

/// Ports of every address: `protocol . port -> address . port`.
pub(super) const ANY: &str = "ports";
/// Ports of one IPv4 address: `address . protocol . port -> address . port`.
pub(super) const BOUND: &str = "ports_of_address";
/// Ports of one IPv6 address. The kernel cannot forward from IPv6 to IPv4, so a relay does it; the map is here so that
/// the table says all of the rule set.
pub(super) const RELAYED: &str = "ports_relayed";

const FORWARD_PORTS: &str = "forward_ports";

// The type numbers of the nft command: a concatenation shifts by six bits.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;

/// The whole table of a rule set.
pub fn render(ruleset: &Ruleset, table: &str) -> Table {
    Table { name: table.to_owned(), maps: maps(ruleset), chains: chains(ruleset) }
}

fn maps(ruleset: &Ruleset) -> BTreeMap<String, Map> {
    let port = (TYPE_PROTOCOL << 6) | TYPE_PORT;
    let map = |key_type, key_bytes| Map {
        key_type,
        key_bytes,
        value_type: (TYPE_IPV4 << 6) | TYPE_PORT,
        value_bytes: 8,
        elements: BTreeMap::new(),
    };
    let mut maps = BTreeMap::from([
        (ANY.to_owned(), map(port, 8)),
        (BOUND.to_owned(), map((TYPE_IPV4 << 12) | port, 12)),
        (RELAYED.to_owned(), map((TYPE_IPV6 << 12) | port, 24)),
    ]);
    for published in &ruleset.ports {
        let name = match published.host_ip {
            None => ANY,
            Some(IpAddr::V4(_)) => BOUND,
            Some(IpAddr::V6(_)) => RELAYED,
        };
        if let Some(map) = maps.get_mut(name) {
            map.elements.insert(key(published), value(published));
        }
    }
    maps
}

fn key(published: &PublishedPort) -> Vec<u8> {
    let mut key = match published.host_ip {
        None => Vec::new(),
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets().to_vec(),
    };
    key.extend([published.protocol.number(), 0, 0, 0]);
    key.extend(published.host_port.to_be_bytes());
    key.extend([0, 0]);
    key
}

fn value(published: &PublishedPort) -> Vec<u8> {
    let mut value = published.address.octets().to_vec();
    value.extend(published.target.to_be_bytes());
    value.extend([0, 0]);
    value
}

fn chains(ruleset: &Ruleset) -> Vec<Chain> {
    let networks: Vec<&NetworkRules> = ruleset.networks.values().collect();
    let to_ports = || rule(Expression::new().ipv4().sent_to_this_host().jump(FORWARD_PORTS));
    let ports =
        vec![rule(Expression::new().forward_by_address_and_port(BOUND)), rule(Expression::new().forward_by_port(ANY))];
    vec![
        Chain { name: FORWARD_PORTS.to_owned(), hook: None, rules: ports },
        base("raw", "filter", InetHookNumber::PreRouting, -300, raw(ruleset)),
        base("prerouting", "nat", InetHookNumber::PreRouting, -100, vec![to_ports()]),
        base("output", "nat", InetHookNumber::LocalOut, -100, vec![to_ports()]),
        base("postrouting", "nat", InetHookNumber::PostRouting, 100, postrouting(&networks)),
        base("forward", "filter", InetHookNumber::Forward, 0, forward(&networks)),
    ]
}

fn base(name: &str, kind: &str, number: InetHookNumber, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.to_owned(), hook: Some(Hook { kind: kind.to_owned(), number, priority }), rules }
}

fn rule(expressions: Vec<u8>) -> Rule {
    Rule { expressions, comment: None }
}

/// Before connection tracking, so that destinations are as the sender wrote them: a packet for a container's address
/// that comes from anywhere but its own bridge was never let in by a published port.
fn raw(ruleset: &Ruleset) -> Vec<Rule> {
    let loopback = IfName::new("lo");
    let mut rules = vec![
        rule(Expression::new().arriving_on(&loopback).accept()),
        // `route_localnet` on the bridges would let these in.
        rule(Expression::new().ipv4().sent_to(loopback_net()).drop()),
    ];
    rules.extend(ruleset.networks.iter().map(|(name, network)| Rule {
        expressions: Expression::new().ipv4().not_arriving_on(&network.bridge).sent_to(network.subnet).drop(),
        comment: Some(comment(name, network)),
    }));
    let six = ruleset.networks.values().filter_map(|network| {
        let expression = Expression::new().ipv6().not_arriving_on(&network.bridge);
        Some(rule(expression.sent_to6(network.subnet6?).drop()))
    });
    rules.extend(six);
    rules
}

/// What [`super::decode`] reads a network back from.
fn comment(name: &NetworkName, network: &NetworkRules) -> String {
    let NetworkRules { bridge, subnet, subnet6, internal, routed } = network;
    let subnet6 = subnet6.map_or_else(String::new, |subnet| format!(",{subnet}"));
    let access = match (internal, routed) {
        // Nothing leaves it, so nothing is masqueraded either.
        (true, _) => INTERNAL,
        (false, true) => ROUTED,
        (false, false) => OPEN,
    };
    format!("{bridge} {subnet}{subnet6} {access} {name}")
}

/// Word for a network without a way out.
pub(super) const INTERNAL: &str = "internal";
/// Word for a network whose addresses are seen outside as they are.
pub(super) const ROUTED: &str = "routed";
/// Word for a network with a way out.
pub(super) const OPEN: &str = "open";

fn postrouting(networks: &[&NetworkRules]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for network in networks {
        let NetworkRules { bridge, subnet, subnet6, internal, routed } = network;
        if let Some(subnet6) = subnet6.filter(|_| !internal && !routed) {
            rules.push(rule(Expression::new().ipv6().sent_from6(subnet6).not_leaving_by(bridge).masquerade()));
        }
        if !internal && !routed {
            rules.push(rule(Expression::new().ipv4().sent_from(*subnet).not_leaving_by(bridge).masquerade()));
        }
        // A container that reaches its neighbour by a port of the host must get the answer from the host.
        rules.push(rule(Expression::new().ipv4().sent_from(*subnet).leaving_by(bridge).published().masquerade()));
        // So must this host when it asks from 127.0.0.1: the container would answer itself.
        rules.push(rule(Expression::new().ipv4().sent_from(loopback_net()).leaving_by(bridge).masquerade()));
    }
    rules
}

fn forward(networks: &[&NetworkRules]) -> Vec<Rule> {
    let mut rules = vec![rule(Expression::new().known_connection().accept())];
    for network in networks {
        // Seen here only where br_netfilter hands bridged packets to these hooks.
        rules.push(rule(Expression::new().arriving_on(&network.bridge).leaving_by(&network.bridge).accept()));
    }
    for network in networks.iter().filter(|network| network.internal) {
        rules.push(rule(Expression::new().arriving_on(&network.bridge).drop()));
        rules.push(rule(Expression::new().leaving_by(&network.bridge).drop()));
    }
    for network in networks.iter().filter(|network| !network.internal) {
        rules.push(rule(Expression::new().leaving_by(&network.bridge).published().accept()));
        rules.push(rule(Expression::new().leaving_by(&network.bridge).drop()));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routed_network_is_not_masqueraded() {
        let rules = |routed| {
            let (bridge, subnet) = (IfName::new("stk-a"), "10.89.0.0/26".parse().unwrap());
            postrouting(&[&NetworkRules { bridge, subnet, subnet6: None, internal: false, routed }]).len()
        };
        assert_eq!((rules(false), rules(true)), (3, 2));
    }
}
