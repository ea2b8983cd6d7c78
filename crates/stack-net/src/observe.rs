//! Looking at the links, addresses and routes of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::{Ipv4Net, Ipv6Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use stack_model::{Bridge, IfName, NetworkName, NetworkPlan, ObservedNetwork, ProjectName};

use crate::error::NetError;

/// What there is of a project's networks, and what the plan must stay clear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetObserved {
    /// Bridges of the project, found by their alias.
    pub networks: BTreeMap<NetworkName, ObservedNetwork>,
    /// Destinations of other routes and subnets of other addresses, without the default route.
    pub routes: Vec<Ipv4Net>,
    /// Every port of a bridge, with that bridge.
    pub ports: BTreeMap<IfName, IfName>,
    /// Bridges that are none of the project's.
    pub bridges: Vec<Bridge>,
}

/// The alias that marks a bridge as the network of a project: `stack:<instance>:<project>:<network>`.
pub fn alias(instance: &str, project: &ProjectName, network: &NetworkName) -> String {
    format!("{}{network}", alias_prefix(instance, project))
}

/// The alias with what others who join the network have to know: its real name after `=`, or after `!` for one without a
/// way out.
pub fn full_alias(instance: &str, project: &ProjectName, plan: &NetworkPlan) -> String {
    let short = alias(instance, project, &plan.network);
    let full = format!("{short}{}{}", if plan.internal { INTERNAL } else { OPEN }, plan.name);
    if full.len() < ALIAS_BYTES { full } else { short }
}

/// The kernel keeps one byte less (`IFALIASZ`, if.h).
const ALIAS_BYTES: usize = 256;
/// Neither can be in the name of a network.
const OPEN: char = '=';
const INTERNAL: char = '!';

/// The part of an alias that says whose the bridge is.
pub(crate) fn owner_of(alias: &str) -> &str {
    alias.split([OPEN, INTERNAL]).next().unwrap_or(alias)
}

fn real_name_of(alias: &str) -> Option<&str> {
    alias.split_once([OPEN, INTERNAL]).map(|(_, name)| name)
}

/// What the aliases of all networks of a project begin with.
pub(crate) fn alias_prefix(instance: &str, project: &ProjectName) -> String {
    format!("{ALIAS_MARK}{instance}:{project}:")
}

/// What the alias of every bridge of every project begins with.
pub(crate) const ALIAS_MARK: &str = "stack:";

/// The part of a link that matters here.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) up: bool,
    pub(crate) bridge: bool,
    pub(crate) controller: Option<u32>,
    pub(crate) mtu: Option<u32>,
}

impl Link {
    pub(crate) fn new(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            alias: String::new(),
            up: message.header.flags.contains(LinkFlags::Up),
            bridge: false,
            controller: None,
            mtu: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
                LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkInfo(infos) => link.bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
                _ => {}
            }
        }
        link
    }
}

/// An address with the interface it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostAddress {
    pub(crate) index: u32,
    pub(crate) net: Ipv4Net,
}

/// A route to somewhere; `index` is the interface it leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostRoute {
    pub(crate) index: Option<u32>,
    pub(crate) destination: Ipv4Net,
}

/// An rtnetlink error as the error number it carries.
pub(crate) fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// All links, without their counters.
pub(crate) async fn links(handle: &Handle) -> Result<Vec<Link>, NetError> {
    let request = handle.link().get().set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
    let found = request.execute().map_ok(|message| Link::new(&message)).try_collect().await;
    found.map_err(|error| NetError::Observe { what: "links", source: io_error(error) })
}

/// All IPv4 addresses.
pub(crate) async fn addresses(handle: &Handle) -> Result<Vec<HostAddress>, NetError> {
    let mut request = handle.address().get();
    request.message_mut().header.family = AddressFamily::Inet;
    let found: Vec<AddressMessage> = request
        .execute()
        .try_collect()
        .await
        .map_err(|error| NetError::Observe { what: "addresses", source: io_error(error) })?;
    Ok(found.iter().filter_map(address).collect())
}

/// All IPv6 addresses with the interfaces that they belong to, without those that the kernel makes for each link.
pub(crate) async fn addresses6(handle: &Handle) -> Result<Vec<(u32, Ipv6Net)>, NetError> {
    let mut request = handle.address().get();
    request.message_mut().header.family = AddressFamily::Inet6;
    let found: Vec<AddressMessage> = request
        .execute()
        .try_collect()
        .await
        .map_err(|error| NetError::Observe { what: "addresses", source: io_error(error) })?;
    let address = |message: &AddressMessage| {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V6(found)) => Some(*found),
            _ => None,
        })?;
        let net = Ipv6Net::new(address, message.header.prefix_len).ok()?;
        (!address.is_unicast_link_local()).then_some((message.header.index, net))
    };
    Ok(found.iter().filter_map(address).collect())
}

