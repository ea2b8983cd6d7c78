//! One bridge per network.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::{Ipv4Net, Ipv6Net};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::BridgeStpState;
use rtnetlink::{AddressMessageBuilder, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec};
use stack_model::{IfName, NetworkPlan};

use crate::claim;
use crate::error::{Clash, NetError};
use crate::observe::{self, ALIAS_MARK, Link, io_error};
use crate::sysctl;

const ENODEV: i32 = nix::libc::ENODEV;

/// Makes a bridge be as the plan says.
pub(crate) async fn ensure(handle: &Handle, plan: &NetworkPlan, alias: &str) -> Result<bool, NetError> {
    let bridge = &plan.bridge;
    let found = find(handle, bridge).await?;
    if found.as_ref().is_some_and(|link| !is_owned(link, alias)) {
        return Err(NetError::BridgeTaken { bridge: bridge.clone() });
    }
    let own = found.as_ref().map(|link| link.index);
    let present = addresses_of(handle, own).await?;
    let _claim = if present.contains(&plan.gateway) {
        None
    } else {
        let claim = claim::hold().await?;
        check_subnet(handle, plan, own).await?;
        claim
    };
    let link = match found {
        Some(link) => link,
        None => {
            create(handle, bridge, plan.gateway).await?;
            find(handle, bridge).await?.ok_or_else(|| NetError::Bridge {
                bridge: bridge.clone(),
                step: "find",
                source: std::io::Error::from_raw_os_error(ENODEV),
            })?
        }
    };
    let mut changed = false;
    let mtu = plan.link.mtu.filter(|mtu| link.mtu != Some(*mtu));
    if link.alias != alias || !link.up || mtu.is_some() {
        // The kernel ignores an alias in the message that makes a link.
        let mut message = LinkUnspec::new_with_index(link.index).alias(alias).up();
        if let Some(mtu) = mtu {
            message = message.mtu(mtu);
        }
        let message = message.build();
        let done = handle.link().set(message).execute().await;
        done.map_err(|error| failed(bridge, "bring up", error))?;
        changed = true;
    }
    changed |= sysctl::ensure_bridge_settings(bridge, plan.gateway6.is_some())?;
    changed |= ensure_address(handle, bridge, (link.index, &present), plan.gateway).await?;
    changed |= ensure_address6(handle, bridge, link.index, plan.gateway6).await?;
    Ok(changed)
}

/// The index of a bridge that may be deleted: one of ours.
pub(crate) async fn removable(handle: &Handle, bridge: &IfName) -> Result<Option<u32>, NetError> {
    let Some(link) = find(handle, bridge).await? else { return Ok(None) };
    // Without an alias it is a bridge that was left half-made.
    if !link.bridge || !(link.alias.is_empty() || link.alias.starts_with(ALIAS_MARK)) {
        return Err(NetError::BridgeTaken { bridge: bridge.clone() });
    }
    Ok(Some(link.index))
}

fn failed(bridge: &IfName, step: &'static str, error: rtnetlink::Error) -> NetError {
    NetError::Bridge { bridge: bridge.clone(), step, source: io_error(error) }
}

async fn find(handle: &Handle, bridge: &IfName) -> Result<Option<Link>, NetError> {
    let mut found = Box::pin(handle.link().get().match_name(bridge.as_str()).execute());
    match found.try_next().await {
        Ok(message) => Ok(message.as_ref().map(Link::new)),
        Err(error) => match io_error(error) {
            error if error.raw_os_error() == Some(ENODEV) => Ok(None),
            source => Err(NetError::Bridge { bridge: bridge.clone(), step: "look for", source }),
        },
    }
}

/// No spanning tree and no forward delay: a port forwards from its first packet. The hardware address is fixed,
/// because a bridge without one changes its own whenever a port with a lower one joins, and neighbours lose it.
async fn create(handle: &Handle, bridge: &IfName, gateway: Ipv4Net) -> Result<(), NetError> {
    let [a, b, c, d] = gateway.addr().octets();
    let message = LinkMessageBuilder::<LinkBridge>::new(bridge.as_str())
        .stp_state(BridgeStpState::Disabled)
        .forward_delay(0)
        .mcast_snooping(false)
        .address(vec![0x02, 0x42, a, b, c, d])
        .build();
    handle.link().add(message).execute().await.map_err(|error| failed(bridge, "create", error))
}

