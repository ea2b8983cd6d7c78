//! From a table back to the rule set it says it was rendered from. Proves nothing by itself: the caller renders the
//! result and compares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack_model::{IfName, NetworkName, NetworkRules, Protocol, PublishedPort, Ruleset};

use super::render::{ANY, BOUND, INTERNAL, OPEN, RELAYED, ROUTED};
use super::table::Table;

/// Reads networks from the comments of rules and ports from maps; `None` if anything is not of our making.
pub(super) fn decode(table: &Table) -> Option<Ruleset> {
    let mut ruleset = Ruleset::default();
    for comment in table.chains.iter().flat_map(|chain| &chain.rules).filter_map(|rule| rule.comment.as_deref()) {
        let (name, network) = network(comment)?;
        ruleset.networks.insert(name, network);
    }
    for name in [ANY, BOUND, RELAYED] {
        for (key, value) in &table.maps.get(name)?.elements {
            ruleset.ports.insert(port(key, value)?);
        }
    }
    Some(ruleset)
}

fn network(comment: &str) -> Option<(NetworkName, NetworkRules)> {
    let mut words = comment.splitn(4, ' ');
    let (bridge, subnet, access, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (internal, routed) = match access {
        INTERNAL => (true, false),
        OPEN => (false, false),
        ROUTED => (false, true),
        _ => return None,
    };
    let (subnet, subnet6) = match subnet.split_once(',') {
        Some((subnet, six)) => (subnet, Some(six.parse().ok()?)),
        None => (subnet, None),
    };
    let subnet = subnet.parse().ok()?;
    let rules = NetworkRules { bridge: IfName::new(bridge), subnet, subnet6, internal, routed };
    Some((NetworkName::new(name), rules))
}

fn port(key: &[u8], value: &[u8]) -> Option<PublishedPort> {
    let (head, tail) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let host_ip = match head.len() {
        0 => None,
        4 => Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(head).ok()?))),
        16 => Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(head).ok()?))),
        _ => return None,
    };
    let [a, b, c, d, high, low, _, _] = *value else { return None };
    Some(PublishedPort {
        protocol: Protocol::ALL.into_iter().find(|protocol| Some(&protocol.number()) == tail.first())?,
        host_ip,
        host_port: u16::from_be_bytes([*tail.get(4)?, *tail.get(5)?]),
        address: Ipv4Addr::new(a, b, c, d),
        target: u16::from_be_bytes([high, low]),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use stack_model::Protocol;

    use super::*;
    use crate::nft::{Rule, confirm, render};

    fn ruleset() -> Ruleset {
        let network = |bridge: &str, subnet: &str, internal| NetworkRules {
            bridge: IfName::new(bridge),
            subnet: subnet.parse().unwrap(),
            subnet6: (bridge != "stk-a").then(|| "fd00:1::/64".parse().unwrap()),
            internal,
            routed: bridge == "stk-c",
        };
        let port = |protocol, host_ip: Option<&str>, host_port| PublishedPort {
            protocol,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
            address: "10.89.0.2".parse().unwrap(),
            target: 80,
        };
        Ruleset {
            networks: BTreeMap::from([
                ("front".into(), network("stk-a", "10.89.0.0/26", false)),
                ("back end".into(), network("stk-b", "10.89.0.64/26", true)),
                ("routed".into(), network("stk-c", "10.89.0.128/26", false)),
            ]),
            ports: BTreeSet::from([
                port(Protocol::Tcp, None, 8080),
                port(Protocol::Udp, None, 53),
                port(Protocol::Sctp, None, 36412),
                port(Protocol::Tcp, Some("127.0.0.1"), 81),
                port(Protocol::Tcp, Some("::1"), 82),
            ]),
        }
    }

    #[test]
    fn a_rendered_table_says_what_it_was_rendered_from() {
        let ruleset = ruleset();
        assert_eq!(confirm(&render(&ruleset, "t")), Some(ruleset));
    }

    #[test]
    fn a_table_that_lost_or_gained_anything_is_not_confirmed() {
        let whole = render(&ruleset(), "t");
        for (index, chain) in whole.chains.iter().enumerate() {
            for number in 0..chain.rules.len() {
                let mut less = whole.clone();
                less.chains[index].rules.remove(number);
                // Without its comment a network is unknown, and what is left is the rendering of nothing we know.
                assert_eq!(confirm(&less), None, "rule {number} of {}", chain.name);
            }
            let mut more = whole.clone();
            let extra = more.chains[1].rules[0].clone();
            more.chains[index].rules.push(extra);
            assert_eq!(confirm(&more), None);
            let mut fewer = whole.clone();
            fewer.chains.remove(index);
            assert_eq!(confirm(&fewer), None);
        }
        let mut strange = whole.clone();
        strange.chains[0].rules.push(Rule { expressions: Vec::new(), comment: Some("allow my laptop".to_owned()) });
        assert_eq!(confirm(&strange), None);
        let mut without_map = whole.clone();
        without_map.maps.remove(ANY);
        assert_eq!(confirm(&without_map), None);
    }

    #[test]
    fn an_element_that_was_added_shows_as_another_ruleset() {
        let mut table = render(&ruleset(), "t");
        let map = table.maps.get_mut(ANY).unwrap();
        map.elements.insert(vec![6, 0, 0, 0, 0, 22, 0, 0], vec![10, 0, 0, 9, 0, 22, 0, 0]);
        let found = confirm(&table).unwrap();
        assert_ne!(found, ruleset());
        assert!(found.ports.iter().any(|port| port.host_port == 22));
    }
}
