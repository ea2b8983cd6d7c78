//! A bridge and a subnet for every network: stable once chosen, clear of what the host uses.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use stack_model::{
    Bridge, Cause, Endpoint, Failure, Fault, IfName, LinkOptions, Network, NetworkMode, NetworkName, NetworkPlan,
    ObservedNetwork, short_hex,
};

use crate::draft::Frame;

/// Where subnets come from: 10.89.0.0/16, then 10.90.0.0/16, and so on to 10.255.0.0/16.
const POOL: std::ops::RangeInclusive<u8> = 89..=255;
/// Length of the prefix of a usual network: 61 containers.
const USUAL_PREFIX: u8 = 26;
/// Length of the prefix of the largest network.
const LARGEST_PREFIX: u8 = 16;

/// A network with every choice made, and how far it is from existing.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) wanted: &'a Network,
    pub(crate) plan: NetworkPlan,
    pub(crate) standing: Standing,
}

/// How far a network is from existing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there.
    Ready,
    /// It must be made or mended.
    Lacking(Cause),
    /// It is there with another subnet and must go first.
    Outdated,
    /// As `Outdated`, but something on it cannot be replaced now.
    Held,
    /// It cannot be made.
    Refused(Failure),
}

impl Segment<'_> {
    /// An interface that was made for another shape of this network.
    pub(crate) fn is_stale(&self, endpoint: &Endpoint) -> bool {
        if matches!(self.standing, Standing::Refused(_)) {
            return false;
        }
        let NetworkPlan { network: _, name: _, bridge, gateway, gateway6, internal, link, picked: _, routed: _ } =
            &self.plan;
        endpoint.address.trunc() != gateway.trunc()
            || endpoint.internal != *internal
            || endpoint.bridge != *bridge
            || endpoint.link != *link
            || endpoint.address6.map(|address| address.trunc()) != gateway6.map(|gateway| gateway.trunc())
            || endpoint.gateway6.is_some_and(|address| gateway6.map(|gateway| gateway.addr()) != Some(address))
            || endpoint.gateway.is_some_and(|address| address != gateway.addr())
    }
}

/// What the interfaces of existing containers say about their network.
#[derive(Debug, Clone, Copy)]
struct Trace<'a> {
    subnet: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    bridge: &'a IfName,
    running: bool,
}

/// Decides all networks.
pub(crate) fn settle<'a>(frame: Frame<'a>) -> BTreeMap<&'a NetworkName, Segment<'a>> {
    if frame.desired.networks.is_empty() {
        return BTreeMap::new();
    }
    let traces = traces(frame);
    let mut segments = BTreeMap::new();
    let mut taken: Vec<(Ipv4Net, String)> = Vec::new();
    for (name, network) in &frame.desired.networks {
        let trace = traces.get(name).copied();
        if network.external {
            segments.insert(name, joined(frame, name, network, trace));
            continue;
        }
        let known = known_gateway(frame, name, network, trace);
        let Some(gateway) = known.filter(|gateway| !is_lost(frame, name, network, *gateway)) else { continue };
        let segment = segment(frame, name, network, trace, gateway, &taken);
        if !matches!(segment.standing, Standing::Refused(_)) {
            taken.push((segment.plan.gateway.trunc(), format!("network {name}")));
        }
        segments.insert(name, segment);
    }
    for (name, network) in &frame.desired.networks {
        if segments.contains_key(name) {
            continue;
        }
        let free = free_gateway(frame, name, network, &taken);
        let gateway = free.or_else(|| known_gateway(frame, name, network, traces.get(name).copied()));
        let standing = match gateway {
            Some(_) => lacking(frame.observed.networks.get(name), traces.get(name).copied()),
            None => Standing::Refused(
                Failure::new(Fault::Conflict, format!("network {name}: no free subnet is left"))
                    .hint("give the network a `subnet` under `ipam`"),
            ),
        };
        let gateway = gateway.unwrap_or_default();
        taken.push((gateway.trunc(), format!("network {name}")));
        segments.insert(name, Segment { wanted: network, plan: network_plan(frame, name, None, gateway), standing });
    }
    segments
}