/// Gives a bridge its address and takes every other one away.
async fn ensure_address(
    handle: &Handle,
    bridge: &IfName,
    (index, present): (u32, &[Ipv4Net]),
    gateway: Ipv4Net,
) -> Result<bool, NetError> {
    let mut changed = false;
    for net in present.iter().filter(|net| **net != gateway) {
        let done = handle.address().del(address_message(index, *net)).execute().await;
        done.map_err(|error| failed(bridge, "take a foreign address from", error))?;
        changed = true;
    }
    if !present.contains(&gateway) {
        let mut request = handle.address().add(index, IpAddr::V4(gateway.addr()), gateway.prefix_len()).replace();
        *request.message_mut() = address_message(index, gateway);
        request.execute().await.map_err(|error| failed(bridge, "give an address to", error))?;
        changed = true;
    }
    Ok(changed)
}

/// The same for IPv6; the address that the kernel makes for the link stays.
async fn ensure_address6(
    handle: &Handle,
    bridge: &IfName,
    index: u32,
    gateway: Option<Ipv6Net>,
) -> Result<bool, NetError> {
    let present = observe::addresses6(handle).await?;
    let mut changed = false;
    for (_, net) in present.iter().filter(|(at, net)| *at == index && Some(*net) != gateway) {
        let done = handle.address().del(address6_message(index, *net)).execute().await;
        done.map_err(|error| failed(bridge, "take a foreign address from", error))?;
        changed = true;
    }
    let Some(gateway) = gateway.filter(|gateway| !present.contains(&(index, *gateway))) else { return Ok(changed) };
    let mut request = handle.address().add(index, IpAddr::V6(gateway.addr()), gateway.prefix_len()).replace();
    *request.message_mut() = address6_message(index, gateway);
    request.execute().await.map_err(|error| failed(bridge, "give an address to", error))?;
    Ok(true)
}

/// An address that is used at once: nobody else can have it, so there is no need to ask around for a second
/// (`IFA_F_NODAD`).
pub(crate) fn address6_message(index: u32, net: Ipv6Net) -> AddressMessage {
    let builder = AddressMessageBuilder::<std::net::Ipv6Addr>::new().index(index);
    let mut message = builder.address(net.addr(), net.prefix_len()).build();
    message.header.flags |= AddressHeaderFlags::Nodad;
    message
}

/// An address with the broadcast address of its subnet.
pub(crate) fn address_message(index: u32, net: Ipv4Net) -> AddressMessage {
    let builder = AddressMessageBuilder::<std::net::Ipv4Addr>::new().index(index);
    let mut message = builder.address(net.addr(), net.prefix_len()).build();
    message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
    if net.prefix_len() < 31 {
        message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
    }
    message
}

/// Half-made by us, or the network that the alias is of.
fn is_owned(link: &Link, alias: &str) -> bool {
    link.bridge && (link.alias.is_empty() || observe::owner_of(&link.alias) == observe::owner_of(alias))
}

/// The addresses of a link; none where there is none yet.
async fn addresses_of(handle: &Handle, index: Option<u32>) -> Result<Vec<Ipv4Net>, NetError> {
    let Some(index) = index else { return Ok(Vec::new()) };
    let all = observe::addresses(handle).await?;
    Ok(all.iter().filter(|address| address.index == index).map(|address| address.net).collect())
}

/// Refuses a subnet whose addresses lead elsewhere than to the bridge itself. A route that is wider than the subnet,
/// such as one for all of 10.0.0.0/8, is no clash: the bridge's own route is the more specific one.
async fn check_subnet(handle: &Handle, plan: &NetworkPlan, own: Option<u32>) -> Result<(), NetError> {
    let subnet = plan.gateway.trunc();
    let clash =
        |clash: Clash| NetError::SubnetClash { bridge: plan.bridge.clone(), subnet, clash, picked: plan.picked };
    let links = observe::links(handle).await?;
    let name = |index: Option<u32>| {
        let link = links.iter().find(|link| Some(link.index) == index);
        link.map(|link| link.name.clone()).unwrap_or_default()
    };
    let addresses = observe::addresses(handle).await?;
    let mut others = addresses.iter().filter(|address| Some(address.index) != own);
    if let Some(address) = others.find(|address| address.net.contains(&subnet) || subnet.contains(&address.net)) {
        return Err(clash(Clash::Address { interface: name(Some(address.index)), address: address.net }));
    }
    let routes = observe::routes(handle).await?;
    let mut others = routes.iter().filter(|route| own.is_none() || route.index != own);
    if let Some(route) = others.find(|route| subnet.contains(&route.destination)) {
        return Err(clash(Clash::Route { interface: name(route.index), destination: route.destination }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_the_broadcast_address_of_its_subnet() {
        let message = address_message(3, "10.89.0.1/26".parse().unwrap());
        assert_eq!(message.header.prefix_len, 26);
        assert!(message.attributes.contains(&AddressAttribute::Broadcast("10.89.0.63".parse().unwrap())));
        let single = address_message(3, "10.89.0.1/32".parse().unwrap());
        assert!(!single.attributes.iter().any(|attribute| matches!(attribute, AddressAttribute::Broadcast(_))));
    }
}
