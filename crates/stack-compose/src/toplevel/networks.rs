//! `networks`: what services share to reach each other.

use indexmap::IndexMap;
use stack_model::ProjectName;

use super::{EXTERNAL, expand_external, real_name, section, section_of};
use crate::context::Cx;
use crate::decode::not_yet;
use crate::keys::{interface_name, labels_of};
use crate::nearest::nearest;
use crate::project::Network;
use crate::report::{Code, Problem};
use crate::shape::common::{BOOL, LABELS, OPTIONS, TEXT, free};
use crate::shape::{At, Field, Forms, List, Merge, Names, Object, Shape, check_name};
use crate::text::Spanned;
use crate::yaml::{Entry, Mapping, Node};

pub(super) const NETWORKS: Shape = section_of(&Shape::Nullable(&NETWORK), "network", Names::Free);
const NETWORK: Shape = Shape::Forms(Forms::new(&LONG, &[], expand_external));
const LONG: Shape = Shape::Object(&Object::new(&[
    Field::new("name", "Name of its own, without that of the project before it.", &TEXT),
    Field::new("driver", "Driver; `bridge` by default.", &TEXT),
    Field::new("driver_opts", "Options of the driver.", &OPTIONS),
    Field::new("ipam", "Addresses.", &IPAM).always(),
    Field::new("external", "Made and removed by someone else.", &EXTERNAL),
    Field::new("internal", "No way out.", &BOOL),
    Field::new("attachable", "Others may join it.", &BOOL),
    Field::new("labels", "Labels.", &LABELS),
    Field::new("enable_ipv4", "With IPv4; true by default.", &BOOL).present(),
    Field::new("enable_ipv6", "With IPv6.", &BOOL).present(),
]));
const IPAM: Shape = Shape::Object(&Object::new(&[
    Field::new("driver", "Who gives addresses.", &TEXT),
    Field::new("config", "Subnets.", &SUBNETS)
        .merge(Merge::ByKey(|node| node.get("subnet").and_then(Node::as_text).map(str::to_owned))),
    Field::new("options", "Options of the driver.", &free(&TEXT)).hidden(),
]));
const SUBNETS: Shape = Shape::List(List { item: &SUBNET, unique: false });
const SUBNET: Shape = Shape::Object(&Object::new(&[
    Field::new("subnet", "Address and prefix length, such as `10.1.0.0/24`.", &TEXT),
    Field::new("gateway", "Address of the gateway.", &TEXT),
    Field::new("ip_range", "Part of the subnet that addresses are taken from.", &TEXT),
    Field::new("aux_addresses", "Addresses that others have.", &free(&TEXT)),
]));

/// The top-level `networks`, with the default one.
pub(crate) fn networks(root: &Mapping, project: &ProjectName, cx: &mut Cx<'_>) -> IndexMap<String, Network> {
    let mut networks = IndexMap::new();
    for (key, entry) in section(root, "networks") {
        networks.insert(key.to_owned(), network(key, entry, project, cx));
    }
    let default = || Network { name: format!("{project}_default"), ..Network::default() };
    if cx.normalize {
        networks.entry("default".to_owned()).or_insert_with(default);
    }
    networks
}

fn network(key: &str, entry: &Entry, project: &ProjectName, cx: &mut Cx<'_>) -> Network {
    let mut network = Network { span: entry.key, name: format!("{project}_{key}"), ..Network::default() };
    check_name(key, entry.key, &At::ROOT.key("networks"), cx);
    if entry.value.is_null() {
        return network;
    }
    let Some(fields) = entry.value.as_mapping() else { return network };
    if let Some(external) = fields.get("external") {
        network.external = cx.boolean(&external.value, "`external`").unwrap_or(false);
    }
    if network.external {
        key.clone_into(&mut network.name);
    }
    if let Some(name) = real_name(fields, cx) {
        network.name = name;
    }
    network.ipv6 = fields.get("enable_ipv6").and_then(|entry| cx.boolean(&entry.value, "`enable_ipv6`")) == Some(true);
    network.internal = fields.get("internal").and_then(|entry| cx.boolean(&entry.value, "`internal`"));
    if let Some(driver) = fields.get("driver").and_then(|entry| cx.text(&entry.value, "`driver`")) {
        if driver.value != "bridge" && !driver.value.is_empty() {
            cx.push(not_yet(driver.span, &format!("the network driver `{}`", driver.value)));
        }
        network.driver = Some(driver.value);
    }
    if let Some(options) = fields.get("driver_opts").filter(|entry| !entry.value.is_null()) {
        parse_options(&options.value, &mut network, cx);
    }
    if let Some(labels) = fields.get("labels") {
        network.labels = labels_of(&labels.value, "`labels`", cx);
    }
    if let Some(ipam) = fields.get("ipam").filter(|entry| !entry.value.is_null()) {
        parse_ipam(&ipam.value, &mut network, cx);
    }
    network
}