/// A network that someone else makes: it is there or it is not.
fn joined<'a>(frame: Frame<'a>, name: &'a NetworkName, network: &'a Network, trace: Option<Trace<'a>>) -> Segment<'a> {
    let bridges = &frame.observed.host.bridges;
    let found = bridges.iter().find(|bridge| bridge.name == network.name);
    let found = found.or_else(|| bridges.iter().find(|bridge| bridge.bridge.as_str() == network.name));
    let place = format!("{}:{}", network.origin.file, network.origin.line);
    let plan = |bridge: IfName, gateway: Ipv4Net| NetworkPlan {
        network: name.clone(),
        name: network.name.clone(),
        bridge,
        gateway,
        picked: false,
        gateway6: None,
        internal: false,
        link: LinkOptions::default(),
        routed: false,
    };
    let failure = match found {
        Some(Bridge { bridge, gateway: Some(gateway), gateway6, internal, .. }) => {
            let plan = NetworkPlan { gateway6: *gateway6, internal: *internal, ..plan(bridge.clone(), *gateway) };
            return Segment { wanted: network, plan, standing: Standing::Ready };
        }
        Some(Bridge { bridge, .. }) => {
            let text = format!("the external network {} ({place}) has no IPv4 address", network.name);
            let hint = format!("give the bridge one: `ip address add 10.1.0.1/24 dev {bridge}`");
            Failure::new(Fault::Missing, text).hint(hint)
        }
        None => {
            let text = format!("the external network {} ({place}) does not exist", network.name);
            Failure::new(Fault::Missing, text)
                .hint("start the project that makes it, make a bridge of that name, or drop `external`")
        }
    };
    let bridge = trace.map_or_else(|| IfName::new(network.name.as_str()), |trace| trace.bridge.clone());
    let gateway = trace.and_then(|trace| Ipv4Net::new(trace.gateway?, trace.subnet.prefix_len()).ok());
    let plan = plan(bridge, gateway.unwrap_or_default());
    Segment { wanted: network, plan, standing: Standing::Refused(failure) }
}

fn traces<'a>(frame: Frame<'a>) -> BTreeMap<&'a NetworkName, Trace<'a>> {
    let mut traces: BTreeMap<&NetworkName, Trace<'_>> = BTreeMap::new();
    for container in frame.observed.containers.values() {
        let running = container.is_running();
        for endpoint in &container.container.endpoints {
            let Endpoint { network, bridge, address, gateway, .. } = endpoint;
            let trace = Trace { subnet: address.trunc(), gateway: *gateway, bridge, running };
            // A running process knows best; a container that is only written down may be older.
            match traces.get_mut(network) {
                Some(known) if known.running && !running => {}
                Some(known) if known.running == running && known.gateway.is_some() => {}
                Some(known) => *known = trace,
                None => drop(traces.insert(network, trace)),
            }
        }
    }
    traces
}

/// The bridge's address where the file, a container, the bridge or the rule set fixes it.
fn known_gateway(frame: Frame<'_>, name: &NetworkName, network: &Network, trace: Option<Trace<'_>>) -> Option<Ipv4Net> {
    let seen = frame.observed.networks.get(name).and_then(|seen| seen.gateway);
    let ruled = || frame.observed.ruleset.as_ref()?.networks.get(name).map(|rules| rules.subnet);
    let subnet = network
        .subnet
        .map(|subnet| subnet.trunc())
        .or_else(|| trace.map(|trace| trace.subnet))
        .or_else(|| seen.map(|seen| seen.trunc()))
        .or_else(ruled)?;
    let address = network
        .gateway
        .or_else(|| trace.filter(|trace| trace.subnet == subnet).and_then(|trace| trace.gateway))
        .or_else(|| seen.filter(|seen| network.subnet.is_none() && seen.trunc() == subnet).map(|seen| seen.addr()))
        .or_else(|| subnet.hosts().next())?;
    Ipv4Net::new(address, subnet.prefix_len()).ok()
}

/// Nothing holds a subnet that was only chosen: the bridge is gone, and somebody else has the addresses by now.
fn is_lost(frame: Frame<'_>, name: &NetworkName, network: &Network, gateway: Ipv4Net) -> bool {
    let is_held = frame.observed.networks.get(name).is_some_and(|seen| seen.gateway.is_some());
    let is_taken = || frame.observed.host.routes.iter().any(|other| overlap(*other, gateway.trunc()));
    network.subnet.is_none() && !is_held && is_taken()
}

fn segment<'a>(
    frame: Frame<'a>,
    name: &'a NetworkName,
    network: &'a Network,
    trace: Option<Trace<'a>>,
    gateway: Ipv4Net,
    taken: &[(Ipv4Net, String)],
) -> Segment<'a> {
    let plan = network_plan(frame, name, trace, gateway);
    let seen = frame.observed.networks.get(name);
    let standing = match seen.and_then(|seen| seen.gateway) {
        // It is to be called otherwise.
        Some(_) if seen.is_some_and(|seen| seen.bridge != plan.bridge) => Standing::Outdated,
        Some(address) if address == gateway && seen.is_some_and(|seen| seen.up) => named(seen, network, plan.gateway6),
        // The containers agree with the file: it is the bridge that was changed, by someone else's hand.
        Some(address) if address != gateway && trace.is_none_or(|trace| trace.subnet != gateway.trunc()) => {
            refusal(frame, name, network, gateway, taken).map_or(Standing::Outdated, Standing::Refused)
        }
        Some(_) | None => {
            let lacking = lacking(seen, trace);
            refusal(frame, name, network, gateway, taken).map_or(lacking, Standing::Refused)
        }
    };
    Segment { wanted: network, plan, standing }
}

