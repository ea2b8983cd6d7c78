//! The two things a project shows to its network as a whole: a rule set and names. Each is rendered complete by the
//! plan and swapped complete by the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{ContainerId, IfName, NetworkName, Protocol};

/// The content of the project's nftables table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Networks to masquerade and to keep apart.
    pub networks: BTreeMap<NetworkName, NetworkRules>,
    /// Ports to forward.
    pub ports: BTreeSet<PublishedPort>,
}

impl Ruleset {
    /// No table is needed.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.ports.is_empty()
    }
}

/// What the rules need to know about one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRules {
    /// Its bridge.
    pub bridge: IfName,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Its subnet of IPv6.
    #[serde(default)]
    pub subnet6: Option<Ipv6Net>,
    /// No way out.
    pub internal: bool,
    /// No masquerade.
    #[serde(default)]
    pub routed: bool,
}

/// A port of the host that leads to a container. Everything is decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Protocol.
    pub protocol: Protocol,
    /// Address of the host; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Address of the container.
    pub address: Ipv4Addr,
    /// Port inside the container.
    pub target: u16,
}

/// Lower-case names without a final dot, to addresses in order.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// The names of a project. Each name stands once for each network it is on, however many containers see it there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The names on each network.
    pub networks: BTreeMap<NetworkName, Hosts>,
    /// What each container that has a network of its own sees of them.
    pub views: BTreeMap<ContainerId, View>,
}

impl Names {
    /// What one container can look up.
    pub fn zone(&self, id: &ContainerId) -> Option<Zone> {
        self.views.get(id).map(|view| self.merge(view))
    }

    /// The names of all networks of a view. A name on several of them has all its addresses.
    pub fn merge(&self, view: &View) -> Zone {
        let mut hosts = Hosts::new();
        for (name, addresses) in view.networks.iter().filter_map(|network| self.networks.get(network)).flatten() {
            hosts.entry(name.clone()).or_default().extend(addresses);
        }
        for (name, addresses) in &view.links {
            let known = hosts.entry(name.clone()).or_default();
            known.extend(addresses);
            known.sort_unstable();
            known.dedup();
        }
        Zone { hosts, forward: view.forward, servers: view.servers.clone() }
    }
}

/// Which names a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct View {
    /// Its networks, in the order in which their addresses are given.
    pub networks: Vec<NetworkName>,
    /// Pass other names on to the host's resolvers. Not on internal networks (CVE-2024-29018).
    pub forward: bool,
    /// Resolvers instead of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// Names for this container alone.
    #[serde(default, skip_serializing_if = "Hosts::is_empty")]
    pub links: Hosts,
}

/// What one container can look up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// The names that are known.
    pub hosts: Hosts,
    /// Pass other names on to the host's resolvers.
    pub forward: bool,
    /// Resolvers instead of the host's.
    pub servers: Vec<IpAddr>,
}