/// The options of docker's driver `bridge` that mean something here.
const OPTION_NAMES: [&str; 5] = [
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.bridge.name",
    "com.docker.network.driver.mtu",
];
/// What the kernel takes on a bridge (`ETH_MIN_MTU` and `ETH_MAX_MTU`, if_ether.h).
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;

fn parse_options(node: &Node, network: &mut Network, cx: &mut Cx<'_>) {
    for (name, entry) in node.as_mapping().into_iter().flatten() {
        let Some(Some(text)) = cx.any_text(&entry.value, &format!("`{name}`")) else { continue };
        let switch = match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Some(true),
            "0" | "f" | "false" => Some(false),
            _ => None,
        };
        let known = match &**name {
            "com.docker.network.bridge.name" => {
                interface_name(&entry.value, cx).map(|name| network.bridge = Some(name))
            }
            "com.docker.network.driver.mtu" => {
                let mtu = text.parse().ok().filter(|mtu| MTU.contains(mtu));
                mtu.map(|mtu| network.link.mtu = Some(mtu)).or_else(|| wrong(entry, "a number of bytes from 68", cx))
            }
            "com.docker.network.bridge.enable_icc" => {
                switch.map(|on| network.link.isolated = !on).or_else(|| wrong(entry, "`true` or `false`", cx))
            }
            "com.docker.network.bridge.enable_ip_masquerade" => {
                switch.map(|on| network.routed = !on).or_else(|| wrong(entry, "`true` or `false`", cx))
            }
            "com.docker.network.bridge.host_binding_ipv4" => {
                let address = text.parse::<std::net::Ipv4Addr>().ok();
                let bound = address.map(|address| {
                    network.host_ip = Some(address.into()).filter(|_| !address.is_unspecified());
                });
                bound.or_else(|| wrong(entry, "an IPv4 address of the host", cx))
            }
            _ => {
                let problem = Problem::warning(Code::NoEffect, entry.key, format!("the option `{name}` has no effect"));
                cx.push(problem.nearest(entry.key, nearest(name, OPTION_NAMES)).when_run());
                None
            }
        };
        // Every mistake has been said.
        known.unwrap_or_default();
    }
}

fn wrong(entry: &Entry, wanted: &str, cx: &mut Cx<'_>) -> Option<()> {
    let text = entry.value.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    cx.push(Problem::error(Code::InvalidValue, entry.value.span, format!("`{text}` is not {wanted}")));
    None
}

fn parse_ipam(node: &Node, network: &mut Network, cx: &mut Cx<'_>) {
    let Some(fields) = node.as_mapping() else { return };
    let Some(config) = fields.get("config").filter(|entry| !entry.value.is_null()) else { return };
    let items = cx.list(&config.value, "`config`").unwrap_or_default();
    let is_six = |item: &&Node| {
        let subnet = item.get("subnet").and_then(Node::as_text);
        subnet.is_some_and(|subnet| subnet.parse::<ipnet::Ipv6Net>().is_ok())
    };
    let (six, four): (Vec<&Node>, Vec<&Node>) = items.iter().partition(is_six);
    for second in [six.get(1), four.get(1)].into_iter().flatten() {
        cx.push(not_yet(second.span, "a second subnet of a network"));
    }
    if let Some(fields) = six.first().and_then(|item| item.as_mapping()) {
        parse_ipam6(fields, network, cx);
    }
    let Some(fields) = four.first().and_then(|item| item.as_mapping()) else { return };
    let mut text = |key: &str| {
        let entry = fields.get(key).filter(|entry| !entry.value.is_null())?;
        cx.text(&entry.value, &format!("`{key}`"))
    };
    let (subnet, gateway, range) = (text("subnet"), text("gateway"), text("ip_range"));
    network.subnet = subnet.and_then(|subnet| parse_subnet(&subnet, cx));
    network.ip_range = range.and_then(|range| parse_range(&range, network, cx));
    for (name, entry) in fields.get("aux_addresses").and_then(|entry| entry.value.as_mapping()).into_iter().flatten() {
        let Some(text) = cx.text(&entry.value, &format!("`{name}` of `aux_addresses`")) else { continue };
        match text.value.parse() {
            Ok(address) => drop(network.reserved.insert(name.to_string(), address)),
            Err(_) => {
                let message = format!("`{}` is not an IPv4 address", text.value);
                cx.push(Problem::error(Code::InvalidValue, text.span, message));
            }
        }
    }
    let Some(gateway) = gateway else { return };
    match (gateway.value.parse(), &network.subnet) {
        (Ok(address), Some(subnet)) if subnet.value.contains(&address) => {
            network.gateway = Some(gateway.map(|_| address));
        }
        (Ok(address), Some(subnet)) => {
            let message = format!("the gateway {address} is not in the subnet {}", subnet.value);
            cx.push(Problem::error(Code::InvalidValue, gateway.span, message).also(subnet.span, "the subnet"));
        }
        (Ok(_), None) => {
            cx.push(Problem::error(Code::MissingKey, gateway.span, "a `gateway` needs a `subnet` that it is in"));
        }
        (Err(_), _) => {
            let message = format!("`{}` is not an IPv4 address", gateway.value);
            cx.push(Problem::error(Code::InvalidValue, gateway.span, message));
        }
    }
}