fn address(message: &AddressMessage) -> Option<HostAddress> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(found)) => local = Some(*found),
            AddressAttribute::Address(IpAddr::V4(found)) => peer = Some(*found),
            _ => {}
        }
    }
    // On point-to-point links IFA_ADDRESS is the other end (rtnetlink(7)).
    let net = Ipv4Net::new(local.or(peer)?, message.header.prefix_len).ok()?;
    Some(HostAddress { index: message.header.index, net })
}

/// All IPv4 routes to other places, of every table, without default routes.
pub(crate) async fn routes(handle: &Handle) -> Result<Vec<HostRoute>, NetError> {
    let request = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build());
    let found: Vec<RouteMessage> = request
        .execute()
        .try_collect()
        .await
        .map_err(|error| NetError::Observe { what: "routes", source: io_error(error) })?;
    Ok(found.iter().filter_map(route).collect())
}

fn route(message: &RouteMessage) -> Option<HostRoute> {
    // Addresses of the host itself come from the list of addresses.
    if matches!(message.header.kind, RouteType::Local | RouteType::Broadcast | RouteType::Multicast) {
        return None;
    }
    let (mut address, mut index) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(found)) => address = Some(*found),
            RouteAttribute::Oif(found) => index = Some(*found),
            _ => {}
        }
    }
    let destination = Ipv4Net::new(address?, message.header.destination_prefix_length).ok()?;
    (destination.prefix_len() > 0).then_some(HostRoute { index, destination: destination.trunc() })
}

/// One look at everything: `prefix` begins the aliases of the project's bridges.
pub(crate) async fn observe(handle: &Handle, instance: &str, prefix: &str) -> Result<NetObserved, NetError> {
    let links = links(handle).await?;
    let addresses = addresses(handle).await?;
    let addresses6 = addresses6(handle).await?;
    let gateway6 = |link: &Link| addresses6.iter().find(|(index, _)| *index == link.index).map(|(_, net)| *net);
    let routes = routes(handle).await?;
    let own: BTreeMap<u32, &Link> = links
        .iter()
        .filter(|link| link.bridge && link.alias.starts_with(prefix))
        .map(|link| (link.index, link))
        .collect();
    let networks = own.values().map(|link| {
        let gateway = addresses.iter().find(|address| address.index == link.index).map(|address| address.net);
        let name = real_name_of(&link.alias).map(str::to_owned);
        let (bridge, mtu) = (IfName::new(&*link.name), link.mtu);
        let observed = ObservedNetwork { bridge, gateway, gateway6: gateway6(link), up: link.up, name, mtu };
        (NetworkName::new(&owner_of(&link.alias)[prefix.len()..]), observed)
    });
    let others =
        addresses.iter().filter(|address| !own.contains_key(&address.index)).map(|address| address.net.trunc());
    let elsewhere = routes
        .iter()
        .filter(|route| route.index.is_none_or(|index| !own.contains_key(&index)))
        .map(|route| route.destination);
    let taken: BTreeSet<Ipv4Net> = others.chain(elsewhere).collect();
    let bridges: BTreeMap<u32, &Link> = links.iter().filter(|it| it.bridge).map(|link| (link.index, link)).collect();
    let ports = links.iter().filter_map(|link| {
        let bridge = bridges.get(&link.controller?)?;
        Some((IfName::new(&*link.name), IfName::new(&*bridge.name)))
    });
    let foreign = bridges.values().filter(|link| !own.contains_key(&link.index)).map(|link| Bridge {
        name: foreign_name(instance, link),
        bridge: IfName::new(&*link.name),
        gateway: addresses.iter().find(|address| address.index == link.index).map(|address| address.net),
        gateway6: gateway6(link),
        internal: link.alias.contains(INTERNAL),
    });
    Ok(NetObserved {
        networks: networks.collect(),
        routes: taken.into_iter().collect(),
        ports: ports.collect(),
        bridges: foreign.collect(),
    })
}

/// The real name of a network of this installation, else the name of the interface.
fn foreign_name(instance: &str, link: &Link) -> String {
    let rest = link.alias.strip_prefix(&format!("{ALIAS_MARK}{instance}:"));
    let parts = rest.and_then(|rest| owner_of(rest).split_once(':'));
    match (real_name_of(&link.alias), parts) {
        (Some(name), Some(_)) => name.to_owned(),
        // A bridge of a version that did not write the name down.
        (None, Some((project, network))) => format!("{project}_{network}"),
        (_, None) => link.name.clone(),
    }
}
