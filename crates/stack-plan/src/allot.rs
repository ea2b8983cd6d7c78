//! Addresses and host ports: handed out once, lowest first, stable across replacement.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use stack_model::{
    ContainerId, Failure, Fault, HostPort, Neighbour, NetworkName, PortSpec, Protocol, PublishedPort, ServiceName,
};

use crate::network::{Segment, Standing};
use crate::words;

/// The first port that is handed out when any will do: the start of the kernel's own ephemeral range.
const FIRST_FREE_PORT: u16 = 32_768;

/// A replica: its service and number.
pub(crate) type Slot<'a> = (&'a ServiceName, u32);

/// Addresses of all networks.
#[derive(Debug)]
pub(crate) struct Addresses<'a> {
    pools: BTreeMap<&'a NetworkName, Pool<'a>>,
}

#[derive(Debug)]
struct Pool<'a> {
    gateway: Ipv4Net,
    /// Addresses are taken from this part of the subnet.
    range: Option<Ipv4Net>,
    /// Addresses that are none of ours.
    reserved: &'a BTreeMap<String, Ipv4Addr>,
    /// Addresses of other projects' containers.
    foreign: BTreeSet<Ipv4Addr>,
    /// Who has an address now.
    held: BTreeMap<Ipv4Addr, &'a ContainerId>,
    /// Which replica will have it.
    claimed: BTreeMap<Ipv4Addr, Slot<'a>>,
    /// No address below is free.
    next: Ipv4Addr,
}

/// An address, and who must let go of it first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) address: Ipv4Net,
    pub(crate) holder: Option<ContainerId>,
}

impl<'a> Addresses<'a> {
    pub(crate) fn new(segments: &BTreeMap<&'a NetworkName, Segment<'a>>, near: &[Neighbour]) -> Self {
        let pools = segments.iter().filter(|(_, segment)| !matches!(segment.standing, Standing::Refused(_)));
        let pools = pools.map(|(name, segment)| {
            let gateway = segment.plan.gateway;
            let next = gateway.network();
            let (range, reserved) = (segment.wanted.ip_range, &segment.wanted.reserved);
            let foreign = near.iter().filter(|it| it.bridge == segment.plan.bridge).map(|it| it.address).collect();
            let (held, claimed) = (BTreeMap::new(), BTreeMap::new());
            (*name, Pool { gateway, range, reserved, foreign, held, claimed, next })
        });
        Self { pools: pools.collect() }
    }

    /// Notes who has an address now.
    pub(crate) fn hold(&mut self, network: &NetworkName, address: Ipv4Addr, id: &'a ContainerId) {
        if let Some(pool) = self.pools.get_mut(network) {
            pool.held.insert(address, id);
        }
    }

    /// Sets an address aside for the replica that the file gives it to; the first one wins.
    pub(crate) fn reserve(&mut self, network: &NetworkName, address: Ipv4Addr, slot: Slot<'a>) {
        if let Some(pool) = self.pools.get_mut(network) {
            pool.claimed.entry(address).or_insert(slot);
        }
    }

    /// The address that the file fixes. `staying` tells which containers will not let go of theirs.
    pub(crate) fn fixed(
        &mut self,
        network: &'a NetworkName,
        address: Ipv4Addr,
        slot: Slot<'a>,
        previous: Option<&ContainerId>,
        staying: &BTreeSet<&ContainerId>,
    ) -> Result<Granted, Failure> {
        let (service, index) = slot;
        let pool = self.pool(network)?;
        let subnet = pool.gateway.trunc();
        if !subnet.contains(&address) || [subnet.network(), subnet.broadcast(), pool.gateway.addr()].contains(&address)
        {
            let text = format!("{service}/{index}: {address} is not an address of network {network} ({subnet})");
            return Err(Failure::new(Fault::User, text).hint("give the network a `subnet` that contains it"));
        }
        let taken = |owner: String| {
            let text = format!("{service}/{index}: {address} on network {network} belongs to {owner}");
            Failure::new(Fault::Conflict, text).hint("choose another `ipv4_address`")
        };
        if let Some((owner, _)) = pool.reserved.iter().find(|(_, other)| **other == address) {
            return Err(taken(format!("`{owner}` of `aux_addresses`")));
        }
        if pool.foreign.contains(&address) {
            return Err(taken("a container of another project".to_owned()));
        }
        if let Some(owner) = pool.claimed.get(&address).filter(|owner| **owner != slot) {
            return Err(taken(format!("{}/{}", owner.0, owner.1)));
        }
        let holder = pool.held.get(&address).copied().filter(|holder| Some(*holder) != previous);
        if let Some(holder) = holder.filter(|holder| staying.contains(*holder)) {
            return Err(taken(format!("container {}", holder.short())));
        }
        pool.claimed.insert(address, slot);
        Ok(Granted { address: pool.network(address), holder: holder.cloned() })
    }