/// The same for IPv6. Without `enable_ipv6` docker does not heed it.
fn parse_ipam6(fields: &Mapping, network: &mut Network, cx: &mut Cx<'_>) {
    for key in ["ip_range", "aux_addresses"] {
        if let Some(entry) = fields.get(key).filter(|entry| !entry.value.is_null()) {
            cx.push(not_yet(entry.key, &format!("`{key}` of an IPv6 subnet")));
        }
    }
    let mut text = |key: &str| {
        let entry = fields.get(key).filter(|entry| !entry.value.is_null())?;
        cx.text(&entry.value, &format!("`{key}`"))
    };
    let (subnet, gateway) = (text("subnet"), text("gateway"));
    let Some((span, net)) = subnet.and_then(|subnet| Some((subnet.span, subnet.value.parse::<ipnet::Ipv6Net>().ok()?)))
    else {
        return;
    };
    if !network.ipv6 {
        let problem =
            Problem::warning(Code::NoEffect, span, "an IPv6 subnet has no effect without `enable_ipv6: true`");
        return cx.push(problem.when_run());
    }
    if net.prefix_len() > LONGEST_PREFIX6 {
        let message = format!("a subnet of /{} has no room for containers", net.prefix_len());
        let problem = Problem::error(Code::InvalidValue, span, message);
        return cx.push(problem.help(format!("use at most /{LONGEST_PREFIX6}")));
    }
    network.subnet6 = Some(Spanned::new(net.trunc(), span));
    let Some(gateway) = gateway else { return };
    match gateway.value.parse() {
        Ok(address) if net.contains(&address) => network.gateway6 = Some(address),
        Ok(address) => {
            let message = format!("the gateway {address} is not in the subnet {net}");
            cx.push(Problem::error(Code::InvalidValue, gateway.span, message).also(span, "the subnet"));
        }
        Err(_) => {
            let message = format!("`{}` is not an IPv6 address", gateway.value);
            cx.push(Problem::error(Code::InvalidValue, gateway.span, message));
        }
    }
}

/// As many addresses as the largest network of IPv4 has.
const LONGEST_PREFIX6: u8 = 112;

/// Addresses of a network, its gateway and its broadcast address.
const LONGEST_PREFIX: u8 = 29;

fn parse_subnet(subnet: &Spanned<String>, cx: &mut Cx<'_>) -> Option<Spanned<ipnet::Ipv4Net>> {
    let problem = match subnet.value.parse::<ipnet::Ipv4Net>() {
        Err(_) => Problem::error(Code::InvalidValue, subnet.span, format!("`{}` is not a subnet", subnet.value))
            .help("write an address and a prefix length: `10.1.0.0/24`"),
        Ok(net) if net.prefix_len() > LONGEST_PREFIX => {
            let message = format!("a subnet of /{} has no room for containers", net.prefix_len());
            Problem::error(Code::InvalidValue, subnet.span, message).help(format!("use at most /{LONGEST_PREFIX}"))
        }
        Ok(net) => return Some(Spanned::new(net.trunc(), subnet.span)),
    };
    cx.push(problem);
    None
}

/// The part of a subnet that addresses are taken from.
fn parse_range(range: &Spanned<String>, network: &Network, cx: &mut Cx<'_>) -> Option<ipnet::Ipv4Net> {
    let Ok(net) = range.value.parse::<ipnet::Ipv4Net>() else {
        let message = format!("`{}` is not a range of addresses", range.value);
        let problem = Problem::error(Code::InvalidValue, range.span, message);
        cx.push(problem.help("write an address and a prefix length: `10.1.0.128/25`"));
        return None;
    };
    match &network.subnet {
        Some(subnet) if subnet.value.contains(&net) => Some(net.trunc()),
        Some(subnet) => {
            let message = format!("the range {net} is not in the subnet {}", subnet.value);
            cx.push(Problem::error(Code::InvalidValue, range.span, message).also(subnet.span, "the subnet"));
            None
        }
        None => {
            cx.push(Problem::error(Code::MissingKey, range.span, "an `ip_range` needs a `subnet` that it is in"));
            None
        }
    }
}