/// Others find a network by its name, which the bridge says unless an earlier version has made it.
fn named(seen: Option<&ObservedNetwork>, network: &Network, gateway6: Option<Ipv6Net>) -> Standing {
    if let Some(seen) = seen.filter(|seen| seen.gateway6 != gateway6) {
        let word = |net: Option<Ipv6Net>| net.map_or_else(|| "none".to_owned(), |net| net.trunc().to_string());
        if gateway6.is_some() && seen.gateway6.is_none() {
            return Standing::Lacking(Cause::Drift("address of IPv6 is missing".to_owned()));
        }
        let (origin, field) = (network.origin.clone(), "enable_ipv6".to_owned());
        return Standing::Lacking(Cause::Changed { origin, field, old: word(seen.gateway6), new: word(gateway6) });
    }
    if let Some((seen, wanted)) = seen.and_then(|seen| seen.mtu).zip(network.link.mtu).filter(|(a, b)| a != b) {
        return Standing::Lacking(Cause::Drift(format!("its largest packet has {seen} bytes instead of {wanted}")));
    }
    let Some(old) = seen.and_then(|seen| seen.name.as_ref()).filter(|old| **old != network.name) else {
        return Standing::Ready;
    };
    let (origin, new) = (network.origin.clone(), network.name.clone());
    Standing::Lacking(Cause::Changed { origin, field: "name".to_owned(), old: old.clone(), new })
}

fn lacking(seen: Option<&ObservedNetwork>, trace: Option<Trace<'_>>) -> Standing {
    let drift = |text: &str| Standing::Lacking(Cause::Drift(text.to_owned()));
    match seen {
        None if trace.is_some_and(|trace| trace.running) => drift("bridge is gone"),
        None => Standing::Lacking(Cause::Missing),
        Some(ObservedNetwork { gateway: None, .. }) => drift("address is missing"),
        Some(ObservedNetwork { up: false, .. }) => drift("bridge is down"),
        Some(ObservedNetwork { gateway: Some(address), .. }) => drift(&format!("address is {address}")),
    }
}

/// Why a subnet that the file asks for cannot be had. What the plan itself chose earlier is not questioned again.
fn refusal(
    frame: Frame<'_>,
    name: &NetworkName,
    network: &Network,
    gateway: Ipv4Net,
    taken: &[(Ipv4Net, String)],
) -> Option<Failure> {
    let subnet = gateway.trunc();
    if network.subnet.is_none_or(|wanted| wanted.trunc() != subnet) {
        return None;
    }
    if network.gateway.is_some_and(|address| !subnet.contains(&address)) {
        let text = format!("network {name}: gateway {} is not in subnet {subnet}", gateway.addr());
        return Some(Failure::new(Fault::User, text).hint("choose a gateway inside the subnet"));
    }
    let routes = frame.observed.host.routes.iter().map(|route| (route, "the host's route"));
    let others = taken.iter().map(|(other, owner)| (other, owner.as_str()));
    let (other, owner) = routes.chain(others).find(|(other, _)| overlap(**other, subnet))?;
    let text = format!("network {name}: subnet {subnet} overlaps {owner} {other}");
    Some(Failure::new(Fault::Conflict, text).hint("choose another `subnet`, or leave it out and one is chosen"))
}

fn network_plan(frame: Frame<'_>, name: &NetworkName, trace: Option<Trace<'_>>, gateway: Ipv4Net) -> NetworkPlan {
    let network = &frame.desired.networks[name];
    let seen = frame.observed.networks.get(name).map(|seen| &seen.bridge);
    let bridge = network.bridge.as_ref().or(seen).or(trace.map(|trace| trace.bridge)).cloned().unwrap_or_else(|| {
        let parts = [frame.desired.instance.as_str(), frame.desired.project.as_str(), name.as_str()];
        IfName::new(format!("stk-{}", short_hex(&parts, 8)))
    });
    NetworkPlan {
        network: name.clone(),
        name: network.name.clone(),
        bridge,
        gateway,
        picked: network.subnet.is_none(),
        gateway6: gateway6(frame, name, network),
        internal: network.internal,
        link: network.link,
        routed: network.routed,
    }
}