    /// Any address: that of the container which is replaced, else the lowest free one.
    pub(crate) fn any(
        &mut self,
        network: &'a NetworkName,
        slot: Slot<'a>,
        previous: Option<Ipv4Addr>,
    ) -> Result<Granted, Failure> {
        let pool = self.pool(network)?;
        let subnet = pool.gateway.trunc();
        let usable = |pool: &Pool<'_>, address: Ipv4Addr| {
            address != pool.gateway.addr()
                && pool.range.is_none_or(|range| range.contains(&address))
                && !pool.foreign.contains(&address)
                && !pool.reserved.values().any(|other| *other == address)
                && pool.claimed.get(&address).is_none_or(|owner| *owner == slot)
        };
        let kept = previous.filter(|address| subnet.contains(address) && usable(pool, *address));
        let lowest = || {
            let hosts = subnet.hosts().skip_while(|address| *address < pool.next);
            hosts.into_iter().find(|address| usable(pool, *address) && !pool.held.contains_key(address))
        };
        let Some(address) = kept.or_else(lowest) else {
            let text = format!("{}/{}: network {network} ({subnet}) has no free address", slot.0, slot.1);
            return Err(Failure::new(Fault::Conflict, text).hint("give the network a larger `subnet` or `ip_range`"));
        };
        if kept.is_none() {
            pool.next = address;
        }
        pool.claimed.insert(address, slot);
        Ok(Granted { address: pool.network(address), holder: None })
    }

    fn pool(&mut self, network: &NetworkName) -> Result<&mut Pool<'a>, Failure> {
        self.pools
            .get_mut(network)
            .ok_or_else(|| Failure::new(Fault::Bug, format!("network {network} is used and not declared")))
    }
}

impl Pool<'_> {
    fn network(&self, address: Ipv4Addr) -> Ipv4Net {
        Ipv4Net::new(address, self.gateway.prefix_len()).unwrap_or(self.gateway)
    }
}

/// Host ports of the whole machine.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    taken: BTreeMap<(Protocol, u16), Vec<Owned>>,
}

/// A listening address of the host and who has it.
type Owned = (Option<IpAddr>, String);

impl Ports {
    pub(crate) fn new(busy: &[(PublishedPort, String)]) -> Self {
        let mut ports = Self::default();
        for (port, owner) in busy {
            ports.take(port, owner.clone());
        }
        ports
    }

    pub(crate) fn take(&mut self, port: &PublishedPort, owner: String) {
        self.taken.entry((port.protocol, port.host_port)).or_default().push((port.host_ip, owner));
    }

    /// Gives back what an owner has taken.
    pub(crate) fn release(&mut self, owner: &str) {
        self.taken.values_mut().for_each(|list| list.retain(|(_, other)| other != owner));
    }

    fn owner(&self, protocol: Protocol, host_ip: Option<IpAddr>, port: u16) -> Option<&str> {
        let list = self.taken.get(&(protocol, port))?;
        list.iter().find(|(other, _)| addresses_overlap(*other, host_ip)).map(|(_, owner)| owner.as_str())
    }

    /// Decides the ports of one replica that answers at `address`; `previous` are those of the container before it.
    pub(crate) fn decide(
        &mut self,
        wanted: &[PortSpec],
        slot: Slot<'_>,
        address: Ipv4Addr,
        previous: &BTreeSet<PublishedPort>,
    ) -> Result<BTreeSet<PublishedPort>, Failure> {
        let mut decided = BTreeSet::new();
        for spec in wanted {
            let host_port = self.host_port(spec, slot, previous, &decided)?;
            let PortSpec { target, published: _, host_ip, protocol } = *spec;
            decided.insert(PublishedPort { protocol, host_ip, host_port, address, target });
        }
        for port in &decided {
            self.take(port, format!("{}/{}", slot.0, slot.1));
        }
        Ok(decided)
    }

    fn host_port(
        &self,
        spec: &PortSpec,
        (service, index): Slot<'_>,
        previous: &BTreeSet<PublishedPort>,
        decided: &BTreeSet<PublishedPort>,
    ) -> Result<u16, Failure> {
        let PortSpec { target, published, host_ip, protocol } = *spec;
        match published {
            HostPort::Range(first, last) => {
                let nth = u16::try_from(index.saturating_sub(1)).ok().and_then(|n| first.checked_add(n));
                let Some(port) = nth.filter(|port| *port <= last) else {
                    let text = format!("{service}/{index}: host port {first} is taken by another replica");
                    let hint =
                        format!("give a range such as {first}-{}, or leave the host port out", first.saturating_add(9));
                    return Err(Failure::new(Fault::Conflict, text).hint(hint));
                };
                self.owner(protocol, host_ip, port).map_or(Ok(port), |owner| {
                    let suffix = words::protocol_suffix(protocol);
                    let text = format!("{service}/{index}: host port {port}{suffix} is taken by {owner}");
                    Err(Failure::new(Fault::Conflict, text).hint("publish another port, or stop what holds this one"))
                })
            }
            HostPort::Any => {
                let free = |port: u16| {
                    let mine = decided.iter().any(|other| other.host_port == port && other.protocol == protocol);
                    !mine && self.owner(protocol, host_ip, port).is_none()
                };
                let same = |port: &&PublishedPort| {
                    port.target == target
                        && port.protocol == protocol
                        && port.host_ip == host_ip
                        && port.host_port >= FIRST_FREE_PORT
                };
                let kept = previous.iter().filter(same).map(|port| port.host_port).find(|port| free(*port));
                kept.or_else(|| (FIRST_FREE_PORT..=u16::MAX).find(|port| free(*port))).ok_or_else(|| {
                    Failure::new(Fault::Conflict, format!("{service}/{index}: no free host port is left"))
                })
            }
        }
    }
}

/// Whether two listening addresses of the host catch the same connections.
pub(crate) fn addresses_overlap(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a == b
                || (a.is_unspecified() && (a.is_ipv6() || b.is_ipv4()))
                || (b.is_unspecified() && (b.is_ipv6() || a.is_ipv4()))
        }
        (None, Some(_) | None) | (Some(_), None) => true,
    }
}