/// The bridge's address of IPv6. Without a subnet of the file it is one of the private ones, which follows from the
/// names: it is the same again, and as good as certainly nobody else's (RFC 4193).
fn gateway6(frame: Frame<'_>, name: &NetworkName, network: &Network) -> Option<Ipv6Net> {
    let wish = network.ipv6?;
    let subnet = match wish.subnet {
        Some(subnet) => subnet.trunc(),
        None => {
            let parts = [frame.desired.instance.as_str(), frame.desired.project.as_str(), name.as_str()];
            let digits = u128::from_str_radix(&short_hex(&parts, UNIQUE_LOCAL_DIGITS), 16).unwrap_or_default();
            Ipv6Net::new((UNIQUE_LOCAL | (digits << 64)).into(), UNIQUE_LOCAL_PREFIX).ok()?
        }
    };
    let first = Ipv6Addr::from(u128::from(subnet.network()) | 1);
    Ipv6Net::new(wish.gateway.unwrap_or(first), subnet.prefix_len()).ok()
}

/// `fd00::`, below which everybody picks at random.
const UNIQUE_LOCAL: u128 = 0xfd << 120;
/// Digits that are picked: 56 bits.
const UNIQUE_LOCAL_DIGITS: usize = 14;
const UNIQUE_LOCAL_PREFIX: u8 = 64;
/// Marks addresses that follow from those of IPv4, beside those that people choose.
const DERIVED: u128 = 0x242 << 32;

/// The address of a container, unless the file fixes one: what its address of IPv4 is in the subnet, so that it is as
/// much its own.
pub(crate) fn address6(gateway6: Ipv6Net, fixed: Option<Ipv6Addr>, address: Ipv4Net) -> Option<Ipv6Net> {
    let room = 128 - u32::from(gateway6.prefix_len());
    let number = match room {
        48.. => DERIVED | u128::from(u32::from(address.addr())),
        _ => u128::from(u32::from(address.addr()) - u32::from(address.network())),
    };
    let derived = || Ipv6Addr::from(u128::from(gateway6.network()) | number);
    Ipv6Net::new(fixed.unwrap_or_else(derived), gateway6.prefix_len()).ok()
}

/// The lowest subnet of the pool that is clear of everything known, with room for half as many containers again.
fn free_gateway(
    frame: Frame<'_>,
    name: &NetworkName,
    network: &Network,
    taken: &[(Ipv4Net, String)],
) -> Option<Ipv4Net> {
    let members: u64 = frame
        .desired
        .services
        .values()
        .filter(|service| match &service.container.network {
            NetworkMode::Attached(map) => map.contains_key(name),
            NetworkMode::None | NetworkMode::Host | NetworkMode::Service(_) => false,
        })
        .map(|service| u64::from(service.replicas))
        .sum();
    let prefix = prefix_for(members);
    // What was there before the file asked for another subnet is still there until it is removed.
    let present: Vec<Ipv4Net> = frame.observed.networks.values().filter_map(|seen| seen.gateway).collect();
    let is_clear = |subnet: Ipv4Net| {
        !frame.observed.host.routes.iter().chain(&present).any(|other| overlap(*other, subnet))
            && !taken.iter().any(|(other, _)| overlap(*other, subnet))
    };
    let subnet = POOL
        .filter_map(|second| Ipv4Net::new(Ipv4Addr::new(10, second, 0, 0), LARGEST_PREFIX).ok())
        .filter_map(|pool| pool.subnets(prefix).ok())
        .flatten()
        .find(|subnet| is_clear(*subnet))?;
    let address = network.gateway.filter(|address| subnet.contains(address)).or_else(|| subnet.hosts().next())?;
    Ipv4Net::new(address, prefix).ok()
}

fn prefix_for(members: u64) -> u8 {
    let room = members + members / 2 + 1;
    (LARGEST_PREFIX..=USUAL_PREFIX).rev().find(|prefix| (1_u64 << (32 - prefix)) - 2 >= room).unwrap_or(LARGEST_PREFIX)
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ipv6_follow_from_those_of_ipv4() {
        let derive = |gateway: &str, address: &str| {
            address6(gateway.parse().unwrap(), None, address.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(derive("fd00:1::1/64", "10.89.0.5/26"), "fd00:1::242:a59:5/64");
        assert_eq!(derive("fd00:1::1/112", "10.89.0.69/26"), "fd00:1::5/112");
    }

    #[test]
    fn a_subnet_has_room_to_grow() {
        assert_eq!([0, 1, 40, 42, 100, 200, 1_000_000].map(prefix_for), [26, 26, 26, 25, 24, 23, 16]);
    }
}
